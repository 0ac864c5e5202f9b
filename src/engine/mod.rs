//! `fix`: one walk, a plan, and its application.
//!
//! [`walk()`] lists the tree, [`plan()`] runs the [`Chain`](crate::normal::Chain) of plugins over what they want,
//! [`apply()`] does what came out. A second run's plan is empty.

mod apply;
mod plan;
mod walk;

pub use apply::apply;
pub use plan::{Action, Change, Plan, Remark, Wanted, plan};
pub use walk::walk;
