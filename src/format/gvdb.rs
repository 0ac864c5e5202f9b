//! GVariant database files: compiled GSettings schemas, dconf databases, GResource bundles.
//!
//! Follows `gvdb-format.h` of GLib: hash tables of items whose names are chained through parents. A
//! table may hold tables. Numbers of the format are little-endian everywhere; a reversed signature
//! says that the values inside have the other byte order.

use super::Malformed;
use super::bytes::{Mapped, Order};
use super::facts::Facts;

const SIGNATURE: &[u8] = b"GVariant";
const SWAPPED: &[u8] = b"raVGtnai";
const ITEM: u64 = 24;
/// The most nested tables, and parents above a name.
const DEPTH: usize = 64;
const NO_PARENT: u32 = u32::MAX;

/// Every key with its value, in the order of the file; names of tables and keys are joined by
/// spaces.
///
/// # Errors
/// [`Malformed`] if an offset leaves the file or tables are nested more than 64 deep.
pub(crate) fn parse(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    let file = open(bytes)?;
    let mut left = bytes.len();
    table(file, 16, &mut Vec::new(), &mut left, &mut facts)?;
    facts.finish()
}

fn open(bytes: &[u8]) -> Result<Mapped<'_>, Malformed> {
    if !matches!(bytes.get(..8), Some(head) if head == SIGNATURE || head == SWAPPED) {
        return Err(Malformed::at(0, "not a GVariant database"));
    }
    let file = Mapped { bytes, order: Order::Little };
    match file.u32(8, "header")? {
        0 => Ok(file),
        _ => Err(Malformed::at(8, "unknown version of a GVariant database")),
    }
}

/// The range of the pointer at `at`.
fn range(file: Mapped<'_>, at: u64) -> Result<(u64, u64), Malformed> {
    let (start, end) = (file.u32(at, "pointer")?, file.u32(at + 4, "pointer")?);
    let len = end.checked_sub(start).ok_or_else(|| Malformed::at(at, "a range ends early"))?;
    file.slice(u64::from(start), u64::from(len), "range")?;
    Ok((start.into(), len.into()))
}

/// The layout of a hash table.
struct Items<'a> {
    /// The length word of its filter, and the filter.
    filter: &'a [u8],
    buckets: u32,
    /// The offset of the first item.
    first: u64,
    count: u64,
}

impl<'a> Items<'a> {
    /// The items of the table at the pointer at `pointer`.
    fn of(file: Mapped<'a>, pointer: u64) -> Result<Self, Malformed> {
        let (start, len) = range(file, pointer)?;
        let words = u64::from(file.u32(start, "hash table")? & 0x07FF_FFFF);
        let buckets = file.u32(start + 4, "hash table")?;
        let head = 8 + (words + u64::from(buckets)) * 4;
        let items = len.checked_sub(head);
        let items = items.ok_or_else(|| Malformed::at(start, "a table is too short"))?;
        let filter = file.slice(start + 8, words * 4, "filter")?;
        Ok(Items { filter, buckets, first: start + head, count: items / ITEM })
    }
}

/// Takes `size` bytes from what the file can contain.
fn take(left: &mut usize, size: u64, at: u64) -> Result<(), Malformed> {
    let rest = usize::try_from(size).ok().and_then(|size| left.checked_sub(size));
    *left = rest.ok_or_else(|| {
        Malformed::at(at, "tables share items; the content is larger than the file")
    })?;
    Ok(())
}

fn table(
    file: Mapped<'_>,
    pointer: u64,
    above: &mut Vec<String>,
    left: &mut usize,
    facts: &mut Facts,
) -> Result<(), Malformed> {
    if above.len() > DEPTH {
        return Err(Malformed::at(pointer, "tables are nested too deep"));
    }
    let Items { first, count, .. } = Items::of(file, pointer)?;
    for n in 0..count {
        let at = first + n * ITEM;
        take(left, ITEM, at)?;
        let name = String::from_utf8_lossy(&name(file, first, count, n)?).into_owned();
        match file.slice(at + 14, 1, "item")? {
            b"H" => {
                above.push(name);
                table(file, at + 16, above, left, facts)?;
                above.pop();
            }
            b"v" => {
                let (start, len) = range(file, at + 16)?;
                above.push(name);
                facts.opaque("keys", above.join(" "), file.slice(start, len, "value")?);
                above.pop();
            }
            // A list of children, which are items themselves.
            _ => {}
        }
    }
    Ok(())
}

/// An item's name: its own part after those of its parents.
fn name(file: Mapped<'_>, first: u64, items: u64, mut n: u64) -> Result<Vec<u8>, Malformed> {
    let mut parts = Vec::new();
    loop {
        let at = first + n * ITEM;
        let key = (file.u32(at + 8, "key")?, file.u16(at + 12, "key")?);
        parts.push(file.slice(u64::from(key.0), u64::from(key.1), "key")?);
        let parent = file.u32(at + 4, "item")?;
        if parent == NO_PARENT {
            parts.reverse();
            return Ok(parts.concat());
        }
        n = parent.into();
        if n >= items || parts.len() > DEPTH {
            return Err(Malformed::at(at + 4, "an item's parents do not end"));
        }
    }
}

/// The database with its items sorted by bucket, as the format requires, then by hash and name.
/// Lists are sorted by name.
///
/// # Errors
/// Those of [`parse`], and if an item has an unknown type, is not where readers look for it, or
/// shares its bytes with another.
pub(crate) fn sorted(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let file = open(bytes)?;
    let mut left = bytes.len();
    let mut out = bytes[..16].to_vec();
    out.resize(24, 0);
    let root = write(file, 16, 0, &mut left, &mut out)?;
    out[16..24].copy_from_slice(&root);
    Ok(out)
}

/// An item of the source.
struct Item<'a> {
    name: Vec<u8>,
    hash: u32,
    parent: u32,
    key: &'a [u8],
    kind: u8,
    /// Where its pointer is.
    pointer: u64,
}

/// Appends the table at the pointer at `pointer`; returns the pointer to the copy.
fn write(
    file: Mapped<'_>,
    pointer: u64,
    depth: usize,
    left: &mut usize,
    out: &mut Vec<u8>,
) -> Result<[u8; 8], Malformed> {
    if depth > DEPTH {
        return Err(Malformed::at(pointer, "tables are nested too deep"));
    }
    let table = Items::of(file, pointer)?;
    let size = 8 + table.filter.len() as u64 + u64::from(table.buckets) * 4;
    take(left, size + table.count * ITEM, pointer)?;
    let items: Vec<Item<'_>> =
        (0..table.count).map(|n| item(file, &table, n)).collect::<Result<_, _>>()?;
    let bucket = |item: &Item<'_>| item.hash % table.buckets.max(1);
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|n| (bucket(&items[*n]), items[*n].hash, &items[*n].name));
    // The new place of each item.
    let mut place = vec![NO_PARENT; items.len()];
    for (to, from) in order.iter().enumerate() {
        place[*from] = to as u32;
    }
    let start = reserve(out, 4, (size + table.count * ITEM) as usize);
    let mut at = start;
    let mut put = |out: &mut Vec<u8>, bytes: &[u8]| {
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    let head = table.first - size;
    put(out, file.slice(head, size - u64::from(table.buckets) * 4, "hash table")?);
    for n in 0..table.buckets {
        let before = order.partition_point(|item| bucket(&items[*item]) < n);
        put(out, &(before as u32).to_le_bytes());
    }
    for item in order.iter().map(|n| &items[*n]) {
        take(left, item.key.len() as u64, item.pointer)?;
        let key = reserve(out, 1, item.key.len());
        out[key..].copy_from_slice(item.key);
        let parent = place.get(item.parent as usize).copied().unwrap_or(NO_PARENT);
        put(out, &item.hash.to_le_bytes());
        put(out, &parent.to_le_bytes());
        put(out, &(key as u32).to_le_bytes());
        put(out, &(item.key.len() as u16).to_le_bytes());
        put(out, &[item.kind, 0]);
        let value = match item.kind {
            b'H' => write(file, item.pointer, depth + 1, left, out)?,
            b'L' => {
                let mut list = children(file, item.pointer, &place)?;
                list.sort_by_key(|n| order.get(*n as usize).map(|item| &items[*item].name));
                let list: Vec<u8> = list.into_iter().flat_map(u32::to_le_bytes).collect();
                chunk(out, 4, &list, left, item.pointer)?
            }
            _ => {
                let (start, len) = range(file, item.pointer)?;
                chunk(out, 8, file.slice(start, len, "value")?, left, item.pointer)?
            }
        };
        put(out, &value);
    }
    Ok(pair(start, start + (size + table.count * ITEM) as usize))
}

fn item<'a>(file: Mapped<'a>, table: &Items<'_>, n: u64) -> Result<Item<'a>, Malformed> {
    let at = table.first + n * ITEM;
    let name = name(file, table.first, table.count, n)?;
    let key = (file.u32(at + 8, "key")?, file.u16(at + 12, "key")?);
    let (hash, kind) = (file.u32(at, "item")?, file.slice(at + 14, 1, "item")?[0]);
    if hash != hash_of(&name) || table.buckets == 0 {
        return Err(Malformed::at(at, "an item is not where its name is looked for"));
    }
    if !matches!(kind, b'H' | b'L' | b'v') {
        return Err(Malformed::at(at + 14, format!("unknown type of item {kind}")));
    }
    Ok(Item {
        name,
        hash,
        parent: file.u32(at + 4, "item")?,
        key: file.slice(u64::from(key.0), u64::from(key.1), "key")?,
        kind,
        pointer: at + 16,
    })
}

/// The new places of a list's items.
fn children(file: Mapped<'_>, pointer: u64, place: &[u32]) -> Result<Vec<u32>, Malformed> {
    let (start, len) = range(file, pointer)?;
    let child = |n: u64| {
        let at = start + 4 * n;
        let item = file.u32(at, "list")?;
        let place = place.get(item as usize).copied();
        place.ok_or_else(|| Malformed::at(at, format!("there is no item {item}")))
    };
    (0..len / 4).map(child).collect()
}

/// Daniel Bernstein's hash of a name, over signed characters.
fn hash_of(name: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| {
        hash.wrapping_mul(33).wrapping_add_signed(i32::from(byte.cast_signed()))
    };
    name.iter().fold(5381, step)
}

/// Appends `size` zeros at a multiple of `align`; returns where they begin.
fn reserve(out: &mut Vec<u8>, align: usize, size: usize) -> usize {
    let start = out.len().next_multiple_of(align);
    out.resize(start + size, 0);
    start
}

/// Appends a chunk of bytes; returns the pointer to it.
fn chunk(
    out: &mut Vec<u8>,
    align: usize,
    bytes: &[u8],
    left: &mut usize,
    at: u64,
) -> Result<[u8; 8], Malformed> {
    take(left, bytes.len() as u64, at)?;
    let start = reserve(out, align, bytes.len());
    out[start..].copy_from_slice(bytes);
    Ok(pair(start, start + bytes.len()))
}

/// Encodes a pointer. The output is at most a few times the size of a file with 32-bit pointers.
fn pair(start: usize, end: usize) -> [u8; 8] {
    let mut pair = [0; 8];
    pair[..4].copy_from_slice(&(start as u32).to_le_bytes());
    pair[4..].copy_from_slice(&(end as u32).to_le_bytes());
    pair
}
