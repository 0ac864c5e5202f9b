//! `initramfs`: the boot image, entered like a directory and written in one canonical form.

mod diff;
mod inside;
mod list;
mod names;
mod parameters;
mod release;
mod rewrite;
mod tree;
mod uki;

use std::io::{Cursor, Read, Seek, Write};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use super::pattern::Globs;
use super::{File, Opt, Page, Plugin, Verdict, Want};
use crate::engine::Context;
use crate::format::Malformed;
use crate::format::initramfs::{Error, Image, Limits, Outcome, Rules, canonical, read};
use crate::tree::{Entry, Kind};

pub use diff::{Difference, diff};
pub use inside::Registry;
pub use list::list;
pub use rewrite::{Cost, rewrite};
pub use tree::ImageTree;

/// The plugin.
#[derive(Debug)]
pub(super) struct Initramfs;

static PAGE: Page = Page {
    name: "initramfs",
    summary: "rewrites the boot image in a canonical form, and the files in it like those outside",
    default: true,
    paths: "usr/lib/modules/*/initramfs.img and initrd*, usr/lib/ostree-boot/initramfs*, \
            boot/initramfs* and boot/initrd*; unified kernel images (*.efi) are reported",
    varies: "Order, inode numbers, devices, link counts and times of the entries; whether equal \
             files are hard links (dracut links those whose times agree to the second); temporary \
             paths among dracut's recorded parameters; caches, bytecode and identities inside; \
             what compressed it, in which version and with how many threads.",
    why: "A cpio archive copies what stat says of temporary files on the building machine. One \
          such number changes the compressed image as a whole: 60 to 150 MB for every user's \
          update, and the names in usr/lib/ostree-boot that hold its checksum.",
    done: "Each archive is written again: entries sorted with directories first, inode numbers \
           counted from 1, links recounted, devices 0, times at most SOURCE_DATE_EPOCH, padding \
           zero; equal files of an archive made by dracut are one file (its own intent, since \
           dracut-ng 108); owners, modes, device nodes, microcode alignment and bytes after the \
           archives are kept. The other plugins run on the files inside. A member that is \
           canonical keeps its compressed bytes; any other is compressed again with the same \
           algorithm at fixed parameters. The kernel and every reader unpack it to the same tree. \
           Files in usr/lib/ostree-boot named after the checksum are renamed with their kernel. \
           Signed images (UKI) are never touched: a signature covers them.",
    lost: "Times later than SOURCE_DATE_EPOCH, the time to compress once more, and a few percent \
           of size either way where the builder's compressor was another.",
    upstream: "Make it needless with dracut-ng 108 or later, --reproducible and SOURCE_DATE_EPOCH: \
               inode numbers (rpm-ostree issue 166), hard links (dracut 2703), module order \
               (dracut-ng 1409), the clock (dracut-ng 1431) are fixed there; recorded paths in 111 \
               (dracut-ng 2371). The compressor's version stays open (rpm-ostree issue 4305). \
               treefiles/initramfs.yaml tells older ones what they can be told; \
               docs/initramfs.md has the list of causes.",
    payload: false,
    options: &[
        Opt {
            name: "mode",
            values: &["rewrite", "report"],
            default: "rewrite",
            help: "report: say what would change and leave the image",
        },
        Opt {
            name: "recompress",
            values: &["needed", "always"],
            default: "needed",
            help: "always: also members whose archives are canonical, so that images differing \
                   only in the compressor's version come out the same",
        },
        Opt {
            name: "release",
            values: &["keep", "no-version"],
            default: "keep",
            help: "no-version: drop VERSION, PRETTY_NAME, BUILD_ID, IMAGE_VERSION, OSTREE_VERSION \
                   from initrd-release, so that a new version number alone does not change the \
                   image",
        },
    ],
};

/// Images, and images with a signature around them.
static IMAGES: &[&str] = &[
    "usr/lib/modules/*/{initramfs,initrd}",
    "usr/lib/modules/*/{initramfs,initrd}.img",
    "usr/lib/ostree-boot/{initramfs,initrd}*",
    "boot/{initramfs,initrd}*",
];
static UKIS: &[&str] =
    &["{boot,efi}/**.efi", "usr/lib/modules/*/*.efi", "usr/lib/ostree-boot/**.efi"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Image,
    Uki,
}

fn role(entry: &Entry) -> Option<Role> {
    static GLOBS: OnceLock<[Globs; 2]> = OnceLock::new();
    let [images, ukis] =
        GLOBS.get_or_init(|| [IMAGES, UKIS].map(|globs| Globs::new(globs.iter().copied())));
    let path = entry.logical();
    match entry.kind {
        Kind::File if ukis.all(&path).next().is_some() => Some(Role::Uki),
        Kind::File if images.all(&path).next().is_some() => Some(Role::Image),
        _ => None,
    }
}

impl Plugin for Initramfs {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        role(entry).map_or(Want::No, |_| Want::Bytes)
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> Verdict {
        if role(file.entry) == Some(Role::Uki) {
            return uki::verdict(&file.bytes);
        }
        let start = Instant::now();
        let (bytes, outcome) = match form(&file.bytes, cx) {
            Ok(done) => done,
            Err(Error::Malformed(what)) => return Verdict::Unparsed(what),
            Err(Error::Io(e)) => return Verdict::Unparsed(Malformed::at(0, format!("{e},"))),
        };
        if !outcome.changed {
            return Verdict::Keep;
        }
        let what = format!("{} bytes; {}", file.bytes.len(), summary(&outcome));
        cx.spent.add(&file.entry.path, what, start.elapsed());
        if cx.option(&PAGE, "mode") == "report" {
            return Verdict::Report(format!("not in canonical form; {}", summary(&outcome)));
        }
        names::follow(file, bytes)
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, cx: &Context) -> Vec<String> {
        if role(a.entry) == Some(Role::Uki) {
            return vec!["unified kernel image: its initramfs is inside a signature".to_owned()];
        }
        match diff(&a.bytes, &b.bytes, cx) {
            Ok(differences) => differences.iter().map(ToString::to_string).collect(),
            Err(e) => vec![format!("not compared inside: {e}")],
        }
    }
}

/// An image in memory and where its content went.
pub struct Unpacked {
    /// The table of entries.
    pub image: Image,
    /// The content.
    pub spool: Mutex<Cursor<Vec<u8>>>,
}

/// Reads an image in memory.
pub fn unpack(bytes: &[u8]) -> Result<Unpacked, Error> {
    let mut spool = Cursor::new(Vec::new());
    let image = read(bytes, bytes.len() as u64, &mut spool, &Limits::default())?;
    Ok(Unpacked { image, spool: Mutex::new(spool) })
}

/// The canonical form of an image in memory, and what became of it; no bytes if nothing changed.
pub fn form(bytes: &[u8], cx: &Context) -> Result<(Vec<u8>, Outcome), Error> {
    let Unpacked { image, spool } = unpack(bytes)?;
    let mut out = Vec::new();
    let outcome = write(&image, Cursor::new(bytes), &spool, &mut out, cx)?;
    Ok((out, outcome))
}

/// Writes the canonical form of an image that was read, by the options and epoch of `cx`.
fn write<R: Read + Seek, S: Read + Write + Seek + Send, W: Write>(
    image: &Image,
    input: R,
    spool: &Mutex<S>,
    output: W,
    cx: &Context,
) -> Result<Outcome, Error> {
    let tree = ImageTree::new(image, spool)?;
    let rules = Rules {
        epoch: cx.epoch.seconds(),
        always_repack: cx.option(&PAGE, "recompress") == "always",
        inside: &Registry::new(&tree, cx),
    };
    let jobs = u32::try_from(rayon::current_num_threads()).unwrap_or(1);
    canonical(image, input, spool, output, &rules, jobs)
}

/// What became of an image, in one line: sizes, compressions, files inside.
pub fn summary(outcome: &Outcome) -> String {
    let mut parts = vec![format!("{} bytes in canonical form", outcome.len)];
    for member in &outcome.repacked {
        let (packing, before, after) = (member.packing, member.before, member.after);
        parts.push(format!("compressed with {packing}: {before} to {after} bytes"));
    }
    if !outcome.inside.is_empty() {
        let names: Vec<_> = outcome.inside.iter().map(|n| String::from_utf8_lossy(n)).collect();
        parts.push(format!("changed inside: {}", names.join(", ")));
    }
    parts.join("; ")
}
