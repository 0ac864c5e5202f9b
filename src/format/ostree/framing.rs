//! GVariant's framing of tuples and arrays of elements of any size: the elements, then the end of
//! each, little-endian and as wide as the whole needs.
//!
//! Only the normal form is read, as in libostree: otherwise two objects could be the same tree.

use crate::format::Malformed;
use crate::format::gvariant::{le, offset_width};

/// A checked array of elements of any size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Array<'a> {
    elements: &'a [u8],
    ends: &'a [u8],
    width: usize,
}

impl<'a> Array<'a> {
    const EMPTY: Self = Array { elements: &[], ends: &[], width: 1 };

    /// The array in `bytes`, which are at `base` of their object.
    pub(super) fn parse(bytes: &'a [u8], base: usize) -> Result<Self, Malformed> {
        let bad = |at: usize| Malformed::at(base + at, "a framing offset is out of range");
        let array = Self::unchecked(bytes).ok_or_else(|| bad(0))?;
        if array.ends.len() % array.width != 0 {
            return Err(bad(array.elements.len()));
        }
        normal(array.elements.len(), array.len(), bytes.len(), base)?;
        let ordered = array.ends.chunks_exact(array.width).is_sorted_by_key(le);
        // The last end is the start of the ends, so none is beyond the elements.
        if ordered { Ok(array) } else { Err(bad(array.elements.len())) }
    }

    /// The array in `bytes`, which were checked before.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self::unchecked(bytes).unwrap_or(Array::EMPTY)
    }

    fn unchecked(bytes: &'a [u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Array::EMPTY);
        }
        let width = offset_width(bytes.len());
        let last = bytes.len().checked_sub(width)?;
        let body = Some(le(&bytes[last..])).filter(|body| *body <= last)?;
        let (elements, ends) = bytes.split_at(body);
        Some(Array { elements, ends, width })
    }

    /// The number of elements.
    pub(super) fn len(&self) -> usize {
        self.ends.len() / self.width
    }

    fn end(&self, i: usize) -> usize {
        le(&self.ends[i * self.width..][..self.width])
    }

    /// The start of each element, and its bytes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let Array { elements, ends, width } = *self;
        let mut start = 0;
        ends.chunks_exact(width).map(move |end| {
            let (from, end) = (start, le(end));
            start = end;
            (from, &elements[from..end])
        })
    }

    /// The bytes of element `i`.
    pub(super) fn get(&self, i: usize) -> &'a [u8] {
        let start = if i == 0 { 0 } else { self.end(i - 1) };
        &self.elements[start..self.end(i)]
    }
}

/// The `N` framing offsets at the end of a tuple, the last member's first, and the bytes before
/// them.
pub(super) fn unframe<const N: usize>(
    bytes: &[u8],
    base: usize,
) -> Result<([usize; N], &[u8]), Malformed> {
    let width = offset_width(bytes.len());
    let short = || Malformed::at(base + bytes.len(), "tuple is truncated");
    let body = bytes.len().checked_sub(N * width).ok_or_else(short)?;
    normal(body, N, bytes.len(), base)?;
    let (body, offsets) = bytes.split_at(body);
    let mut out = [0; N];
    for (slot, offset) in out.iter_mut().zip(offsets.chunks_exact(width)) {
        *slot = le(offset);
    }
    Ok((out, body))
}

pub(super) fn split(bytes: &[u8], at: usize, base: usize) -> Result<(&[u8], &[u8]), Malformed> {
    bytes
        .split_at_checked(at)
        .ok_or_else(|| Malformed::at(base, "a framing offset is out of range"))
}

/// Appends an array of variable-size elements: the elements, then the end of each.
pub(super) fn encode_array<T>(out: &mut Vec<u8>, all: &[T], element: impl Fn(&mut Vec<u8>, &T)) {
    let start = out.len();
    let mut ends = Vec::with_capacity(all.len());
    for one in all {
        element(out, one);
        ends.push(out.len() - start);
    }
    frame(out, start, &ends);
}

/// Appends framing offsets to the container that begins at `start`, as wide as the result needs.
pub(super) fn frame(out: &mut Vec<u8>, start: usize, ends: &[usize]) {
    let width = least_width(out.len() - start, ends.len());
    for end in ends {
        out.extend_from_slice(&(*end as u64).to_le_bytes()[..width]);
    }
}

/// The least width of `ends` framing offsets after `body` bytes.
fn least_width(body: usize, ends: usize) -> usize {
    let fits = |width: &usize| body as u128 + (*width as u128) * (ends as u128) < 1 << (8 * width);
    [1, 2, 4].into_iter().find(fits).unwrap_or(8)
}

/// Refuses framing offsets that are wider than necessary: half the width would suffice.
fn normal(body: usize, ends: usize, len: usize, base: usize) -> Result<(), Malformed> {
    let half = offset_width(len) / 2;
    match half == 0 || ends == 0 || offset_width(body + ends * half) > half {
        true => Ok(()),
        false => Err(Malformed::at(base + body, "not in GVariant's normal form")),
    }
}
