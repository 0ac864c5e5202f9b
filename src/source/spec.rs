//! How a subject is written.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{cosa, rpmdb};

/// A subject as it was written, not yet opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// `dir:PATH`
    Dir(PathBuf),
    /// `rpmdb:PATH`
    Rpmdb(PathBuf),
    /// `ostree:REPO[:REF|COMMIT]`
    Ostree {
        /// The repository.
        repo: PathBuf,
        /// A ref, a commit or the start of one; without it, the repository's only ref.
        rev: Option<String>,
    },
    /// `cosa:WORKDIR[:BUILD[/ARCH]]`
    Cosa {
        /// The work directory.
        workdir: PathBuf,
        /// The build; without it, the latest.
        build: Option<String>,
        /// The architecture; without it, the build's only one.
        arch: Option<String>,
    },
    /// `oci:LAYOUT[:TAG]` or `oci-archive:FILE[:TAG]`, as written.
    Oci(String),
}

impl Spec {
    /// Reads a subject. A bare path becomes what stands there: an ostree repository (`config`,
    /// `objects`, `refs`), a work directory of coreos-assembler (`builds`), an rpm database's file
    /// of packages, an OCI layout (`index.json`, `blobs`), an archive of one (any other file), else
    /// a directory; a ref, a build or a tag may follow it after a colon.
    ///
    /// Fails if a bare path is none of them; the error says what was tried.
    pub fn parse(text: &OsStr) -> Result<Self> {
        let bytes = text.as_bytes();
        if let Some(rest) = bytes.strip_prefix(b"dir:") {
            return Ok(Spec::Dir(path(rest)));
        }
        if let Some(rest) = bytes.strip_prefix(b"rpmdb:") {
            return Ok(Spec::Rpmdb(path(rest)));
        }
        if let Some(rest) = bytes.strip_prefix(b"ostree:") {
            return Self::ostree(split(rest));
        }
        if let Some(rest) = bytes.strip_prefix(b"cosa:") {
            return Self::cosa(split(rest));
        }
        if text.to_str().is_some_and(super::oci::Subject::is_prefixed) {
            return Self::oci(text);
        }
        Self::guess(text)
    }

    fn guess(text: &OsStr) -> Result<Self> {
        let (place, rest) = split(text.as_bytes());
        if is_repository(&place) {
            return Self::ostree((place, rest));
        }
        if cosa::is_workdir(&place) {
            return Self::cosa((place, rest));
        }
        if rest.is_none() && rpmdb::is_database(&place) {
            return Ok(Spec::Rpmdb(place));
        }
        if place.join("index.json").is_file() && place.join("blobs").is_dir() || place.is_file() {
            return Self::oci(text);
        }
        if rest.is_none() && place.is_dir() {
            return Ok(Spec::Dir(place));
        }
        let what = match place.symlink_metadata() {
            Err(e) => format!("{}: {e}", place.display()),
            Ok(m) if !m.is_dir() => format!("{} is no directory", place.display()),
            Ok(_) => format!("{} is a directory, which takes no {rest:?}", place.display()),
        };
        bail!(
            "{:?} is no subject: tried an ostree repository (config, objects, refs), a \
             coreos-assembler work directory (builds), an rpm database's file of packages, an OCI \
             layout (index.json, blobs), an archive of one and a directory: {what}; write dir:PATH, \
             rpmdb:PATH, ostree:REPO[:REF|COMMIT], cosa:WORKDIR[:BUILD[/ARCH]], oci:LAYOUT[:TAG] or \
             oci-archive:FILE[:TAG]",
            text.to_string_lossy()
        )
    }

    fn ostree((repo, rev): (PathBuf, Option<String>)) -> Result<Self> {
        Ok(Spec::Ostree { repo, rev })
    }

    fn oci(text: &OsStr) -> Result<Self> {
        match text.to_str() {
            Some(text) => Ok(Spec::Oci(text.to_owned())),
            None => bail!("{:?} is not UTF-8, which the name of an image must be", text),
        }
    }

    fn cosa((workdir, build): (PathBuf, Option<String>)) -> Result<Self> {
        let (build, arch) = match build {
            None => (None, None),
            Some(text) => match text.split_once('/') {
                None => (Some(text), None),
                Some((build, arch)) => (Some(build.to_owned()), Some(arch.to_owned())),
            },
        };
        Ok(Spec::Cosa { workdir, build, arch })
    }
}

/// Whether `path` looks like a repository.
fn is_repository(path: &Path) -> bool {
    path.join("config").is_file() && path.join("objects").is_dir() && path.join("refs").is_dir()
}

/// A path, and what follows it after a colon. Both may hold colons: the path is the longest that
/// exists, else all up to the first.
fn split(text: &[u8]) -> (PathBuf, Option<String>) {
    if path(text).exists() {
        return (path(text), None);
    }
    let colons = (0..text.len()).filter(|i| text[*i] == b':');
    let existing = colons.clone().rfind(|i| path(&text[..*i]).exists());
    match existing.or_else(|| colons.min()) {
        None => (path(text), None),
        Some(at) => {
            (path(&text[..at]), Some(String::from_utf8_lossy(&text[at + 1..]).into_owned()))
        }
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: impl AsRef<OsStr>) -> Result<Spec> {
        Spec::parse(text.as_ref())
    }

    #[test]
    fn prefixes_name_the_kind() {
        assert_eq!(parse("dir:a:b").expect("parses"), Spec::Dir("a:b".into()));
        let ostree =
            |rev: Option<&str>| Spec::Ostree { repo: "/r".into(), rev: rev.map(Into::into) };
        assert_eq!(parse("ostree:/r").expect("parses"), ostree(None));
        assert_eq!(parse("ostree:/r:fedora:x/y").expect("parses"), ostree(Some("fedora:x/y")));
        let cosa = Spec::Cosa {
            workdir: "/w".into(),
            build: Some("39.1".into()),
            arch: Some("x86_64".into()),
        };
        assert_eq!(parse("cosa:/w:39.1/x86_64").expect("parses"), cosa);
    }

    #[test]
    fn a_repository_whose_path_holds_a_colon_is_found() {
        let dir = tempfile::tempdir().expect("makes");
        let repo = dir.path().join("a:b");
        for part in ["objects", "refs"] {
            std::fs::create_dir_all(repo.join(part)).expect("makes");
        }
        std::fs::write(repo.join("config"), "").expect("writes");
        let spec = parse(format!("{}:main", repo.display())).expect("parses");
        assert_eq!(spec, Spec::Ostree { repo, rev: Some("main".into()) });
    }

    #[test]
    fn a_wrong_guess_says_what_it_tried() {
        let error = parse("/nowhere:x").expect_err("nothing there").to_string();
        for part in ["ostree repository", "work directory", "/nowhere: No such file"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
