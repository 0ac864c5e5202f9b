//! opm (operator-registry) file-based catalogs: whether opm accepts the cache in the image where
//! the catalog runs.
//!
//! `opm serve --cache-enforce-integrity` computes a digest of the catalog's files and of its cache
//! and compares it with the one stored at build time. In the older of two formats the digest covers
//! the mode bits of directories, which container runtimes unpack differently: the same image starts
//! on one machine and stops with `cache requires rebuild` on another. [`verify`] computes the
//! digest like opm under each unpacker; `opm fix` writes an image that unpacks the same everywhere.

pub mod access;
pub(crate) mod bundles;
pub(crate) mod digest;
pub mod document;
pub mod fix;
pub mod index;
pub mod pogreb;
pub(crate) mod tree;
pub mod verify;
