//! Names that contain the checksum of kernel and initramfs (`usr/lib/ostree-boot/*-SHA256`).
//!
//! ostree's legacy layout pairs a kernel with its initramfs by the 64 hex digits at the end of
//! their names, the SHA-256 of the kernel followed by the initramfs, and names the boot directory
//! after them: a changed image under its old name would make two systems share one boot directory.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::normal::{File, Spooled, Step, Verdict};
use crate::tree::{Kind, Tree};

/// The verdict on an image whose canonical form is known: a rewrite, with new names for it and its
/// kernel if these contain the checksum of both.
pub(super) fn follow(file: &File<'_>, canonical: Spooled) -> io::Result<Verdict> {
    let path = &file.entry.path;
    let named = checksum(file.entry.name()).zip(path.parent());
    let Some(((stem, old), dir)) = named else { return Ok(Verdict::Spooled(canonical)) };
    let report = || {
        Verdict::Report(
            "its name ends in a checksum that is not that of the one kernel beside it and this \
             initramfs alone, so it could not be renamed after a change; build it reproducibly \
             instead"
                .to_owned(),
        )
    };
    let Some((kernel, of_kernel)) = kernel(file.tree, dir, old)? else {
        return Ok(match is_renamed(file.tree, dir, stem, &canonical)? {
            true => Verdict::Remove,
            false => report(),
        });
    };
    if hex(of_kernel.clone(), &mut file.open()?)?.as_bytes() != old {
        return Ok(report());
    }
    let new = hex(of_kernel, &mut canonical.reader())?;
    let renamed = |stem: &[u8]| dir.join(OsString::from_vec([stem, new.as_bytes()].concat()));
    let kernel_stem = &kernel.as_bytes()[..kernel.len() - old.len()];
    let (new_image, new_kernel, kernel) = (renamed(stem), renamed(kernel_stem), dir.join(&kernel));
    // Both new names exist before an old one is removed: at any moment there is a complete pair.
    Ok(Verdict::Steps(vec![
        Step::Link(new_kernel, kernel.clone()),
        Step::Link(new_image.clone(), path.clone()),
        Step::Write(new_image, canonical.into()),
        Step::Remove(kernel),
        Step::Remove(path.clone()),
    ]))
}

/// Whether a kernel and an image with this content already exist under the checksum of both: a run
/// that was killed before its last step left the old image.
fn is_renamed(tree: &dyn Tree, dir: &Path, stem: &[u8], canonical: &Spooled) -> io::Result<bool> {
    for name in tree.list(dir)? {
        let Some((_, sum)) = checksum(name.as_bytes()).filter(|_| is_kernel(&name)) else {
            continue;
        };
        let image = dir.join(OsString::from_vec([stem, sum].concat()));
        let Some(mut image) = tree.open(&image)? else { continue };
        let Some((_, of_kernel)) = kernel(tree, dir, sum)? else { continue };
        let both = [hex(of_kernel.clone(), &mut image)?, hex(of_kernel, &mut canonical.reader())?];
        if both.iter().all(|hex| hex.as_bytes() == sum) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_kernel(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"vmlinu")
}

/// A name up to its last dash, and the checksum after it.
fn checksum(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let (stem, digits) = name.split_at_checked(name.len().checked_sub(64)?)?;
    let hex = digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (hex && stem.ends_with(b"-")).then_some((stem, digits))
}

/// The kernel in `dir` whose name ends in `old`, and the hash state after its content, if only it
/// and one initramfs have that checksum: a device tree would have to be renamed too.
fn kernel(tree: &dyn Tree, dir: &Path, old: &[u8]) -> io::Result<Option<(OsString, Sha256)>> {
    let names = tree.list(dir)?;
    let of_it: Vec<_> = names.iter().filter(|n| n.as_bytes().ends_with(old)).collect();
    let kernels: Vec<_> = of_it.iter().filter(|n| is_kernel(n)).collect();
    let ([name], 2) = (&kernels[..], of_it.len()) else { return Ok(None) };
    let path: PathBuf = dir.join(name);
    if tree.lookup(&path)?.is_none_or(|e| e.kind != Kind::File) {
        return Ok(None);
    }
    let mut hash = Sha256::new();
    let there = tree.stream(&path, &mut |bytes| hash.update(bytes))?;
    Ok(there.then(|| ((**name).clone(), hash)))
}

/// The checksum of a kernel and an image.
fn hex(mut kernel: Sha256, image: &mut dyn Read) -> io::Result<String> {
    let mut buf = [0; 64 << 10];
    loop {
        match image.read(&mut buf)? {
            0 => break,
            got => kernel.update(&buf[..got]),
        }
    }
    Ok(kernel.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
