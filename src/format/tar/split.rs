//! tar-split's records, which remain of a tar archive whose files were unpacked.
//!
//! Follows vbatts/tar-split 0.11, "tar/storage": one JSON object per line, either bytes of the
//! archive (headers and padding) or a file whose content is inserted there, with its CRC-64 (ISO
//! 3309).

use std::io::{self, BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Malformed, clean};

/// The most bytes of one record: the longest contain an extension header.
const RECORD_BYTES: u64 = 8 << 20;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the archive.
    Bytes(Vec<u8>),
    /// The content of a file.
    File {
        /// Its path below the root.
        path: Vec<u8>,
        /// Its size.
        size: u64,
        /// Its CRC-64, if recorded.
        crc: Option<u64>,
    },
}

#[derive(Deserialize)]
struct Raw {
    r#type: u8,
    #[serde(default)]
    name: String,
    #[serde(default)]
    name_raw: Option<String>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    payload: Option<String>,
}

/// Reads records one after another.
pub struct Pieces<R> {
    from: R,
    at: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Pieces<R> {
    /// Reads the decompressed records in `from`.
    pub fn new(from: R) -> Self {
        Pieces { from, at: 0, line: Vec::new() }
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    ///
    /// If the records are malformed, or a path leaves the root.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        self.line.clear();
        let most = RECORD_BYTES + 1;
        let read = (&mut self.from).take(most).read_until(b'\n', &mut self.line)? as u64;
        let at = self.at;
        self.at += read;
        match read {
            0 => Ok(None),
            _ if read == most => Err(bad(at, format!("record of more than {RECORD_BYTES} bytes"))),
            _ => piece(&self.line, at).map(Some),
        }
    }
}

fn piece(line: &[u8], at: u64) -> io::Result<Piece> {
    let raw: Raw = serde_json::from_slice(line)
        .map_err(|error| bad(at, format!("not a record of tar-split ({error})")))?;
    let decoded = |text: &str| {
        STANDARD.decode(text).map_err(|error| bad(at, format!("payload is not base64 ({error})")))
    };
    let payload = raw.payload.as_deref().map(decoded).transpose()?.unwrap_or_default();
    match raw.r#type {
        1 => {
            let name = match &raw.name_raw {
                Some(text) => decoded(text)?,
                None => raw.name.into_bytes(),
            };
            let crc = payload.try_into().ok().map(u64::from_be_bytes);
            Ok(Piece::File { path: clean(&name, at)?, size: raw.size, crc })
        }
        2 => Ok(Piece::Bytes(payload)),
        other => Err(bad(at, format!("record of unknown type {other}"))),
    }
}

fn bad(at: u64, what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Malformed::at(at, what))
}

/// A running CRC-64 of ISO 3309, like Go's `crc64.ISO`.
#[derive(Clone, Copy, Debug)]
pub struct Crc(u64);

impl Default for Crc {
    fn default() -> Self {
        Crc(u64::MAX)
    }
}

impl Crc {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = TABLE[usize::from(self.0 as u8 ^ byte)] ^ (self.0 >> 8);
        }
    }

    /// The checksum of all bytes.
    pub fn sum(self) -> u64 {
        !self.0
    }
}

static TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xD800_0000_0000_0000 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> io::Result<Vec<Piece>> {
        let mut pieces = Pieces::new(text.as_bytes());
        std::iter::from_fn(|| pieces.next_piece().transpose()).collect()
    }

    #[test]
    fn records_are_bytes_and_files() {
        let text = r#"{"type":2,"payload":"YWI=","position":0}
{"type":1,"name":"./d/f","size":3,"payload":"AAAAAAAAAAE=","position":1}
{"type":1,"name":"?","name_raw":"/w==","payload":null,"position":2}
"#;
        let file = |path: &[u8], size, crc| Piece::File { path: path.to_vec(), size, crc };
        assert_eq!(
            all(text).unwrap(),
            [Piece::Bytes(b"ab".to_vec()), file(b"d/f", 3, Some(1)), file(b"\xff", 0, None)]
        );
    }

    #[test]
    fn what_is_no_record_is_refused_where_it_is() {
        for (text, said) in [
            ("{\"type\":2,\"payload\":\"YWI=\"}\n{", "not a record of tar-split"),
            ("\n", "not a record of tar-split"),
            ("{\"type\":3}", "record of unknown type 3 at byte 0"),
            ("{\"type\":2,\"payload\":\"*\"}", "payload is not base64"),
            ("{\"type\":1,\"name\":\"../x\",\"size\":1}", "leaves the root"),
        ] {
            let error = all(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_sum_is_the_one_of_go() {
        let sum = |text: &str| {
            let mut crc = Crc::default();
            crc.update(text.as_bytes());
            crc.sum()
        };
        assert_eq!(sum(""), 0);
        assert_eq!(sum("a"), 0x3420_0000_0000_0000);
        // The check value in catalogues of CRCs (CRC-64/GO-ISO).
        assert_eq!(sum("123456789"), 0xb909_56c7_75a4_1001);
    }
}
