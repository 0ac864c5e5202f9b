//! The declarative kinds of plugins, which consist of a page and data without code.

pub(in crate::plugins) mod reader;
pub(in crate::plugins) mod rewriter;
pub(in crate::plugins) mod table;
