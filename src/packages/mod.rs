//! The packages of a tree: where its rpm database is, who owns which path (dpkg, apk and pacman
//! too), and how two sets of packages differ.

mod compare;
mod database;
mod foreign;
mod owners;

pub use compare::{Comparison, compare_trees};
pub(crate) use database::{
    BDB_INDEXES, NDB_INDEX, PLACES, Role, SIDES, beside, in_file, role, sides,
};
pub use database::{Backend, Database};
pub use owners::{Algorithm, Installed, Owner, Packages};
