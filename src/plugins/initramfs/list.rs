//! Lists images for people.

use std::fmt::Write as _;
use std::io::{Read, Seek};
use std::sync::Mutex;

use crate::format::Malformed;
use serde_json::{Value, json};

use crate::format::initramfs::{
    DIRECTORY, Entry, Error, Image, REGULAR, SYMLINK, Segment, spooled,
};

/// One line per segment, which begins with `#`, then one per entry: mode, owner, links, size,
/// device or nothing, seconds since the epoch, name, and the target of a symbolic link.
pub fn list<S: Read + Seek>(image: &Image, spool: &Mutex<S>) -> Result<String, Error> {
    let mut out = String::new();
    for segment in &image.segments {
        let (start, end) = (segment.range.start, segment.range.end);
        let unpacked = segment.unpacked.end - segment.unpacked.start;
        let packing = segment.packing.map_or("cpio".to_owned(), |p| p.to_string());
        let _ = writeln!(out, "# {start} {packing}: {} bytes, {unpacked} unpacked", end - start);
        for entry in segment.archives.iter().flat_map(|a| &a.entries) {
            let target = match entry.kind() {
                SYMLINK => spooled(spool, entry.data, entry.header.size)?,
                _ => Vec::new(),
            };
            line(&mut out, entry, &target);
        }
    }
    if !image.trailing.is_empty() {
        let (start, end) = (image.trailing.start, image.trailing.end);
        let _ = writeln!(out, "# {start} not an archive: {} bytes", end - start);
    }
    Ok(out)
}

/// The tree to which the kernel unpacks an image, one line per path, sorted: mode in octal, owner,
/// links, device, seconds since the epoch, SHA-256 of the content or of a symbolic link's target,
/// name. `-` stands for what the path does not have, what depends on the file system (a directory's
/// links), and the time of booting.
pub fn unpacked(image: &Image) -> Result<String, Malformed> {
    let mut out = String::new();
    for (name, inode, links) in image.unpacked()?.tree() {
        let (uid, gid) = inode.owner;
        let kind = inode.mode & 0o170_000;
        let links = if kind == DIRECTORY { "-".to_owned() } else { links.to_string() };
        let device = match kind {
            0o020_000 | 0o060_000 => format!("{}:{}", inode.rdev[0], inode.rdev[1]),
            _ => "-".to_owned(),
        };
        let mtime = inode.mtime.map_or("-".to_owned(), |time| time.to_string());
        let hex = |digest: [u8; 32]| digest.iter().map(|b| format!("{b:02x}")).collect();
        let digest = inode.content.map_or("-".to_owned(), hex);
        let (mode, name) = (inode.mode, String::from_utf8_lossy(name));
        let _ = writeln!(out, "{mode:06o} {uid}:{gid} {links} {device} {mtime} {digest} {name}");
    }
    Ok(out)
}

/// The segments and entries of an image, for machines.
pub fn segments(image: &Image) -> Vec<Value> {
    let entry = |entry: &Entry| {
        let h = &entry.header;
        json!({
            "name": String::from_utf8_lossy(&entry.name),
            "mode": format!("{:06o}", h.mode),
            "uid": h.uid,
            "gid": h.gid,
            "links": h.nlink,
            "bytes": h.size,
            "mtime": h.mtime,
        })
    };
    let segment = |segment: &Segment| {
        let entries = segment.archives.iter().flat_map(|archive| &archive.entries);
        json!({
            "offset": segment.range.start,
            "bytes": segment.range.end - segment.range.start,
            "bytes_unpacked": segment.unpacked.end - segment.unpacked.start,
            "packing": segment.packing.map(|packing| packing.to_string()),
            "entries": entries.map(entry).collect::<Vec<_>>(),
        })
    };
    image.segments.iter().map(segment).collect()
}

fn line(out: &mut String, entry: &Entry, target: &[u8]) {
    let h = &entry.header;
    let size = match entry.kind() {
        0o020_000 | 0o060_000 => format!("{},{}", h.rdev[0], h.rdev[1]),
        _ => h.size.to_string(),
    };
    let name = String::from_utf8_lossy(&entry.name);
    let mode = mode(h.mode);
    let _ = write!(out, "{mode} {}:{} {} {size:>9} {} {name}", h.uid, h.gid, h.nlink, h.mtime);
    if !target.is_empty() {
        let _ = write!(out, " -> {}", String::from_utf8_lossy(target));
    }
    out.push('\n');
}

/// A mode as `ls -l` writes it.
fn mode(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        REGULAR => '-',
        0o040_000 => 'd',
        SYMLINK => 'l',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '?',
    };
    let mut out = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        out.push(if bits & 4 == 0 { '-' } else { 'r' });
        out.push(if bits & 2 == 0 { '-' } else { 'w' });
        out.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn modes_read_as_ls_prints_them() {
        for (bits, text) in [
            (0o100_644, "-rw-r--r--"),
            (0o104_755, "-rwsr-xr-x"),
            (0o041_777, "drwxrwxrwt"),
            (0o042_750, "drwxr-s---"),
            (0o120_777, "lrwxrwxrwx"),
            (0o104_644, "-rwSr--r--"),
        ] {
            assert_eq!(super::mode(bits), text);
        }
    }
}
