//! `check`: whether two builds are the same and why they are not, or whether one is in normal form.
//!
//! [`align()`] finds the paths that differ, in time proportional to their number; [`classify()`]
//! says how; [`Explainer`] says why, by running the plugins' own normal forms on both sides. A
//! difference counts as explained only if both normal forms and all metadata are equal, byte for
//! byte.

mod align;
mod budget;
pub(crate) mod cascade;
mod classify;
pub(crate) mod common_cause;
mod describe;
pub(crate) mod diffoscope;
pub mod disk;
pub(crate) mod excerpt;
pub mod expect;
pub(crate) mod explain;
mod named_after;

pub use crate::normal::Consequence;
pub use crate::tree::{Change, Difference, Side};
pub use align::{Pair, align};
pub use budget::{Budget, Fit};
pub use classify::classify;
pub use describe::content as differences;
pub use diffoscope::Diffoscope;
pub use excerpt::{Excerpt, Line, Piece, Rows, both, excerpt};
pub use expect::{Expectations, Expected};
pub use explain::{Cause, Explained, Explainer, relate};
