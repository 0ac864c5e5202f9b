//! The integration tests, one binary: a module an area.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod boot;
mod cases;
mod check;
mod check_reports;
mod check_subjects;
mod compare;
mod compared;
mod composefs;
mod config;
mod confluence;
mod crowded;
#[cfg(feature = "ostree")]
mod digest;
mod dnf_history;
#[cfg(feature = "ostree")]
mod docs;

mod evidence;
mod faults;
mod fix;
mod floors;
mod fuzz;
mod generate;
#[cfg(feature = "nightly")]
mod history;
mod hostile;
mod initramfs;
mod layout;
#[cfg(feature = "ostree")]
mod libostree;
mod memtree;
#[cfg(feature = "ostree")]
mod modes;
mod mutations;
mod oci;
mod oci_compare;
mod oci_derived;
mod oci_hostile;
mod oci_layers;
mod oci_normalize;
mod oci_random;
mod oci_shapes;
mod oci_unpack;
mod opm;
mod oracle;
mod pairs;
mod prose;
mod pyc;
#[cfg(feature = "ostree")]
mod record;
mod repo;
mod repo_forms;
mod rpmdb_bdb;
mod rpmdb_fix;
mod rpmdb_ndb;
mod rpmdb_packages;
mod rpmdb_rpm;
mod rpmdb_sqlite;
mod rpmdb_world;
mod schema;
mod sources;
mod stacker;
mod tar_made;
mod tools;
mod uki;
mod verdict;
mod vouchers;
mod xattrs;
