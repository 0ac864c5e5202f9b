//! reprofix makes ostree/rpm composes come out the same, and says why when they do not.
//!
//! A [plugin](plugins) knows one source of difference and has one pure function: bytes in,
//! canonical bytes (or "remove", or "leave alone, because …") out. [`engine`] runs these functions
//! over a root filesystem; [`check`] runs *the same* functions on both sides of every difference
//! between two builds, so that what explains a difference would also fix it.
//!
//! `ARCHITECTURE.md` describes the modules.

#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::unwrap_used))]

pub mod check;
pub mod cli;
pub mod compare;
pub mod composefs;
pub mod config;
pub mod disk;
pub mod engine;
pub mod env;
pub mod format;
pub(crate) mod globs;
#[cfg(feature = "nightly")]
pub mod history;
pub mod image;
#[cfg(feature = "nightly")]
pub mod nightly;
pub mod normal;
pub mod packages;
mod parallel;
pub mod plugins;
pub mod record;
pub mod report;
pub mod run;
pub mod source;
mod text;
pub mod tree;
pub mod vouchers;
