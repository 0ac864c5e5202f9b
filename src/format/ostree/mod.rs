//! ostree's objects, as bytes: commit, dirtree, dirmeta and the header of a file object.
//!
//! They are GVariants in little-endian serialisation whose integers ostree stores big-endian:
//! dirtree `(a(say)a(sayay))`, dirmeta `(uuua(ayay))`, file header `(uuuusa(ayay))`, commit
//! `(a{sv}aya(say)sstayay)`. An object's name is the SHA-256 of these bytes (a file object's: of
//! its framed header and its content), so writing them gives every checksum under a commit.
//!
//! Follows libostree's `ostree-core.h` and the GVariant specification, "Serialisation".

mod dirtree;
mod framing;

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use self::dirtree::checksum;
pub use self::dirtree::{Dirtree, Node};
use self::framing::{Array, encode_array, frame, split, unframe};
use super::Malformed;
use super::bytes::Order::Big;

/// A SHA-256 that names an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum(pub [u8; 32]);

impl Checksum {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Checksum(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Checksum {
    /// 64 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two digits at a time through `write!` were a sixth of a small comparison's instructions.
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

/// A lower-case hexadecimal digit.
fn digit(n: u8) -> u8 {
    if n < 10 { b'0' + n } else { b'a' + n - 10 }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Checksum {
    type Err = Malformed;

    /// From 64 lower-case hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bad = || Malformed::at(0usize, "not 64 lower-case hexadecimal digits");
        let digit = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(bad()),
        };
        let text: &[u8; 64] = text.as_bytes().try_into().map_err(|_| bad())?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Checksum(bytes))
    }
}

/// Extended attributes: names without a NUL, and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Owner, mode and extended attributes: what a dirmeta holds, and a file object's header beside
/// the symbolic link's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attrs {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `st_mode` whole: type and permission bits.
    pub mode: u32,
    /// Extended attributes, sorted by name bytewise.
    pub xattrs: Xattrs,
}

impl Attrs {
    /// The bytes of the dirmeta object.
    pub fn encode_dirmeta(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for field in [self.uid, self.gid, self.mode] {
            out.extend(field.to_be_bytes());
        }
        encode_xattrs(&mut out, &self.xattrs);
        out
    }

    /// The dirmeta object in `bytes`.
    pub fn parse_dirmeta(bytes: &[u8]) -> Result<Self, Malformed> {
        let (fixed, xattrs) = bytes
            .split_at_checked(12)
            .ok_or_else(|| Malformed::at(bytes.len(), "dirmeta is truncated"))?;
        Ok(Attrs {
            uid: Big.u32(fixed, 0)?,
            gid: Big.u32(fixed, 4)?,
            mode: Big.u32(fixed, 8)?,
            xattrs: parse_xattrs(xattrs, 12)?,
        })
    }

    /// The framed header of a file object; `target` is a symbolic link's, empty for a file.
    fn encode_header(&self, target: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for field in [self.uid, self.gid, self.mode, 0] {
            body.extend(field.to_be_bytes());
        }
        c_string(&mut body, target);
        let target_end = body.len();
        encode_xattrs(&mut body, &self.xattrs);
        frame(&mut body, 0, &[target_end]);
        let mut out = Vec::with_capacity(body.len() + 8);
        out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend([0; 4]);
        out.extend(body);
        out
    }
}

/// What stands before the content of a file object in a repository of mode `archive` (`.filez`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filez {
    /// Owner, mode and xattrs.
    pub attrs: Attrs,
    /// A symbolic link's target; empty for a file.
    pub target: Vec<u8>,
    /// Bytes of content once it is inflated.
    pub size: u64,
    /// Where the content begins: a raw deflate stream (RFC 1951), nothing for a link.
    pub content: usize,
}

impl Filez {
    /// The header of the `.filez` object that begins with `bytes`: its length (big-endian), four
    /// zero bytes, a GVariant `(tuuuusa(ayay))` whose integers are big-endian too.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let short = || Malformed::at(bytes.len(), "file header is truncated");
        let (length, rest) = bytes.split_at_checked(8).ok_or_else(short)?;
        let length = usize::try_from(Big.u32(length, 0)?).unwrap_or(usize::MAX);
        let header = rest.get(..length).ok_or_else(short)?;
        let ([target_end], body) = unframe::<1>(header, 8)?;
        let (front, xattrs) = split(body, target_end, 8)?;
        let (fixed, target) = front.split_at_checked(24).ok_or_else(short)?;
        let target = target.strip_suffix(b"\0").ok_or_else(short)?;
        let attrs = Attrs {
            uid: Big.u32(fixed, 8)?,
            gid: Big.u32(fixed, 12)?,
            mode: Big.u32(fixed, 16)?,
            xattrs: parse_xattrs(xattrs, 8 + target_end)?,
        };
        let size = Big.u64(fixed, 0)?;
        Ok(Filez { attrs, target: target.to_vec(), size, content: 8 + length })
    }
}

/// Computes the checksum of a file object piece by piece.
#[derive(Clone)]
pub struct FileHasher(Sha256);

impl FileHasher {
    /// For a regular file (`target` empty, content to come) or a symbolic link.
    pub fn new(attrs: &Attrs, target: &[u8]) -> Self {
        FileHasher(Sha256::new_with_prefix(attrs.encode_header(target)))
    }

    /// More content.
    pub fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    /// The object's checksum.
    pub fn finish(self) -> Checksum {
        Checksum(self.0.finalize().into())
    }
}

/// What a commit object says of its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// The root's dirtree.
    pub dirtree: Checksum,
    /// The root's dirmeta.
    pub dirmeta: Checksum,
}

impl Root {
    /// The content checksum: SHA-256 of both checksums, as `ostree_commit_get_content_checksum`
    /// gives it. It sees neither commit metadata, nor parent, nor timestamp.
    pub fn content_checksum(&self) -> Checksum {
        Checksum::of(&[self.dirtree.0, self.dirmeta.0].concat())
    }

    /// The root that the commit object in `bytes` names.
    pub fn parse_commit(bytes: &[u8]) -> Result<Self, Malformed> {
        let ([tree_end, subject_end, ..], body) = unframe::<6>(bytes, 0)?;
        let (front, dirmeta) = split(body, tree_end, 0)?;
        // A 64-bit timestamp, aligned to eight, stands between body text and dirtree.
        let tree_start = subject_end
            .checked_next_multiple_of(8)
            .and_then(|n| n.checked_add(8))
            .unwrap_or(usize::MAX);
        let (_, dirtree) = split(front, tree_start, 0)?;
        let dirtree = checksum(dirtree, tree_start)?;
        Ok(Root { dirtree, dirmeta: checksum(dirmeta, tree_end)? })
    }
}

/// Appends `name` and its NUL; their length.
fn c_string(out: &mut Vec<u8>, name: &[u8]) -> usize {
    out.extend_from_slice(name);
    out.push(0);
    name.len() + 1
}

fn encode_xattrs(out: &mut Vec<u8>, xattrs: &[(Vec<u8>, Vec<u8>)]) {
    encode_array(out, xattrs, |out, (name, value)| {
        let start = out.len();
        let end = c_string(out, name);
        out.extend_from_slice(value);
        frame(out, start, &[end]);
    });
}

/// The xattrs `a(ayay)` in `bytes`, which stand at `base` of their object.
///
/// libostree hands them out in this form too, so that a file object's can be read alike.
pub fn parse_xattrs(bytes: &[u8], base: usize) -> Result<Xattrs, Malformed> {
    let array = Array::parse(bytes, base)?;
    let xattr = |(at, element)| {
        let at = base + at;
        let ([end], body) = unframe::<1>(element, at)?;
        let (name, value) = split(body, end, at)?;
        let name =
            name.strip_suffix(b"\0").ok_or_else(|| Malformed::at(at, "xattr name has no end"))?;
        Ok((name.to_vec(), value.to_vec()))
    };
    array.iter().map(xattr).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let name = prop::collection::vec(1u8..=255, 1..40)
            .prop_map(|n| n.into_iter().map(|b| if b == b'/' { b'x' } else { b }).collect())
            .prop_filter("plain", |n: &Vec<u8>| n != b"." && n != b"..");
        prop::collection::btree_set(name, 0..40).prop_map(|set| set.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_dirtree_survives_the_round(names in names(), split in 0usize..40) {
            let (mut files, mut dirs) = (Vec::new(), Vec::new());
            for (i, name) in names.into_iter().enumerate() {
                let sum = Checksum::of(&name);
                if i % 3 < split % 3 { files.push((name, sum)) } else { dirs.push((name, sum, sum)) }
            }
            let tree = Dirtree::new(&files, &dirs);
            prop_assert_eq!(Dirtree::parse(tree.bytes().to_vec()), Ok(tree.clone()));
            prop_assert!(tree.files().eq(files.iter().map(|(n, f)| (&n[..], *f))));
            prop_assert!(tree.dirs().eq(dirs.iter().map(|(n, t, m)| (&n[..], *t, *m))));
            for (name, node) in tree.names() {
                prop_assert_eq!(tree.get(name), Some(node));
                prop_assert_eq!(tree.get(&[name, b"\0"].concat()), None);
            }
        }

        #[test]
        fn two_directories_differ_where_their_names_do(
            names in names(),
            kinds in prop::collection::vec((0u8..4, 0u8..4), 40),
        ) {
            let tree = |side: fn(&(u8, u8)) -> u8| {
                let (mut files, mut dirs) = (Vec::new(), Vec::new());
                for (name, kind) in names.iter().zip(&kinds) {
                    let sum = Checksum([side(kind); 32]);
                    match side(kind) {
                        0 => {}
                        1 | 2 => files.push((name.clone(), sum)),
                        _ => dirs.push((name.clone(), sum, sum)),
                    }
                }
                Dirtree::new(&files, &dirs)
            };
            let (a, b) = (tree(|k| k.0), tree(|k| k.1));
            let pairs = names.iter().map(|name| (&name[..], [a.get(name), b.get(name)]));
            let wanted = pairs.filter(|(_, [x, y])| x != y).collect();
            prop_assert_eq!(a.differences(&b), wanted);
        }

        #[test]
        fn a_dirmeta_survives_the_round(uid: u32, mode: u32, names in names(), value: Vec<u8>) {
            let xattrs = names.into_iter().map(|n| (n, value.clone())).collect();
            let attrs = Attrs { uid, gid: 7, mode, xattrs };
            prop_assert_eq!(Attrs::parse_dirmeta(&attrs.encode_dirmeta()), Ok(attrs));
        }

        #[test]
        fn damaged_bytes_never_panic(mut bytes: Vec<u8>, names in names(), at: usize, to: u8) {
            let _ = (Dirtree::parse(bytes.clone()), Attrs::parse_dirmeta(&bytes), Root::parse_commit(&bytes));
            let _ = Filez::parse(&bytes);
            let files: Vec<_> = names.into_iter().map(|n| (n, Checksum([7; 32]))).collect();
            bytes = Dirtree::new(&files, &[]).bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(tree) = Dirtree::parse(bytes.clone()) {
                let files: Vec<_> = tree.files().map(|(n, f)| (n.to_vec(), f)).collect();
                let dirs: Vec<_> = tree.dirs().map(|(n, t, m)| (n.to_vec(), t, m)).collect();
                let again = Dirtree::new(&files, &dirs);
                prop_assert_eq!(again.bytes(), bytes, "one tree, one encoding");
            }
        }
    }

    /// What the fuzzer found: names read one way whatever their framing was.
    #[test]
    fn another_encoding_of_the_same_is_refused() {
        let xattrs = vec![(b"user.a".to_vec(), b"b".to_vec())];
        let mut plain = Vec::new();
        encode_xattrs(&mut plain, &xattrs);
        assert_eq!(parse_xattrs(&plain, 0), Ok(xattrs));
        let [body, end, table] = [&plain[..8], &plain[8..9], &plain[9..]];
        for other in [
            [body, &[7, 0], &[10]].concat(),
            [body, end, &[0], table].concat(),
            [body, &[9], table].concat(),
        ] {
            assert!(parse_xattrs(&other, 0).is_err(), "{other:?}");
        }
        let tree = Dirtree::default();
        assert!(Dirtree::parse([tree.bytes(), &[0, 0]].concat()).is_err());
    }

    #[test]
    fn the_empty_directory_has_its_well_known_name() {
        // What `ostree` calls the dirtree of every empty directory.
        let name = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(Checksum::of(Dirtree::default().bytes()).to_string(), name);
    }

    #[test]
    fn a_checksum_is_64_lower_case_digits() {
        let sum = Checksum::of(b"x");
        assert_eq!(sum.to_string().parse(), Ok(sum));
        for bad in ["", "abc", &sum.to_string().to_uppercase(), &format!("{sum}0")] {
            assert!(bad.parse::<Checksum>().is_err(), "{bad}");
        }
    }
}
