//! The integration tests, one binary: a module an area.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

mod cases;
mod fix;
mod memtree;
mod rpmdb_bdb;
mod rpmdb_ndb;
mod rpmdb_packages;
mod rpmdb_sqlite;
mod rpmdb_world;
