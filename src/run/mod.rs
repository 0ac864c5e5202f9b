//! One run of a command, from its options to its report, for `cli` and `nightly`.

pub mod check;
pub mod composefs;
mod disks;
pub mod earlier;
pub mod fix;
