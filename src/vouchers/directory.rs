//! What the names in a directory say about vouchers for its content.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::hash::BuildHasher as _;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::{Voucher, VoucherKind};
use crate::format::checksum_files::{Sums, is_sums};
use crate::format::compress::{self, HEAD_LEN, Source};
use crate::format::hashes::Algorithm;
use crate::format::wheel_record;
use crate::tree::Tree;

/// The largest file of digests to read, in bytes; a larger one vouches for all below it.
const SUMS_MAX: u64 = 16 << 20;
/// The most bytes to read of a configuration or version file.
const HEAD: u64 = 64 << 10;
/// The largest RECORD to read, in bytes.
const RECORD_MAX: u64 = 64 << 20;
/// Suffixes of detached signatures, after the whole name of the signed file.
const SIGNATURES: [&str; 9] =
    [".asc", ".sig", ".sign", ".gpg", ".minisig", ".p7s", ".p7m", ".sigstore", ".sigstore.json"];
/// Directories beside files that contain their keyed digests.
const HMACS: [&str; 2] = ["fipscheck", "hmaccalc"];
/// Storage drivers of Docker.
const DOCKER: [&str; 7] =
    ["overlay2", "vfs", "btrfs", "zfs", "aufs", "devicemapper", "fuse-overlayfs"];
/// Names of what flatpak and ostree deploy beside their repository.
const DEPLOYED: [&str; 3] = ["deploy", "app", "runtime"];

/// What is known of one directory.
#[derive(Debug, Default)]
pub(super) struct DirectoryNames {
    /// The voucher for everything in it.
    pub(super) whole: Option<Voucher>,
    /// Digest files of this directory and all above it, the nearest first.
    pub(super) sums: Vec<Arc<Written>>,
    /// RECORDs that may list its content, the nearest first.
    pub(super) records: Vec<Arc<Record>>,
    /// Names here of signatures and keyed digests.
    seals: BTreeSet<OsString>,
    /// The repository beside it, from which directories named like deployments come.
    deployed: Option<PathBuf>,
}

/// A digest file.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) path: PathBuf,
    /// `None` if it is too large to be read.
    pub(super) sums: Option<Sums>,
}

/// The beginning of a file's digest in a RECORD, if its line has one.
type RecordDigest = Option<(Algorithm, [u8; 16])>;

/// What a RECORD lists.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) path: PathBuf,
    /// Sorted by the hash of the path below the root.
    lines: Vec<(u64, RecordDigest)>,
}

impl Record {
    /// The digest listed for `path`; the outer `None` if it does not list it.
    pub(super) fn digest(&self, path: &Path) -> Option<RecordDigest> {
        let hash = hash(path);
        let first = self.lines.partition_point(|(other, _)| *other < hash);
        let (found, digest) = self.lines.get(first)?;
        (*found == hash).then_some(*digest)
    }
}

/// Reads names and small files of a tree.
pub(super) struct Reader<'a> {
    pub(super) tree: &'a dyn Tree,
    pub(super) names: &'a dyn Fn(&Path) -> io::Result<Vec<OsString>>,
}

impl Reader<'_> {
    /// Determines what is known about the directory `path`, given that of its parent.
    pub(super) fn place(
        &self,
        path: &Path,
        above: Option<&DirectoryNames>,
    ) -> io::Result<DirectoryNames> {
        if let Some(whole) = above.and_then(|above| above.inside(path)) {
            return Ok(DirectoryNames { whole: Some(whole), ..DirectoryNames::default() });
        }
        let names: Names = Names((self.names)(path)?.into_iter().collect());
        let mut place =
            DirectoryNames { whole: self.layout(path, &names)?, ..DirectoryNames::default() };
        if place.whole.is_some() {
            return Ok(place);
        }
        if names.has("repo") && self.is_ostree(&path.join("repo"))? {
            place.deployed = Some(path.join("repo"));
        }
        for name in names.0.iter().filter(|name| is_sums(name.as_bytes())) {
            place.sums.extend(self.written(&path.join(name))?.map(Arc::new));
        }
        place.sums.extend(self.lists(path, &names)?.into_iter().map(Arc::new));
        place.records = self.records(path, &names)?;
        if let Some(above) = above {
            place.sums.extend(above.sums.iter().cloned());
            place.records.extend(above.records.iter().cloned());
        }
        let sealed = |name: &&OsString| is_seal(name.as_bytes());
        place.seals = names.0.iter().filter(sealed).cloned().collect();
        for dir in HMACS.iter().filter(|dir| names.has(dir)) {
            place.seals.extend((self.names)(&path.join(dir))?);
        }
        Ok(place)
    }

    /// The voucher for a whole directory with these names.
    fn layout(&self, path: &Path, names: &Names) -> io::Result<Option<Voucher>> {
        let who = if names.has("objects") && names.has("config") && self.is_ostree(path)? {
            VoucherKind::Ostree
        } else if names.has("objects") && names.has("config") && self.is_git(path)? {
            VoucherKind::Git
        } else if names.has("objects")
            && names.has("images")
            && (names.has("streams") || names.has("meta.json"))
        {
            VoucherKind::Composefs
        } else if self.is_storage(path, names)? {
            VoucherKind::Storage
        } else if self.is_image(path, names)? {
            VoucherKind::Layout
        } else {
            return Ok(None);
        };
        Ok(Some(Voucher::new(who, path)))
    }

    fn is_ostree(&self, path: &Path) -> io::Result<bool> {
        let config = self.head(&path.join("config"))?;
        let has = |text: &str| memchr::memmem::find(&config, text.as_bytes()).is_some();
        Ok(has("[core]") && !has("repositoryformatversion"))
    }

    fn is_git(&self, path: &Path) -> io::Result<bool> {
        let config = self.head(&path.join("config"))?;
        Ok(memchr::memmem::find(&config, b"repositoryformatversion").is_some())
    }

    /// Whether it is an OCI layout, or a `dir:` of skopeo.
    fn is_image(&self, path: &Path, names: &Names) -> io::Result<bool> {
        if names.has("oci-layout") && (names.has("index.json") || names.has("blobs")) {
            return Ok(true);
        }
        Ok(names.has("version")
            && names.has("manifest.json")
            && self.head(&path.join("version"))?.starts_with(b"Directory Transport Version"))
    }

    fn is_storage(&self, path: &Path, names: &Names) -> io::Result<bool> {
        let of_driver = |name: &OsString| {
            let driver = name.as_bytes().strip_suffix(b"-images")?;
            Some(names.0.contains(OsStr::from_bytes(&[driver, b"-layers"].concat())))
        };
        if names.0.iter().any(|name| of_driver(name) == Some(true)) {
            return Ok(true);
        }
        if names.has("io.containerd.content.v1.content") {
            return Ok(true);
        }
        let docker: Vec<&str> = DOCKER.into_iter().filter(|driver| names.has(driver)).collect();
        if !names.has("image") || docker.is_empty() {
            return Ok(false);
        }
        let images = (self.names)(&path.join("image"))?;
        Ok(docker.iter().any(|driver| images.iter().any(|name| name == driver)))
    }

    /// The beginning of a file; empty for anything else.
    fn head(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        if let Some(file) = self.tree.open(path)? {
            file.take(HEAD).read_to_end(&mut head)?;
        }
        Ok(head)
    }

    /// The digests in a text; `None` if it is not a text, or has none.
    pub(super) fn written(&self, path: &Path) -> io::Result<Option<Written>> {
        let Some(file) = self.tree.open(path)? else { return Ok(None) };
        let text = match unpacked(file)? {
            MaybeCompressed::None => return Ok(None),
            MaybeCompressed::TooLarge => {
                return Ok(Some(Written { path: path.to_owned(), sums: None }));
            }
            MaybeCompressed::Whole(text) => text,
        };
        let sums = Sums::parse(&text, path.file_name().unwrap_or_default().as_bytes());
        let some = sums != Sums::default();
        Ok(some.then(|| Written { path: path.to_owned(), sums: Some(sums) }))
    }

    /// The RECORDs of wheels that are installed here or have scripts and data here.
    fn records(&self, path: &Path, names: &Names) -> io::Result<Vec<Arc<Record>>> {
        let mut found = Vec::new();
        self.records_in(path, &names.0, &mut found)?;
        for lib in ["lib", "lib64"].into_iter().filter(|lib| names.has(lib)) {
            let lib = path.join(lib);
            let pythons = (self.names)(&lib)?;
            for python in pythons.iter().filter(|name| name.as_bytes().starts_with(b"python")) {
                for packages in ["site-packages", "dist-packages"] {
                    let dir = lib.join(python).join(packages);
                    let names = (self.names)(&dir)?.into_iter().collect();
                    self.records_in(&dir, &names, &mut found)?;
                }
            }
        }
        Ok(found)
    }

    fn records_in(
        &self,
        dir: &Path,
        names: &BTreeSet<OsString>,
        found: &mut Vec<Arc<Record>>,
    ) -> io::Result<()> {
        for name in names.iter().filter(|name| name.as_bytes().ends_with(b".dist-info")) {
            let path = dir.join(name).join("RECORD");
            let Some(file) = self.tree.open(&path)? else { continue };
            let mut text = Vec::new();
            file.take(RECORD_MAX).read_to_end(&mut text)?;
            let line = |line: wheel_record::Line<'_>| {
                let path = listed(&path, &line.path)?;
                let digest = line.digest.and_then(|(algorithm, digest)| {
                    Some((algorithm, *digest.first_chunk::<16>()?))
                });
                Some((hash(&path), digest))
            };
            let mut lines: Vec<_> = wheel_record::lines(&text).filter_map(line).collect();
            lines.sort_unstable();
            found.push(Arc::new(Record { path, lines }));
        }
        Ok(())
    }
}

/// A text that may be compressed.
enum MaybeCompressed {
    /// Not a text, or damaged compression.
    None,
    /// All of it.
    Whole(Vec<u8>),
    /// More than [`SUMS_MAX`] bytes.
    TooLarge,
}

/// The text in a file, unpacked no further than necessary.
fn unpacked(file: impl Read) -> io::Result<MaybeCompressed> {
    let mut source = Source::new(file);
    let packing = compress::detect(source.peek(HEAD_LEN)?);
    let mut text = Vec::new();
    let room = |text: &Vec<u8>| SUMS_MAX + 1 - text.len() as u64;
    match packing {
        None => {
            source.by_ref().take(HEAD).read_to_end(&mut text)?;
            if !text.contains(&0) {
                let left = room(&text);
                source.take(left).read_to_end(&mut text)?;
            }
        }
        Some(packing) => {
            // One member after the other, as their programs read them.
            while room(&text) > 0 && !source.peek(1)?.is_empty() {
                let left = room(&text);
                let member = packing.decoder(&mut source).and_then(|decoder| {
                    let read = decoder.take(left).read_to_end(&mut text);
                    read.map(|read| read > 0 || left == 0)
                });
                match member {
                    Err(e) if source.failed() => return Err(e),
                    Err(_) => return Ok(MaybeCompressed::None),
                    Ok(true) => {}
                    Ok(false) => break,
                }
            }
        }
    }
    Ok(match text.len() as u64 > SUMS_MAX {
        _ if text.iter().take(HEAD as usize).any(|byte| *byte == 0) => MaybeCompressed::None,
        true => MaybeCompressed::TooLarge,
        false => MaybeCompressed::Whole(text),
    })
}

impl DirectoryNames {
    /// The voucher for everything in the directory `path`, which is in this one.
    fn inside(&self, path: &Path) -> Option<Voucher> {
        if let Some(whole) = &self.whole {
            return Some(whole.clone());
        }
        let name = path.file_name()?;
        if let Some(repo) = self.deployed.as_ref().filter(|_| DEPLOYED.iter().any(|d| name == *d)) {
            return Some(Voucher::new(VoucherKind::Deployment, repo));
        }
        let store = path.parent()?;
        let stored = store.file_name() == Some(OsStr::new("store")) && is_stored(name.as_bytes());
        stored.then(|| Voucher::new(VoucherKind::Store, store))
    }

    /// The voucher for a file or directory here that needs only its name.
    pub(super) fn by_name(&self, path: &Path) -> Option<Voucher> {
        if let Some(whole) = self.inside(path) {
            return Some(whole);
        }
        let name = path.file_name()?.as_bytes();
        let seal = |parts: &[&[u8]]| {
            let name = parts.concat();
            self.seals.get(OsStr::from_bytes(&name)).map(|name| path.with_file_name(name))
        };
        let signed = SIGNATURES.iter().find_map(|ending| seal(&[name, ending.as_bytes()]));
        if let Some(at) = signed {
            return Some(Voucher::new(VoucherKind::Signature, at));
        }
        let stem = name.strip_suffix(b".so").unwrap_or(name);
        let hmac = seal(&[b".", name, b".hmac"]).or_else(|| seal(&[name, b".hmac"]));
        let hmac = hmac.or_else(|| seal(&[stem, b".chk"]))?;
        Some(Voucher::new(VoucherKind::Hmac, hmac))
    }
}

/// The names of a directory.
pub(super) struct Names(BTreeSet<OsString>);

impl Names {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(OsStr::new(name))
    }
}

fn is_seal(name: &[u8]) -> bool {
    let ends = |ending: &&str| name.ends_with(ending.as_bytes());
    SIGNATURES.iter().chain(&[".hmac", ".chk"]).any(ends)
}

/// Whether it is the name of something in a store of Nix or Guix: a digest in base 32, a dash, a
/// name.
fn is_stored(name: &[u8]) -> bool {
    let digit = |byte: &u8| b"0123456789abcdfghijklmnpqrsvwxyz".contains(byte);
    name.len() > 33 && name[..32].iter().all(digit) && name[32] == b'-'
}

/// The path below the root that a line of the RECORD at `record` means; `None` if it is outside.
pub(crate) fn listed(record: &Path, line: &[u8]) -> Option<PathBuf> {
    let line = Path::new(OsStr::from_bytes(line));
    let mut path = match line.is_absolute() {
        true => PathBuf::new(),
        false => record.parent()?.parent()?.to_owned(),
    };
    for component in line.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if !path.pop() => return None,
            _ => {}
        }
    }
    Some(path)
}

/// A hash for this process only.
fn hash(path: &Path) -> u64 {
    FixedState::default().hash_one(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_record_lead_out_of_its_directory_and_not_out_of_the_root() {
        let record = Path::new("usr/lib/python3/site-packages/m-1.dist-info/RECORD");
        let meant = |line: &str| listed(record, line.as_bytes());
        assert_eq!(meant("m/a.py"), Some("usr/lib/python3/site-packages/m/a.py".into()));
        assert_eq!(meant("../../../bin/m"), Some("usr/bin/m".into()));
        assert_eq!(meant("/usr/bin/m"), Some("usr/bin/m".into()));
        assert_eq!(meant("../../../../../m"), None);
    }

    #[test]
    fn names_in_a_store_are_known() {
        assert!(is_stored(b"0c8i6z3m9l2v4x7y1n5p8q3r6s9w2a4d-hello-2.12"));
        assert!(!is_stored(b"0c8i6z3m9l2v4x7y1n5p8q3r6s9w2a4d"));
        assert!(!is_stored(b"ec8i6z3m9l2v4x7y1n5p8q3r6s9w2a4d-hello"), "no e in base 32");
    }
}
