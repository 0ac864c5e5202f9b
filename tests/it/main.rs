//! The integration tests, one module an area.

#![allow(clippy::unwrap_used)]

mod rpmdb_ndb;
