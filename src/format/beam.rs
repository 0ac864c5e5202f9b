//! Compiled Erlang modules (`.beam`): the chunks of an IFF file, by their names.

use super::Malformed;
use super::bytes::{Mapped, Order};
use super::facts::Facts;

/// Chunks that compilers fill with more than code.
const MEANT: [(&[u8], &str); 4] = [
    (b"CInf", "CInf (options and the path of the source)"),
    (b"Dbgi", "Dbgi (debug information)"),
    (b"Line", "Line (lines, and the path of the source)"),
    (b"Docs", "Docs (documentation)"),
];

/// Every chunk with its content.
///
/// # Errors
/// [`Malformed`] if it is not a module, or a chunk leaves the file.
pub(crate) fn parse(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    let file = Mapped { bytes, order: Order::Big };
    if file.slice(0, 4usize, "header")? != b"FOR1" || file.slice(8, 4usize, "header")? != b"BEAM" {
        return Err(Malformed::at(0, "not a compiled Erlang module"));
    }
    let end = u64::from(file.u32(4, "size")?) + 8;
    file.slice(0, end, "module")?;
    let mut at = 12;
    while at < end {
        let name = file.slice(at, 4usize, "chunk")?;
        let size = u64::from(file.u32(at + 4, "chunk")?);
        let content = file.slice(at + 8, size, "chunk")?;
        let meant = MEANT.iter().find(|(chunk, _)| *chunk == name).map(|(_, meant)| *meant);
        let name = String::from_utf8_lossy(name);
        facts.opaque("chunks", meant.unwrap_or(&name), content);
        at += 8 + size.next_multiple_of(4);
    }
    facts.finish()
}
