//! One run of a command from its options to its report: what `cli` and `nightly` call.

pub mod check;
pub mod composefs;
mod disks;
pub mod fix;
