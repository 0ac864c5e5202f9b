//! Commands for container images, platform by platform.
//!
//! [`crate::source::oci`] reads them; these modules list the digests ([`platforms`]), verify every
//! byte ([`verify`]), find what runtimes unpack differently ([`lint`]), explain why two images
//! differ ([`compare`]), and write an image that is the same for two builds ([`normalize`]).

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

/// A result that a command prints, for people or as JSON with the same facts in a stable order.
pub trait Findings: Serialize {
    /// `true` for exit code 0, `false` for 1.
    fn sound(&self) -> bool;

    /// Prints the result for people.
    ///
    /// # Errors
    ///
    /// Only if writing to `out` fails.
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
