//! Patches times in headers and keeps everything else as the archive's writer made it.
//!
//! Since only necessary bytes change, a layer with early enough times, or already clamped ones,
//! keeps its bytes.

use std::io;

use super::write::{record, seal};
use super::{BLOCK, Member, bad, number, until_nul};

/// Turns the headers `raw` of `was` into those of `now`, which may have another modification time
/// and fewer PAX records. `None` for global headers, which must be rewritten.
pub fn patched(raw: &[u8], was: &Member, now: &Member) -> io::Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    let mut at = 0;
    let short = || bad(was.header, "tar header is truncated");
    loop {
        let block = raw.get(at..at + BLOCK).ok_or_else(short)?;
        let mut block: [u8; BLOCK] = block.try_into().map_err(|_| short())?;
        at += BLOCK;
        if !matches!(block[156], b'x' | b'g' | b'L' | b'K') {
            retime(&mut block, was, now);
            out.extend(block);
            out.extend(&raw[at..]);
            return Ok(Some(out));
        }
        let size = number(&block[124..136], was.header)? as usize;
        let body = raw.get(at..at + size.next_multiple_of(BLOCK)).ok_or_else(short)?;
        at += body.len();
        match block[156] {
            b'g' => return Ok(None),
            b'x' => extension(&mut out, block, &body[..size], was, now)?,
            _ => {
                out.extend(block);
                out.extend(body);
            }
        }
    }
}

/// Sets the main header's time.
fn retime(block: &mut [u8; BLOCK], was: &Member, now: &Member) {
    let before = *block;
    if was.mtime != now.mtime {
        let seconds = u64::try_from(now.mtime.sec).unwrap_or(0) & ((1 << 33) - 1);
        block[136..148].copy_from_slice(format!("{seconds:011o}\0").as_bytes());
    }
    // Old GNU headers also have times of access and change.
    if block[257..265] == *b"ustar  \0" {
        block[345..369].fill(0);
    }
    if *block != before {
        reseal(block);
    }
}

/// A PAX header with the records that `now` still has; empty if no record is left.
fn extension(
    out: &mut Vec<u8>,
    mut block: [u8; BLOCK],
    body: &[u8],
    was: &Member,
    now: &Member,
) -> io::Result<()> {
    let before = block;
    let mut kept = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let broken = || bad(was.header, "PAX header is malformed");
        let space = rest.iter().position(|&b| b == b' ').ok_or_else(broken)?;
        let digits = std::str::from_utf8(&rest[..space]).map_err(|_| broken())?;
        let length: usize = digits.parse().map_err(|_| broken())?;
        let whole = rest.get(..length).filter(|r| r.len() > space + 1).ok_or_else(broken)?;
        let text = &whole[space + 1..length - 1];
        let equals = text.iter().position(|&b| b == b'=').ok_or_else(broken)?;
        let (key, value) = (&text[..equals], &text[equals + 1..]);
        let gone = match key {
            b"mtime" => was.mtime != now.mtime,
            key => was.records.contains_key(key) && !now.records.contains_key(key),
        };
        if !gone {
            kept.extend(record(key, value));
        }
        rest = &rest[length..];
    }
    if kept.is_empty() {
        return Ok(());
    }
    // GNU tar names this header after its process number.
    let name = without_pid(until_nul(&block[..100]));
    block[..100].fill(0);
    block[..name.len()].copy_from_slice(&name);
    block[124..136].copy_from_slice(format!("{:011o}\0", kept.len()).as_bytes());
    let limit = now.mtime.sec;
    if number(&block[136..148], was.header).is_ok_and(|t| i64::try_from(t).is_ok_and(|t| t > limit))
    {
        let seconds = u64::try_from(limit).unwrap_or(0) & ((1 << 33) - 1);
        block[136..148].copy_from_slice(format!("{seconds:011o}\0").as_bytes());
    }
    if block != before {
        reseal(&mut block);
    }
    out.extend(block);
    out.extend(&kept);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

/// `…/PaxHeaders.1234/…` as `…/PaxHeaders.0/…`.
fn without_pid(name: &[u8]) -> Vec<u8> {
    const MARK: &[u8] = b"PaxHeaders.";
    let Some(start) = name.windows(MARK.len()).position(|w| w == MARK) else {
        return name.to_vec();
    };
    let start = start + MARK.len();
    let digits = name[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    match digits {
        0 => name.to_vec(),
        n => [&name[..start], b"0", &name[start + n..]].concat(),
    }
}

/// Updates the checksum of a changed header, but not its magic.
fn reseal(block: &mut [u8; BLOCK]) {
    let magic: [u8; 8] = block[257..265].try_into().unwrap_or_default();
    seal(block);
    if block[257..265] != magic {
        block[257..265].copy_from_slice(&magic);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
