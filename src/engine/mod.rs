//! `fix`: one walk, a plan, and its application.

mod chain;
mod context;

pub use chain::{Chain, Form, Normal, Note, Shipped, nothing_shipped};
pub use context::Context;
