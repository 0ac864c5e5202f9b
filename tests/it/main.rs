//! All integration tests, in one binary.
#![allow(missing_docs, clippy::unwrap_used)]

mod rpmdb_packages;
mod rpmdb_sqlite;
mod trees;
