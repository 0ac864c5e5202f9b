//! An image that an earlier compose left, whose compressed members may be taken as they are.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Mutex;

use super::window::Window;
use super::{Error, Image, Limits, read};
use crate::format::compress::Packing;

/// An image that was read, with its bytes and what each of its members unpacks to: both in files
/// without a name, so that nothing changes them between the proof and the copy.
#[derive(Debug)]
pub struct Earlier {
    image: Image,
    bytes: Mutex<File>,
    content: Mutex<File>,
}

impl Earlier {
    /// Copies an image into `bytes` and unpacks it from there into `content`: two empty files.
    pub fn read(mut image: impl Read, mut bytes: File, content: File) -> Result<Self, Error> {
        let len = io::copy(&mut image, &mut bytes)?;
        bytes.seek(SeekFrom::Start(0))?;
        let mut spool = BufWriter::with_capacity(256 << 10, content);
        let image = read(&mut bytes, len, &mut spool, &Limits::default())?;
        let content = spool.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Earlier { image, bytes: Mutex::new(bytes), content: Mutex::new(content) })
    }

    /// Writes the member that is compressed with `packing` and unpacks to what is wanted: `same`
    /// compares that byte by byte with what was unpacked from these very bytes. `false` if there is
    /// none, and nothing was written.
    pub(super) fn take(
        &self,
        packing: Packing,
        same: &mut dyn FnMut(Window<'_, File>) -> io::Result<bool>,
        output: &mut dyn Write,
    ) -> io::Result<bool> {
        for member in &self.image.segments {
            let packed = || Window::new(&self.bytes, member.range.clone());
            let Some(found) = member.packing else { continue };
            let alike = found == packing || found.settled(packed())? == packing;
            if !alike || !is_plain(packed())? {
                continue;
            }
            if same(Window::new(&self.content, member.unpacked.clone()))? {
                return match io::copy(&mut packed(), output)? {
                    got if got == member.range.end - member.range.start => Ok(true),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
        Ok(false)
    }
}

/// Whether a gzip header has neither name nor time, which we never write; others have no such fields.
fn is_plain(packed: impl Read) -> io::Result<bool> {
    let mut head = Vec::new();
    packed.take(10).read_to_end(&mut head)?;
    Ok(!head.starts_with(b"\x1f\x8b") || head.len() == 10 && head[3..8] == [0; 5])
}
