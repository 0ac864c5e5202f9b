//! One run of `check` from its options to its report.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail};
use rayon::prelude::*;

use super::disks;
use crate::check::disk::{self, Disks};
use crate::check::{
    Budget, Cause, Change, Difference, Diffoscope, Excerpt, Expectations, Explained, Explainer,
    Fit, Side, align, cascade, classify, common_cause, diffoscope, excerpt, expect, explain,
};
use crate::config::{self, Flags, InForce, Origin};
use crate::engine::{Wanted, plan};
use crate::env::{self, SourceDateEpoch};
use crate::format::ostree::Checksum;
use crate::format::secret;
use crate::format::time::Date;
use crate::normal::Chain;
use crate::packages::{Installed, compare_trees};
use crate::parallel::try_map;
use crate::plugins::REGISTRY;
use crate::report::Progress;
use crate::report::audit::Audit;
use crate::report::check::{Comparison, Metadata};
use crate::source::merkle::{At, Merkle};
use crate::source::{Spec, Subject, cosa::Recorded};
use crate::text::counted;
use crate::tree::{Tree, digest};
use crate::vouchers::Vouchers;

/// Approximate memory for the contents that a page shows; the page is about as large.
const LOOKS_MAX: usize = 16 << 20;
/// Up to this many differences one thread explains them all.
const FEW: usize = 64;
const LITTLE: u64 = 1 << 20;
/// Differences whose contents are read at once.
const LOOKS_AT_ONCE: usize = 64;

/// What `check` is asked to do.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// The first subject, as written.
    pub a: OsString,
    /// The second, if two are compared.
    pub b: Option<OsString>,
    /// Plugins, options and epoch from the command line.
    pub flags: Flags,
    /// Also look into files that are as their package shipped them.
    pub deep: bool,
    /// A meta.json with the content checksum that a single subject must have.
    pub meta: Option<PathBuf>,
    /// Count every difference of commit metadata.
    pub strict_metadata: bool,
    /// The expectations file; the default is [`expect::DEFAULT`] in the current directory, if it
    /// is there.
    pub expect: Option<PathBuf>,
    /// Keep both contents side by side, for a page.
    pub excerpts: bool,
    /// Compute the content checksums of two directories as well.
    pub checksums: bool,
    /// Show the content of files that hold secrets.
    pub show_secrets: bool,
    /// Ask diffoscope about files that no plugin explains.
    pub diffoscope: Option<Diffoscope>,
    /// What explaining the differences may cost; their number and paths are always determined.
    pub budget: Budget,
}

/// Compares two open subjects, ignoring the names in the job.
///
/// # Errors
///
/// If one is unreadable or corrupt, or if they cannot be compared; the error says which and what to
/// do.
pub fn compare_opened(
    job: &Job,
    a: &Subject,
    b: &Subject,
    progress: &Progress,
) -> Result<Comparison> {
    compare_within(job, expectations(job)?, a, b, progress, 0)
}

/// Compares two images that are files of a tree, `depth` images deep: expectations are of paths
/// outside.
pub(super) fn nested(
    job: &Job,
    a: &Subject,
    b: &Subject,
    progress: &Progress,
    depth: usize,
) -> Result<Comparison> {
    let job = Job { excerpts: false, diffoscope: None, ..job.clone() };
    compare_within(&job, None, a, b, progress, depth)
}

fn compare_within(
    job: &Job,
    mut expectations: Option<Expectations>,
    a: &Subject,
    b: &Subject,
    progress: &Progress,
    depth: usize,
) -> Result<Comparison> {
    let mut report = Comparison::new(a, b);
    for (side, subject) in [("A", a), ("B", b)] {
        report.warnings.extend(subject.remarks.iter().map(|text| format!("{side}: {text}")));
    }
    if let (Some(x), Some(y)) = (&a.commit, &b.commit) {
        report.metadata = Metadata::compare(x, y, job.strict_metadata);
    }
    let differ = a.merkle.root() != b.merkle.root();
    let mut paths = BTreeSet::new();
    if differ {
        let in_force = in_force(job, a, Some(earliest()))?;
        report.assume(&in_force);
        let treefile = Path::new("usr/share/rpm-ostree/treefile.json");
        let has = |s: &&Subject| matches!(s.merkle.tree().lookup(treefile), Ok(Some(_)));
        report.composed = [a, b].iter().any(has);
        let installed = [a, b].map(|s| Installed::of(s.merkle.tree()));
        let (mut all, left_out) = differences(job, &in_force, a, b, &installed, progress)?;
        report.warnings.extend(left_out.remarks(&job.budget));
        if let Some(expectations) = &mut expectations {
            expectations.mark(&mut all);
        }
        disks::look_into(job, &mut all, [a, b], depth, progress).context("reading disk images")?;
        if let Some(how) = &job.diffoscope {
            ask_diffoscope(how, job, &mut all, [a, b], progress)?;
        }
        if job.excerpts {
            add_excerpts(&mut all, a, b, &job.budget, progress).context("reading both contents")?;
        }
        paths = all.iter().map(|explained| explained.difference.path.clone()).collect();
        for explained in all {
            let owners = owners(&installed, &explained.difference.path);
            report.add(explained, owners);
        }
        installed.iter().try_for_each(Installed::settle).context("reading the packages")?;
    }
    if differ {
        match compare_trees(a.merkle.tree(), b.merkle.tree()) {
            Ok(found) => report.packages = found,
            Err(error) => report.warnings.push(format!("packages are not compared: {error:#}")),
        }
    }
    if let (Some(x), Some(y)) = (&a.disk, &b.disk) {
        progress.phase("comparing bytes", 0);
        let disks = disk::compare(x, y, &paths).context("comparing the disks byte by byte")?;
        report.disks = Some(disks).filter(Disks::differ);
    }
    report.warnings.extend(expectations.iter().flat_map(Expectations::remarks));
    report.settle();
    progress.finish();
    Ok(report)
}

/// Audits one subject: what `fix` would change, and whether its recorded checksum holds.
///
/// # Errors
///
/// Those of [`compare_opened`], and if no SOURCE_DATE_EPOCH is known.
pub fn audit(job: &Job, progress: &Progress) -> Result<Audit> {
    let a = open(&job.a, progress)?;
    let made = a.commit.as_ref().and_then(|c| u32::try_from(c.timestamp()?).ok());
    let fallback = made.map(|t| (SourceDateEpoch::new(t), Origin::Assumed("the commit's time")));
    let in_force = in_force(job, &a, fallback)?;
    let mut report = Audit::new(&a, &in_force);
    report.warnings.extend(a.remarks.iter().cloned());
    if let Some((sum, file)) = recorded(job, &a)? {
        report.compare(&sum, file);
    }
    progress.phase("walking", 0);
    let tree = a.merkle.tree();
    let mut entries = digest::walk(tree)?;
    entries.sort_by(|x, y| x.path.cmp(&y.path));
    let installed = Installed::of(tree);
    with_chain(job, &in_force, tree, &installed, |chain| {
        let wanted = Wanted::of(&entries, &chain);
        progress.phase("reading", wanted.len());
        let plan = plan(tree, &wanted, &chain, &|n| progress.advance(n))?;
        report.take(chain.plugins, plan);
        anyhow::Ok(())
    })?;
    installed.settle().context("reading the packages")?;
    progress.finish();
    Ok(report)
}

fn open(text: &OsString, progress: &Progress) -> Result<Subject> {
    progress.phase("hashing", 0);
    Subject::open(&Spec::parse(text)?, &|| progress.advance(1))
}

/// The recorded checksum: from the named file, or from the subject's own build.
fn recorded(job: &Job, subject: &Subject) -> Result<Option<(Checksum, String)>> {
    let Some(meta) = &job.meta else { return Ok(subject.recorded.clone()) };
    let recorded = Recorded::read(meta)?.content_checksum.with_context(|| {
        let file = meta.display();
        format!("{file} records no ostree-content-checksum; `reprofix record` writes it")
    })?;
    Ok(Some((recorded, meta.display().to_string())))
}

/// The epoch for two builds whose times are unknown: one before both.
fn earliest() -> (SourceDateEpoch, Origin) {
    (SourceDateEpoch::new(0), Origin::Assumed("before every build"))
}

fn in_force(
    job: &Job,
    subject: &Subject,
    fallback: Option<(SourceDateEpoch, Origin)>,
) -> Result<InForce> {
    let tree = subject.merkle.tree();
    config::in_force_or(&job.flags, env::source_date_epoch(), tree, fallback)
}

/// Calls `f` with the plugins in force and what vouches for files of the tree.
fn with_chain<T>(
    job: &Job,
    in_force: &InForce,
    tree: &dyn Tree,
    installed: &Installed<'_>,
    f: impl FnOnce(Chain<'_>) -> T,
) -> T {
    let (plugins, mut cx) = (in_force.chain(), in_force.context());
    if in_force.asks_packages() {
        cx.packages = installed.get().ok().cloned();
    }
    let vouchers = Vouchers::of(tree).and_packages(Some(installed).filter(|_| !job.deep));
    f(Chain { plugins: &plugins, cx: &cx, vouchers: &vouchers })
}

/// Every difference, explained.
fn differences(
    job: &Job,
    in_force: &InForce,
    a: &Subject,
    b: &Subject,
    installed: &[Installed<'_>; 2],
    progress: &Progress,
) -> Result<(Vec<Explained>, LeftOut)> {
    let (left, right) = (&*a.merkle, &*b.merkle);
    progress.phase("comparing", 0);
    let pairs = align(left, right).context("comparing")?;
    progress.phase("explaining", pairs.len());
    let left_out = LeftOut::default();
    let mut all = with_chain(job, in_force, left.tree(), &installed[0], |x| {
        with_chain(job, in_force, right.tree(), &installed[1], |y| {
            let explainer =
                Explainer { a: (left, x), b: (right, y), shows_secrets: job.show_secrets };
            let found = each(pairs, FEW, |pair| classify(left, right, &pair))?;
            within(&job.budget, found, &left_out, |difference| {
                let explained = explainer.explain(difference);
                progress.advance(1);
                explained
            })
        })
    })
    .context("explaining")?;
    explain::relate(&mut all, REGISTRY);
    let owners = installed
        .each_ref()
        .map(|side| move |path: &Path| -> BTreeSet<String> { owned(side, path).collect() });
    let build = |tree, n: usize| cascade::Build { tree, owners: &owners[n] };
    cascade::drift(&mut all, &[build(left.tree(), 0), build(right.tree(), 1)], &in_force.chain());
    common_cause::recognise(&mut all, REGISTRY, &|path| {
        let [a, b] = installed.each_ref().map(|side| side.get().ok()?.mode(path));
        a.filter(|_| a == b)
    });
    Ok((all, left_out))
}

/// Differences that were not looked into.
#[derive(Default)]
struct LeftOut {
    /// The number for which there was no time.
    late: AtomicUsize,
    /// The number for which there is not enough memory.
    large: AtomicUsize,
}

impl LeftOut {
    /// The remarks about them.
    fn remarks(&self, budget: &Budget) -> Vec<String> {
        let late = format!("the time of {} s was used up", budget.time.as_secs());
        let large = format!("they are too large for {} MiB of memory", budget.memory >> 20);
        [(&self.late, late), (&self.large, large)]
            .into_iter()
            .map(|(count, why)| (count.load(Ordering::Relaxed), why))
            .filter(|(count, _)| *count > 0)
            .map(|(count, why)| {
                let paths = if count == 1 { "path was" } else { "paths were" };
                format!("{count} {paths} not looked into: {why}; --budget gives more")
            })
            .collect()
    }
}

/// Explains all in order, as far as the budget goes: what fits together in parallel, larger ones
/// one after the other.
fn within(
    budget: &Budget,
    found: Vec<Difference>,
    left_out: &LeftOut,
    explain: impl Fn(Difference) -> io::Result<Explained> + Sync + Send,
) -> io::Result<Vec<Explained>> {
    let sizes = found.iter().flat_map(|d| d.a.iter().chain(&d.b)).map(|side| side.size);
    // Threads pay off for many small files or some large ones.
    let few = if sizes.fold(0, u64::saturating_add) > LITTLE { 1 } else { FEW };
    let threads = if found.len() > few { rayon::current_num_threads() } else { 1 };
    let timely = |difference: Difference| match budget.is_over() {
        true => {
            left_out.late.fetch_add(1, Ordering::Relaxed);
            Ok(Explained::left_out(difference, "the time was used up".to_owned()))
        }
        false => explain(difference),
    };
    let first = each(found, few, |difference| match budget.fit(&difference, threads) {
        Fit::Together => timely(difference).map(Ok),
        Fit::Alone | Fit::Not(_) => Ok(Err(difference)),
    })?;
    let rest = first.into_iter().map(|explained| match explained {
        Ok(explained) => Ok(explained),
        Err(difference) => match budget.fit(&difference, 1) {
            Fit::Not(takes) => {
                left_out.large.fetch_add(1, Ordering::Relaxed);
                let why = format!("that may take {} MiB of memory", takes >> 20);
                Ok(Explained::left_out(difference, why))
            }
            Fit::Together | Fit::Alone => timely(difference),
        },
    });
    rest.collect()
}

/// Applies `f` to all in order, with several threads if there are more than `few`: starting threads
/// takes longer than a few small files.
fn each<T: Send, U: Send>(
    all: Vec<T>,
    few: usize,
    f: impl Fn(T) -> io::Result<U> + Sync + Send,
) -> io::Result<Vec<U>> {
    match all.len() > few {
        true => try_map(all.into_par_iter(), f),
        false => all.into_iter().map(f).collect(),
    }
}

/// Adds what diffoscope says about the first files that no plugin explains, one after the other.
fn ask_diffoscope(
    how: &Diffoscope,
    job: &Job,
    all: &mut [Explained],
    [a, b]: [&Subject; 2],
    progress: &Progress,
) -> Result<()> {
    let open = |e: &&mut Explained| {
        let content = e.difference.changes.contains(&Change::Content);
        let open = e.cause == Cause::Unexplained && e.expected.is_none();
        content && open && !job.budget.excludes(&e.difference)
    };
    let runs = diffoscope::Session::new(how);
    progress.phase("asking diffoscope", 0);
    for (n, explained) in all.iter_mut().filter(open).enumerate() {
        if n == diffoscope::FILES_MAX {
            let limit = diffoscope::FILES_MAX;
            explained
                .details
                .push(format!("diffoscope: not asked about more than {}", counted(limit, "file")));
            break;
        }
        let difference = &explained.difference;
        let content = |merkle: &dyn Merkle, side: &Option<Side>| match side {
            Some(side) => merkle.content(At { path: &difference.path, object: &side.object }),
            None => Ok(Vec::new()),
        };
        let left = content(&*a.merkle, &difference.a)?;
        let right = content(&*b.merkle, &difference.b)?;
        let name = difference.path.as_os_str().as_bytes();
        if secret::kind(name, &left).or_else(|| secret::kind(name, &right)).is_some() {
            explained.details.push("diffoscope: not asked about a secret".to_owned());
            continue;
        }
        let lines = runs.ask(&difference.path, &left, &right)?;
        explained.details.extend(lines);
        progress.advance(1);
    }
    Ok(())
}

/// Keeps both contents of as many differences as fit, unexplained ones first.
fn add_excerpts(
    all: &mut [Explained],
    a: &Subject,
    b: &Subject,
    budget: &Budget,
    progress: &Progress,
) -> io::Result<()> {
    let rank = |explained: &Explained| match (&explained.cause, &explained.expected) {
        (Cause::Cascade { .. }, _) => None,
        _ if budget.excludes(&explained.difference) => None,
        (_, Some(_)) => Some(3),
        (Cause::Unexplained, _) => Some(0),
        (Cause::Known { .. } | Cause::Common { .. }, _) => Some(1),
        (Cause::Fixed { .. }, _) => Some(2),
    };
    let mut order: Vec<_> = (0..all.len()).filter_map(|i| Some((rank(&all[i])?, i))).collect();
    order.sort_unstable();
    progress.phase("reading both contents", order.len());
    let mut room = LOOKS_MAX;
    // Chunks of a fixed size, so that what fits does not depend on the number of threads.
    for piece in order.chunks(LOOKS_AT_ONCE).take_while(|_| !budget.is_over()) {
        let excerpt = |(_, i): &(u8, usize)| excerpt(&*a.merkle, &*b.merkle, &all[*i].difference);
        let excerpts: Vec<_> = try_map(piece.par_iter(), excerpt)?;
        progress.advance(piece.len());
        for ((_, i), excerpt) in piece.iter().zip(excerpts) {
            let takes = excerpt.as_ref().map_or(0, Excerpt::footprint);
            let Some(left) = room.checked_sub(takes) else { return Ok(()) };
            room = left;
            all[*i].excerpt = excerpt;
        }
    }
    Ok(())
}

/// The named expectations file, or the one in the current directory.
fn expectations(job: &Job) -> Result<Option<Expectations>> {
    let here = Path::new(expect::DEFAULT);
    let path = match &job.expect {
        Some(path) => path,
        None if here.is_file() => here,
        None => return Ok(None),
    };
    let reading = || format!("reading expectations from {}", path.display());
    let file = std::fs::File::open(path).with_context(reading)?;
    let mut text = String::new();
    file.take(expect::MAX_BYTES + 1).read_to_string(&mut text).with_context(reading)?;
    if text.len() as u64 > expect::MAX_BYTES {
        bail!("{} is larger than 4 MiB, so it is not a list of expectations", path.display());
    }
    let today = Date::of_second(env::unix_time());
    Expectations::parse(&text, today).with_context(reading).map(Some)
}

/// The packages that own `path` on either side, by name.
fn owners(installed: &[Installed<'_>; 2], path: &Path) -> Vec<String> {
    let names: BTreeSet<_> = installed.iter().flat_map(|side| owned(side, path)).collect();
    names.into_iter().collect()
}

/// The names of the packages that own `path`; empty if their database cannot be read, which is
/// reported where a file is to be changed.
fn owned<'i>(side: &'i Installed<'_>, path: &Path) -> impl Iterator<Item = String> + 'i {
    let owners: Vec<_> = side.get().into_iter().flat_map(|all| all.owners(path)).collect();
    owners.into_iter().map(|owner| owner.nevra.to_owned())
}
