//! Reports of runs: for people on a terminal, and as JSON with a versioned, documented schema.

pub mod audit;
pub mod check;
pub mod composefs;
pub mod fix;
pub mod html;
pub mod junit;
pub mod markdown;
mod next;
pub mod outline;
mod progress;
pub mod sarif;

pub use progress::Progress;
