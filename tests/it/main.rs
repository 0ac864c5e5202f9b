//! The integration tests, one binary: a module an area.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

mod cases;
#[cfg(feature = "ostree")]
mod digest;
mod fix;
mod memtree;
mod oci;
mod opm;
#[cfg(feature = "ostree")]
mod repo;
mod rpmdb_packages;
mod rpmdb_sqlite;
mod stacker;
mod trees;
