//! A value as stored in its file: in one piece, or in one piece per page.
//!
//! Berkeley DB spreads a header over pages. It is assembled only while it is read, so that a
//! database is not in memory twice.

use std::borrow::Cow;
use std::ops::Range;

/// Bytes in pieces.
#[derive(Clone, Debug)]
pub struct Blob<'a>(Pieces<'a>);

/// The pieces: most values have only one, and there are very many values.
#[derive(Clone, Debug)]
enum Pieces<'a> {
    One(Cow<'a, [u8]>),
    Many(Vec<Cow<'a, [u8]>>),
}

impl<'a> Blob<'a> {
    fn all(&self) -> &[Cow<'a, [u8]>] {
        match &self.0 {
            Pieces::One(one) => std::slice::from_ref(one),
            Pieces::Many(many) => many,
        }
    }

    /// All bytes, borrowed if they are one piece.
    pub fn whole(&self) -> Cow<'_, [u8]> {
        match &self.0 {
            Pieces::One(one) => Cow::Borrowed(one),
            Pieces::Many(many) => Cow::Owned(many.concat()),
        }
    }

    /// Converts the value into one piece.
    pub fn into_whole(self) -> Cow<'a, [u8]> {
        match self.0 {
            Pieces::One(one) => one,
            Pieces::Many(many) => Cow::Owned(many.concat()),
        }
    }

    /// The pieces in their order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.all().iter().map(|piece| &**piece)
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.pieces().map(<[u8]>::len).sum()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Overwrites bytes at `at` with `bytes`, up to the end of the value. Borrowed pieces are split
    /// there, not copied.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        let mut start = 0;
        let mut new = Vec::with_capacity(self.all().len() + 2);
        let old = std::mem::replace(&mut self.0, Pieces::Many(Vec::new()));
        let old = match old {
            Pieces::One(one) => vec![one],
            Pieces::Many(many) => many,
        };
        for piece in old {
            let len = piece.len();
            let within = |place: usize| place.saturating_sub(start).min(len);
            let (from, to) = (within(at), within(at + bytes.len()));
            let patch = bytes.get((start + from).saturating_sub(at)..).unwrap_or_default();
            new.extend(patched(piece, from..to, patch));
            start += len;
        }
        self.0 = Pieces::Many(new);
    }
}

/// A piece with the bytes at `place` replaced by the first bytes of `patch`.
fn patched<'a>(piece: Cow<'a, [u8]>, place: Range<usize>, patch: &[u8]) -> Vec<Cow<'a, [u8]>> {
    let patch = &patch[..place.len().min(patch.len())];
    match piece {
        piece if patch.is_empty() => vec![piece],
        Cow::Owned(mut bytes) => {
            bytes[place].copy_from_slice(patch);
            vec![bytes.into()]
        }
        Cow::Borrowed(bytes) => {
            let rest = [&bytes[..place.start], &bytes[place.end..]].map(Cow::Borrowed);
            let [before, after] = rest;
            vec![before, Cow::Owned(patch.to_vec()), after]
        }
    }
}

impl PartialEq for Blob<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.whole() == other.whole()
    }
}

impl Eq for Blob<'_> {}

impl<'a> From<&'a [u8]> for Blob<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Blob(Pieces::One(Cow::Borrowed(bytes)))
    }
}

impl From<Vec<u8>> for Blob<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Blob(Pieces::One(Cow::Owned(bytes)))
    }
}

impl<'a> FromIterator<&'a [u8]> for Blob<'a> {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(pieces: I) -> Self {
        Blob(Pieces::Many(pieces.into_iter().map(Cow::Borrowed).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_put_wherever_pieces_end() {
        let bytes: Vec<u8> = (0..12).collect();
        for cut in 0..=12 {
            for at in 0..=8 {
                let mut want = bytes.clone();
                want[at..at + 4].copy_from_slice(b"time");
                let (a, b) = bytes.split_at(cut);
                let mut pieces: Blob<'_> = [a, b].into_iter().collect();
                let mut owned = Blob::from(bytes.clone());
                for blob in [&mut pieces, &mut owned] {
                    blob.put(at, b"time");
                    assert_eq!((&*blob.whole(), blob.len()), (&want[..], 12), "{cut} {at}");
                }
                assert_eq!(pieces, owned);
            }
        }
    }
}
