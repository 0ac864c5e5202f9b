//! The databases of dpkg, apk and pacman: which files each package shipped, with which digest.
//!
//! They are text files, in which unknown lines are skipped: at worst a file is treated as if no
//! package shipped it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;

use crate::format::hashes::{Algorithm, unhex};
use crate::tree::Tree;

/// Where dpkg describes installed packages, and images without dpkg describe what was unpacked into
/// them.
const DPKG: [&str; 2] = ["var/lib/dpkg/info", "var/lib/dpkg/status.d"];
/// Where dpkg notes which files of packages are in another place.
const DIVERSIONS: &str = "var/lib/dpkg/diversions";
/// Where apk has its database: before and since the merge of /usr.
const APK: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
/// Where pacman has a directory for each package.
const PACMAN: &str = "var/lib/pacman/local";
/// What may follow the digest of a file of configuration.
const FLAGS: [&str; 2] = [" obsolete", " remove-on-upgrade"];
/// The most bytes to read of an unpacked mtree.
const MTREE_MAX: u64 = 256 << 20;

/// Receives packages and their files.
pub(super) trait Sink {
    /// The following files belong to this package.
    fn package(&mut self, name: String);
    /// A path without a leading slash, and its digest in the package.
    fn file(&mut self, path: &[u8], digest: Option<(Algorithm, Vec<u8>)>);
}

/// Passes every package of every database in `tree` to `sink`, in a stable order.
pub(super) fn each(tree: &dyn Tree, sink: &mut dyn Sink) -> io::Result<()> {
    dpkg(tree, sink)?;
    for path in APK {
        if let Some(text) = tree.read(Path::new(path))? {
            apk(&text, sink);
        }
    }
    pacman(tree, sink)
}

fn dpkg(tree: &dyn Tree, sink: &mut dyn Sink) -> io::Result<()> {
    let status = tree.read(Path::new("var/lib/dpkg/status"))?.unwrap_or_default();
    let stanzas = stanzas(&status);
    let diversions = tree.read(Path::new(DIVERSIONS))?.unwrap_or_default();
    let diversions = Diversions::of(&diversions);
    for dir in DPKG.map(Path::new) {
        let names = tree.list(dir)?;
        let stem = |ending: &str| {
            let stems =
                names.iter().filter_map(move |n| n.as_bytes().strip_suffix(ending.as_bytes()));
            stems.map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let packages: BTreeSet<_> = stem(".list").into_iter().chain(stem(".md5sums")).collect();
        for package in packages {
            let read = |ending: &str| {
                let name = [&package, ending.as_bytes()].concat();
                tree.read(&dir.join(OsStr::from_bytes(&name))).map(Option::unwrap_or_default)
            };
            let (list, sums) = (read(".list")?, read(".md5sums")?);
            let stanza = stanzas.get(&package);
            let mut files: BTreeMap<&[u8], &[u8]> =
                lines(&list).map(|line| (below(line), &b""[..])).collect();
            files.extend(lines(&sums).filter_map(|line| {
                let (sum, path) = line.split_at_checked(32)?;
                Some((below(path.trim_ascii_start()), sum))
            }));
            files.extend(stanza.iter().flat_map(|stanza| stanza.conffiles.iter().copied()));
            sink.package(stanza.map_or_else(|| text(&package), |stanza| stanza.name.clone()));
            for (path, sum) in files {
                let digest = unhex(sum).filter(|digest| digest.len() == Algorithm::Md5.size());
                let path = diversions.place(path, &package);
                sink.file(path, digest.map(|digest| (Algorithm::Md5, digest)));
            }
        }
    }
    Ok(())
}

/// Paths at which dpkg puts the files of all packages but one, or of all, elsewhere. The lists and
/// digests of packages name the path that was diverted.
struct Diversions<'t>(BTreeMap<&'t [u8], (&'t [u8], &'t [u8])>);

impl<'t> Diversions<'t> {
    /// Three lines for each: the path, where it went, the package that keeps the path, or `:`.
    fn of(text: &'t [u8]) -> Self {
        let all: Vec<&[u8]> = lines(text).collect();
        let rows = all.as_chunks().0.iter();
        Diversions(rows.map(|[from, to, by]| (below(from), (below(to), *by))).collect())
    }

    /// Where the file is that `package` ships as `path`.
    fn place(&self, path: &'t [u8], package: &[u8]) -> &'t [u8] {
        let name = package.split(|byte| *byte == b':').next().unwrap_or_default();
        match self.0.get(path) {
            Some((to, by)) if *by != name => to,
            _ => path,
        }
    }
}

/// A package's entry in `status`.
#[derive(Default)]
struct Stanza<'s> {
    /// The package as `name_version_architecture`, like its file name.
    name: String,
    /// Configuration files, whose digests are nowhere else.
    conffiles: Vec<(&'s [u8], &'s [u8])>,
}

/// The stanzas of `status` by the names that a package's files in `info` may begin with.
fn stanzas(status: &[u8]) -> BTreeMap<Vec<u8>, Stanza<'_>> {
    let mut all = BTreeMap::new();
    let mut fields: [&[u8]; 3] = Default::default();
    let mut conffiles = Vec::new();
    // An empty line ends a stanza.
    for line in status.split(|byte| *byte == b'\n').chain([&b""[..]]) {
        let field = |name: &str| line.strip_prefix(name.as_bytes()).map(<[u8]>::trim_ascii);
        if let Some(name) = field("Package:") {
            fields[0] = name;
        } else if let Some(version) = field("Version:") {
            fields[1] = version;
        } else if let Some(architecture) = field("Architecture:") {
            fields[2] = architecture;
        } else if let Some(conffile) = line.strip_prefix(b" /") {
            let conffile = FLAGS
                .iter()
                .fold(conffile, |line, flag| line.strip_suffix(flag.as_bytes()).unwrap_or(line));
            let digest = memchr::memrchr(b' ', conffile);
            conffiles.extend(digest.map(|at| (&conffile[..at], &conffile[at + 1..])));
        } else if line.is_empty() {
            let [package, version, architecture] = std::mem::take(&mut fields).map(text);
            let name = format!("{package}_{version}_{architecture}");
            let conffiles = std::mem::take(&mut conffiles);
            let both = [package.clone(), format!("{package}:{architecture}")];
            for key in both {
                let stanza = Stanza { name: name.clone(), conffiles: conffiles.clone() };
                all.insert(key.into_bytes(), stanza);
            }
        }
    }
    all
}

fn apk(installed: &[u8], sink: &mut dyn Sink) {
    let (mut package, mut dir): (&[u8], &[u8]) = (b"", b"");
    let mut file: Option<&[u8]> = None;
    let path = |dir: &[u8], name: &[u8]| match dir.is_empty() {
        true => name.to_vec(),
        false => [dir, b"/", name].concat(),
    };
    for line in installed.split(|byte| *byte == b'\n') {
        let (key, value) = line.split_at_checked(2).unwrap_or_default();
        if key != b"Z:"
            && key != b"a:"
            && let Some(name) = file.take()
        {
            sink.file(&path(dir, name), None);
        }
        match key {
            b"P:" => package = value,
            b"V:" => sink.package(format!("{}-{}", text(package), text(value))),
            b"F:" => dir = value,
            b"R:" => file = Some(value),
            b"Z:" => {
                if let Some(name) = file.take() {
                    sink.file(&path(dir, name), apk_digest(value));
                }
            }
            _ => {}
        }
    }
}

/// `Q1` and base64 of SHA-1, `Q2` of SHA-256.
fn apk_digest(text: &[u8]) -> Option<(Algorithm, Vec<u8>)> {
    let algorithm = match text.get(..2)? {
        b"Q1" => Algorithm::Sha1,
        b"Q2" => Algorithm::Sha256,
        _ => return None,
    };
    let digest = STANDARD.decode(&text[2..]).ok()?;
    (digest.len() == algorithm.size()).then_some((algorithm, digest))
}

fn pacman(tree: &dyn Tree, sink: &mut dyn Sink) -> io::Result<()> {
    for package in tree.list(Path::new(PACMAN))? {
        let path = Path::new(PACMAN).join(&package).join("mtree");
        let Some(packed) = tree.read(&path)? else { continue };
        let mut mtree = Vec::new();
        // A damaged end counts as the end.
        let _ = MultiGzDecoder::new(&packed[..]).take(MTREE_MAX).read_to_end(&mut mtree);
        sink.package(text(package.as_bytes()));
        for line in lines(&mtree) {
            let mut words = line.split(|byte| *byte == b' ');
            let Some(path) = words.next().and_then(|word| word.strip_prefix(b"./")) else {
                continue;
            };
            let value = |word: &[u8], key: &str| unhex(word.strip_prefix(key.as_bytes())?);
            let digest = words.find_map(|word| value(word, "sha256digest="));
            let digest = digest.filter(|digest| digest.len() == Algorithm::Sha256.size());
            sink.file(&unescaped(path), digest.map(|digest| (Algorithm::Sha256, digest)));
        }
    }
    Ok(())
}

/// Decodes a name of mtree, in which a backslash and three octal digits are a byte.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let octal = |digits: &[u8; 3]| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        };
        let escaped = after.first_chunk().filter(|_| *first == b'\\').and_then(octal);
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    out
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// A path of a database, relative to the root.
fn below(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b".").unwrap_or(path);
    path.strip_prefix(b"/").unwrap_or(path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
