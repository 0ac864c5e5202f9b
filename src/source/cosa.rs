//! A build in a work directory of coreos-assembler.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::format::ostree::Checksum;

/// Bytes of a meta.json, at most; real ones have some kilobytes.
const META_MAX: u64 = 64 << 20;

/// One build for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The work directory.
    pub workdir: PathBuf,
    /// The build's name, a version.
    pub id: String,
    /// The architecture, as rpm's base architecture.
    pub arch: String,
}

/// Whether `path` looks like a work directory: it has `builds`.
pub fn is_workdir(path: &Path) -> bool {
    path.join("builds").is_dir()
}

impl Build {
    /// Finds a build of `workdir`. Without `id` it is what `builds/latest` names, or the first
    /// of `builds/builds.json`; without `arch` it is the build's only one.
    ///
    /// # Errors
    ///
    /// If there is no such build; the error lists those that are there.
    pub fn find(workdir: &Path, id: Option<&str>, arch: Option<&str>) -> Result<Self> {
        let builds = workdir.join("builds");
        if !builds.is_dir() {
            bail!("{} is no work directory of coreos-assembler: no builds/", workdir.display());
        }
        let id = match id {
            Some(id) => id.to_owned(),
            None => latest(&builds)?,
        };
        check_name("build", &id)?;
        let archs = holding(&builds.join(&id), "meta.json")
            .with_context(|| format!("{} has no build {id}", workdir.display()))?;
        let arch = match (arch, archs.as_slice()) {
            (Some(arch), all) if all.iter().any(|a| a == arch) => arch.to_owned(),
            (None, [only]) => only.clone(),
            (_, []) => bail!("build {id} in {} has no meta.json", workdir.display()),
            (None, all) => bail!("build {id} is of {}; name one of them", all.join(", ")),
            (Some(arch), all) => bail!("build {id} is of {}, not of {arch}", all.join(", ")),
        };
        Ok(Build { workdir: workdir.to_owned(), id, arch })
    }

    /// The build's directory.
    pub fn dir(&self) -> PathBuf {
        self.workdir.join("builds").join(&self.id).join(&self.arch)
    }

    /// Its meta.json.
    pub fn meta(&self) -> PathBuf {
        self.dir().join("meta.json")
    }

    /// The repository that coreos-assembler keeps its commits in, a cache that may be missing.
    pub fn repo(&self) -> PathBuf {
        self.workdir.join("tmp/repo")
    }
}

/// A name from a person or a file becomes a path component.
fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        bail!("{name:?} is no name of a {what}");
    }
    Ok(())
}

fn latest(builds: &Path) -> Result<String> {
    if let Ok(target) = std::fs::read_link(builds.join("latest")) {
        return Ok(target.to_string_lossy().into_owned());
    }
    let list = builds.join("builds.json");
    let json = read_json(&list).context("there is no builds/latest either; name the build")?;
    let id = json.pointer("/builds/0/id").and_then(Value::as_str);
    Ok(id.with_context(|| format!("{} names no build", list.display()))?.to_owned())
}

/// The directories in `dir` that hold a file of this name, sorted.
fn holding(dir: &Path, name: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in dir.read_dir()? {
        let entry = entry?;
        if entry.path().join(name).is_file() {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(found)
}

fn read_json(path: &Path) -> Result<Value> {
    let bytes = read_meta(path)?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no JSON", path.display()))
}

/// The bytes of a meta.json or another small file of cosa's.
///
/// # Errors
///
/// If it is missing, no regular file, or larger than 64 MiB.
pub fn read_meta(path: &Path) -> Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    if !path.metadata().with_context(reading)?.is_file() {
        bail!("{} is no regular file", path.display());
    }
    let file = std::fs::File::open(path).with_context(reading)?;
    let mut bytes = Vec::new();
    file.take(META_MAX + 1).read_to_end(&mut bytes).with_context(reading)?;
    if bytes.len() as u64 > META_MAX {
        bail!("{} is larger than 64 MiB; that is no meta.json", path.display());
    }
    Ok(bytes)
}

/// What a meta.json says that `check` and `record` need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// `ostree-commit`.
    pub commit: Option<Checksum>,
    /// `ostree-content-checksum`.
    pub content_checksum: Option<Checksum>,
    /// `images.ostree.path`: the commit as an archive, beside the meta.json.
    pub archive: Option<String>,
    /// `coreos-assembler.oci-imported`: the build is an image, and its commit one that the import
    /// made.
    pub imported: bool,
}

impl Recorded {
    /// Reads the meta.json at `path`.
    ///
    /// # Errors
    ///
    /// If it is no JSON object, or if a checksum in it is none.
    pub fn read(path: &Path) -> Result<Self> {
        let json = read_json(path)?;
        let named = || format!("in {}", path.display());
        if !json.is_object() {
            bail!("{} is no JSON object", path.display());
        }
        let archive = json.pointer("/images/ostree/path").and_then(Value::as_str);
        if let Some(archive) = archive {
            check_name("file", archive).with_context(named)?;
        }
        Ok(Recorded {
            commit: checksum(&json, "ostree-commit").with_context(named)?,
            content_checksum: checksum(&json, "ostree-content-checksum").with_context(named)?,
            archive: archive.map(str::to_owned),
            imported: json["coreos-assembler.oci-imported"] == true,
        })
    }
}

fn checksum(json: &Value, key: &str) -> Result<Option<Checksum>> {
    let Some(value) = json.get(key) else { return Ok(None) };
    let text = value.as_str().with_context(|| format!("{key} is not a string"))?;
    text.parse().map(Some).with_context(|| format!("{key} is {text:?}"))
}
