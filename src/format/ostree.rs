//! ostree's objects, as bytes: commit, dirtree, dirmeta and the header of a file object.
//!
//! They are GVariants in little-endian serialisation whose integers ostree stores big-endian:
//! dirtree `(a(say)a(sayay))`, dirmeta `(uuua(ayay))`, file header `(uuuusa(ayay))`, commit
//! `(a{sv}aya(say)sstayay)`. An object's name is the SHA-256 of these bytes (a file object's: of
//! its framed header and its content), so writing them gives every checksum under a commit.
//!
//! Follows libostree's `ostree-core.h` and the GVariant specification, "Serialisation".

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::Malformed;
use super::gvariant::{le, offset_width as width};

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
        let (fixed, xattrs) =
            bytes.split_at_checked(12).ok_or(Malformed::at(bytes.len(), "dirmeta is truncated"))?;
        Ok(Attrs {
            uid: be32(fixed, 0),
            gid: be32(fixed, 4),
            mode: be32(fixed, 8),
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
        let length = usize::try_from(be32(length, 0)).unwrap_or(usize::MAX);
        let header = rest.get(..length).ok_or_else(short)?;
        let ([target_end], body) = unframe::<1>(header, 8)?;
        let (front, xattrs) = split(body, target_end, 8)?;
        let (fixed, target) = front.split_at_checked(24).ok_or_else(short)?;
        let target = target.strip_suffix(b"\0").ok_or_else(short)?;
        let attrs = Attrs {
            uid: be32(fixed, 8),
            gid: be32(fixed, 12),
            mode: be32(fixed, 16),
            xattrs: parse_xattrs(xattrs, 8 + target_end)?,
        };
        let size = u64::from(be32(fixed, 0)) << 32 | u64::from(be32(fixed, 4));
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

/// A dirtree: the names in a directory and the objects they stand for, each list sorted bytewise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirtree {
    /// Files and symbolic links: name, file object.
    pub files: Vec<(Vec<u8>, Checksum)>,
    /// Directories: name, dirtree, dirmeta.
    pub dirs: Vec<(Vec<u8>, Checksum, Checksum)>,
}

impl Dirtree {
    /// The bytes of the dirtree object.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        encode_array(&mut out, &self.files, |out, (name, file)| {
            let start = out.len();
            let end = c_string(out, name);
            out.extend_from_slice(&file.0);
            frame(out, start, &[end]);
        });
        let files_end = out.len();
        encode_array(&mut out, &self.dirs, |out, (name, tree, meta)| {
            let start = out.len();
            let end = c_string(out, name);
            out.extend_from_slice(&tree.0);
            out.extend_from_slice(&meta.0);
            frame(out, start, &[end + 32, end]);
        });
        frame(&mut out, 0, &[files_end]);
        out
    }

    /// The dirtree object in `bytes`: names plain, sorted and unique, or it is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let ([files_end], body) = unframe::<1>(bytes, 0)?;
        let (files, dirs) = split(body, files_end, 0)?;
        let file = |element: &[u8], at: usize| {
            let ([end], body) = unframe::<1>(element, at)?;
            let (name, file) = split(body, end, at)?;
            Ok((parse_name(name, at)?, parse_checksum(file, at)?))
        };
        let dir = |element: &[u8], at: usize| {
            let ([tree_end, name_end], body) = unframe::<2>(element, at)?;
            let (rest, meta) = split(body, tree_end, at)?;
            let (name, tree) = split(rest, name_end, at)?;
            Ok((parse_name(name, at)?, parse_checksum(tree, at)?, parse_checksum(meta, at)?))
        };
        let tree = Dirtree {
            files: parse_array(files, 0, file)?,
            dirs: parse_array(dirs, files_end, dir)?,
        };
        tree.check_order()?;
        one_encoding(bytes, &tree.encode(), 0)?;
        Ok(tree)
    }

    fn check_order(&self) -> Result<(), Malformed> {
        let sorted =
            self.files.is_sorted_by(|a, b| a.0 < b.0) && self.dirs.is_sorted_by(|a, b| a.0 < b.0);
        let both = |name: &Vec<u8>| self.dirs.binary_search_by(|d| d.0.cmp(name)).is_ok();
        if !sorted || self.files.iter().any(|(name, _)| both(name)) {
            return Err(Malformed::at(0usize, "the names of a dirtree are not sorted and unique"));
        }
        Ok(())
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
        let dirtree = parse_checksum(dirtree, tree_start)?;
        Ok(Root { dirtree, dirmeta: parse_checksum(dirmeta, tree_end)? })
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |n, b| n << 8 | u32::from(*b))
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
    let xattrs = parse_array(bytes, base, |element, at| {
        let ([end], body) = unframe::<1>(element, at)?;
        let (name, value) = split(body, end, at)?;
        let name = name.strip_suffix(b"\0").ok_or(Malformed::at(at, "xattr name has no end"))?;
        Ok((name.to_vec(), value.to_vec()))
    })?;
    let mut encoded = Vec::with_capacity(bytes.len());
    encode_xattrs(&mut encoded, &xattrs);
    one_encoding(bytes, &encoded, base)?;
    Ok(xattrs)
}

/// Refuses what says `encoded` in other bytes, as libostree does: two objects would be one tree.
fn one_encoding(bytes: &[u8], encoded: &[u8], base: usize) -> Result<(), Malformed> {
    let differ = || bytes.iter().zip(encoded).take_while(|(x, y)| x == y).count();
    match bytes == encoded {
        true => Ok(()),
        false => Err(Malformed::at(base + differ(), "not in GVariant's normal form")),
    }
}

/// Appends an array of variable-size elements: the elements, then the end of each.
fn encode_array<T>(out: &mut Vec<u8>, all: &[T], element: impl Fn(&mut Vec<u8>, &T)) {
    let start = out.len();
    let mut ends = Vec::with_capacity(all.len());
    for one in all {
        element(out, one);
        ends.push(out.len() - start);
    }
    frame(out, start, &ends);
}

/// Appends framing offsets to what begins at `start`, each as wide as the whole then needs.
fn frame(out: &mut Vec<u8>, start: usize, ends: &[usize]) {
    let body = (out.len() - start) as u128;
    let fits = |width: &usize| body + (*width as u128) * (ends.len() as u128) < 1 << (8 * width);
    let width = [1, 2, 4].into_iter().find(fits).unwrap_or(8);
    for end in ends {
        out.extend_from_slice(&(*end as u64).to_le_bytes()[..width]);
    }
}

/// The `N` framing offsets at the end of a tuple, last member's first, and what is before them.
fn unframe<const N: usize>(bytes: &[u8], base: usize) -> Result<([usize; N], &[u8]), Malformed> {
    let width = width(bytes.len());
    let short = || Malformed::at(base + bytes.len(), "tuple is truncated");
    let body = bytes.len().checked_sub(N * width).ok_or_else(short)?;
    let (body, offsets) = bytes.split_at(body);
    let mut out = [0; N];
    for (slot, offset) in out.iter_mut().zip(offsets.chunks_exact(width)) {
        *slot = le(offset);
    }
    Ok((out, body))
}

fn split(bytes: &[u8], at: usize, base: usize) -> Result<(&[u8], &[u8]), Malformed> {
    bytes
        .split_at_checked(at)
        .ok_or_else(|| Malformed::at(base, "a framing offset is out of range"))
}

fn parse_array<'a, T>(
    bytes: &'a [u8],
    base: usize,
    element: impl Fn(&'a [u8], usize) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let bad = |at: usize| Malformed::at(base + at, "a framing offset is out of range");
    let width = width(bytes.len());
    let last = bytes.len().checked_sub(width).ok_or(bad(0))?;
    let body = le(&bytes[last..]);
    let offsets = bytes.get(body..).ok_or(bad(last))?;
    if !offsets.len().is_multiple_of(width) {
        return Err(bad(last));
    }
    let mut out = Vec::with_capacity(offsets.len() / width);
    let mut start = 0;
    for offset in offsets.chunks_exact(width) {
        let end = le(offset);
        let piece = bytes[..body].get(start..end).ok_or(bad(start))?;
        out.push(element(piece, base + start)?);
        start = end;
    }
    Ok(out)
}

fn parse_name(bytes: &[u8], at: usize) -> Result<Vec<u8>, Malformed> {
    let name = bytes.strip_suffix(b"\0").ok_or(Malformed::at(at, "name has no end"))?;
    let plain = !name.is_empty() && name != b"." && name != b"..";
    if !plain || name.iter().any(|b| *b == b'/' || *b == 0) {
        return Err(Malformed::at(at, "name is not a plain file name"));
    }
    Ok(name.to_vec())
}

fn parse_checksum(bytes: &[u8], at: usize) -> Result<Checksum, Malformed> {
    let bytes = bytes.try_into().map_err(|_| Malformed::at(at, "checksum is not 32 bytes"))?;
    Ok(Checksum(bytes))
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
            let mut tree = Dirtree::default();
            for (i, name) in names.into_iter().enumerate() {
                let sum = Checksum::of(&name);
                if i < split { tree.files.push((name, sum)) } else { tree.dirs.push((name, sum, sum)) }
            }
            prop_assert_eq!(Dirtree::parse(&tree.encode()), Ok(tree));
        }

        #[test]
        fn a_dirmeta_survives_the_round(uid: u32, mode: u32, names in names(), value: Vec<u8>) {
            let xattrs = names.into_iter().map(|n| (n, value.clone())).collect();
            let attrs = Attrs { uid, gid: 7, mode, xattrs };
            prop_assert_eq!(Attrs::parse_dirmeta(&attrs.encode_dirmeta()), Ok(attrs));
        }

        #[test]
        fn damaged_bytes_never_panic(mut bytes: Vec<u8>, names in names(), at: usize, to: u8) {
            let _ = (Dirtree::parse(&bytes), Attrs::parse_dirmeta(&bytes), Root::parse_commit(&bytes));
            let _ = Filez::parse(&bytes);
            let files = names.into_iter().map(|n| (n, Checksum([7; 32]))).collect();
            bytes = Dirtree { files, dirs: Vec::new() }.encode();
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = Dirtree::parse(&bytes);
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
        let tree = Dirtree::default().encode();
        assert!(Dirtree::parse(&[&tree[..], &[0, 0]].concat()).is_err());
    }

    #[test]
    fn the_empty_directory_has_its_well_known_name() {
        // What `ostree` calls the dirtree of every empty directory.
        let name = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(Checksum::of(&Dirtree::default().encode()).to_string(), name);
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
