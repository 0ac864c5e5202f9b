//! Names that hold the checksum of kernel and initramfs (`usr/lib/ostree-boot/*-SHA256`).
//!
//! ostree's legacy layout pairs a kernel with its initramfs by the 64 hex digits at the end of
//! their names, the SHA-256 of the kernel followed by the initramfs, and names the boot directory
//! after them: a changed image under its old name would make two systems share one boot directory.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::format::Malformed;
use crate::plugins::{File, Step, Verdict};
use crate::tree::{Kind, Tree};

/// The verdict on an image whose canonical form is `bytes`: a rewrite, with new names for it and
/// its kernel where they hold the checksum of both.
pub(super) fn follow(file: &File<'_>, bytes: Vec<u8>) -> Verdict {
    let path = &file.entry.path;
    let Some((stem, old)) = checksum(file.entry.name()) else { return Verdict::Rewrite(bytes) };
    let Some(dir) = path.parent() else { return Verdict::Rewrite(bytes) };
    let report = |why: &str| {
        Verdict::Report(format!(
            "{why}, so it cannot be renamed when it changes; build it reproducibly instead"
        ))
    };
    let pair = match pair(file.tree, dir, old) {
        Ok(pair) => pair,
        Err(e) => return Verdict::Unparsed(Malformed::at(0, format!("kernel not read: {e},"))),
    };
    let Some((kernel, content)) = pair.filter(|(_, k)| hex(k, &file.bytes).as_bytes() == old)
    else {
        return report(
            "its name ends in a checksum that is not that of the one kernel beside it and this \
             initramfs alone",
        );
    };
    let new = hex(&content, &bytes);
    let renamed = |stem: &[u8]| dir.join(OsString::from_vec([stem, new.as_bytes()].concat()));
    let kernel_stem = &kernel.as_bytes()[..kernel.len() - old.len()];
    let (new_image, new_kernel, kernel) = (renamed(stem), renamed(kernel_stem), dir.join(&kernel));
    // Both new names stand before an old one goes: at any moment there is a whole pair.
    Verdict::Steps(vec![
        Step::Link(new_kernel, kernel.clone()),
        Step::Link(new_image.clone(), path.clone()),
        Step::Write(new_image, bytes),
        Step::Remove(kernel),
        Step::Remove(path.clone()),
    ])
}

/// A name up to its last dash, and the checksum after it.
fn checksum(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let (stem, digits) = name.split_at_checked(name.len().checked_sub(64)?)?;
    let hex = digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (hex && stem.ends_with(b"-")).then_some((stem, digits))
}

/// The kernel in `dir` whose name ends in `old`, and its content, if nothing but it and one
/// initramfs has that checksum: a device tree would have to follow too.
fn pair(tree: &dyn Tree, dir: &Path, old: &[u8]) -> io::Result<Option<(OsString, Vec<u8>)>> {
    let is_kernel = |n: &OsString| n.as_bytes().starts_with(b"vmlinu");
    let names = tree.list(dir)?;
    let of_it: Vec<_> = names.iter().filter(|n| n.as_bytes().ends_with(old)).collect();
    let kernels: Vec<_> = of_it.iter().filter(|n| is_kernel(n)).collect();
    let ([name], 2) = (&kernels[..], of_it.len()) else { return Ok(None) };
    let path: PathBuf = dir.join(name);
    if tree.lookup(&path)?.is_none_or(|e| e.kind != Kind::File) {
        return Ok(None);
    }
    Ok(tree.read(&path)?.map(|content| ((**name).clone(), content)))
}

fn hex(kernel: &[u8], image: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(kernel);
    hash.update(image);
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
