//! Where a tree comes from: a directory, an ostree commit, a build of coreos-assembler.
//!
//! A *subject* is written `dir:PATH`, `ostree:REPO[:REF|COMMIT]` or
//! `cosa:WORKDIR[:BUILD[/ARCH]]`; a bare path is recognised by what is there.

pub mod dir;
pub mod merkle;
#[cfg(feature = "ostree")]
pub mod ostree;
