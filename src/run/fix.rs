//! One run of `fix`, from its options to its report.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustix::fs::StatVfsMountFlags;

use crate::config::{self, Flags};
use crate::disk::{self, Leftover, Root};
use crate::engine::{Wanted, apply, plan, walk};
use crate::env;
use crate::normal::Chain;
use crate::packages::Installed;
use crate::report::Progress;
use crate::report::fix::Report;
use crate::run::composefs;
use crate::source::{self, Prefix, Spec};
use crate::tree::{Entry, Tree as _, children, digest, show};
use crate::vouchers::Vouchers;

/// What `fix` is asked to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Job {
    /// The root of the tree.
    pub root: PathBuf,
    /// Plugins, options and epoch from the command line.
    pub flags: Flags,
    /// Plan only.
    pub dry_run: bool,
    /// Rewrite packaged files too.
    pub deep: bool,
    /// Fail, changing nothing, if some file cannot be parsed.
    pub strict: bool,
    /// Work on the root of a running system.
    pub force_host_root: bool,
    /// Work on a directory that has nothing a root has.
    pub any_directory: bool,
    /// Compute the content checksum afterwards.
    pub checksum: bool,
    /// An image, or a subject with images, whose compressed bytes may be taken.
    pub reuse: Option<OsString>,
}

/// Runs `job`. An error means that nothing was changed, or names the file at which applying the
/// plan stopped.
pub(crate) fn run(job: &Job, progress: &Progress) -> Result<Report> {
    let root = Root::open(&job.root).with_context(|| no_root(&job.root))?;
    if let Some(why) = env::refuses(root.path()).filter(|_| !job.force_host_root) {
        bail!(
            "refusing to work on {}: {why}; name a target root instead, or give --force-host-root",
            root.path().display()
        );
    }
    let in_force = config::in_force(&job.flags, env::source_date_epoch(), &root)?;
    if !job.any_directory && !is_root(&root)? {
        bail!(
            "{} is not a root: it has none of {}; name a target root, or give --any-directory",
            root.path().display(),
            MARKS.join(", ")
        );
    }
    if !root.lock(!job.dry_run).context("locking the root")? {
        bail!("another run of reprofix works on {}; wait for it to end", root.path().display());
    }
    let mut report = empty_report(job, &root, &in_force);
    let mut cx = in_force.context().scratch_in(root.path());
    if let Some(subject) = &job.reuse {
        cx.earlier = Arc::new(super::earlier::read(subject, &cx, &mut report.warnings)?);
    }
    let entries = walked(job, &root, progress, &mut report)?;
    let installed = Installed::of(&root).walked(&entries);
    if in_force.asks_packages() {
        let packages = installed.get().context("reading the package database")?;
        cx.packages = Some(packages.clone()).filter(|packages| !packages.is_empty());
        if cx.packages.is_none() {
            let what = "no readable rpm database: no mode is known, so none is restored";
            report.warnings.push(what.to_owned());
        }
    }
    let names = |dir: &Path| Ok(children(&entries, dir));
    let vouchers = Vouchers::of(&root).listed_by(&names);
    let vouchers = vouchers.and_packages(Some(&installed).filter(|_| !job.deep));
    let chain = Chain { plugins: &in_force.chain(), cx: &cx, vouchers: &vouchers };
    work(job, &root, &entries, &chain, progress, &mut report)?;
    progress.finish();
    report.spent = cx.spent.lines();
    Ok(report)
}

/// Describes what cannot be opened as a root, and what to name instead.
fn no_root(root: &Path) -> String {
    let name = root.display().to_string();
    let (prefix, _) = Prefix::split(&name);
    let image = source::oci::to_copy(&name).is_some() || prefix.is_some_and(Prefix::is_image);
    let instead = match prefix {
        _ if root.is_file() => {
            "; `fix` works on a root directory: a boot image is rewritten by `reprofix initramfs \
             rewrite`; put any other file into a directory, and give --any-directory"
        }
        Some(Prefix::Dir) => "; write the directory without dir:",
        _ if image => {
            "; `fix` works on a root directory: an image is brought into normal form in the build \
             that makes it, and by `reprofix oci normalize`"
        }
        Some(_) => {
            "; `fix` works on a root directory: commits are not changed, run it in the compose \
             before the commit"
        }
        None => "",
    };
    format!("opening root directory {name}{instead}")
}

/// Top-level names of which a root has at least one.
const MARKS: [&str; 7] = ["usr", "etc", "bin", "boot", "var", "opt", "sysroot"];

fn is_root(root: &Root) -> Result<bool> {
    for mark in MARKS {
        if root.lookup(Path::new(mark))?.is_some() {
            return Ok(true);
        }
    }
    // In a sandbox they may be mounts.
    Ok(root.parts().next().is_some())
}

/// Walks the tree, after finishing an interrupted run.
fn walked(job: &Job, root: &Root, progress: &Progress, report: &mut Report) -> Result<Vec<Entry>> {
    let read_only = read_only_parts(root)?;
    // rpm-ostree's sandbox mounts /var read-only in every compose: not worth a warning.
    let news = |part: &&&Path| **part != Path::new("var");
    let skipped = read_only.iter().filter(news).map(|part| part.display());
    report.warnings.extend(skipped.map(|part| format!("/{part}: mounted read-only, left out")));
    progress.phase("walking", 0);
    let mut entries = walk_all(root, &read_only)?;
    let leftovers = disk::leftovers(root, &entries).context("looking for an interrupted run")?;
    if !leftovers.is_empty() {
        report.recovered = leftovers.iter().map(shown).collect();
        if !job.dry_run {
            disk::recover(root, &leftovers).context("finishing an interrupted run")?;
            entries = walk_all(root, &read_only)?;
        }
        entries.retain(|e| !disk::is_leftover(e));
    }
    Ok(entries)
}

fn work(
    job: &Job,
    root: &Root,
    entries: &[Entry],
    chain: &Chain<'_>,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let wanted = Wanted::of(entries, chain);
    progress.phase("reading", wanted.len());
    let plan = plan(root, &wanted, chain, &|n| progress.advance(n)).context("reading the tree")?;
    drop(wanted);
    report.take(chain.plugins, &plan);
    if job.strict
        && let Some(first) = report.unparsed().next()
    {
        bail!("{}: {}: {} (--strict: nothing was changed)", first.path, first.plugin, first.text);
    }
    if !job.dry_run {
        progress.phase("writing", plan.changes.len());
        let raced = apply(root, entries, &plan, chain, &|n| progress.advance(n))
            .with_context(|| format!("changing {}", root.path().display()))?;
        report.raced = raced.iter().map(|p| show(p)).collect();
    }
    report.changes = plan.changes;
    if job.checksum {
        progress.phase("hashing", 0);
        report.content_checksum = Some(content_checksum(root)?);
        match composefs::digest(&Spec::Dir(job.root.clone())) {
            Ok(digest) => report.composefs_digest = digest,
            Err(error) => report.warnings.push(format!("no composefs digest: {error:#}")),
        }
    }
    Ok(())
}

fn walk_all(root: &Root, without: &[&Path]) -> Result<Vec<Entry>> {
    walk(root, without).with_context(|| format!("walking {}", root.path().display()))
}

fn content_checksum(root: &Root) -> Result<String> {
    let digested = digest::digest(root, &|| ())
        .with_context(|| format!("hashing {}", root.path().display()))?;
    digested.committable().context("computing the content checksum")?;
    Ok(digested.root.content_checksum().to_string())
}

/// The read-only parts of a compose's sandbox: `/var` may be one, and is wiped later anyway.
fn read_only_parts(root: &Root) -> Result<Vec<&'static Path>> {
    let mut parts = Vec::new();
    for (part, fd) in root.parts() {
        if rustix::fs::fstatvfs(fd)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
            parts.push(part);
        }
    }
    Ok(parts)
}

fn shown(leftover: &Leftover) -> String {
    match leftover {
        Leftover::Discard(path) => format!("{} (removed)", show(path)),
        Leftover::Finish(_, target) => format!("{} (finished)", show(target)),
        Leftover::Times(path) => format!("{} (folders' times put back)", show(path)),
    }
}

fn empty_report(job: &Job, root: &Root, in_force: &config::InForce) -> Report {
    Report {
        schema: Report::SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        root: show(root.path()),
        source_date_epoch: in_force.epoch.0.seconds(),
        source_date_epoch_from: in_force.epoch.1.to_string(),
        applied: !job.dry_run,
        walked: 0,
        files_read: 0,
        bytes_read: 0,
        recovered: Vec::new(),
        plugins: Vec::new(),
        changes: Vec::new(),
        remarks: Vec::new(),
        vouched: Vec::new(),
        raced: Vec::new(),
        warnings: in_force.warnings.clone(),
        content_checksum: None,
        composefs_digest: None,
        spent: Vec::new(),
    }
}
