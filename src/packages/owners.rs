//! Which package owns a path, and its digest in the package.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::hash::BuildHasher as _;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::{Database, foreign};
use crate::format::hashes::{self, digests};
use crate::format::rpmdb::header::{Header, Value, tag};
use crate::format::{Failure, Malformed};
use crate::tree::{self, Entry, Kind, Tree};
use foldhash::fast::RandomState;

/// The most symbolic links to follow for one packaged directory.
const MAX_LINKS: usize = 40;
/// The longest digest in bytes: SHA-512.
const DIGEST_MAX: usize = 64;
/// The most paths to keep; a database with more is refused.
const MAX_PATHS: usize = 20_000_000;

/// A digest algorithm of FILEDIGESTALGO: its number in RFC 4880, section 9.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Algorithm(pub u8);

impl Algorithm {
    /// The lower-case name, as in `sha256`; `None` for a number that rpm does not use.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "md5",
            2 => "sha1",
            8 => "sha256",
            9 => "sha384",
            10 => "sha512",
            11 => "sha224",
            _ => return None,
        })
    }

    /// The algorithm of that number.
    fn known(self) -> Option<hashes::Algorithm> {
        hashes::Algorithm::of_name(self.name()?.as_bytes())
    }

    /// Its number.
    fn of(algorithm: hashes::Algorithm) -> Self {
        let known = |n: &u8| Algorithm(*n).known() == Some(algorithm);
        Algorithm((1..=11).find(known).unwrap_or(0))
    }

    /// Whether rpm's digests of this algorithm are trusted: MD5 and SHA-1 are broken.
    fn is_sound(self) -> bool {
        !matches!(self.0, 1 | 2)
    }
}

/// One package's claim to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The package, as `name-[epoch:]version-release.arch`; of dpkg as
    /// `name_version_architecture`, of apk and pacman as `name-version`.
    pub nevra: &'a str,
    /// The digest of the regular file as packaged; `None` for other kinds and ghosts.
    pub digest: Option<(Algorithm, &'a [u8])>,
    /// Type and permission bits as packaged; 0 if the package does not say.
    pub mode: u16,
}

/// All packaged paths of one tree.
///
/// Memory: the paths and digests once, and 32 bytes per path.
#[derive(Clone, Debug, Default)]
pub struct Packages {
    nevras: Vec<String>,
    /// The number of packages that rpm installed, which come first.
    rpms: usize,
    text: Vec<u8>,
    claims: Vec<Claim>,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    /// The hash of its path. Claims are sorted by it, since numbers compare faster than paths.
    hash: u64,
    start: u64,
    path: u32,
    package: u32,
    digest: u8,
    algorithm: u8,
    mode: u16,
}

impl Packages {
    /// The packaged paths of `tree`; empty if it has no database. Packaged directories that are
    /// symbolic links in the tree (`/bin` → `usr/bin`) are followed inside it.
    ///
    /// The outer error is from reading the tree, the inner one means an unreadable database.
    pub fn load(tree: &dyn Tree) -> io::Result<Result<Self, Malformed>> {
        let is_link = |entry: Entry| entry.kind == Kind::Symlink;
        Self::load_with(tree, &|path| Ok(tree.lookup(path)?.is_some_and(is_link)))
    }

    /// Loads the packaged paths like [`Packages::load`], given which paths of `tree` are symbolic
    /// links.
    pub fn load_with(
        tree: &dyn Tree,
        is_link: &dyn Fn(&Path) -> io::Result<bool>,
    ) -> io::Result<Result<Self, Malformed>> {
        let mut packages = Packages::default();
        let (dirs, known) = (HashMap::default(), HashMap::default());
        let mut real = Real { tree, is_link, dirs, known, failed: None };
        if let Some(database) = Database::of_tree(tree)? {
            let mut add = |_, blob: &[u8]| packages.add(&Header::parse(blob)?, &mut real);
            if let Err(what) = Failure::apart(database.packages(&mut add))? {
                return real.settle().map(|()| Err(what));
            }
        }
        packages.rpms = packages.nevras.len();
        foreign::each(tree, &mut PackageCollector { packages: &mut packages, real: &mut real })?;
        real.settle()?;
        // Not with rayon: while waiting, its threads take other work, which may be waiting for us.
        packages.claims.sort_unstable_by_key(|claim| claim.hash);
        Ok(Ok(packages))
    }

    /// Every claim to `path` (below the root), by NEVRA; empty if no package owns it. A compose's
    /// `usr/etc/` counts as `etc/`.
    pub fn owners(&self, path: &Path) -> impl Iterator<Item = Owner<'_>> {
        self.claims(path).into_iter().map(|claim| self.owner(claim))
    }

    fn claims(&self, path: &Path) -> Vec<&Claim> {
        let path = tree::logical(path);
        let hash = hash(&path);
        let first = self.claims.partition_point(|claim| claim.hash < hash);
        let claims = self.claims.get(first..).unwrap_or_default();
        let mine = claims.iter().take_while(|claim| claim.hash == hash);
        let mut mine: Vec<&Claim> = mine.filter(|claim| *self.path(claim) == *path).collect();
        mine.sort_unstable_by_key(|c| (self.nevras.get(c.package as usize), c.start));
        mine
    }

    /// The NEVRA of the first package that owns `path`.
    pub fn owner_of(&self, path: &Path) -> Option<&str> {
        self.owners(path).next().map(|owner| owner.nevra)
    }

    /// Type and permission bits of `path` as packaged; `None` if no package owns it, or its owners
    /// do not agree.
    pub fn mode(&self, path: &Path) -> Option<u16> {
        let mut modes = self.owners(path).map(|owner| owner.mode).filter(|mode| *mode != 0);
        let first = modes.next()?;
        modes.all(|mode| mode == first).then_some(first)
    }

    /// Whether `content` is what some owner of `path` packaged: then the file is the same in every
    /// build. Never true of files from rpm with only a broken digest (MD5, SHA-1); dpkg has no
    /// other. `content` is read only if a digest is known.
    pub fn is_payload(&self, path: &Path, content: &mut dyn Read) -> io::Result<bool> {
        let believed = |claim: &&Claim| {
            claim.package as usize >= self.rpms || Algorithm(claim.algorithm).is_sound()
        };
        let claims = self.claims(path).into_iter().filter(believed);
        let digest = |claim| self.owner(claim).digest;
        let known: Vec<(hashes::Algorithm, &[u8])> = claims
            .filter_map(digest)
            .filter_map(|(a, digest)| Some((a.known()?, digest)))
            .collect();
        if known.is_empty() {
            return Ok(false);
        }
        let algorithms: Vec<_> = known.iter().map(|(algorithm, _)| *algorithm).collect();
        let now = digests(content, &algorithms)?;
        Ok(known.iter().zip(now).any(|((_, digest), now)| **digest == *now))
    }

    /// Number of packages.
    pub fn len(&self) -> usize {
        self.nevras.len()
    }

    /// Whether there is no package.
    pub fn is_empty(&self) -> bool {
        self.nevras.is_empty()
    }

    /// The packages' NEVRAs, in the order of the database.
    pub fn nevras(&self) -> impl Iterator<Item = &str> {
        self.nevras.iter().map(String::as_str)
    }

    fn owner(&self, claim: &Claim) -> Owner<'_> {
        let nevra = self.nevras.get(claim.package as usize).map_or("", String::as_str);
        let start = claim.start as usize + claim.path as usize;
        let digest = self.text.get(start..start + usize::from(claim.digest)).unwrap_or_default();
        let digest = (!digest.is_empty()).then_some((Algorithm(claim.algorithm), digest));
        Owner { nevra, digest, mode: claim.mode }
    }

    fn path(&self, claim: &Claim) -> &[u8] {
        let start = claim.start as usize;
        self.text.get(start..start + claim.path as usize).unwrap_or_default()
    }

    /// Adds the files of one package.
    fn add(&mut self, header: &Header<'_>, real: &mut Real<'_>) -> Result<(), Malformed> {
        let package = self.nevras.len() as u32;
        self.nevras.push(header.nevra());
        let dirs: Vec<Vec<u8>> = strings(header, tag::DIRNAMES).map(|d| real.dir(d)).collect();
        let mut indexes = header.get(tag::DIRINDEXES).into_iter().flat_map(Value::integers);
        let mut digests = strings(header, tag::FILEDIGESTS);
        let mut modes = header.get(tag::FILEMODES).into_iter().flat_map(Value::integers);
        let algorithm = header.get(tag::FILEDIGESTALGO).and_then(Value::u32).unwrap_or(1);
        for base in strings(header, tag::BASENAMES) {
            let dir = indexes.next().and_then(|n| dirs.get(usize::try_from(n).ok()?));
            let dir = dir.ok_or_else(|| Malformed::at(0u64, "a file has no directory"))?;
            if self.claims.len() >= MAX_PATHS {
                return Err(Malformed::at(0u64, format!("more than {MAX_PATHS} packaged paths")));
            }
            let digest = digests.next().unwrap_or_default();
            let algorithm = u8::try_from(algorithm).unwrap_or(0);
            let mode = modes.next().and_then(|mode| mode.try_into().ok()).unwrap_or(0);
            self.claim(package, [dir, base], algorithm, mode, |text| unhex(digest, text));
        }
        Ok(())
    }

    /// Adds one path of a package; `digest` appends the digest, if there is one.
    fn claim(
        &mut self,
        package: u32,
        [dir, base]: [&[u8]; 2],
        algorithm: u8,
        mode: u16,
        digest: impl FnOnce(&mut Vec<u8>) -> usize,
    ) {
        let start = self.text.len() as u64;
        self.text.extend_from_slice(dir);
        self.text.extend_from_slice(base);
        let hash = hash(&self.text[start as usize..]);
        let digest = digest(&mut self.text);
        self.claims.push(Claim {
            hash,
            start,
            path: (dir.len() + base.len()) as u32,
            package,
            digest: u8::try_from(digest).unwrap_or(0),
            algorithm,
            mode,
        });
    }
}

/// Collects the packages of databases other than rpm's.
struct PackageCollector<'a, 'r> {
    packages: &'a mut Packages,
    real: &'a mut Real<'r>,
}

impl foreign::Sink for PackageCollector<'_, '_> {
    fn package(&mut self, name: String) {
        self.packages.nevras.push(name);
    }

    fn file(&mut self, path: &[u8], digest: Option<(hashes::Algorithm, Vec<u8>)>) {
        let Some(package) = self.packages.nevras.len().checked_sub(1) else { return };
        if self.packages.claims.len() >= MAX_PATHS {
            return;
        }
        let split = memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1);
        let (dir, base) = path.split_at(split);
        let dir = self.real.dir(dir);
        let (algorithm, digest) = digest.map_or((0, Vec::new()), |(a, d)| (Algorithm::of(a).0, d));
        self.packages.claim(package as u32, [&dir, base], algorithm, 0, |text| {
            text.extend_from_slice(&digest);
            digest.len()
        });
    }
}

/// The packages of one tree, read on first use.
pub struct Installed<'a> {
    tree: &'a dyn Tree,
    /// Which paths are symbolic links, if a walk has determined that.
    links: Option<HashSet<&'a OsStr>>,
    packages: OnceLock<io::Result<Arc<Packages>>>,
}

impl<'a> Installed<'a> {
    /// Those of `tree`.
    pub fn of(tree: &'a dyn Tree) -> Self {
        Installed { tree, links: None, packages: OnceLock::new() }
    }

    /// Uses the entries of a walk of the tree, so that links need not be looked up on the disk.
    pub fn walked(mut self, entries: &'a [Entry]) -> Self {
        let links = entries.iter().filter(|entry| entry.kind == Kind::Symlink);
        self.links = Some(links.map(|link| link.path.as_os_str()).collect());
        self
    }

    /// The packages. A tree without a readable database has none, so nothing is payload or owned;
    /// the rpmdb plugin reports what is wrong with it. An error is one of reading the tree.
    pub fn get(&self) -> io::Result<&Arc<Packages>> {
        let load = || match &self.links {
            Some(links) => {
                Packages::load_with(self.tree, &|path| Ok(links.contains(path.as_os_str())))
            }
            None => Packages::load(self.tree),
        };
        let packages =
            self.packages.get_or_init(|| load().map(|all| Arc::new(all.unwrap_or_default())));
        packages.as_ref().map_err(|e| io::Error::new(e.kind(), e.to_string()))
    }

    /// # Errors
    ///
    /// If the packages were needed and the tree could not be read: then no result without them is
    /// valid.
    pub fn settle(&self) -> io::Result<()> {
        self.packages.get().map_or(Ok(()), |_| self.get().map(drop))
    }
}

/// The hash of a logical path, for this program only.
fn hash(path: &[u8]) -> u64 {
    foldhash::fast::FixedState::default().hash_one(path)
}

/// The strings of a tag; empty if the header lacks it.
fn strings<'a>(header: &Header<'a>, number: u32) -> impl Iterator<Item = &'a [u8]> {
    header.get(number).into_iter().flat_map(Value::strings)
}

/// Decodes hexadecimal digits, appends the bytes and returns their number, 0 if there are other
/// characters.
fn unhex(text: &[u8], out: &mut Vec<u8>) -> usize {
    const DIGITS: [u8; 256] = digits();
    let (mut bytes, mut seen) = ([0; DIGEST_MAX], 0);
    let Some(bytes) = bytes.get_mut(..text.len() / 2) else { return 0 };
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = [DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]];
        seen |= high | low;
        *byte = high << 4 | low & 15;
    }
    if seen > 15 || !text.len().is_multiple_of(2) {
        return 0;
    }
    out.extend_from_slice(bytes);
    bytes.len()
}

/// The value of each byte as a hexadecimal digit; 255 if it is not one.
const fn digits() -> [u8; 256] {
    let mut digits = [u8::MAX; 256];
    let mut n = 0;
    while n < 16 {
        digits[b"0123456789abcdef"[n] as usize] = n as u8;
        digits[b"0123456789ABCDEF"[n] as usize] = n as u8;
        n += 1;
    }
    digits
}

/// Where packaged directories really are in a tree.
struct Real<'a> {
    tree: &'a dyn Tree,
    is_link: &'a dyn Fn(&Path) -> io::Result<bool>,
    /// Prefixes by packaged directory name: packages share most of them.
    dirs: HashMap<Vec<u8>, Vec<u8>, RandomState>,
    /// The target of a path with no link before its last component; `None` if it is not a link.
    known: HashMap<OsString, Option<PathBuf>, RandomState>,
    /// The error of the first path that could not be read, which makes all of this invalid.
    failed: Option<io::Error>,
}

impl Real<'_> {
    /// Turns a packaged directory name (`/usr/bin/`) into the prefix of a tree's logical paths
    /// (`usr/bin/`).
    fn dir(&mut self, packaged: &[u8]) -> Vec<u8> {
        if let Some(known) = self.dirs.get(packaged) {
            return known.clone();
        }
        let path = Path::new(OsStr::from_bytes(packaged));
        let real = self.resolve(path, MAX_LINKS);
        let mut prefix = tree::logical(&real).into_owned();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        self.dirs.insert(packaged.to_owned(), prefix.clone());
        prefix
    }

    /// Returns the error if a path could not be read.
    fn settle(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// The target of `path` if it is a link.
    fn target(&mut self, path: &Path) -> Option<PathBuf> {
        let read = || if (self.is_link)(path)? { self.tree.readlink(path) } else { Ok(None) };
        read().unwrap_or_else(|e| {
            self.failed.get_or_insert(e);
            None
        })
    }

    /// `path` with every symbolic link of the tree followed, below the root; `links` more may
    /// be followed.
    fn resolve(&mut self, path: &Path, links: usize) -> PathBuf {
        let mut real = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => {
                    real.push(name);
                    real = self.step(real, links);
                }
                Component::ParentDir => {
                    real.pop();
                }
                _ => {}
            }
        }
        real
    }

    /// Follows `path`, whose parent is not a link, if it is a link.
    fn step(&mut self, path: PathBuf, links: usize) -> PathBuf {
        match self.known.get(path.as_os_str()) {
            Some(None) => return path,
            Some(Some(real)) => return real.clone(),
            None => {}
        }
        let real = match self.target(&path).filter(|_| links > 0) {
            Some(target) if target.is_absolute() => self.resolve(&target, links - 1),
            Some(target) => {
                let parent = path.parent().unwrap_or(Path::new(""));
                self.resolve(&parent.join(target), links - 1)
            }
            None => {
                self.known.insert(path.clone().into(), None);
                return path;
            }
        };
        self.known.insert(path.into(), Some(real.clone()));
        real
    }
}
