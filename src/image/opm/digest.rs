//! The digest of the json cache format (opm 1.25 and later).
//!
//! FNV-1a-64 over a tar archive of the catalog and, if there is one, of `cache/` in the cache
//! directory, as Go's archive/tar writes them: names, contents and the twelve mode bits count;
//! owners, times, attributes and symbolic links do not.

use std::hash::Hasher as _;
use std::io::Read as _;

use anyhow::{Context as _, bail};
use fnv::FnvHasher;

use super::tree::Directory;
use crate::source::oci::for_each_chunk;
use crate::tree::Kind;

/// The digest of `configs` and the cache directory `cache`, sixteen hex digits. `cache` is the
/// directory with the file `digest`; only its `cache/` counts.
pub(crate) fn json(configs: &Directory<'_>, cache: &Directory<'_>) -> anyhow::Result<String> {
    with_cache(of_catalog(configs)?, cache)
}

/// The state of the digest after the catalog, for [`with_cache`].
pub(super) fn of_catalog(configs: &Directory<'_>) -> anyhow::Result<u64> {
    let mut hasher = FnvHasher::default();
    tar(&mut hasher, configs).context("digesting the catalog")?;
    Ok(hasher.finish())
}

/// The digest, from its state after the catalog.
pub(super) fn with_cache(state: u64, cache: &Directory<'_>) -> anyhow::Result<String> {
    let mut hasher = FnvHasher::with_key(state);
    if let Some(files) = cache.subdirectory("cache") {
        tar(&mut hasher, &files).context("digesting the cache")?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn tar(hasher: &mut FnvHasher, directory: &Directory<'_>) -> anyhow::Result<()> {
    for (path, item) in directory.iter() {
        let shown = || String::from_utf8_lossy(&path).into_owned();
        let flag = match item.kind {
            Kind::Dir => b'5',
            Kind::File => b'0',
            Kind::Symlink => continue,
            Kind::Other => bail!("{} is not a file, directory or link: not a catalog", shown()),
        };
        let name = if path.is_empty() { b"." } else { &path[..] };
        hasher.write(&header(name, item.mode, item.size, flag));
        let mut seen = 0;
        let content = item.open().with_context(|| format!("opening {}", shown()))?;
        for_each_chunk(content.take(item.size), item.size, |bytes| {
            seen += bytes.len() as u64;
            hasher.write(bytes);
        })
        .with_context(|| format!("reading {}", shown()))?;
        if seen != item.size {
            bail!("{} changed while it was being read", shown());
        }
        let padding = item.size.next_multiple_of(512) - item.size;
        hasher.write(&[0; 512][..padding as usize]);
    }
    hasher.write(&[0; 1024]);
    Ok(())
}

/// The header blocks that Go's archive/tar writes for one entry without owner and times.
fn header(name: &[u8], mode: u32, size: u64, flag: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let (prefix, base) = match ustar(name) {
        Some(parts) => parts,
        None => {
            out.extend(pax(name));
            (&b""[..], name)
        }
    };
    let ascii: Vec<u8> = base.iter().copied().filter(u8::is_ascii).collect();
    let mut block = [0; 512];
    string(&mut block, 0, 100, &ascii);
    string(&mut block, 345, 155, prefix);
    let size = if flag == b'5' { 0 } else { size };
    octal(&mut block, &[(100, 7, mode.into()), (108, 7, 0), (116, 7, 0), (124, 11, size)]);
    octal(&mut block, &[(136, 11, 0), (329, 7, 0), (337, 7, 0)]);
    block[156] = flag;
    seal(&mut block);
    out.extend(block);
    out
}

/// Prefix and name as Go splits them; `None` if it uses PAX.
fn ustar(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= 100 {
        return Some((b"", name));
    }
    let at = name[..name.len().min(156)].iter().rposition(|&b| b == b'/').filter(|&at| at > 0)?;
    let (prefix, suffix) = (&name[..at], &name[at + 1..]);
    (!suffix.is_empty() && suffix.len() <= 100).then_some((prefix, suffix))
}

/// A PAX header with only the record `path`.
fn pax(name: &[u8]) -> Vec<u8> {
    let at = name.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    let own = [&name[..at], b"PaxHeaders.0/", &name[at..]].concat();
    let own: Vec<u8> = own.into_iter().filter(u8::is_ascii).take(100).collect();
    let end = own.iter().rposition(|&b| b != b'/').map_or(0, |at| at + 1);
    let rest = name.len() + " path=\n".len();
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let body = [length.to_string().as_bytes(), b" path=", name, b"\n"].concat();
    let mut block = [0; 512];
    string(&mut block, 0, 100, &own[..end]);
    octal(&mut block, &[(100, 7, 0), (108, 7, 0), (116, 7, 0), (124, 11, body.len() as u64)]);
    octal(&mut block, &[(136, 11, 0)]);
    block[156] = b'x';
    seal(&mut block);
    let mut out = block.to_vec();
    out.extend(&body);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// Writes a text field; a truncated one must not end in a slash, which some readers take for a
/// directory.
fn string(block: &mut [u8; 512], at: usize, width: usize, text: &[u8]) {
    let cut = &text[..text.len().min(width)];
    block[at..at + cut.len()].copy_from_slice(cut);
    if text.len() > width && cut.ends_with(b"/") {
        let end = cut.iter().rposition(|&b| b != b'/').map_or(0, |end| end + 1);
        block[at + end] = 0;
    }
}

fn octal(block: &mut [u8; 512], fields: &[(usize, usize, u64)]) {
    for &(at, digits, value) in fields {
        block[at..at + digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
    }
}

fn seal(block: &mut [u8; 512]) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// GNU tar reads the names that we hash as headers.
    #[test]
    fn long_and_foreign_names_are_headers_that_tar_reads() {
        let long = |part: &str, times: usize| vec![part; times].join("/");
        let names = [
            "a/b".to_owned(),
            "n".repeat(100),
            "n".repeat(101),
            long("directory", 12),
            long("directory", 26),
            format!("{}/{}", "d".repeat(155), "n".repeat(100)),
            format!("{}/{}", "d".repeat(156), "n".repeat(100)),
            "caf\u{e9}/\u{65e5}\u{672c}".to_owned(),
        ];
        let mut archive: Vec<u8> =
            names.iter().flat_map(|name| header(name.as_bytes(), 0o644, 0, b'0')).collect();
        archive.extend([0; 1024]);
        let mut tar = Command::new("tar")
            .args(["--quoting-style=literal", "-tf", "-"])
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        let listed = tar.wait_with_output().unwrap();
        assert!(listed.status.success());
        assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().collect::<Vec<_>>(), names);
        // PAX is the last resort: short names and those that ustar can split do not use it.
        let blocks = |name: &str| header(name.as_bytes(), 0o644, 0, b'0').len() / 512;
        assert_eq!(names.each_ref().map(|n| blocks(n)), [1, 1, 3, 1, 3, 1, 3, 3]);
    }
}
