//! What ships beside an ostree commit: questions asked of images, per platform.
//!
//! Reading is [`crate::source::oci`]'s; here are the answers: which image is which
//! ([`platforms`]), is every byte what it claims to be ([`verify`]), does every runtime unpack the
//! same tree ([`lint`]), why do two images differ ([`compare`]), and one image two builds agree
//! on ([`normalize`]).

use std::io::{self, Write};

use serde::Serialize;

pub(crate) mod catalogs;
pub mod compare;
pub(crate) mod flattened;
pub mod lint;
pub mod normalize;
pub mod opm;
pub mod platforms;
pub mod programs;
pub mod stacker;
pub mod times;
pub mod unpack;
pub mod verify;

/// An answer that a command prints: for people, or as JSON with the same facts in stable order.
pub trait Findings: Serialize {
    /// `true` for exit code 0, `false` for 1.
    fn sound(&self) -> bool;

    /// Writes it for people.
    ///
    /// # Errors
    ///
    /// Only if `out` does.
    fn print(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Writes rows as a table whose columns are as wide as their widest cell.
pub(crate) fn table(out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| {
        rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(i, c)| format!("{c:<w$}", w = if i + 1 == row.len() { 0 } else { width(i) }))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
