//! The syntax of subjects: one table of prefixes, and of the marks by which a bare path is
//! recognised.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{Prefix, cosa, disk, oci, rpmdb};

/// The repository in a sysroot.
const SYSROOT: &str = "ostree/repo";

/// A parsed subject, not yet opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// `dir:PATH`
    Dir(PathBuf),
    /// `file:PATH`
    File(PathBuf),
    /// `rpmdb:PATH`
    Rpmdb(PathBuf),
    /// `disk:FILE`
    Disk(PathBuf),
    /// `ostree:REPO[:REF|COMMIT]`, `sys:[REF|COMMIT]`
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
    /// An image: `oci:LAYOUT[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`,
    /// `registry:STORAGE[:REPOSITORY[:TAG]]`, `containers-storage:[ROOT]NAME` or `dir:FOLDER` of
    /// skopeo, unparsed.
    Oci(String),
}

/// One kind of subject: its syntax, and how a bare path is recognised as one.
struct Kind {
    prefixes: &'static [Prefix],
    /// Its syntax, for messages.
    form: &'static str,
    /// Its description with its marks, for messages.
    what: &'static str,
    is: fn(&Path) -> bool,
    /// Whether a ref, build or tag may follow the path after a colon.
    selects: bool,
    make: fn(&OsStr, PathBuf, Option<String>) -> Result<Spec>,
}

/// Every kind, in the order in which a bare path is tried.
const KINDS: [Kind; 10] = [
    Kind {
        prefixes: &[Prefix::Ostree],
        form: "ostree:REPO[:REF|COMMIT]",
        what: "an ostree repository (config, objects, refs)",
        is: is_repository,
        selects: true,
        make: |_, repo, rev| Ok(Spec::Ostree { repo: of_sysroot(repo), rev }),
    },
    Kind {
        prefixes: &[Prefix::Sys],
        form: "sys:[REF|COMMIT]",
        what: "the repository of this system",
        is: |_| false,
        selects: false,
        make: |_, rev, _| of_this_system(&rev),
    },
    Kind {
        prefixes: &[Prefix::Cosa],
        form: "cosa:WORKDIR[:BUILD[/ARCH]]",
        what: "a coreos-assembler work directory (builds)",
        is: cosa::is_workdir,
        selects: true,
        make: |_, workdir, build| Ok(of_build(workdir, build)),
    },
    Kind {
        prefixes: &[Prefix::Rpmdb],
        form: "rpmdb:PATH",
        what: "an rpm database's package file",
        is: rpmdb::is_database,
        selects: false,
        make: |_, path, _| Ok(Spec::Rpmdb(path)),
    },
    Kind {
        prefixes: &[Prefix::Oci, Prefix::OciArchive, Prefix::DockerArchive],
        form: "oci:LAYOUT[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]",
        what: "an OCI layout (index.json, blobs) or an archive of an image",
        is: oci::is_image,
        selects: true,
        make: |text, _, _| image(text),
    },
    Kind {
        prefixes: &[Prefix::Registry],
        form: "registry:STORAGE[:REPOSITORY[:TAG]]",
        what: "a registry's storage (docker/registry/v2, mirror_*.tar of oc-mirror)",
        is: oci::is_image,
        selects: true,
        make: |text, _, _| image(text),
    },
    Kind {
        prefixes: &[Prefix::ContainersStorage],
        form: "containers-storage:[[DRIVER@]ROOT]NAME",
        what: "container storage (DRIVER-images/images.json)",
        is: oci::is_image,
        selects: true,
        make: |text, _, _| image(text),
    },
    Kind {
        prefixes: &[Prefix::Disk],
        form: "disk:FILE",
        what: "a disk image, raw or qcow2 (a partition table, or erofs, squashfs, ext4, vfat)",
        is: |path| path.is_file() && disk::is_image(path),
        selects: false,
        make: |_, path, _| Ok(Spec::Disk(path)),
    },
    Kind {
        prefixes: &[Prefix::File],
        form: "file:PATH",
        what: "a single file",
        is: |path| path.is_file(),
        selects: false,
        make: |_, path, _| Ok(Spec::File(path)),
    },
    Kind {
        prefixes: &[Prefix::Dir],
        form: "dir:PATH",
        what: "a directory, or a dir: of skopeo",
        is: |path| path.is_dir(),
        selects: false,
        // skopeo uses this prefix for the folder of an image: the content decides.
        make: |text, path, _| match oci::is_folder(&path) {
            true => image(text),
            false => Ok(Spec::Dir(path)),
        },
    },
];

/// Each prefix of a subject, and its description.
pub fn prefixes() -> impl Iterator<Item = (Prefix, &'static str)> + Clone {
    KINDS.iter().flat_map(|kind| kind.prefixes.iter().map(|prefix| (*prefix, kind.what)))
}

impl Spec {
    /// Parses a subject. A bare path is recognised by the marks in the table of kinds; a ref, a
    /// build or a tag may follow it after a colon.
    ///
    /// # Errors
    ///
    /// If a bare path is not a subject; the error says what was tried.
    pub fn parse(text: &OsStr) -> Result<Self> {
        let bytes = text.as_bytes();
        if let Some(what) = text.to_str().and_then(oci::to_copy) {
            bail!(what);
        }
        // A repository URL, as in the configuration of ostree and flatpak.
        let (prefix, start) = Prefix::split(bytes);
        let of_ostree = if prefix == Some(Prefix::Ostree) { &bytes[start..] } else { bytes };
        let url = of_ostree.strip_prefix(b"file://");
        if let Some((repo, rev)) = url.map(split).filter(|(place, _)| is_repository(place)) {
            return Ok(Spec::Ostree { repo, rev });
        }
        match KINDS.iter().find(|kind| prefix.is_some_and(|prefix| kind.prefixes.contains(&prefix)))
        {
            Some(kind) => {
                let rest = &bytes[start..];
                let (place, select) = if kind.selects { split(rest) } else { (path(rest), None) };
                (kind.make)(text, place, select)
            }
            None => Self::guess(text),
        }
    }

    fn guess(text: &OsStr) -> Result<Self> {
        let (place, select) = split(text.as_bytes());
        let fits = |kind: &&Kind| (kind.selects || select.is_none()) && (kind.is)(&place);
        if let Some(kind) = KINDS.iter().find(fits) {
            return (kind.make)(text, place, select);
        }
        let what = match (place.symlink_metadata(), &select) {
            (Err(e), None) if e.kind() == io::ErrorKind::NotFound => {
                bail!(
                    "{}: no such file or directory; other subjects have a prefix, see `reprofix \
                     check --help`",
                    place.display()
                )
            }
            (Err(e), _) => format!("{}: {e}", place.display()),
            (Ok(_), Some(rest)) => {
                format!("{} does not take {rest:?} after a colon", place.display())
            }
            (Ok(_), None) => format!("{} is a special file", place.display()),
        };
        let tried: Vec<_> =
            KINDS.iter().filter(|k| k.prefixes != [Prefix::Sys]).map(|kind| kind.what).collect();
        let forms: Vec<_> = KINDS.iter().map(|kind| kind.form).collect();
        bail!(
            "{what}; {:?} is not a subject: tried {}; write {}",
            text.to_string_lossy(),
            tried.join(", "),
            forms.join(", ")
        )
    }
}

fn image(text: &OsStr) -> Result<Spec> {
    let name = text.to_str();
    let name =
        name.with_context(|| format!("{text:?} is not UTF-8, which the name of an image must be"));
    Ok(Spec::Oci(name?.to_owned()))
}

fn of_build(workdir: PathBuf, build: Option<String>) -> Spec {
    let (build, arch) = match build {
        None => (None, None),
        Some(text) => match text.split_once('/') {
            None => (Some(text), None),
            Some((build, arch)) => (Some(build.to_owned()), Some(arch.to_owned())),
        },
    };
    Spec::Cosa { workdir, build, arch }
}

/// The repository of a sysroot if the path is one, otherwise the path itself.
fn of_sysroot(path: PathBuf) -> PathBuf {
    let inside = path.join(SYSROOT);
    if !is_repository(&path) && is_repository(&inside) { inside } else { path }
}

/// The repository of the booted system.
fn of_this_system(rev: &Path) -> Result<Spec> {
    let places = ["/", "/sysroot"].map(|root| Path::new(root).join(SYSROOT));
    let repo = places.into_iter().find(|place| is_repository(place));
    let repo = repo.context("sys: this system has no /ostree/repo; write ostree:REPO[:REF]")?;
    let rev = rev.to_str().context("sys: a ref is UTF-8")?;
    Ok(Spec::Ostree { repo, rev: (!rev.is_empty()).then(|| rev.to_owned()) })
}

/// Whether `path` is a flatpak bundle: a static delta in one file, with its metadata at the start.
pub(super) fn is_bundle(path: &Path) -> bool {
    use std::io::Read as _;
    let mut start = Vec::new();
    let opened = std::fs::File::open(path).map(|file| file.take(4096).read_to_end(&mut start));
    let delta = || memchr::memmem::find(&start, b"ostree.endianness").is_some();
    opened.is_ok() && delta() && memchr::memmem::find(&start, b"flatpak").is_some()
}

/// Whether `path` looks like a repository.
fn is_repository(path: &Path) -> bool {
    path.join("config").is_file() && path.join("objects").is_dir() && path.join("refs").is_dir()
}

/// Splits a path from what follows after a colon. Both may contain colons: the path is the longest
/// one that exists, otherwise everything before the first colon.
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

    #[test]
    fn a_bare_path_is_recognised_by_what_is_there() {
        let dir = tempfile::tempdir().expect("makes");
        let file = dir.path().join("a.jar");
        std::fs::write(&file, "x").expect("writes");
        assert_eq!(parse(&file).expect("parses"), Spec::File(file.clone()));
        assert_eq!(parse(dir.path()).expect("parses"), Spec::Dir(dir.path().to_owned()));
        // A layout is recognised by its index, since the marker file may be missing.
        std::fs::create_dir(dir.path().join("blobs")).expect("makes");
        std::fs::write(dir.path().join("index.json"), "{}").expect("writes");
        let text = dir.path().display().to_string();
        assert_eq!(parse(&text).expect("parses"), Spec::Oci(text.clone()));
        let error = parse(format!("{}:x", file.display())).expect_err("no tags").to_string();
        assert!(error.contains("does not take \"x\" after a colon"), "{error}");
    }
}
