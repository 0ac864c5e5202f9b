//! A blob's plain bytes as a stream, with its digests computed on the way.
//!
//! One thread reads, hashes and decompresses; the reader's own thread hashes the plain bytes. At
//! most a few buffers of 256 KiB are in use, whatever the blob's size.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use flate2::bufread::MultiGzDecoder;

use super::digest::{Digest, Hasher};
use super::limits::{Meter, ZSTD_WINDOW_LOG};

const BUFFER: usize = 256 << 10;
const BUFFERS: usize = 8;

/// How a blob is compressed, judged by its first bytes and not by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952), any number of members.
    Gzip,
    /// Zstandard (RFC 8878), any number of frames, including skippable ones.
    Zstd,
}

/// Digests and sizes of a blob read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// Digest of the bytes as stored.
    pub digest: Digest,
    /// Bytes as stored.
    pub size: u64,
    /// Digest of the plain bytes: a layer's diff_id.
    pub diff_id: Digest,
    /// Plain bytes.
    pub plain: u64,
    /// The compression that was removed.
    pub compression: Compression,
}

struct Stored {
    digest: Digest,
    size: u64,
    compression: Compression,
}

/// The plain bytes of a blob.
pub struct Plain {
    chunks: Receiver<io::Result<Vec<u8>>>,
    spent: SyncSender<Vec<u8>>,
    worker: Option<JoinHandle<io::Result<Stored>>>,
    chunk: Vec<u8>,
    at: usize,
    hasher: Hasher,
    plain: u64,
}

impl Plain {
    /// Starts reading `blob`; `stored` is the hasher for its stored bytes, `plain` that for the
    /// plain ones. `meter` stops decompression bombs.
    pub fn new(
        blob: impl Read + Send + 'static,
        stored: Hasher,
        plain: Hasher,
        meter: Arc<Meter>,
    ) -> Self {
        let (send, chunks) = sync_channel(BUFFERS);
        let (spent, reuse) = sync_channel(BUFFERS + 1);
        let worker = std::thread::spawn(move || {
            let blob = HashRead { inner: blob, hasher: stored, size: 0 };
            decompress(blob, &send, &reuse, &meter)
        });
        let worker = Some(worker);
        Plain { chunks, spent, worker, chunk: Vec::new(), at: 0, hasher: plain, plain: 0 }
    }

    /// Reads and discards the rest, and returns the sums.
    pub fn finish(mut self) -> io::Result<Sums> {
        while self.refill()? {}
        let worker = self.worker.take().map(JoinHandle::join);
        let Some(Ok(stored)) = worker else {
            return Err(io::Error::other("the decompressing thread failed"));
        };
        let stored = stored?;
        Ok(Sums {
            digest: stored.digest,
            size: stored.size,
            diff_id: self.hasher.finish(),
            plain: self.plain,
            compression: stored.compression,
        })
    }

    /// Receives and hashes the next chunk; `false` at the end.
    fn refill(&mut self) -> io::Result<bool> {
        let used = std::mem::take(&mut self.chunk);
        self.at = 0;
        // If the queue of spare buffers is full, this one is dropped.
        let _ = self.spent.try_send(used);
        let Ok(next) = self.chunks.recv() else { return Ok(false) };
        self.chunk = next?;
        self.hasher.update(&self.chunk);
        self.plain += self.chunk.len() as u64;
        Ok(true)
    }
}

impl Read for Plain {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && !self.refill()? {
            return Ok(0);
        }
        let n = buf.len().min(self.chunk.len() - self.at);
        buf[..n].copy_from_slice(&self.chunk[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

fn decompress<R: Read>(
    blob: HashRead<R>,
    send: &SyncSender<io::Result<Vec<u8>>>,
    reuse: &Receiver<Vec<u8>>,
    meter: &Meter,
) -> io::Result<Stored> {
    let mut blob = BufReader::with_capacity(BUFFER, blob);
    let compression = sniff(io::BufRead::fill_buf(&mut blob)?);
    let blob = match compression {
        Compression::None => pump(blob, |b| b.get_ref().size, send, reuse, meter)?,
        Compression::Gzip => {
            let gzip = MultiGzDecoder::new(blob);
            pump(gzip, |g| g.get_ref().get_ref().size, send, reuse, meter)?.into_inner()
        }
        Compression::Zstd => {
            let mut zstd = zstd::Decoder::with_buffer(blob)?;
            zstd.window_log_max(ZSTD_WINDOW_LOG)?;
            pump(zstd, |z| z.get_ref().get_ref().size, send, reuse, meter)?.finish()
        }
    };
    let mut blob = blob.into_inner();
    io::copy(&mut blob, &mut io::sink())?;
    Ok(Stored { digest: blob.hasher.finish(), size: blob.size, compression })
}

/// Sends all plain bytes; an error is sent as the last chunk.
fn pump<D: Read>(
    mut decoder: D,
    stored: impl Fn(&D) -> u64,
    send: &SyncSender<io::Result<Vec<u8>>>,
    reuse: &Receiver<Vec<u8>>,
    meter: &Meter,
) -> io::Result<D> {
    let mut before = 0;
    loop {
        let mut chunk = reuse.try_recv().unwrap_or_default();
        chunk.resize(BUFFER, 0);
        let got = fill(&mut decoder, &mut chunk).and_then(|n| {
            let now = stored(&decoder);
            let counted = meter.count(now - before, n as u64);
            before = now;
            counted.map_err(|e| io::Error::new(io::ErrorKind::FileTooLarge, e)).map(|()| n)
        });
        match got {
            Ok(0) => return Ok(decoder),
            Ok(n) => {
                chunk.truncate(n);
                if send.send(Ok(chunk)).is_err() {
                    return Err(io::Error::other("the reader is gone"));
                }
            }
            Err(error) => {
                let _ = send.send(Err(error));
                return Err(io::Error::other("decompression failed"));
            }
        }
    }
}

/// Reads until `buf` is full or the input ends; returns the number of bytes.
pub(crate) fn fill(from: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buf.len() {
        match from.read(&mut buf[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}

fn sniff(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [skippable, 0x2a, 0x4d, 0x18, ..] if skippable & 0xf0 == 0x50 => Compression::Zstd,
        _ => Compression::None,
    }
}

/// The most bytes in a chunk.
const CHUNK: u64 = 64 << 10;

/// Passes all remaining bytes of `from`, about `size`, to `each`, chunk by chunk.
pub fn for_each_chunk(
    mut from: impl Read,
    size: u64,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    // One byte more, so that a small input and its end take two reads.
    let mut buf = vec![0; size.saturating_add(1).min(CHUNK) as usize];
    loop {
        match from.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(n) => each(&buf[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Hashes and counts the bytes that pass through.
struct HashRead<R> {
    inner: R,
    hasher: Hasher,
    size: u64,
}

impl<R: Read> Read for HashRead<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn sums(bytes: Vec<u8>) -> io::Result<Sums> {
        let (stored, plain) = (Hasher::default(), Hasher::default());
        Plain::new(io::Cursor::new(bytes), stored, plain, Arc::default()).finish()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn every_encoding_of_one_content_has_one_diff_id() {
        let content = vec![7; 700_000];
        let (a, b) = content.split_at(300_001);
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        for (blob, compression) in [
            (content.clone(), Compression::None),
            (gzip(&content), Compression::Gzip),
            ([gzip(a), gzip(b)].concat(), Compression::Gzip),
            ([skippable.clone(), zstd(a), skippable, zstd(b)].concat(), Compression::Zstd),
        ] {
            let got = sums(blob.clone()).unwrap();
            assert_eq!(got.diff_id, Digest::of(&content));
            assert_eq!(got.digest, Digest::of(&blob));
            assert_eq!((got.size, got.plain), (blob.len() as u64, 700_000));
            assert_eq!(got.compression, compression);
        }
    }

    #[test]
    fn damage_is_an_error_and_never_a_short_read() {
        let whole = gzip(&vec![7; 700_000]);
        assert!(sums(whole[..whole.len() - 9].to_vec()).is_err());
        let frame = zstd::encode_all(&[7; 1000][..], 3).unwrap();
        assert!(sums(frame[..frame.len() - 2].to_vec()).is_err());
        assert!(sums([whole, b"junk".to_vec()].concat()).is_err());
    }
}
