//! What a run says: for people on a terminal, and as JSON with a versioned, documented schema.

pub mod audit;
pub mod check;
pub mod fix;
mod progress;

pub use progress::Progress;
