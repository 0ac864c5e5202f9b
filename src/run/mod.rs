//! One run of a command from its options to its report: what `cli` and `nightly` call.

pub mod check;
pub mod composefs;
pub mod earlier;
pub mod fix;
