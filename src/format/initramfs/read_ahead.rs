//! Unpacks on a separate thread, ahead of the reader.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Bytes to pass at a time.
const PIECE: usize = 256 << 10;
/// The most waiting pieces.
const WAITING: usize = 8;

/// Runs `unpack`, which returns a reader, on a separate thread, and passes its bytes to `read`. The
/// thread has ended when this returns, and reads no further once `read` has ended.
pub(super) fn read_ahead<'a, T>(
    unpack: impl FnOnce() -> io::Result<Box<dyn Read + 'a>> + Send,
    read: impl FnOnce(&mut dyn Read) -> T,
) -> T {
    let (sender, receiver) = sync_channel(WAITING);
    thread::scope(|scope| {
        scope.spawn(move || hand_over(unpack, &sender));
        read(&mut Pieces { receiver, piece: Vec::new(), start: 0 })
    })
}

type Piece = io::Result<Vec<u8>>;

/// Sends piece after piece; the last one is an error or empty. Ends if the receiver is gone.
fn hand_over<'a>(
    unpack: impl FnOnce() -> io::Result<Box<dyn Read + 'a>>,
    sender: &SyncSender<Piece>,
) {
    let mut reader = match unpack() {
        Ok(reader) => reader,
        Err(e) => return drop(sender.send(Err(e))),
    };
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let last = piece.is_empty() || read.is_err();
        if !piece.is_empty() && sender.send(Ok(piece)).is_err() {
            return;
        }
        if let Err(e) = read {
            return drop(sender.send(Err(e)));
        }
        if last {
            return;
        }
    }
}

struct Pieces {
    receiver: Receiver<Piece>,
    piece: Vec<u8>,
    start: usize,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.start == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => (self.piece, self.start) = (piece?, 0),
                Err(_) => return Ok(0),
            }
        }
        let got = buf.len().min(self.piece.len() - self.start);
        buf[..got].copy_from_slice(&self.piece[self.start..self.start + got]);
        self.start += got;
        Ok(got)
    }
}
