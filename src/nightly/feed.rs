//! What rebuilderd is given: its package feed, and the files that the feed names.
//!
//! For every build of a work directory of coreos-assembler two files are published, in
//! `OUT/NAME/VERSION/ARCH/`: `NAME-VERSION-ARCH.manifest` ([`super::manifest`]), which a rebuild
//! must give again byte for byte, and `NAME-VERSION-ARCH.rebuild.json` ([`Recipe`]), which says
//! what to rebuild. The feed is the JSON that `rebuildctl pkgs sync-stdin` reads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::is_name;
use super::{manifest, trimmed};
use crate::disk;
use crate::source::cosa::{Build, read_meta};
use crate::source::{Spec, Subject};

/// What a worker rebuilds: `NAME-VERSION-ARCH.rebuild.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name and version of this schema.
    pub schema: String,
    /// The stream of the worker's `nightly.toml` that rebuilds it.
    pub stream: String,
    /// The build's version: `REPROFIX_VERSION` in the steps.
    pub version: String,
    /// The revision of the configuration: `REPROFIX_REVISION` in the steps; empty if unknown.
    pub revision: String,
    /// The architecture, as rpm's base architecture.
    pub architecture: String,
    /// Seconds since 1970-01-01 UTC for SOURCE_DATE_EPOCH.
    pub source_date_epoch: u32,
    /// The file that the rebuild must give.
    pub manifest: String,
    /// The published subject, for a report where the worker can reach it.
    pub subject: String,
}

impl Recipe {
    /// Name and version of the schema.
    pub const SCHEMA: &'static str = "reprofix-rebuild-1";

    /// Reads a recipe that was downloaded from somewhere: its names become parts of paths.
    pub fn read(path: &Path) -> Result<Self> {
        let reading = || format!("reading {}", path.display());
        let recipe: Recipe = serde_json::from_slice(&read_meta(path)?).with_context(reading)?;
        ensure!(
            recipe.schema == Self::SCHEMA,
            "{}: its schema is {:?}",
            path.display(),
            recipe.schema
        );
        for name in [&recipe.stream, &recipe.architecture] {
            ensure!(is_name(name), "{}: {name:?} is no name", path.display());
        }
        ensure!(is_file_name(&recipe.manifest), "{}: bad name of a manifest", path.display());
        Ok(recipe)
    }
}

/// Whether `name` can be a file's name below a directory of ours.
fn is_file_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-+~".contains(c);
    (1..=255).contains(&name.len()) && !name.starts_with('.') && name.chars().all(good)
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Job {
    /// Work directories of coreos-assembler.
    pub workdirs: Vec<PathBuf>,
    /// Where the published files go.
    pub out: PathBuf,
    /// Where `out` will be seen: `http`, `https`.
    pub url: String,
    /// rebuilderd's distribution: the name of the worker's backend.
    pub distribution: String,
    /// The stream that rebuilds; by default the build's name.
    pub stream: Option<String>,
    /// Only builds of this architecture.
    pub architecture: Option<String>,
}

/// rebuilderd's `PackageReport`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    distribution: String,
    release: Option<String>,
    architecture: String,
    packages: Vec<Package>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Package {
    name: String,
    version: String,
    url: String,
    artifacts: Vec<Artifact>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Artifact {
    name: String,
    version: String,
    component: Option<String>,
    architecture: String,
    url: String,
}

/// Publishes every build of the work directories; gives the report.
///
/// Files of builds that are gone stay.
///
/// # Errors
///
/// Naming the build, if one cannot be read, and if builds of several architectures are there and
/// none was asked for.
pub fn publish(job: &Job) -> Result<Report> {
    let mut all = Vec::new();
    for workdir in &job.workdirs {
        all.extend(builds(workdir)?);
    }
    all.retain(|build| job.architecture.as_ref().is_none_or(|arch| build.arch == *arch));
    let archs: BTreeSet<&str> = all.iter().map(|build| build.arch.as_str()).collect();
    ensure!(!archs.is_empty(), "there is no build");
    ensure!(
        archs.len() == 1,
        "builds are for {}; a feed has one architecture, name it with --architecture",
        Vec::from_iter(archs).join(", ")
    );
    let architecture = all[0].arch.clone();
    let mut packages = Vec::new();
    for build in &all {
        let one = || format!("build {} in {}", build.id, build.workdir.display());
        packages.push(package(job, build).with_context(one)?);
    }
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    let distribution = job.distribution.clone();
    Ok(Report { distribution, release: None, architecture, packages })
}

/// The builds that `builds.json` lists.
fn builds(workdir: &Path) -> Result<Vec<Build>> {
    let list = workdir.join("builds/builds.json");
    let json: Value = serde_json::from_slice(&read_meta(&list)?)
        .with_context(|| format!("{} is no JSON", list.display()))?;
    let rows = json["builds"].as_array();
    let rows = rows.with_context(|| format!("{} has no builds", list.display()))?;
    let mut found = Vec::new();
    for row in rows {
        let id = row["id"].as_str().context("a build in builds.json has no id")?;
        let archs = row["arches"].as_array().map(Vec::as_slice).unwrap_or_default();
        for arch in archs.iter().filter_map(Value::as_str) {
            found.push(Build::find(workdir, Some(id), Some(arch))?);
        }
    }
    Ok(found)
}

fn package(job: &Job, build: &Build) -> Result<Package> {
    let meta: Value = serde_json::from_slice(&read_meta(&build.meta())?)?;
    let name = meta["name"].as_str().context("its meta.json has no name")?.to_owned();
    let spec = Spec::Cosa {
        workdir: build.workdir.clone(),
        build: Some(build.id.clone()),
        arch: Some(build.arch.clone()),
    };
    let subject = Subject::open(&spec, &|| ())?;
    let base = format!("{name}-{}-{}", build.id, build.arch);
    ensure!(is_file_name(&base), "{base:?} cannot be a file's name");
    let recipe = Recipe {
        schema: Recipe::SCHEMA.to_owned(),
        stream: job.stream.clone().unwrap_or_else(|| name.clone()),
        version: build.id.clone(),
        revision: meta["coreos-assembler.config-gitrev"].as_str().unwrap_or_default().to_owned(),
        architecture: build.arch.clone(),
        source_date_epoch: epoch(build, &subject)?,
        manifest: format!("{base}.manifest"),
        subject: subject.name.clone(),
    };
    let place = format!("{name}/{}/{}", build.id, build.arch);
    let dir = job.out.join(&place);
    let writing = || format!("writing below {}", dir.display());
    disk::create_dir_all(&dir).with_context(writing)?;
    let mut text = serde_json::to_vec_pretty(&recipe)?;
    text.push(b'\n');
    let manifest = manifest::of(&subject)?;
    disk::refresh(&dir.join(&recipe.manifest), manifest.as_bytes(), 0o644).with_context(writing)?;
    let recipe_name = format!("{base}.rebuild.json");
    disk::refresh(&dir.join(&recipe_name), &text, 0o644).with_context(writing)?;
    let url = format!("{}/{place}", trimmed(&job.url));
    let artifact = Artifact {
        name: base,
        version: build.id.clone(),
        component: None,
        architecture: build.arch.clone(),
        url: format!("{url}/{}", recipe.manifest),
    };
    Ok(Package {
        name,
        version: build.id.clone(),
        url: format!("{url}/{recipe_name}"),
        artifacts: vec![artifact],
    })
}

/// The epoch of a build: what `record` noted beside its meta.json, otherwise the commit's own time.
fn epoch(build: &Build, subject: &Subject) -> Result<u32> {
    let sidecar = build.dir().join("reprofix.json");
    let noted = match sidecar.exists() {
        true => {
            serde_json::from_slice::<Value>(&read_meta(&sidecar)?)?["source-date-epoch"].as_u64()
        }
        false => None,
    };
    let made = subject.commit.as_ref().and_then(|commit| commit.timestamp());
    let epoch = noted.or(made).context("neither reprofix.json nor the commit has a time")?;
    u32::try_from(epoch).context("its time does not fit 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_from_elsewhere_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.rebuild.json");
        let write = |stream: &str, manifest: &str| {
            let text = format!(
                r#"{{"schema": "reprofix-rebuild-1", "stream": "{stream}", "version": "1",
                "revision": "", "architecture": "x86_64", "source_date_epoch": 1,
                "manifest": "{manifest}", "subject": ""}}"#
            );
            std::fs::write(&file, text).unwrap();
            Recipe::read(&file)
        };
        assert_eq!(write("main", "main-1+x~y-x86_64.manifest").unwrap().stream, "main");
        for (stream, manifest) in
            [("../x", "a"), ("main", "../a"), ("main", "a/b"), ("main", ""), ("main", ".a")]
        {
            assert!(write(stream, manifest).is_err(), "{stream} {manifest}");
        }
    }
}
