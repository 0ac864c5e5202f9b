//! Files that write down digests of other files: `sha256sum`'s two forms and BSD's, a lone digest,
//! Debian's `Release`, `repomd.xml`, Python's simple index, lock files, JSON.
//!
//! What they have in common is enough to say whether one covers a file: it contains a digest of the
//! file's bytes, and the last component of its name. So no form is parsed as such.

use std::collections::BTreeSet;
use std::hash::BuildHasher as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use foldhash::fast::FixedState;

use super::hashes::{Algorithm, unhex};

/// Bytes at the beginning of a file in which a NUL means that it is not a text.
const LOOKED_AT: usize = 8 << 10;
/// Words in a name by which `is_sums` recognises a file.
const WORDS: [&str; 10] = [
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "b2sum", "blake2", "checksum", "digests",
];
/// Whole names.
const NAMES: [&str; 15] = [
    "release",
    "inrelease",
    "packages",
    "sources",
    "repomd.xml",
    "manifest",
    "manifest.txt",
    "hashes",
    "hashes.txt",
    "index.html",
    "index.json",
    "index.v1_html",
    "index.v1_json",
    "index.yaml",
    "repodata.json",
];

/// Endings of manifests that list files by their names.
const ENDINGS: [&str; 8] =
    ["sums", "sums.txt", ".dsc", ".changes", ".buildinfo", ".lock", "-lock.json", "-lock.yaml"];
/// Endings of what is compressed.
const PACKED: [&str; 6] = [".gz", ".xz", ".zst", ".bz2", ".lz4", ".lzma"];

/// Whether a file with that name may contain digests of others. A compressed one counts if it is
/// the index of a repository.
pub fn is_sums(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    if let Some(stem) = PACKED.iter().find_map(|ending| name.strip_suffix(ending.as_bytes())) {
        return stem == b"packages" || stem == b"sources" || is_primary(stem);
    }
    let has = |word: &&str| memchr::memmem::find(&name, word.as_bytes()).is_some();
    NAMES.iter().any(|known| name == known.as_bytes())
        || ENDINGS.iter().any(|ending| name.ends_with(ending.as_bytes()))
        || is_primary(&name)
        || WORDS.iter().any(has)
}

/// Whether it is the list of packages in an rpm repository's `repodata`.
fn is_primary(name: &[u8]) -> bool {
    name.ends_with(b"primary.xml")
}

/// The digests and names in a file. Memory: 16 bytes per digest and 8 per word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// The first 16 bytes of each digest.
    digests: BTreeSet<[u8; 16]>,
    /// Hashes of the last components of all words that may be names.
    names: BTreeSet<u64>,
    algorithms: BTreeSet<Algorithm>,
}

impl Sums {
    /// Reads the file called `name`. If it is not a text or contains no digest, the result is
    /// empty.
    pub fn parse(text: &[u8], name: &[u8]) -> Self {
        let mut sums = Sums::default();
        if text.iter().take(LOOKED_AT).any(|byte| *byte == 0) {
            return sums;
        }
        for line in text.split(|byte| *byte == b'\n') {
            sums.line(line);
        }
        if sums.digests.is_empty() {
            return Sums::default();
        }
        // `X.sha256` may contain only the digest.
        if let Some(dot) = memchr::memrchr(b'.', name) {
            sums.name(&name[..dot]);
        }
        sums
    }

    /// The algorithms of digests in it, by their lengths.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.algorithms.iter().copied()
    }

    /// Whether it names a file whose name ends in the component `name`.
    pub fn names(&self, name: &[u8]) -> bool {
        self.names.contains(&hash(name))
    }

    /// Whether this digest is in it.
    pub fn has(&self, digest: &[u8]) -> bool {
        digest.first_chunk().is_some_and(|start| self.digests.contains(start))
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric();
        for word in line.split(|byte| !is_word(byte)) {
            if Algorithm::of_len(word.len() / 2).next().is_some()
                && let Some(digest) = unhex(word)
                && self.digest(&digest)
            {
                let end = word.as_ptr_range().end as usize - line.as_ptr() as usize;
                self.rest(line, line.get(end..).unwrap_or_default());
            }
        }
        for word in line.split(|byte| b" \t\"'<>(),;:=#?".contains(byte)) {
            let word = word.strip_prefix(b"*").unwrap_or(word);
            self.name(word);
            if word.contains(&b'%') {
                self.name(&decoded(word));
            }
        }
        for word in line.split(|byte| !(is_word(byte) || b"+/".contains(byte))) {
            // The base64 of the shortest digest has 22 characters, of the longest 86.
            if (22..=86).contains(&word.len())
                && let Ok(digest) = STANDARD_NO_PAD.decode(word)
            {
                self.digest(&digest);
            }
        }
        // `SHA256 (a name) = …`
        if let (Some(start), Some(end)) =
            (memchr::memchr(b'(', line), memchr::memmem::rfind(line, b") = "))
            && start < end
        {
            self.name(&line[start + 1..end]);
        }
    }

    /// `…  a name`, `… *a name`; a backslash before the digest says that the name is escaped.
    fn rest(&mut self, line: &[u8], rest: &[u8]) {
        let Some(name) = rest.strip_prefix(b" ") else { return };
        let name = name.strip_prefix(b" ").or(name.strip_prefix(b"*")).unwrap_or(name);
        self.name(name);
        if line.first() == Some(&b'\\') {
            self.name(&unescaped(name));
        }
    }

    fn digest(&mut self, digest: &[u8]) -> bool {
        let start = digest.first_chunk::<16>();
        let known: Vec<_> = Algorithm::of_len(digest.len()).collect();
        let Some(start) = start.filter(|_| !known.is_empty()) else { return false };
        self.digests.insert(*start);
        self.algorithms.extend(known);
        true
    }

    fn name(&mut self, word: &[u8]) {
        let last = memchr::memrchr(b'/', word).map_or(word, |slash| &word[slash + 1..]);
        if !last.is_empty() {
            self.names.insert(hash(last));
        }
    }
}

/// A name as `sha256sum` escapes it.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        out.push(match (byte, bytes.as_slice().first()) {
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(b'\\')) => b'\\',
            (other, _) => {
                out.push(*other);
                continue;
            }
        });
        bytes.next();
    }
    out
}

/// A name as an address has it, with `%2B` for a plus.
fn decoded(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let byte = after.get(..2).filter(|_| *first == b'%').and_then(unhex);
        out.push(byte.as_deref().and_then(<[u8]>::first).copied().unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    out
}

/// For this program only.
fn hash(name: &[u8]) -> u64 {
    FixedState::default().hash_one(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn speaks(text: &str, own: &str, of: &str) -> bool {
        let sums = Sums::parse(text.as_bytes(), own.as_bytes());
        sums.names(of.as_bytes())
            && sums.has(&unhex(ABC.as_bytes()).expect("hexadecimal"))
            && sums.algorithms().any(|a| a == Algorithm::Sha256)
    }

    #[test]
    fn every_form_is_understood() {
        let upper = ABC.to_uppercase();
        for (text, own, of) in [
            (format!("{ABC}  a b.gz\n"), "SHA256SUMS", "a b.gz"),
            (format!("{ABC} *x/a.gz\r\n"), "SHA256SUMS", "a.gz"),
            (format!("\\{ABC}  a\\\\b\\nc\n"), "SHA256SUMS", "a\\b\nc"),
            (format!("SHA256 (./a (1).gz) = {upper}\n"), "CHECKSUM", "a (1).gz"),
            (ABC.to_owned(), "a.gz.sha256", "a.gz"),
            (format!("Checksums-Sha256:\n {ABC} 3 a.gz\n"), "a_1.dsc", "a.gz"),
            (format!("<a href='../a%2Bb.gz#sha256={ABC}'>x</a>"), "index.html", "a+b.gz"),
            (
                format!("{{'files':[{{'filename':'a.gz','hashes':{{'sha256':'{ABC}'}}}}]}}"),
                "index.v1_json",
                "a.gz",
            ),
            (format!("Filename: pool/a.gz\nSHA256: {ABC}\n"), "Packages.xz", "a.gz"),
            (
                format!("<checksum>{ABC}</checksum><location href='a.gz'/>"),
                "1-primary.xml.zst",
                "a.gz",
            ),
            (format!("SHA256:\n {ABC} 3 main/a.gz\n"), "Release", "a.gz"),
            (
                format!("<checksum type=\"sha256\">{ABC}</checksum><location href=\"r/a.gz\"/>"),
                "repomd.xml",
                "a.gz",
            ),
            (format!("{{\"a.gz\": \"sha256:{ABC}\"}}"), "checksums.json", "a.gz"),
            (
                "SHA256 (a.gz) = ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=".to_owned(),
                "CHECKSUM",
                "a.gz",
            ),
        ] {
            assert!(is_sums(own.as_bytes()), "{own}");
            assert!(speaks(&text, own, of), "{text:?} of {of:?}");
            assert!(!speaks(&text, own, "other"), "{text:?}");
        }
    }

    #[test]
    fn what_holds_no_digest_speaks_of_nothing() {
        assert_eq!(Sums::parse(b"a.gz\n", b"a.gz.md5"), Sums::default());
        let binary = [b"\0".as_slice(), ABC.as_bytes()].concat();
        assert_eq!(Sums::parse(&binary, b"md5"), Sums::default());
        assert!(!is_sums(b"sum.py") && !is_sums(b"a.gz") && !is_sums(b"md5sum.1.gz"));
    }
}
