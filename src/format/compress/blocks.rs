//! gzip on several threads: the content is cut into blocks of one size, and each is compressed by
//! itself, so that the bytes are the same for any number of threads. It is one member of one stream,
//! as every reader takes it; a megabyte that cannot refer to the one before costs less than a
//! thousandth of the size.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Bytes of content that are compressed by themselves.
const BLOCK: usize = 1 << 20;

/// A compressed block, and the checksum of its content.
type Packed = io::Result<(Vec<u8>, Crc)>;

/// A block, whether it is the last, and where the result goes.
type Task = (Vec<u8>, bool, Sender<Packed>);

/// Writes one gzip member without name and time.
pub(crate) struct GzipBlocks<W: Write> {
    out: W,
    level: Compression,
    /// What is not yet a whole block: the last one is known only at the end.
    block: Vec<u8>,
    crc: Crc,
    /// `None` where blocks are compressed as they come, without threads.
    tasks: Option<Sender<Task>>,
    pending: VecDeque<Receiver<Packed>>,
    /// Blocks that may be under way at a time.
    most: usize,
}

impl<W: Write> GzipBlocks<W> {
    /// Writes the header, which says `system` (RFC 1952, section 2.3.1), and compresses on `jobs`
    /// threads.
    ///
    /// # Errors
    ///
    /// As `out` does.
    pub(crate) fn new(mut out: W, level: u32, system: u8, jobs: usize) -> io::Result<Self> {
        // What flate2 says of the fastest and of the densest level.
        let extra = match level {
            9.. => 2,
            0 | 1 => 4,
            _ => 0,
        };
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra, system])?;
        let level = Compression::new(level);
        let tasks = (jobs > 1).then(|| workers(level, jobs));
        let (block, crc, pending) = (Vec::new(), Crc::new(), VecDeque::new());
        Ok(GzipBlocks { out, level, block, crc, tasks, pending, most: 2 * jobs })
    }

    /// Writes what is left and the trailer; gives `out` back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.send(true)?;
        while let Some(first) = self.pending.pop_front() {
            self.take(&first)?;
        }
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    /// Hands the block to a thread, or compresses it.
    fn send(&mut self, last: bool) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        let Some(tasks) = &self.tasks else {
            let packed = pack(&block, self.level, last);
            return self.put(packed);
        };
        let (result, receiver) = channel();
        tasks.send((block, last, result)).map_err(|_| gone())?;
        self.pending.push_back(receiver);
        match self.pending.len() > self.most {
            true => self.pending.pop_front().map_or(Ok(()), |first| self.take(&first)),
            false => Ok(()),
        }
    }

    fn take(&mut self, first: &Receiver<Packed>) -> io::Result<()> {
        let packed = first.recv().map_err(|_| gone())?;
        self.put(packed)
    }

    fn put(&mut self, packed: Packed) -> io::Result<()> {
        let (bytes, crc) = packed?;
        self.crc.combine(&crc);
        self.out.write_all(&bytes)
    }
}

impl<W: Write> Write for GzipBlocks<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.send(false)?;
        }
        if self.block.capacity() < BLOCK && self.block.len() + buf.len() > self.block.capacity() {
            self.block.reserve_exact(BLOCK - self.block.len());
        }
        let taken = buf.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&buf[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // a block that ends earlier would be other bytes
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses is gone")
}

/// Threads that compress what is sent, until the sender is dropped.
fn workers(level: Compression, jobs: usize) -> Sender<Task> {
    let (tasks, receiver) = channel::<Task>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..jobs {
        let receiver = Arc::clone(&receiver);
        thread::spawn(move || {
            loop {
                let task = receiver.lock().ok().and_then(|queue| queue.recv().ok());
                let Some((block, last, result)) = task else { return };
                // Whoever waits for it may have met an error and be gone.
                let _ = result.send(pack(&block, level, last));
            }
        });
    }
    tasks
}

fn pack(block: &[u8], level: Compression, last: bool) -> Packed {
    let mut crc = Crc::new();
    crc.update(block);
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(block.len() / 2), level);
    encoder.write_all(block)?;
    if last {
        return Ok((encoder.finish()?, crc));
    }
    encoder.flush()?;
    // The encoder would end the stream when it goes.
    Ok((std::mem::take(encoder.get_mut()), crc))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn packed(content: &[u8], pieces: usize, jobs: usize) -> Vec<u8> {
        let mut encoder = GzipBlocks::new(Vec::new(), 6, 255, jobs).unwrap();
        content.chunks(pieces).for_each(|piece| encoder.write_all(piece).unwrap());
        encoder.finish().unwrap()
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length as u64).map(|n| ((n * n / 97) >> 7) as u8 & 0x3f).collect()
    }

    #[test]
    fn any_number_of_threads_writes_the_same_member() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 77] {
            let content = content(length);
            let alone = packed(&content, 10_007, 1);
            for jobs in [2, 3, 9] {
                assert!(packed(&content, 65_536 * jobs, jobs) == alone, "{length}, {jobs}");
            }
            let (mut back, mut decoder) = (Vec::new(), GzDecoder::new(&alone[..]));
            decoder.read_to_end(&mut back).unwrap();
            assert!(back == content, "{length}");
            assert!(decoder.into_inner().is_empty(), "{length}: one member");
        }
    }

    #[test]
    fn one_block_is_what_the_plain_encoder_writes() {
        let content = content(BLOCK);
        for (level, system) in [(1, 3), (6, 255), (9, 3)] {
            let header = flate2::GzBuilder::new().mtime(0).operating_system(system);
            let mut plain = header.write(Vec::new(), Compression::new(level));
            plain.write_all(&content).unwrap();
            let mut blocks = GzipBlocks::new(Vec::new(), level, system, 2).unwrap();
            blocks.write_all(&content).unwrap();
            assert!(blocks.finish().unwrap() == plain.finish().unwrap(), "level {level}");
        }
    }

    /// Fails after so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(buf.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_error_of_the_output_is_one() {
        let content = content(20 * BLOCK);
        for room in [5, 10, 100_000] {
            let made = GzipBlocks::new(Full(room), 6, 255, 2);
            let written = made.and_then(|mut encoder| {
                encoder.write_all(&content)?;
                encoder.finish().map(drop)
            });
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull, "{room}");
        }
    }
}
