//! One run of a command, from its options to its report, for `cli` and `nightly`.

pub mod check;
pub(crate) mod composefs;
mod disks;
pub(crate) mod earlier;
pub(crate) mod fix;
