//! The `rpmdb` plugin: any history of one package set becomes one database.

mod packages;
mod places;

pub use packages::{Algorithm, Owner, Packages};
pub use places::{Backend, Database};
