//! rpm headers as every rpmdb backend stores them: one blob a package, without the file magic.
//!
//! Layout (rpm's `docs/manual/hregions.md`), all integers big-endian: number of index entries,
//! bytes of data, then entries of 16 bytes (tag, type, offset, count), then the data. The first
//! entry may be a *region*: it names a stretch of entries and data that signatures and digests
//! cover. What rpm adds at install time (INSTALLTIME, FILESTATES …) lies behind the region.

use std::ops::Range;

use num_traits::FromPrimitive;

use crate::format::Malformed;
use crate::format::bytes::Order::Big;

/// Most index entries a header may have: rpm's own limit.
pub const MAX_ENTRIES: usize = 65_535;
/// Most bytes of data a header may have: rpm's own limit.
pub const MAX_DATA: usize = 256 << 20;

/// The tags that this project looks at by number.
#[allow(missing_docs)]
pub mod tag {
    pub const HEADERIMAGE: u32 = 61;
    pub const HEADERIMMUTABLE: u32 = 63;
    pub const SIGMD5: u32 = 261;
    pub const SHA1HEADER: u32 = 269;
    pub const SHA256HEADER: u32 = 273;
    pub const NAME: u32 = 1000;
    pub const VERSION: u32 = 1001;
    pub const RELEASE: u32 = 1002;
    pub const EPOCH: u32 = 1003;
    pub const INSTALLTIME: u32 = 1008;
    pub const ARCH: u32 = 1022;
    pub const OLDFILENAMES: u32 = 1027;
    pub const FILESTATES: u32 = 1029;
    pub const FILEMODES: u32 = 1030;
    pub const FILEDIGESTS: u32 = 1035;
    pub const FILEFLAGS: u32 = 1037;
    pub const DIRINDEXES: u32 = 1116;
    pub const BASENAMES: u32 = 1117;
    pub const DIRNAMES: u32 = 1118;
    pub const FILELANGS: u32 = 1097;
    pub const INSTALLCOLOR: u32 = 1127;
    pub const INSTALLTID: u32 = 1128;
    pub const FILECOLORS: u32 = 1140;
    pub const FILEDIGESTALGO: u32 = 5011;
}

/// The name of a tag without its `RPMTAG_` prefix, as `rpm --querytags` prints it, or `None` for
/// one that is not known.
pub fn tag_name(number: u32) -> Option<String> {
    let known = format!("{:?}", rpm::IndexTag::from_u32(number)?);
    Some(known.trim_start_matches("RPMTAG_").to_owned())
}

/// The type of a tag's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// No value.
    Null,
    /// Bytes that are characters.
    Char,
    /// 8-bit integers.
    Int8,
    /// 16-bit integers.
    Int16,
    /// 32-bit integers.
    Int32,
    /// 64-bit integers.
    Int64,
    /// One string.
    String,
    /// Bytes.
    Bin,
    /// Strings.
    StringArray,
    /// Translations of one string.
    I18nString,
}

impl Type {
    fn of(number: u32) -> Option<Self> {
        use Type::*;
        let all = [Null, Char, Int8, Int16, Int32, Int64, String, Bin, StringArray, I18nString];
        all.get(number as usize).copied()
    }

    /// Bytes of one element, or `None` for strings.
    fn width(self) -> Option<usize> {
        match self {
            Type::Null => Some(0),
            Type::Char | Type::Int8 | Type::Bin => Some(1),
            Type::Int16 => Some(2),
            Type::Int32 => Some(4),
            Type::Int64 => Some(8),
            Type::String | Type::StringArray | Type::I18nString => None,
        }
    }
}

/// One tag's value, borrowed from the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// Its type.
    pub kind: Type,
    /// Number of elements, or of bytes for [`Type::Bin`].
    pub count: usize,
    /// Exactly the bytes of the elements; each string ends with its NUL.
    pub bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// The strings, without their NULs; none if the value is not text.
    pub fn strings(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = if self.kind.width().is_none() { self.bytes } else { &[] };
        std::iter::from_fn(move || {
            let string = &rest[..memchr::memchr(0, rest)?];
            rest = &rest[string.len() + 1..];
            Some(string)
        })
    }

    /// The first string; `None` if the value is not text.
    pub fn string(self) -> Option<&'a [u8]> {
        self.strings().next()
    }

    /// The elements of an integer, character or byte value, widened; none if it is text.
    pub fn integers(self) -> impl Iterator<Item = u64> + 'a {
        let width = self.kind.width().unwrap_or(0).max(1);
        let bytes = if self.kind.width().is_some() { self.bytes } else { &[] };
        bytes.chunks_exact(width).map(|c| c.iter().fold(0, |n, &b| (n << 8) | u64::from(b)))
    }

    /// The first element as `u32`; `None` if there is none or it does not fit.
    pub fn u32(self) -> Option<u32> {
        self.integers().next().and_then(|n| n.try_into().ok())
    }
}

/// One index entry of a header whose value was found to lie within the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The tag's number.
    pub tag: u32,
    /// The value's type.
    pub kind: Type,
    /// Number of elements.
    pub count: usize,
    /// Where the value lies in the blob.
    pub range: Range<usize>,
    /// Whether digests and signatures cover it.
    pub immutable: bool,
}

/// A header whose every entry was checked to lie within the blob.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    blob: &'a [u8],
    entries: Vec<Entry>,
    region: Range<usize>,
}

impl<'a> Header<'a> {
    /// Reads a header blob: exactly one header, no magic before it, nothing behind it.
    ///
    /// # Errors
    ///
    /// With the offset of the first entry that is truncated, of unknown type, out of the data's
    /// bounds, or of a size beyond [`MAX_ENTRIES`] and [`MAX_DATA`].
    pub fn parse(blob: &'a [u8]) -> Result<Self, Malformed> {
        let (entries, data) = sizes(blob)?;
        let data_at = 8 + 16 * entries;
        if blob.len() != data_at + data {
            let what = format!("header of {} bytes claims {}", blob.len(), data_at + data);
            return Err(Malformed::at(0, what));
        }
        let (in_region, region) = region(blob, entries, data_at)?;
        let mut header = Header { blob, entries: Vec::with_capacity(entries), region };
        for n in 0..entries {
            let at = 8 + 16 * n;
            let mut entry = entry(blob, at, data_at)?;
            entry.immutable = n < in_region;
            header.entries.push(entry);
        }
        Ok(header)
    }

    /// The entries in the order of the index.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The value of an entry of this header.
    pub fn value(&self, entry: &Entry) -> Value<'a> {
        let bytes = self.blob.get(entry.range.clone()).unwrap_or_default();
        Value { kind: entry.kind, count: entry.count, bytes }
    }

    /// The value of `tag`. As in rpm, what was added at install time wins over the region.
    pub fn get(&self, tag: u32) -> Option<Value<'a>> {
        self.entries.iter().rev().find(|e| e.tag == tag).map(|e| self.value(e))
    }

    /// The first string of `tag`, or nothing.
    pub fn string(&self, tag: u32) -> &'a [u8] {
        self.get(tag).and_then(Value::string).unwrap_or_default()
    }

    /// The blob that it was read from.
    pub(super) fn blob(&self) -> &'a [u8] {
        self.blob
    }

    /// The big-endian 32-bit integer at byte `at` of the blob.
    pub(super) fn u32_at(&self, at: usize) -> Option<u32> {
        Big.u32(self.blob, at).ok()
    }

    /// Name, epoch, version, release and architecture in rpm's form: `name-[epoch:]version-release.arch`.
    /// Bytes that are not UTF-8 are replaced; a header without architecture (gpg-pubkey) has none.
    pub fn nevra(&self) -> String {
        let text = |tag| String::from_utf8_lossy(self.string(tag)).into_owned();
        let (name, version, release) = (text(tag::NAME), text(tag::VERSION), text(tag::RELEASE));
        let epoch = self.get(tag::EPOCH).and_then(Value::u32).map(|e| format!("{e}:"));
        let arch = self.string(tag::ARCH);
        let arch = if arch.is_empty() { String::new() } else { format!(".{}", text(tag::ARCH)) };
        format!("{name}-{}{version}-{release}{arch}", epoch.unwrap_or_default())
    }

    /// The places in the blob of the install times (INSTALLTIME, INSTALLTID) that may be
    /// patched: one 32-bit integer outside everything that a digest covers.
    ///
    /// # Errors
    ///
    /// If the header holds such a tag in another form: patching it would make rpm reject the
    /// package, and leaving it would leave the build's time in.
    pub fn times(&self) -> Result<Vec<Range<usize>>, Malformed> {
        let times = self.entries.iter().filter(|e| is_time(e.tag));
        times
            .map(|e| {
                let single = e.kind == Type::Int32 && e.count == 1;
                let covered = e.immutable || overlap(&e.range, &self.region);
                if single && !covered {
                    return Ok(e.range.clone());
                }
                let name = tag_name(e.tag).unwrap_or_default();
                let why =
                    if covered { "in the immutable region" } else { "not one 32-bit integer" };
                Err(Malformed::at(e.range.start, format!("{name} is {why}")))
            })
            .collect()
    }
}

/// Whether a tag is one of the two that hold the time of installation.
pub fn is_time(number: u32) -> bool {
    matches!(number, tag::INSTALLTIME | tag::INSTALLTID)
}

/// Lowers INSTALLTIME and INSTALLTID in `blob` to `epoch` where they are later; nothing else
/// changes. Returns how many values changed.
///
/// # Errors
///
/// With nothing changed, as [`Header::parse`] and [`Header::times`] do.
pub fn clamp_times(blob: &mut [u8], epoch: u32) -> Result<usize, Malformed> {
    let places = Header::parse(blob)?.times()?;
    let mut changed = 0;
    for place in places {
        let field = &mut blob[place];
        if Big.u32(field, 0).is_ok_and(|value| value > epoch) {
            field.copy_from_slice(&epoch.to_be_bytes());
            changed += 1;
        }
    }
    Ok(changed)
}

/// Whether [`clamp_times`] would change anything.
///
/// # Errors
///
/// As it does.
pub fn clamp_needed(blob: &[u8], epoch: u32) -> Result<bool, Malformed> {
    let places = Header::parse(blob)?.times()?;
    Ok(places.iter().any(|p| Big.u32(blob, p.start).is_ok_and(|value| value > epoch)))
}

/// The counts in the first eight bytes: index entries and bytes of data.
fn sizes(blob: &[u8]) -> Result<(usize, usize), Malformed> {
    let truncated = |_| Malformed::at(blob.len(), "header is truncated");
    let entries = Big.u32(blob, 0).map_err(truncated)? as usize;
    let data = Big.u32(blob, 4).map_err(truncated)? as usize;
    if entries == 0 || entries > MAX_ENTRIES {
        return Err(Malformed::at(0, format!("header has {entries} index entries")));
    }
    if data > MAX_DATA {
        return Err(Malformed::at(4, format!("header has {data} bytes of data")));
    }
    Ok((entries, data))
}

/// How many of the first entries, and which bytes of the blob's data, the region covers.
fn region(blob: &[u8], entries: usize, data_at: usize) -> Result<(usize, Range<usize>), Malformed> {
    let none = (0, 0..0);
    if !matches!(Big.u32(blob, 8), Ok(tag::HEADERIMAGE..=tag::HEADERIMMUTABLE)) {
        return Ok(none);
    }
    let bad = |what: &str| Malformed::at(8usize, format!("region {what}"));
    if (Big.u32(blob, 12), Big.u32(blob, 20)) != (Ok(7), Ok(16)) {
        return Err(bad("is not 16 bytes"));
    }
    let offset = Big.u32(blob, 16).unwrap_or(0) as usize;
    if offset == 0 {
        return Ok((entries, data_at..blob.len())); // rpm before 4: the whole header
    }
    let trailer = data_at + offset;
    let back = Big.u32(blob, trailer + 8).map_err(|_| bad("has its trailer outside the data"))?;
    let covered = back.wrapping_neg() as usize;
    if !covered.is_multiple_of(16)
        || covered == 0
        || covered / 16 > entries
        || trailer + 16 > blob.len()
    {
        return Err(bad("has a trailer that does not fit the index"));
    }
    Ok((covered / 16, data_at..trailer + 16))
}

/// The entry at byte `at`, its value checked to lie within the data.
fn entry(blob: &[u8], at: usize, data_at: usize) -> Result<Entry, Malformed> {
    let field = |n: usize| Big.u32(blob, at + 4 * n).unwrap_or_default();
    let (tag, offset, count) = (field(0), field(2) as usize, field(3) as usize);
    let bad = |what: &str| Malformed::at(at, format!("entry of tag {tag} {what}"));
    let kind = Type::of(field(1)).ok_or_else(|| bad("has an unknown type"))?;
    let start = data_at + offset;
    let data = blob.get(start..).ok_or_else(|| bad("lies outside the data"))?;
    let length = match kind.width() {
        Some(width) => width.checked_mul(count).filter(|&n| n <= data.len()),
        None => strings_length(data, if kind == Type::String { 1 } else { count }),
    };
    let length = length.ok_or_else(|| bad("reaches outside the data"))?;
    Ok(Entry { tag, kind, count, range: start..start + length, immutable: false })
}

/// Bytes of the first `count` NUL-terminated strings.
fn strings_length(data: &[u8], count: usize) -> Option<usize> {
    if count == 0 {
        return Some(0);
    }
    memchr::memchr_iter(0, data).nth(count - 1).map(|at| at + 1)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}
