//! An image that is a file of its own, rewritten without holding it in memory.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Seek};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{compress, summary, unpack, write};
use crate::disk;
use crate::format::initramfs::{Error, Outcome};
use crate::normal::Context;
use crate::tree::NOTHING;

/// What a rewrite did and what it cost.
#[derive(Clone, Debug)]
pub struct Cost {
    /// What became of the image.
    pub outcome: Outcome,
    /// Wall-clock time.
    pub time: Duration,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        match self.outcome.changed {
            false => write!(f, "canonical already: {} bytes, {seconds:.1} s", self.outcome.before),
            true => {
                let before = self.outcome.before;
                write!(f, "{before} bytes; {}; {seconds:.1} s", summary(&self.outcome))
            }
        }
    }
}

/// Writes the canonical form of the file `image` to the file `output`, which may be the same.
/// The unpacked archives lie in a file without a name on the file system of `output` meanwhile.
///
/// `output` gets the permission bits 0600 that dracut gives its images, and is complete or
/// untouched. If `image` is canonical, `output` gets its bytes.
pub fn rewrite(image: &Path, output: &Path, cx: &Context) -> Result<Cost, Error> {
    let start = Instant::now();
    let mut input = File::open(image)?;
    let cx = cx.clone().scratch_in(disk::dir_of(output));
    let compress = compress::of(&NOTHING, &cx)?;
    let unpacked = unpack(&mut input, &cx)?;
    let mut outcome = Outcome::default();
    disk::atomic_write_with(output, 0o600, |file| {
        let buffered = BufWriter::with_capacity(256 << 10, &mut *file);
        outcome = write(&unpacked, &mut input, buffered, compress, &cx)?;
        if !outcome.changed && image != output {
            input.rewind()?;
            io::copy(&mut input, file)?;
        }
        Ok::<bool, Error>(outcome.changed || image != output)
    })?;
    Ok(Cost { outcome, time: start.elapsed() })
}
