//! Digest algorithms: which one a length means, and digests of content with several at once.

use std::io::{self, Read};

use sha2::digest::DynDigest;

/// Bytes to hash at a time.
const PIECE: usize = 64 << 10;

/// An algorithm for digests of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// BLAKE2b with 64 bytes, as `b2sum` writes it.
    Blake2b,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 7] = [
        Algorithm::Md5,
        Algorithm::Sha1,
        Algorithm::Sha224,
        Algorithm::Sha256,
        Algorithm::Sha384,
        Algorithm::Sha512,
        Algorithm::Blake2b,
    ];

    /// Bytes of a digest.
    pub const fn size(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha224 => 28,
            Algorithm::Sha256 => 32,
            Algorithm::Sha384 => 48,
            Algorithm::Sha512 | Algorithm::Blake2b => 64,
        }
    }

    /// The algorithms whose digests have `len` bytes.
    pub fn of_len(len: usize) -> impl Iterator<Item = Algorithm> {
        Self::ALL.into_iter().filter(move |algorithm| algorithm.size() == len)
    }

    /// The algorithm of that name in Python's `hashlib`.
    pub fn of_name(name: &[u8]) -> Option<Algorithm> {
        Some(match name.to_ascii_lowercase().as_slice() {
            b"md5" => Algorithm::Md5,
            b"sha1" => Algorithm::Sha1,
            b"sha224" => Algorithm::Sha224,
            b"sha256" => Algorithm::Sha256,
            b"sha384" => Algorithm::Sha384,
            b"sha512" => Algorithm::Sha512,
            b"blake2b" => Algorithm::Blake2b,
            _ => return None,
        })
    }

    /// A hasher for this algorithm.
    pub fn hasher(self) -> Box<dyn DynDigest> {
        match self {
            Algorithm::Md5 => Box::<md5::Md5>::default(),
            Algorithm::Sha1 => Box::<sha1::Sha1>::default(),
            Algorithm::Sha224 => Box::<sha2::Sha224>::default(),
            Algorithm::Sha256 => Box::<sha2::Sha256>::default(),
            Algorithm::Sha384 => Box::<sha2::Sha384>::default(),
            Algorithm::Sha512 => Box::<sha2::Sha512>::default(),
            Algorithm::Blake2b => Box::<blake2::Blake2b512>::default(),
        }
    }
}

/// The digests of `content`, in the order of `algorithms`.
pub(crate) fn digests(
    content: &mut dyn Read,
    algorithms: &[Algorithm],
) -> io::Result<Vec<Box<[u8]>>> {
    let mut hashers: Vec<_> = algorithms.iter().map(|algorithm| algorithm.hasher()).collect();
    let mut piece = vec![0; PIECE];
    loop {
        match content.read(&mut piece) {
            Ok(0) => break,
            Ok(got) => hashers.iter_mut().for_each(|hasher| hasher.update(&piece[..got])),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(hashers.into_iter().map(|hasher| hasher.finalize()).collect())
}

/// Decodes hexadecimal digits of either case; `None` if there are other characters.
pub(crate) fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|p| pair(p)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_coreutils() {
        let all = digests(&mut &b"abc"[..], &Algorithm::ALL).expect("in memory");
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(&all[0]), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex(&all[1]), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert!(hex(&all[3]).starts_with("ba7816bf8f01cfea"));
        assert!(hex(&all[6]).starts_with("ba80a53f981c4d0d"));
        assert!(all.iter().zip(Algorithm::ALL).all(|(digest, a)| digest.len() == a.size()));
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!(unhex(b"00fF"), Some(vec![0, 255]));
        assert_eq!((unhex(b"0"), unhex(b"0g")), (None, None));
    }
}
