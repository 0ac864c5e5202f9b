//! The boot images that an earlier compose left, for `fix --reuse`.

use std::ffi::OsStr;
use std::fs::File;

use anyhow::{Context as _, Result, bail};

use crate::disk::Root;
use crate::env;
use crate::format::initramfs::Earlier;
use crate::normal::Context;
use crate::plugins::initramfs;
use crate::source::{Spec, Subject, dir::Directory};
use crate::tree::Tree;

/// The images of `subject`: one in a file, or those of a tree.
///
/// # Errors
///
/// If it cannot be read, and within the nightly job, whose two builds are to show what a
/// compressor does. An image that is not understood is a warning: it is compressed again.
pub(crate) fn read(
    subject: &OsStr,
    cx: &Context,
    warnings: &mut Vec<String>,
) -> Result<Vec<Earlier>> {
    if env::is_nightly_build() {
        bail!(
            "--reuse within a build of `reprofix nightly` would hide what a compressor does \
             differently; leave it out there"
        );
    }
    let name = subject.display();
    let reading = || format!("reading the boot images of {name}");
    let found = match Spec::parse(subject)? {
        Spec::File(path) => {
            let file = File::open(&path).with_context(reading)?;
            vec![(path, Earlier::read(file, cx.scratch()?, cx.scratch()?))]
        }
        Spec::Dir(path) => of_tree(&Directory::new(Root::open(&path).with_context(reading)?), cx)?,
        spec => of_tree(Subject::open(&spec, &|| ())?.merkle.tree(), cx)?,
    };
    if found.is_empty() {
        warnings.push(format!("--reuse {name}: it has no boot image"));
    }
    let mut all = Vec::new();
    for (path, earlier) in found {
        match earlier {
            Ok(earlier) => all.push(earlier),
            Err(e) => warnings.push(format!("--reuse {}: not taken: {e}", path.display())),
        }
    }
    Ok(all)
}

type Found = Vec<(std::path::PathBuf, Result<Earlier, crate::format::initramfs::Error>)>;

fn of_tree(tree: &dyn Tree, cx: &Context) -> Result<Found> {
    initramfs::earlier(tree, cx).context("reading the boot images of an earlier compose")
}
