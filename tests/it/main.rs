//! The integration tests, one binary: a module an area.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

mod cases;
mod digest;
mod fix;
mod memtree;
mod oci;
