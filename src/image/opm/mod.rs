//! opm (operator-registry) file-based catalogs: will the cache in the image be accepted where the
//! catalog runs?
//!
//! `opm serve --cache-enforce-integrity` computes a digest of the catalog's files and of its cache
//! and compares it with the one stored at build time. In the older of two formats the digest covers
//! the mode bits of directories, which not every container runtime unpacks alike: one image starts
//! on one machine and stops with `cache requires rebuild` on another. [`verify`] computes the digest
//! the way opm does under each unpacker; `opm fix` writes an image that unpacks the same everywhere.

pub mod access;
pub(crate) mod bundles;
pub(crate) mod digest;
pub mod document;
pub mod fix;
pub mod index;
pub mod pogreb;
pub(crate) mod tree;
pub mod verify;
