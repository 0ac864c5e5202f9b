//! The declarative kinds of plugins: a page and data, and no code of their own.

pub(in crate::plugins) mod reader;
pub(in crate::plugins) mod rewriter;
pub(in crate::plugins) mod table;
