//! Writing the canonical form of an image that was read.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use super::plan::{self, Body, Group, MemberVerdict, Planned, Rules};
use super::window::{Window, lock, spooled};
use super::{Archive, Earlier, Entry, Error, Image, REGULAR, Segment};
use crate::format::compress::Packing;
use crate::format::cpio::{self, padding};

/// Largest file inside an image that is given to [`MemberRules`](super::MemberRules): 16 MiB.
const INSIDE_MAX: u32 = 16 << 20;

/// Zeros behind an lz4 member that something follows: the kernel's reader takes the next four bytes
/// for the length of a block, and ends only at zero.
const LZ4_END: u64 = 4;

/// What became of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the canonical form differs from the image. If not, nothing was written.
    pub changed: bool,
    /// Bytes of the image.
    pub before: u64,
    /// Bytes of the canonical form.
    pub len: u64,
    /// The compressed members that were compressed again, in order.
    pub repacked: Vec<Repacked>,
    /// Members that were taken from an earlier image as they are there.
    pub reused: usize,
    /// Files inside that got other content or went, by name, in the order of their archives.
    pub inside: Vec<Vec<u8>>,
}

/// A member that was compressed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repacked {
    /// How.
    pub packing: Packing,
    /// Its bytes in the image.
    pub before: u64,
    /// Its bytes now.
    pub after: u64,
}

/// Writes the canonical form of `image` to `output`, unless it is in canonical form already.
///
/// `input` is the image again, from its first byte, and `spool` what [`read`](super::read()) left
/// there (`rules` may read it while they judge, with [`spooled`]); contents that `rules` replace are appended to it. Compression runs on `jobs` threads;
/// their number changes no byte. A compressed member whose archives are canonical keeps its bytes,
/// unless the rules say otherwise.
pub fn canonical<R, S, W>(
    image: &Image,
    input: R,
    spool: &Mutex<S>,
    output: W,
    rules: &Rules<'_>,
    jobs: u32,
) -> Result<Outcome, Error>
where
    R: Read + Seek,
    S: Read + Write + Seek,
    W: Write,
{
    plan::verify(image)?;
    let mut outcome = Outcome { before: image.trailing.end, ..Outcome::default() };
    let mut end = image.spooled;
    let apart = plan::SplitLinks::of(image, rules.epoch);
    let (mut segments, mut before) = (Vec::new(), Vec::new());
    let system = plan::system(image);
    for (n, segment) in image.segments.iter().enumerate() {
        let mut archives = Vec::new();
        for archive in &segment.archives {
            let mut groups = plan::groups(archive)?;
            apply_inside(archive, &mut groups, spool, &mut end, rules, &mut outcome.inside)?;
            before.push(plan::found(archive, &groups, rules.epoch));
            let entries = plan::entries(archive, groups, &apart, rules.epoch);
            archives.push(Plan { crc: archive.crc, align: archive.align, entries });
        }
        let content = || Window::new(spool, segment.unpacked.clone());
        let packing = match system == Some(n) {
            true => rules.compress.over(segment.packing),
            false => segment.packing,
        };
        let keeps = packing.is_some()
            && packing == segment.packing
            && !rules.always_repack
            && is_content(&archives, spool, content())?;
        segments.push(SegmentPlan { archives, packing, keeps });
    }
    let after = segments.iter().flat_map(|s| &s.archives).map(|a| &a.entries);
    plan::same_tree(&before, after)?;
    let input = Mutex::new(input);
    let writing = Writing { image, segments, input: &input, spool, earlier: rules.earlier, jobs };
    if rules.always_repack || writing.keeps_members() {
        let mut compare = Compare { input: Window::new(&input, 0..u64::MAX), same: true };
        let written = writing.write(&mut compare, &mut Outcome::default());
        if compare.ends_there(written)? {
            outcome.len = image.trailing.end;
            return Ok(outcome);
        }
    }
    outcome.changed = true;
    let mut output = CountingWriter { output, len: 0 };
    writing.write(&mut output, &mut outcome)?;
    output.output.flush()?;
    outcome.len = output.len;
    Ok(outcome)
}

/// Runs the rules for files on the files of one archive.
fn apply_inside<S: Read + Write + Seek>(
    archive: &Archive,
    groups: &mut Vec<Group>,
    spool: &Mutex<S>,
    end: &mut u64,
    rules: &Rules<'_>,
    touched: &mut Vec<Vec<u8>>,
) -> io::Result<()> {
    for group in groups.iter_mut() {
        let members = std::mem::take(&mut group.members);
        for n in members {
            let entry = &archive.entries[n];
            let Some(body) = wanted(entry, group, rules) else {
                group.members.push(n);
                continue;
            };
            let verdict = rules.inside.judge(entry, spooled(spool, body.data, body.size)?)?;
            if verdict != MemberVerdict::Keep {
                touched.push(entry.name.clone());
            }
            if verdict != MemberVerdict::Remove {
                group.members.push(n);
            }
            if let MemberVerdict::Replace(bytes) = verdict {
                group.body = Some(append(spool, end, &bytes)?);
            }
        }
    }
    groups.retain(|g| !g.members.is_empty());
    Ok(())
}

fn wanted(entry: &Entry, group: &Group, rules: &Rules<'_>) -> Option<Body> {
    let empty = Body { data: 0, size: 0, digest: [0; 32], check: 0 };
    let body = group.body.unwrap_or(empty);
    let regular = entry.kind() == REGULAR && body.size <= INSIDE_MAX;
    (regular && rules.inside.wants(entry)).then_some(body)
}

fn append<S: Write + Seek>(spool: &Mutex<S>, end: &mut u64, bytes: &[u8]) -> io::Result<Body> {
    let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let body = Body {
        data: *end,
        size,
        digest: Sha256::digest(bytes).into(),
        check: cpio::add_sum(0, bytes),
    };
    let mut spool = lock(spool);
    spool.seek(SeekFrom::Start(*end))?;
    spool.write_all(bytes)?;
    *end += u64::from(size);
    Ok(body)
}

struct Plan<'a> {
    crc: bool,
    /// What the content of larger files is aligned to.
    align: u32,
    entries: Vec<Planned<'a>>,
}

struct SegmentPlan<'a> {
    archives: Vec<Plan<'a>>,
    /// Its compression; `None` for a plain archive.
    packing: Option<Packing>,
    /// Whether its compressed bytes are kept.
    keeps: bool,
}

/// Writes archives one after another; gives the offset behind the last.
fn write_archives<S: Read + Seek>(
    archives: &[Plan<'_>],
    spool: &Mutex<S>,
    mut output: &mut dyn Write,
    mut offset: u64,
) -> io::Result<u64> {
    for archive in archives {
        let mut writer = cpio::Writer::new(output, offset);
        for Planned { name, header, data, .. } in &archive.entries {
            let mut content = Window::new(spool, *data..data + u64::from(header.size));
            let aligned = header.mode & 0o170_000 == REGULAR && header.size >= archive.align;
            let align = if aligned { archive.align } else { 4 };
            writer.entry(header, name, &mut content, align.into())?;
        }
        (output, offset) = writer.finish(archive.crc)?;
    }
    Ok(offset)
}

/// Whether the archives, written, are exactly `content`.
fn is_content<S: Read + Seek, F: Read + Seek>(
    archives: &[Plan<'_>],
    spool: &Mutex<S>,
    content: Window<'_, F>,
) -> io::Result<bool> {
    let mut compare = Compare { input: content, same: true };
    let written = write_archives(archives, spool, &mut compare, 0);
    compare.ends_there(written)
}

struct Writing<'a, R, S> {
    image: &'a Image,
    segments: Vec<SegmentPlan<'a>>,
    input: &'a Mutex<R>,
    spool: &'a Mutex<S>,
    earlier: &'a [Earlier],
    jobs: u32,
}

impl<R: Read + Seek, S: Read + Seek> Writing<'_, R, S> {
    fn keeps_members(&self) -> bool {
        self.segments.iter().all(|planned| planned.keeps || planned.packing.is_none())
    }

    fn write(&self, output: &mut dyn Write, outcome: &mut Outcome) -> io::Result<()> {
        let mut output = CountingWriter { output, len: 0 };
        let mut last = None;
        for (plan, segment) in self.segments.iter().zip(&self.image.segments) {
            end_member(&mut output, last)?;
            last = plan.packing;
            match plan.packing {
                None => {
                    let offset = output.len;
                    write_archives(&plan.archives, self.spool, &mut output, offset)?;
                }
                Some(_) if plan.keeps => self.copy(segment.range.clone(), &mut output)?,
                Some(packing) => self.pack(plan, segment, packing, &mut output, outcome)?,
            }
        }
        if !self.image.trailing.is_empty() {
            // A boot configuration ends with the image, at a multiple of four.
            end_member(&mut output, last)?;
            let odd = self.image.trailing.start % 4;
            io::copy(&mut io::repeat(0).take(odd), &mut output)?;
            self.copy(self.image.trailing.clone(), &mut output)?;
        }
        Ok(())
    }

    /// Compresses the archives of a segment, or takes what an earlier image has for them.
    fn pack(
        &self,
        plan: &SegmentPlan<'_>,
        found: &Segment,
        packing: Packing,
        mut output: &mut CountingWriter<&mut dyn Write>,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        let packing = match found.packing == Some(packing) {
            true => packing.settled(Window::new(self.input, found.range.clone()))?,
            false => packing,
        };
        let start = output.len;
        let mut same = |content: Window<'_, _>| is_content(&plan.archives, self.spool, content);
        for earlier in self.earlier {
            if earlier.take(packing, &mut same, &mut output)? {
                outcome.reused += 1;
                return Ok(());
            }
        }
        packing.pack(&mut output, self.jobs, &mut |w| {
            write_archives(&plan.archives, self.spool, w, 0).map(drop)
        })?;
        let before = found.range.end - found.range.start;
        outcome.repacked.push(Repacked { packing, before, after: output.len - start });
        Ok(())
    }

    fn copy(&self, range: Range<u64>, output: &mut dyn Write) -> io::Result<()> {
        let want = range.end - range.start;
        match io::copy(&mut Window::new(self.input, range), output)? {
            got if got == want => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The zeros between a segment and what follows: the kernel finds a plain archive at multiples of
/// four only.
fn end_member<W: Write>(
    output: &mut CountingWriter<W>,
    packing: Option<Packing>,
) -> io::Result<()> {
    let end = if packing == Some(Packing::Lz4Legacy) { LZ4_END } else { 0 };
    let len = end + padding(output.len + end, 4);
    io::copy(&mut io::repeat(0).take(len), output).map(drop)
}

/// Counts what is written.
struct CountingWriter<W> {
    output: W,
    len: u64,
}

impl<W: Write> Write for CountingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let put = self.output.write(bytes)?;
        self.len += put as u64;
        Ok(put)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Compares what is written with a file; fails at the first difference, to end the writing.
struct Compare<'a, F> {
    input: Window<'a, F>,
    same: bool,
}

impl<F: Read + Seek> Compare<'_, F> {
    /// Whether everything was written, and the file ends there too.
    fn ends_there<T>(&mut self, written: io::Result<T>) -> io::Result<bool> {
        match written {
            Err(_) if !self.same => Ok(false),
            Err(e) => Err(e),
            Ok(_) => Ok(self.input.read(&mut [0])? == 0),
        }
    }
}

impl<F: Read + Seek> Write for Compare<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buf = [0; 16 << 10];
        let want = bytes.len().min(buf.len());
        let got = self.input.read(&mut buf[..want])?;
        if want > 0 && (got == 0 || buf[..got] != bytes[..got]) {
            self.same = false;
            return Err(io::Error::other("differs"));
        }
        Ok(got)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
