//! Integration tests, one binary: each module is an area.

#![allow(clippy::unwrap_used)]

#[cfg(feature = "ostree")]
mod digest;
#[cfg(feature = "ostree")]
mod repo;
