//! `fix`: one walk, a plan, and its application.
//!
//! [`walk()`] lists the tree, [`plan()`] runs the [`Chain`](crate::normal::Chain) of plugins over
//! what they want, [`apply()`] carries out the plan. The plan of a second run is empty.

mod apply;
mod plan;
mod read_once;
mod walk;
mod wanted;

pub use apply::apply;
pub use plan::{Action, Change, Patch, Plan, Remark, Rewrite, plan};
pub use walk::walk;
pub use wanted::Wanted;
