//! Unified kernel images: PE files that hold an initramfs in a section, inside a signature.

use std::io::Read;

use crate::format::initramfs::Error;
use crate::normal::{File, Verdict};

/// Bytes at the beginning in which the table of sections is looked for.
const HEAD: u64 = 64 << 10;

/// What is said of an `.efi` file: nothing of those without an initramfs.
pub(super) fn verdict(file: &File<'_>) -> Result<Verdict, Error> {
    let mut head = Vec::new();
    file.open()?.take(HEAD).read_to_end(&mut head)?;
    Ok(of_head(&head))
}

fn of_head(head: &[u8]) -> Verdict {
    if !has_section(head, b".initrd\0").unwrap_or(false) {
        return Verdict::Keep;
    }
    Verdict::Report(
        "unified kernel image: its initramfs lies under a signature or a measurement, so it is \
         left alone; make it reproducible where it is built (dracut-ng 108 or later with \
         --reproducible), or build and sign the image after `reprofix fix`"
            .to_owned(),
    )
}

/// Whether the PE file has a section of this name; `None` if it is no PE file. The layout is that
/// of Microsoft's "PE Format": the DOS stub tells the header's offset, the header the sections'.
fn has_section(bytes: &[u8], name: &[u8; 8]) -> Option<bool> {
    let word = |at: usize| bytes.get(at..at.checked_add(2)?)?.first_chunk().copied();
    let header = u32::from_le_bytes(*bytes.get(0x3c..0x40)?.first_chunk()?) as usize;
    let coff = header.checked_add(4)?;
    if !bytes.starts_with(b"MZ") || bytes.get(header..coff)? != b"PE\0\0" {
        return None;
    }
    let count = usize::from(u16::from_le_bytes(word(coff + 2)?));
    let optional = usize::from(u16::from_le_bytes(word(coff.checked_add(16)?)?));
    let table = bytes.get(coff.checked_add(20 + optional)?..)?;
    Some(table.chunks_exact(40).take(count).any(|section| section.starts_with(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pe(section: &[u8; 8]) -> Vec<u8> {
        let mut out = vec![0; 0x40];
        out[..2].copy_from_slice(b"MZ");
        out[0x3c] = 0x40;
        out.extend(b"PE\0\0\x64\x86\x01\0");
        out.extend([0; 16]);
        out.extend(section);
        out.extend([0; 32]);
        out
    }

    #[test]
    fn only_an_image_with_an_initramfs_is_reported() {
        assert!(matches!(of_head(&pe(b".initrd\0")), Verdict::Report(_)));
        assert_eq!(of_head(&pe(b".text\0\0\0")), Verdict::Keep);
        let whole = pe(b".initrd\0");
        for len in 0..whole.len() {
            assert_eq!(of_head(&whole[..len]), Verdict::Keep, "cut to {len}");
        }
        let mut far = whole;
        far[0x3c..0x40].fill(0xff);
        assert_eq!(of_head(&far), Verdict::Keep);
    }
}
