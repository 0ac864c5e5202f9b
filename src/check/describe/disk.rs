//! Disk images: which partition differs, and what that means for a signed image of systemd.

use std::io::Cursor;

use super::{Budget, inside};
use crate::format::gpt::{self, Partition, Role, Table};
use crate::format::verity;

/// What differs between two disks with partition tables; `None` unless both have one.
pub(super) fn explain(
    a: &[u8],
    b: &[u8],
    nesting: usize,
    budget: &mut Budget,
) -> Option<Vec<String>> {
    let nesting = nesting.checked_sub(1)?;
    if ![a, b].iter().all(|disk| gpt::is_gpt(disk)) {
        return None;
    }
    let (x, y) = match [a, b].map(|disk| gpt::read(&mut Cursor::new(disk), disk.len() as u64)) {
        [Ok(x), Ok(y)] => (x, y),
        read => {
            let wrong = ["A", "B"].iter().zip(read).filter_map(|(side, r)| Some((side, r.err()?)));
            return Some(wrong.map(|(side, e)| format!("disk {side} was not read: {e}")).collect());
        }
    };
    let mut lines = tables(&x, &y);
    let mut differing = Vec::new();
    for (p, q) in paired(&x, &y) {
        let (Some(p), Some(q)) = (p, q) else {
            lines.extend(p.map(|p| format!("partition {p}: only in A")));
            lines.extend(q.map(|q| format!("partition {q}: only in B")));
            continue;
        };
        lines.extend(entries(p, q));
        let (left, right) = (bytes(a, p), bytes(b, q));
        if left != right {
            differing.push(p.role());
            lines.push(format!("partition {p}: {}", super::binary::first(left, right)));
            let found = known(p.role(), left, right)
                .unwrap_or_else(|| inside(left, right, nesting, budget));
            lines.extend(found.into_iter().map(|line| format!("partition {p}: {line}")));
        }
    }
    let hash = || {
        let tree = x.partitions.iter().find(|p| p.role() == Role::Verity)?;
        Some(verity::read(bytes(a, tree)).ok()??.root_hash())
    };
    lines.extend(verdict(hash, &differing));
    if differing.is_empty() && lines.iter().all(|line| line.starts_with("root hash")) {
        lines.push("outside of partitions and tables".to_owned());
    }
    Some(lines)
}

fn bytes<'d>(disk: &'d [u8], partition: &Partition) -> &'d [u8] {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(disk.len());
    &disk[place(partition.bytes.start)..place(partition.bytes.end)]
}

/// How the tables themselves differ.
pub(in crate::check) fn tables(x: &Table, y: &Table) -> Vec<String> {
    let mut lines = Vec::new();
    for (side, table) in [("A", x), ("B", y)] {
        lines.extend(table.damage.iter().map(|what| format!("disk {side}: {what}")));
    }
    if x.sector != y.sector {
        lines.push(format!("sectors of {} | {} bytes", x.sector, y.sector));
    }
    if x.disk != y.disk {
        lines.push(format!("id of the disk {} | {}: give a seed", x.disk, y.disk));
    }
    lines
}

/// Pairs of partitions with the same number, or one alone.
pub(in crate::check) fn paired<'t>(
    x: &'t Table,
    y: &'t Table,
) -> Vec<(Option<&'t Partition>, Option<&'t Partition>)> {
    let find = |table: &'t Table, number| table.partitions.iter().find(|p| p.number == number);
    let numbers = x.partitions.iter().chain(&y.partitions).map(|p| p.number);
    let numbers: std::collections::BTreeSet<u32> = numbers.collect();
    numbers.into_iter().map(|number| (find(x, number), find(y, number))).collect()
}

/// How two entries of the tables differ.
pub(in crate::check) fn entries(p: &Partition, q: &Partition) -> Vec<String> {
    let of_hash = match p.role() {
        Role::Data if p.kind.type_name().is_none_or(|name| !name.starts_with(['r', 'u'])) => "",
        Role::Data | Role::Verity => " (with verity it is half of the root hash)",
        Role::Signature => "",
    };
    let fields = [
        ("type", p.kind.to_string(), q.kind.to_string(), ""),
        ("id", p.id.to_string(), q.id.to_string(), of_hash),
        ("label", p.label.clone(), q.label.clone(), ""),
        ("place", format!("{:?}", p.bytes), format!("{:?}", q.bytes), ""),
        ("attributes", format!("{:#x}", p.attributes), format!("{:#x}", q.attributes), ""),
    ];
    let differ = fields.into_iter().filter(|(_, x, y, _)| x != y);
    differ.map(|(what, x, y, why)| format!("partition {p}: {what} {x} | {y}{why}")).collect()
}

/// Describes the contents of a verity or signature partition instead of its bytes.
pub(in crate::check) fn known(role: Role, left: &[u8], right: &[u8]) -> Option<Vec<String>> {
    match role {
        Role::Data => None,
        Role::Verity => {
            let (x, y) = (verity::read(left).ok()??, verity::read(right).ok()??);
            let mut lines = Vec::new();
            if x.salt != y.salt {
                lines.push("the salt differs: give a seed".to_owned());
            }
            if x.uuid != y.uuid {
                lines.push("the UUID of the superblock differs: give a seed".to_owned());
            }
            lines.push(match x.root == y.root {
                true => format!("root hash {} of both", x.root_hash()),
                false => format!(
                    "root hash {} | {}: follows the data partition",
                    x.root_hash(),
                    y.root_hash()
                ),
            });
            Some(lines)
        }
        Role::Signature => {
            let (x, y) = (verity::signature(left).ok()?, verity::signature(right).ok()?);
            let mut lines = Vec::new();
            if x.root_hash != y.root_hash {
                lines.push(format!("signs root hash {} | {}", x.root_hash, y.root_hash));
            }
            if x.certificate != y.certificate {
                lines.push(format!("certificate {} | {}", x.certificate, y.certificate));
            }
            lines.push(match x.is_ecdsa || y.is_ecdsa {
                true => "ECDSA: such a signature is random; sign with RSA".to_owned(),
                false => "the signature differs".to_owned(),
            });
            Some(lines)
        }
    }
}

/// The conclusion from all differences.
pub(in crate::check) fn verdict(
    hash: impl FnOnce() -> Option<String>,
    differing: &[Role],
) -> Option<String> {
    match differing {
        [Role::Signature] => Some(match hash() {
            Some(hash) => format!("root hash {hash} of both; only the signature partition differs"),
            None => "only the signature partition differs".to_owned(),
        }),
        _ if !differing.is_empty() && !differing.contains(&Role::Data) => {
            Some("the data partitions are equal".to_owned())
        }
        _ => None,
    }
}
