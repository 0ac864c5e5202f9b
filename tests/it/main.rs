//! The integration tests, one binary: a module an area.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod fix;
