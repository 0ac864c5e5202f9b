//! Filesystem and disk images: which fields of the superblock or header differ, and whether anything
//! else does.
//!
//! Follows the kernel's `fs/squashfs/squashfs_fs.h`, `fs/erofs/erofs_fs.h` and `fs/ext4/ext4.h`.

/// A field of a superblock: its name, offset, size in bytes, and form.
struct Field(&'static str, usize, usize, Form);

#[derive(Clone, Copy)]
enum Form {
    Number,
    Uuid,
    Text,
    /// A checksum, which follows from the other fields.
    Sum,
}

/// A filesystem: its name, the offsets of its superblock and of the magic in it, and its fields.
struct Kind {
    name: &'static str,
    at: usize,
    magic: (usize, &'static [u8]),
    fields: &'static [Field],
}

const KINDS: &[Kind] = &[
    Kind {
        name: "squashfs",
        at: 0,
        magic: (0, b"hsqs"),
        fields: &[
            Field("inodes", 4, 4, Form::Number),
            Field("made at", 8, 4, Form::Number),
            Field("block size", 12, 4, Form::Number),
            Field("fragments", 16, 4, Form::Number),
            Field("compression", 20, 2, Form::Number),
            Field("flags", 24, 2, Form::Number),
            Field("bytes used", 40, 8, Form::Number),
        ],
    },
    Kind {
        name: "erofs",
        at: 1024,
        magic: (0, &[0xe2, 0xe1, 0xf5, 0xe0]),
        fields: &[
            Field("checksum", 4, 4, Form::Sum),
            Field("inodes", 16, 8, Form::Number),
            Field("made at", 24, 8, Form::Number),
            Field("made at (nanoseconds)", 32, 4, Form::Number),
            Field("blocks", 36, 4, Form::Number),
            Field("UUID", 48, 16, Form::Uuid),
            Field("label", 64, 16, Form::Text),
        ],
    },
    Kind {
        name: "vdi",
        at: 0,
        magic: (0x40, &[0x7f, 0x10, 0xda, 0xbe]),
        fields: &[
            Field("UUID of the image (random)", 0x188, 16, Form::Uuid),
            Field("UUID of its last change (random)", 0x198, 16, Form::Uuid),
        ],
    },
    Kind {
        name: "vhd",
        at: 0,
        magic: (0, b"conectix"),
        fields: &[
            Field("time of making, seconds since 2000", 24, 4, Form::Uuid),
            Field("checksum", 64, 4, Form::Sum),
            Field("UUID (random)", 68, 16, Form::Uuid),
        ],
    },
    Kind {
        name: "vmdk",
        at: 512,
        magic: (0, b"# Disk DescriptorFile\nversion=1\nCID="),
        fields: &[Field("id of the content (random)", 36, 8, Form::Text)],
    },
    Kind {
        name: "ext4",
        at: 1024,
        magic: (0x38, &[0x53, 0xef]),
        fields: &[
            Field("inodes", 0x00, 4, Form::Number),
            Field("blocks", 0x04, 4, Form::Number),
            Field("free blocks", 0x0c, 4, Form::Number),
            Field("free inodes", 0x10, 4, Form::Number),
            Field("mounted at", 0x2c, 4, Form::Number),
            Field("written at", 0x30, 4, Form::Number),
            Field("mounts", 0x34, 2, Form::Number),
            Field("checked at", 0x40, 4, Form::Number),
            Field("UUID", 0x68, 16, Form::Uuid),
            Field("label", 0x78, 16, Form::Text),
            Field("last mounted on", 0x88, 64, Form::Text),
            Field("salt of directory hashes", 0xec, 16, Form::Uuid),
            Field("made at", 0x108, 4, Form::Number),
            Field("kilobytes written", 0x178, 8, Form::Number),
            Field("checksum seed", 0x270, 4, Form::Number),
            Field("checksum", 0x3fc, 4, Form::Sum),
        ],
    },
];

/// What differs between two images of one filesystem; `None` unless both are.
pub(super) fn explain(a: &[u8], b: &[u8]) -> Option<Vec<String>> {
    let (name, mut lines, mut covered) = compared(a, b)?;
    covered.sort_by_key(|range| range.start);
    lines.push(rest(name, a, b, &covered, lines.is_empty()));
    Some(lines)
}

/// The fields of the superblock that differ, of two filesystems by their first bytes.
pub(in crate::check) fn fields(a: &[u8], b: &[u8]) -> Vec<String> {
    compared(a, b).map(|(_, lines, _)| lines).unwrap_or_default()
}

/// A filesystem's name, what differs in its superblock, and the places of the fields.
type Compared = (&'static str, Vec<String>, Vec<std::ops::Range<usize>>);

fn compared(a: &[u8], b: &[u8]) -> Option<Compared> {
    let is = |bytes: &[u8], kind: &Kind| {
        let at = kind.at + kind.magic.0;
        bytes.get(at..at + kind.magic.1.len()) == Some(kind.magic.1)
    };
    let kind = KINDS.iter().find(|kind| is(a, kind) && is(b, kind))?;
    let name = kind.name;
    let mut covered = Vec::new();
    let mut lines = Vec::new();
    for Field(what, at, length, form) in kind.fields {
        let range = kind.at + at..kind.at + at + length;
        let (x, y) = (a.get(range.clone())?, b.get(range.clone())?);
        if x != y && !matches!(form, Form::Sum) {
            lines.push(format!("{name}: {what} {} → {}", form.shown(x), form.shown(y)));
        }
        covered.push(range);
    }
    Some((name, lines, covered))
}

/// Whether anything but the fields differs.
fn rest(name: &str, a: &[u8], b: &[u8], covered: &[std::ops::Range<usize>], alone: bool) -> String {
    let mut from = 0;
    let ends = covered.iter().map(|range| (range.start, range.end));
    for (start, end) in ends.chain([(a.len().max(b.len()), 0)]) {
        let piece = |side: &'_ [u8]| side.get(from..start.min(side.len())).map(<[u8]>::to_vec);
        let (x, y) = (piece(a).unwrap_or_default(), piece(b).unwrap_or_default());
        if x != y {
            let at = x.iter().zip(&y).position(|(p, q)| p != q).unwrap_or(x.len().min(y.len()));
            return format!(
                "{name}: apart from the superblock's fields it differs from byte {} on",
                from + at
            );
        }
        from = end;
    }
    match alone {
        true => format!("{name}: only a checksum differs"),
        false => format!("{name}: nothing else differs, so the contents are equal"),
    }
}

impl Form {
    fn shown(self, bytes: &[u8]) -> String {
        match self {
            Form::Number | Form::Sum => {
                let number = bytes.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
                number.to_string()
            }
            Form::Uuid => {
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                match hex.len() {
                    32 => {
                        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
                    }
                    _ => hex,
                }
            }
            Form::Text => {
                let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
                format!("{:?}", String::from_utf8_lossy(&bytes[..end]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::content;
    use std::path::Path;
    use std::process::Command;

    fn run(program: &str, args: &[&str]) {
        let out = Command::new(program).args(args).output();
        let out = out.unwrap_or_else(|e| panic!("{program}: {e}; install it"));
        assert!(out.status.success(), "{program}: {out:?}");
    }

    fn image(dir: &Path, name: &str) -> (String, Vec<u8>) {
        let path = dir.join(name);
        (path.display().to_string(), std::fs::read(&path).unwrap_or_default())
    }

    /// Images of the real programs that differ in one field, and one that differs in a file.
    #[test]
    fn a_field_of_the_superblock_is_named() {
        let dir = tempfile::tempdir().expect("makes");
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("makes");
        std::fs::write(tree.join("f"), "one").expect("writes");
        let source = tree.display().to_string();
        let squash = |name: &str, time: &str| {
            let to = dir.path().join(name).display().to_string();
            let all = ["-all-time", "1", "-mkfs-time", time, "-no-progress", "-quiet"];
            run("mksquashfs", &[&[&*source, &*to][..], &all].concat());
            image(dir.path(), name).1
        };
        let lines = content(&squash("a", "5"), &squash("b", "6"));
        assert_eq!(
            lines[1..],
            [
                "squashfs: made at 5 → 6",
                "squashfs: nothing else differs, so the contents are equal"
            ]
        );
        let one = squash("c", "5");
        std::fs::write(tree.join("f"), "two").expect("writes");
        let lines = content(&one, &squash("d", "5"));
        assert!(
            lines.iter().any(|l| l.contains("apart from the superblock's fields")),
            "{lines:?}"
        );
        let ext = |name: &str, uuid: &str| {
            let to = dir.path().join(name).display().to_string();
            let fixed = "00000000-0000-0000-0000-000000000001";
            let extended = format!("hash_seed={fixed},lazy_itable_init=0");
            run("truncate", &["-s", "4M", &to]);
            let options = ["-q", "-F", "-t", "ext4", "-O", "^has_journal,^metadata_csum", "-E"];
            let mut command = Command::new("mke2fs");
            command.env("SOURCE_DATE_EPOCH", "5").env("E2FSPROGS_FAKE_TIME", "5");
            let out = command.args(options).args([&*extended, "-U", uuid, &*to]).output();
            let out = out.unwrap_or_else(|e| panic!("mke2fs: {e}; install e2fsprogs"));
            assert!(out.status.success(), "{out:?}");
            image(dir.path(), name).1
        };
        let uuid = |n: u8| format!("00000000-0000-0000-0000-0000000000{n:02}");
        let erofs = |name: &str, uuid: &str| {
            let to = dir.path().join(name).display().to_string();
            run("mkfs.erofs", &["--quiet", "-T5", "-U", uuid, &to, &source]);
            image(dir.path(), name).1
        };
        let lines = content(&erofs("g", &uuid(7)), &erofs("h", &uuid(8)));
        let said = format!("erofs: UUID {} → {}", uuid(7), uuid(8));
        let equal = "erofs: nothing else differs, so the contents are equal";
        assert_eq!(lines[1..], [said.as_str(), equal]);
        let lines = content(&ext("e", &uuid(7)), &ext("f", &uuid(8)));
        let said = format!("ext4: UUID {} → {}", uuid(7), uuid(8));
        assert!(lines.contains(&said), "{lines:#?}");
    }
}
