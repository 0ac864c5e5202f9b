//! The packages of a tree: where its rpm database is, which package owns a path (also of dpkg, apk
//! and pacman), and how two sets of packages differ.

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

/// Splits `name-[epoch:]version-release.arch` into the name and the rest.
pub(crate) fn split_nevra(nevra: &str) -> (&str, &str) {
    let before_release = nevra.rfind('-').unwrap_or(nevra.len());
    let end = nevra[..before_release].rfind('-').unwrap_or(before_release);
    (&nevra[..end], nevra.get(end + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nevra_splits_after_the_name() {
        assert_eq!(split_nevra("gtk-update-cache-1:3.2-1.fc41.x86_64").0, "gtk-update-cache");
        assert_eq!(split_nevra("bash-5.2-1.x86_64"), ("bash", "5.2-1.x86_64"));
        assert_eq!(split_nevra("odd"), ("odd", ""));
        assert_eq!(split_nevra("odd-1"), ("odd", "1"));
        assert_eq!(split_nevra(""), ("", ""));
    }
}
