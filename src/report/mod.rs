//! Reports of runs: for people on a terminal, and as JSON with a versioned, documented schema.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod composefs;
pub(crate) mod fix;
pub(crate) mod html;
pub(crate) mod junit;
pub(crate) mod markdown;
mod next;
pub(crate) mod outline;
mod progress;
pub(crate) mod sarif;

pub use progress::Progress;
