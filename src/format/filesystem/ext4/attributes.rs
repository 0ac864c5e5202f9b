//! Extended attributes of ext4: behind the inode's own fields, and in one block.

use std::io;

use super::super::{invalid, le16, le32, refused};
use super::Ext4;
use super::Stored;

const MAGIC: u32 = 0xea02_0000;
const ENTRY: usize = 16;
/// Starts of names by their number.
const PREFIXES: [&[u8]; 9] = [
    b"",
    b"user.",
    b"system.posix_acl_access",
    b"system.posix_acl_default",
    b"trusted.",
    b"",
    b"security.",
    b"system.",
    b"system.richacl",
];

impl Ext4 {
    /// All attributes of an inode, `system.data` of inline content among them.
    pub(super) fn attributes(&self, stored: &Stored) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut out = Vec::new();
        let bytes = &stored.bytes;
        if bytes.len() > 128 {
            let start = 128 + usize::from(le16(bytes, 0x80));
            if start + 4 <= bytes.len() && le32(bytes, start) == MAGIC {
                self.list(&bytes[start + 4..], 0, stored.at + start as u64, &mut out)?;
            }
        }
        let high = if self.has_long_numbers { u64::from(le16(bytes, 0x76)) << 32 } else { 0 };
        let block = u64::from(le32(bytes, 0x68)) | high;
        if block != 0 {
            let at = block.saturating_mul(self.block);
            let bytes = self.disk.bytes(at, self.block as usize)?;
            if le32(&bytes, 0) != MAGIC {
                return Err(invalid(at, "ext4: a block of attributes is damaged"));
            }
            self.list(&bytes, 32, at, &mut out)?;
        }
        Ok(out)
    }

    /// The attributes whose entries begin at `from` of `area`, to which their values' places refer.
    fn list(
        &self,
        area: &[u8],
        from: usize,
        at: u64,
        out: &mut Vec<(Vec<u8>, Vec<u8>)>,
    ) -> io::Result<()> {
        let mut rest = from;
        let wrong = || invalid(at, "ext4: attributes are damaged");
        while le32(area, rest) != 0 {
            let head = area.get(rest..rest + ENTRY).ok_or_else(wrong)?;
            let (length, index) = (usize::from(head[0]), usize::from(head[1]));
            let name = area.get(rest + ENTRY..rest + ENTRY + length).ok_or_else(wrong)?;
            if le32(head, 4) != 0 {
                return Err(refused("ext4: attributes in inodes of their own (ea_inode)"));
            }
            let (place, size) = (usize::from(le16(head, 2)), le32(head, 8) as usize);
            let value = match size {
                0 => &[],
                _ => area.get(place..place.saturating_add(size)).ok_or_else(wrong)?,
            };
            let prefix = PREFIXES.get(index).copied().ok_or_else(wrong)?;
            let value = if matches!(index, 2 | 3) { list_of_access(value) } else { value.into() };
            out.push(([prefix, name].concat(), value));
            rest += (ENTRY + length).next_multiple_of(4);
        }
        Ok(())
    }
}

/// An access control list as programs see it: ext4 leaves out the ids of entries that have none.
fn list_of_access(stored: &[u8]) -> Vec<u8> {
    const HAS_ID: [u16; 2] = [2, 8];
    let mut out = 2_u32.to_le_bytes().to_vec();
    let mut rest = stored.get(4..).unwrap_or_default();
    while rest.len() >= 4 {
        let has_id = HAS_ID.contains(&le16(rest, 0));
        out.extend(&rest[..4]);
        let id = if has_id { le32(rest, 4) } else { u32::MAX };
        out.extend(id.to_le_bytes());
        rest = rest.get(if has_id { 8 } else { 4 }..).unwrap_or_default();
    }
    out
}
