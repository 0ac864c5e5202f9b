//! One build for an independent rebuilder, and the explanation if the result differs.
//!
//! `hooks/rebuilderd/backend` calls [`rebuild`] with what the worker downloaded;
//! `hooks/rebuilderd/diffoscope` calls [`explain`]. They communicate only through [`NOTE`], a file
//! beside the rebuilt manifest.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::build::{self, Plan};
use super::compare::{self, Request};
use super::config::Config;
use super::feed::Recipe;
use super::launch::Launch;
use super::{manifest, mounts, night, procs, signals, tail};
use crate::config::Flags;
use crate::disk;
use crate::env::SourceDateEpoch;
use crate::source::{Spec, Subject};

/// The file beside the manifest in which [`rebuild`] names the subjects for [`explain`].
pub(crate) const NOTE: &str = "reprofix-subjects.json";

/// Bytes at the end of a build's output that the worker reports.
const LOG_TAIL: u64 = 256 << 10;

#[derive(Serialize, Deserialize)]
struct Note {
    published: String,
    rebuilt: String,
    epoch: u32,
}

/// Rebuilds what the recipe at `input` names, with the stream of that name in `config`, writes the
/// manifest into `out` and returns the end of the build's output. The rebuilt subject stays in
/// `out/work` for [`explain`].
///
/// # Errors
///
/// If the recipe or the stream cannot work, or a step fails, with the end of its output.
pub(crate) fn rebuild(config: &Config, input: &Path, out: &Path) -> Result<String> {
    let recipe = Recipe::read(input)?;
    let stream = config.stream.iter().find(|s| s.name == recipe.stream);
    let stream = stream.with_context(|| format!("there is no stream {:?}", recipe.stream))?;
    let machine = crate::env::machine();
    let own = stream.architecture.as_deref().unwrap_or(&machine);
    ensure!(
        recipe.architecture == own,
        "it is for {}, and stream {:?} here is for {own}",
        recipe.architecture,
        recipe.stream
    );
    procs::become_reaper()?;
    signals::listen()?;
    let mut steps = stream.recipe()?;
    steps.env.insert("REPROFIX_VERSION".into(), recipe.version.clone());
    steps.env.insert("REPROFIX_REVISION".into(), recipe.revision.clone());
    let out = out.canonicalize().with_context(|| format!("{}", out.display()))?;
    let work = out.join("work");
    disk::create_dir_all(&work)?;
    let plan = Plan {
        stream,
        recipe: &steps,
        run: &work,
        token: &night::token(),
        epoch: SourceDateEpoch::new(recipe.source_date_epoch),
    };
    let built = build::build(&plan, "rebuild", &Launch::default());
    let log = tail(&work.join("rebuild.log"), LOG_TAIL).unwrap_or_default();
    let log = String::from_utf8_lossy(&log).into_owned();
    let built = match built {
        Ok(built) => built,
        Err(failure) => {
            mounts::remove(&work)?;
            bail!("{}: {}\n{log}", failure.verdict, failure.detail);
        }
    };
    let subject = Subject::open(&Spec::parse(&OsString::from(&built.subject))?, &|| ())?;
    let text = manifest::of(&subject)?;
    let note =
        Note { published: recipe.subject, rebuilt: built.subject, epoch: recipe.source_date_epoch };
    disk::atomic_write(&out.join(NOTE), &serde_json::to_vec(&note)?, 0o644)?;
    disk::atomic_write(&out.join(&recipe.manifest), text.as_bytes(), 0o644)?;
    Ok(log)
}

/// Why two manifests differ: `check`'s report if both subjects can be read, otherwise which paths
/// differ and how.
///
/// # Errors
///
/// If one is not a manifest.
pub(crate) fn explain(published: &Path, rebuilt: &Path) -> Result<String> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
    };
    let diff = manifest::diff(&read(published)?, &read(rebuilt)?)?;
    let note = rebuilt.parent().unwrap_or(Path::new("")).join(NOTE);
    let report = std::fs::read(&note).ok().map(|bytes| report(&bytes));
    Ok(match report {
        Some(Ok(report)) => report,
        Some(Err(error)) => format!("{diff}\nno report of `reprofix check`: {error:#}\n"),
        None => diff,
    })
}

fn report(note: &[u8]) -> Result<String> {
    let note: Note = serde_json::from_slice(note)?;
    let request = Request {
        a: note.published.into(),
        b: note.rebuilt.into(),
        flags: Flags { epoch: Some(note.epoch.to_string()), ..Flags::default() },
        ..Request::default()
    };
    let compared = compare::compare(&request)?;
    Ok(compared.report.map_or(compared.detail, |report| report.human(usize::MAX)))
}
