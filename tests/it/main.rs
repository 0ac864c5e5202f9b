//! The integration tests, one module an area.

#![allow(clippy::unwrap_used)]

mod rpmdb_bdb;
mod rpmdb_ndb;
