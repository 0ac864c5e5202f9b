//! Where a tree comes from.

pub mod oci;
