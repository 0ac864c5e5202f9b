//! `fix`: one walk, a plan, and its application.
//!
//! [`walk()`] lists the tree, [`plan()`] runs the [`Chain`] of plugins over what they want,
//! [`apply()`] does what came out. A second run's plan is empty.

mod apply;
mod chain;
mod context;
mod plan;
mod run;
mod walk;

pub use apply::apply;
pub use chain::{Chain, Form, Normal, Note, Shipped, nothing_shipped};
pub use context::{Context, Spent};
pub use plan::{Action, Change, Plan, Remark, Wanted, plan};
pub use run::{Job, run};
pub use walk::{Anchor, walk};
