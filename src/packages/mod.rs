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

/// Splits the name of an installed package, as [`Owner::nevra`] has it, into the package's name and
/// the rest.
pub(crate) fn split_nevra(nevra: &str) -> (&str, &str) {
    if let Some(both) = split_dpkg(nevra) {
        return both;
    }
    let before_release = nevra.rfind('-').unwrap_or(nevra.len());
    let end = nevra[..before_release].rfind('-').unwrap_or(before_release);
    (&nevra[..end], nevra.get(end + 1..).unwrap_or_default())
}

/// Splits `name_version_architecture`. Of rpm's names only those that end in `x86_64` may have two
/// underscores of which no dot or dash follows the last; no architecture of dpkg begins with a digit.
fn split_dpkg(nevra: &str) -> Option<(&str, &str)> {
    let (name, rest) = nevra.split_once('_')?;
    let (version, architecture) = rest.split_once('_')?;
    let is_version = version.starts_with(|first: char| first.is_ascii_digit());
    let is_architecture = architecture.starts_with(|first: char| first.is_ascii_lowercase())
        && !architecture.contains(['_', '.', '-']);
    (is_version && is_architecture).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nevra_splits_after_the_name() {
        assert_eq!(split_nevra("gtk-update-cache-1:3.2-1.fc41.x86_64").0, "gtk-update-cache");
        assert_eq!(split_nevra("bash-5.2-1.x86_64"), ("bash", "5.2-1.x86_64"));
        assert_eq!(split_nevra("base-files_12.4+deb12u15_amd64").0, "base-files");
        assert_eq!(split_nevra("libc6_2.36-9+deb12u14_i386"), ("libc6", "2.36-9+deb12u14_i386"));
        assert_eq!(split_nevra("mod_9p-1.0-1.x86_64").0, "mod_9p");
        assert_eq!(split_nevra("a_1_b-1.0-1.noarch").0, "a_1_b");
        assert_eq!(split_nevra("odd"), ("odd", ""));
        assert_eq!(split_nevra("odd-1"), ("odd", "1"));
        assert_eq!(split_nevra(""), ("", ""));
    }
}
