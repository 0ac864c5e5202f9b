//! `fix`: one walk, a plan, and its application.

mod context;

pub use context::Context;
