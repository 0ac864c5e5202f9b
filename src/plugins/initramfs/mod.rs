//! `initramfs`: the boot image, processed like a directory and written in a canonical form.

mod compress;
mod diff;
mod inside;
mod list;
mod names;
mod parameters;
mod release;
mod rewrite;
mod signed;
mod tree;
mod uki;

use std::fs;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use crate::format::Malformed;
use crate::format::initramfs::{
    Compress, Earlier, Error, Image, Limits, Outcome, Rules, canonical, read,
};
use crate::normal::Context;
use crate::normal::globs::Globs;
use crate::normal::{File, Opt, Page, Plugin, Spool, Spooled, Verdict, Want};
use crate::text::counted;
use crate::tree::{Entry, Kind, NOTHING, Tree};

pub use diff::{Difference, diff, same};
pub use inside::Registry;
pub use list::{list, segments, unpacked};
pub use rewrite::{Cost, rewrite};
pub use tree::ImageTree;
pub use uki::{boot_image, explain as explain_sections};

/// The plugin.
#[derive(Debug)]
pub(super) struct Initramfs;

static PAGE: Page = Page {
    name: "initramfs",
    summary: "rewrites the boot image in a canonical form, and treats the files in it like those outside",
    default: true,
    paths: "usr/lib/modules/*/initramfs.img and initrd*, usr/lib/ostree-boot/initramfs*, \
            boot/initramfs* and boot/initrd*; our own drop-in for dracut; unified kernel images and addons (*.efi) are reported",
    varies: "Order, inode numbers, devices, link counts and times of the entries; whether equal \
             files are hard links (dracut links those whose times agree to the second); temporary \
             paths among dracut's recorded parameters; caches, bytecode and identities inside; the \
             compressor, its version and number of threads.",
    why: "A cpio archive copies what stat says about temporary files on the building machine. One \
          such number changes the whole compressed image: 60 to 150 MB for every user's update, \
          and the names in usr/lib/ostree-boot that contain its checksum.",
    done: "Each archive is written again: entries sorted with directories first, inode numbers \
           counted from 1, links recounted, devices 0, times at most SOURCE_DATE_EPOCH, padding \
           zero; hard links between files of an image made by dracut are split, since anything \
           unpacked over the image at boot would be written through them; owners, modes, device \
           nodes, alignment, the order of ACPI tables and bytes after the archives are kept. The \
           other plugins in force run on the files inside, except for those that `keep` names by \
           their path in it. A member that is canonical keeps its compressed bytes; any other is \
           compressed again with the same algorithm at fixed parameters. The kernel unpacks the \
           image to the same tree, except for those links and what is changed inside: the \
           unpacking is simulated before and after, and an image that would become another tree is \
           left alone with the reason. Files in usr/lib/ostree-boot named after the checksum are \
           renamed with their kernel. An archive that dracut left plain for us \
           (hooks/dracut/zz-reprofix-uncompressed.conf) is compressed as its configuration in the \
           tree says, once instead of twice, and that file goes. With `fix --reuse`, an archive \
           that an earlier image has, byte for byte, takes its compressed bytes. Unified kernel \
           images are never touched: a signature covers them, or the boot measures them. `check` \
           names the sections that differ, and compares their initramfs like any other.",
    lost: "Times later than SOURCE_DATE_EPOCH, the time to compress once more, and a few percent \
           of size either way if the builder used another compressor.",
    upstream: "Avoid it with dracut-ng 108 or later, --reproducible and SOURCE_DATE_EPOCH: inode \
               numbers (rpm-ostree issue 166), hard links (dracut 2703; open where 3cpio packs), \
               module order (dracut-ng 1409), the clock (dracut-ng 1431) are fixed there; recorded \
               paths in 111 (dracut-ng 2371). The compressor's version stays open (rpm-ostree \
               issue 4305). treefiles/initramfs.yaml configures older versions as far as possible; \
               docs/initramfs.md lists the causes.",
    payload: false,
    options: &[
        Opt {
            name: "mode",
            values: &["rewrite", "report"],
            default: "rewrite",
            help: "report: say what would change and leave the image alone",
        },
        Opt {
            name: "recompress",
            values: &["needed", "always"],
            default: "needed",
            help: "always: also members whose archives are canonical, so that images differing \
                   only in the compressor's version come out the same",
        },
        Opt {
            name: "compress",
            values: &[
                "as-found",
                "as-recorded",
                "zstd-3",
                "zstd-15",
                "zstd-19",
                "xz",
                "gzip-6",
                "gzip-9",
                "bzip2-9",
                "lzma",
                "lz4",
                "lzop",
            ],
            default: "as-found",
            help: "what the archive with the system is compressed with, microcode in front of it \
                   stays plain; as-recorded: a plain one as the last compress= of dracut's \
                   configuration in the tree says (gzip -9 without one), which as-found does \
                   where hooks/dracut/zz-reprofix-uncompressed.conf is in the tree",
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

/// The most differences of two images in a report.
const LINES: usize = 50;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Image,
    Uki,
    /// Our own drop-in for dracut.
    DropIn,
}

fn role(entry: &Entry) -> Option<Role> {
    static GLOBS: OnceLock<[Globs; 2]> = OnceLock::new();
    let [images, ukis] =
        GLOBS.get_or_init(|| [IMAGES, UKIS].map(|globs| Globs::new(globs.iter().copied())));
    let path = entry.logical();
    match entry.kind {
        Kind::File if ukis.all(&path).next().is_some() => Some(Role::Uki),
        Kind::File if images.all(&path).next().is_some() => Some(Role::Image),
        Kind::File if compress::is_drop_in(entry) => Some(Role::DropIn),
        _ => None,
    }
}

impl Plugin for Initramfs {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn acts_inside_images(&self) -> bool {
        false
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        match role(entry) {
            None => Want::No,
            Some(Role::DropIn) => Want::Entry,
            Some(Role::Image | Role::Uki) => Want::Stream,
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        let verdict = match role(file.entry) {
            Some(Role::Uki) => uki::verdict(file),
            // dracut has read it once there is an image; until then it is to be read.
            Some(Role::DropIn) => {
                let served = !compress::images(file.tree)?.is_empty();
                return Ok(if served { Verdict::Remove } else { Verdict::Keep });
            }
            Some(Role::Image) | None => judge(file, cx),
        };
        verdict.or_else(|error| match error {
            Error::Malformed(what) => Ok(Verdict::Unparsed(what)),
            Error::Io(e) => Err(e),
        })
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, cx: &Context) -> Vec<String> {
        let open = || Ok::<_, Error>((a.open()?, b.open()?));
        if role(a.entry) == Some(Role::DropIn) {
            return Vec::new();
        }
        if role(a.entry) == Some(Role::Uki) {
            return match open().and_then(|(mut a, mut b)| uki::explain(&mut *a, &mut *b, cx)) {
                Ok(found) => found.unwrap_or_default(),
                Err(e) => vec![format!("not compared inside: {e}")],
            };
        }
        match open().and_then(|(mut a, mut b)| diff(&mut a, &mut b, cx)) {
            Ok(differences) => lines(&differences),
            Err(e) => vec![format!("not compared inside: {e}")],
        }
    }

    fn named_after(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("usr/lib/modules/", "initramfs"),
            ("usr/lib/modules/", "vmlinu"),
            ("usr/lib/ostree-boot/", "initramfs-"),
        ]
    }

    fn within(&self, a: &File<'_>, b: &File<'_>, cx: &Context) -> Vec<String> {
        self.explain(a, b, cx)
    }
}

/// One line per difference, and the number of omitted ones.
fn lines(differences: &[Difference]) -> Vec<String> {
    let mut lines: Vec<_> = differences.iter().take(LINES).map(ToString::to_string).collect();
    if let Some(more) = differences.len().checked_sub(LINES).filter(|more| *more > 0) {
        lines.push(format!("and {more} more (`reprofix initramfs diff A B` shows all)"));
    }
    lines
}

/// The largest image, in bytes: no kernel unpacks more.
const IMAGE_MAX: u64 = 4 << 30;

fn judge(file: &File<'_>, cx: &Context) -> Result<Verdict, Error> {
    if file.entry.size > IMAGE_MAX {
        let why = Malformed::at(IMAGE_MAX, "the image is larger than 4 GiB and was not read");
        return Ok(Verdict::Unparsed(why));
    }
    let start = Instant::now();
    let (canonical, outcome) = form_in(file.tree, file.open()?, cx)?;
    let Some(canonical) = canonical else { return Ok(Verdict::Keep) };
    let what = format!("{} bytes; {}", outcome.before, summary(&outcome));
    cx.spent.add(&file.entry.path, what, start.elapsed());
    if cx.option(&PAGE, "mode") == "report" {
        return Ok(Verdict::Report(format!("not in canonical form; {}", summary(&outcome))));
    }
    Ok(names::follow(file, canonical)?)
}

/// An image that was read.
pub struct Unpacked {
    /// The table of entries.
    pub image: Image,
    /// The content, in a file without a name.
    pub spool: Mutex<fs::File>,
}

/// Reads an image from its beginning. Memory: that of the table and of the decoder's window.
pub fn unpack<R: Read + Seek + Send>(input: &mut R, cx: &Context) -> Result<Unpacked, Error> {
    let len = input.seek(SeekFrom::End(0))?;
    input.rewind()?;
    let mut spool = BufWriter::with_capacity(256 << 10, cx.scratch()?);
    let image = read(input, len, &mut spool, &Limits::default())?;
    let spool = spool.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(Unpacked { image, spool: Mutex::new(spool) })
}

/// The canonical form of an image, unless it is canonical already, and the outcome.
pub fn form<R: Read + Seek + Send>(
    input: R,
    cx: &Context,
) -> Result<(Option<Spooled>, Outcome), Error> {
    form_in(&NOTHING, input, cx)
}

/// The canonical form of an image in a tree whose configuration of dracut may be asked.
fn form_in<R: Read + Seek + Send>(
    tree: &dyn Tree,
    mut input: R,
    cx: &Context,
) -> Result<(Option<Spooled>, Outcome), Error> {
    let compress = compress::of(tree, cx)?;
    let unpacked = unpack(&mut input, cx)?;
    let mut out = Spool::new(cx.scratch()?);
    let outcome = write(&unpacked, input, &mut out, compress, cx)?;
    let canonical = outcome.changed.then(|| out.finish()).transpose()?;
    Ok((canonical, outcome))
}

/// Writes the canonical form of an image with the options and epoch of `cx`.
fn write<R: Read + Seek, W: Write>(
    Unpacked { image, spool }: &Unpacked,
    input: R,
    output: W,
    compress: Compress,
    cx: &Context,
) -> Result<Outcome, Error> {
    let tree = ImageTree::new(image, spool)?;
    let always_repack = cx.option(&PAGE, "recompress") == "always";
    let rules = Rules {
        epoch: cx.epoch.seconds(),
        always_repack,
        compress,
        // What one compressor made is not to depend on what another made before.
        earlier: if always_repack { &[] } else { &cx.earlier },
        inside: &Registry::new(&tree, cx),
    };
    let jobs = u32::try_from(rayon::current_num_threads()).unwrap_or(1);
    canonical(image, input, spool, output, &rules, jobs)
}

/// The boot images of a tree, as [`Earlier`] ones.
///
/// # Errors
///
/// If one cannot be read.
pub fn earlier(
    tree: &dyn Tree,
    cx: &Context,
) -> io::Result<Vec<(PathBuf, Result<Earlier, Error>)>> {
    let mut all = Vec::new();
    for path in compress::images(tree)? {
        let Some(image) = tree.open(&path)? else { continue };
        let read = Earlier::read(image, cx.scratch()?, cx.scratch()?);
        all.push((path, read));
    }
    Ok(all)
}

/// The outcome in one line: sizes, compressions, files inside.
pub fn summary(outcome: &Outcome) -> String {
    let mut parts = vec![format!("{} bytes in canonical form", outcome.len)];
    for member in &outcome.repacked {
        let (packing, before, after) = (member.packing, member.before, member.after);
        parts.push(format!("compressed with {packing}: {before} to {after} bytes"));
    }
    if outcome.reused > 0 {
        parts.push(format!("{} taken from an earlier image", counted(outcome.reused, "member")));
    }
    if !outcome.inside.is_empty() {
        let names: Vec<_> = outcome.inside.iter().map(|n| String::from_utf8_lossy(n)).collect();
        parts.push(format!("changed inside: {}", names.join(", ")));
    }
    parts.join("; ")
}
