//! Type, target, permission bits, owner and extended attributes, by their names.

use std::collections::BTreeMap;

use crate::check::{Difference, Side};
use crate::format::bytes::Order;
use crate::tree::{Kind, show};

/// Differences other than content; empty if the path exists only on one side.
pub(in crate::check) fn metadata(difference: &Difference) -> Vec<String> {
    let (Some(a), Some(b)) = (&difference.a, &difference.b) else { return Vec::new() };
    let mut lines = Vec::new();
    if a.kind() != b.kind() {
        lines.push(format!("type: {} → {}", word(a), word(b)));
    }
    if let (Some(x), Some(y)) = (&a.target, &b.target)
        && x != y
    {
        lines.push(format!("target: {} → {}", show(x), show(y)));
    }
    let (x, y) = (&a.attrs, &b.attrs);
    let (from, to) = (x.mode & 0o7777, y.mode & 0o7777);
    if from != to {
        lines.push(format!("mode: {from:04o} → {to:04o} ({})", bits(from, to)));
    }
    if x.uid != y.uid {
        lines.push(format!("owner: uid {} → {}", x.uid, y.uid));
    }
    if x.gid != y.gid {
        lines.push(format!("group: gid {} → {}", x.gid, y.gid));
    }
    lines.extend(xattrs(a, b));
    lines
}

fn word(side: &Side) -> &'static str {
    match side.kind() {
        Kind::File => "file",
        Kind::Dir => "directory",
        Kind::Symlink => "symbolic link",
        Kind::Other => "special file",
    }
}

/// The names of permission bits, from the highest.
const BITS: [&str; 12] = [
    "set-user-ID",
    "set-group-ID",
    "sticky",
    "owner read",
    "owner write",
    "owner execute",
    "group read",
    "group write",
    "group execute",
    "others read",
    "others write",
    "others execute",
];

/// The bits that `to` adds (`+`) and removes (`-`).
fn bits(from: u32, to: u32) -> String {
    let change = |(i, name): (usize, &&str)| {
        let bit = 0o4000 >> i;
        match (from & bit != 0, to & bit != 0) {
            (false, true) => Some(format!("+{name}")),
            (true, false) => Some(format!("-{name}")),
            _ => None,
        }
    };
    BITS.iter().enumerate().filter_map(change).collect::<Vec<_>>().join(", ")
}

/// What to do about an attribute that a tool keeps for its own use.
fn remedy(name: &[u8]) -> &'static str {
    match name {
        b"user.ostreemeta" => {
            " (a file of a bare-user repository, as `ostree checkout -U` links it: commit the checkout \
             with `ostree commit --devino-canonical`, or compare the commit itself)"
        }
        _ => "",
    }
}

fn xattrs(a: &Side, b: &Side) -> Vec<String> {
    let map =
        |side: &Side| -> BTreeMap<Vec<u8>, Vec<u8>> { side.attrs.xattrs.iter().cloned().collect() };
    let (x, y) = (map(a), map(b));
    let mut names: Vec<_> = x.keys().chain(y.keys()).collect();
    names.sort();
    names.dedup();
    let line = |name: &Vec<u8>| {
        let (from, to) = (x.get(name), y.get(name));
        let value = |v: Option<&Vec<u8>>| v.map_or("absent".to_owned(), |v| value(name, v));
        (from != to)
            .then(|| format!("{}: {} → {}{}", title(name), value(from), value(to), remedy(name)))
    };
    names.into_iter().filter_map(line).collect()
}

fn title(name: &[u8]) -> String {
    match name {
        b"security.selinux" => "SELinux label".to_owned(),
        b"security.capability" => "capability".to_owned(),
        _ => format!("xattr {}", text(name)),
    }
}

fn value(name: &[u8], value: &[u8]) -> String {
    match name {
        b"security.selinux" => text(value.strip_suffix(b"\0").unwrap_or(value)),
        b"security.capability" => capability(value).unwrap_or_else(|| text(value)),
        _ => text(value),
    }
}

/// Bytes as text on one line, at most the first 64.
fn text(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(64)];
    let more = if bytes.len() > 64 { "…" } else { "" };
    format!("{}{more}", start.escape_ascii())
}

/// The capabilities of `capability(7)`, by number.
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// `struct vfs_cap_data` of revision 2 or 3, as `getcap` writes it: `cap_net_raw=ep`.
fn capability(value: &[u8]) -> Option<String> {
    let word = |i: usize| Order::Little.u32(value, i * 4).ok();
    let magic = word(0)?;
    if !matches!((magic >> 24, value.len()), (2, 20) | (3, 24)) {
        return None;
    }
    let pair = |i: usize| Some(u64::from(word(i)?) | u64::from(word(i + 2)?) << 32);
    let (permitted, inheritable) = (pair(1)?, pair(2)?);
    let flags = |bit: u64| {
        let has = |set: u64| set & bit != 0;
        let letters = [(magic & 1 != 0, 'e'), (has(inheritable), 'i'), (has(permitted), 'p')];
        letters.iter().filter_map(|(on, letter)| on.then_some(*letter)).collect::<String>()
    };
    let each =
        (0..64).map(|n| (n, 1u64 << n)).filter(|(_, bit)| (permitted | inheritable) & bit != 0);
    let names: Vec<_> = each
        .map(|(n, bit)| {
            let name = CAPABILITIES.get(n).map_or_else(|| n.to_string(), |name| (*name).to_owned());
            format!("cap_{name}={}", flags(bit))
        })
        .collect();
    Some(if names.is_empty() { "none".to_owned() } else { names.join(",") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ostree::{Attrs, Checksum};

    fn lines(a: Attrs, b: Attrs) -> Vec<String> {
        let side = |attrs| Some(Side { attrs, target: None, size: 0, object: Checksum([0; 32]) });
        let path = "f".into();
        metadata(&Difference { path, a: side(a), b: side(b), changes: Vec::new() })
    }

    fn attrs(mode: u32, xattrs: &[(&str, &[u8])]) -> Attrs {
        let xattrs = xattrs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.to_vec())).collect();
        Attrs { uid: 0, gid: 0, mode, xattrs }
    }

    #[test]
    fn mode_bits_have_names() {
        let lines = lines(attrs(0o100644, &[]), attrs(0o104755, &[]));
        let bits = "+set-user-ID, +owner execute, +group execute, +others execute";
        assert_eq!(lines, [format!("mode: 0644 → 4755 ({bits})")]);
    }

    #[test]
    fn labels_capabilities_and_other_attributes_have_names() {
        let raw = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let a = attrs(0o100644, &[("security.selinux", b"u:r:bin_t:s0\0"), ("user.a", &[0, 255])]);
        let b = attrs(
            0o100644,
            &[("security.selinux", b"u:r:lib_t:s0\0"), ("security.capability", &raw)],
        );
        assert_eq!(
            lines(a, b),
            [
                "capability: absent → cap_net_raw=ep",
                "SELinux label: u:r:bin_t:s0 → u:r:lib_t:s0",
                "xattr user.a: \\x00\\xff → absent",
            ]
        );
    }

    #[test]
    fn a_damaged_capability_is_shown_as_it_is() {
        assert_eq!(value(b"security.capability", &[1, 2]), "\\x01\\x02");
        assert_eq!(value(b"security.capability", &[0; 20]), "\\x00".repeat(20));
    }
}
