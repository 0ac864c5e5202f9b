//! Archives: which members differ, and how, as deep as they go.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use super::Budget;
use crate::format::tar;
use crate::format::time::utc;
use crate::format::{ar, cpio, zip};

/// The most members of an archive; one with more is compared as bytes.
const MEMBERS_MAX: usize = 100_000;

/// Members by name (and number, where a name repeats), in bytewise order.
struct Archive {
    format: &'static str,
    members: BTreeMap<(String, usize), Member>,
    /// The names in their order.
    order: Vec<String>,
    /// How often each name occurs.
    counts: BTreeMap<String, usize>,
}

/// A member: its fields by name, and its content.
#[derive(Default, PartialEq, Eq)]
struct Member {
    fields: Vec<(&'static str, String)>,
    content: Vec<u8>,
}

/// What differs between two archives of one format; `None` unless both are.
pub(super) fn explain(
    a: &[u8],
    b: &[u8],
    nesting: usize,
    budget: &mut Budget,
) -> Option<Vec<String>> {
    let nesting = nesting.checked_sub(1)?;
    let (x, y) = (read(a, budget)?, read(b, budget)?);
    if x.format != y.format {
        return None;
    }
    let format = x.format;
    let mut lines = Vec::new();
    let mut names: Vec<_> = x.members.keys().chain(y.members.keys()).collect();
    names.sort();
    names.dedup();
    for key in names {
        let name = &key.0;
        match (x.members.get(key), y.members.get(key)) {
            (Some(_), None) => lines.push(format!("{format}: {name}: only in A")),
            (None, _) => lines.push(format!("{format}: {name}: only in B")),
            (Some(p), Some(q)) => {
                let told = match budget.mask(name.as_bytes(), &p.content, &q.content) {
                    Some(masked) if p.content != q.content => vec![masked],
                    _ => member(p, q, nesting, budget),
                };
                lines.extend(told.into_iter().map(|line| format!("{format}: {name}: {line}")));
            }
        }
        if budget.is_spent(lines.len()) {
            lines.push(format!("{format}: … and what comes after {name}"));
            break;
        }
    }
    if lines.is_empty() {
        let why = if x.order == y.order { "stored differently" } else { "in another order" };
        lines.push(format!("{format}: the same members, {why}"));
    }
    Some(lines)
}

fn member(a: &Member, b: &Member, nesting: usize, budget: &mut Budget) -> Vec<String> {
    let fields = a.fields.iter().zip(&b.fields).filter(|(x, y)| x != y);
    let mut lines: Vec<_> = fields.map(|((name, x), (_, y))| format!("{name} {x} → {y}")).collect();
    if a.content != b.content {
        lines.extend(super::inside(&a.content, &b.content, nesting, budget));
    }
    lines
}

fn read(bytes: &[u8], budget: &mut Budget) -> Option<Archive> {
    let is_tar = bytes.get(257..262) == Some(b"ustar");
    let is_cpio = bytes.starts_with(b"070701") || bytes.starts_with(b"070702");
    match () {
        () if is_tar => read_tar(bytes, budget),
        () if is_cpio => read_cpio(bytes, budget),
        () if zip::is_zip(bytes) => read_zip(bytes, budget),
        () if ar::is_ar(bytes) => read_ar(bytes, budget),
        () => None,
    }
}

impl Archive {
    fn new(format: &'static str) -> Self {
        Archive { format, members: BTreeMap::new(), order: Vec::new(), counts: BTreeMap::new() }
    }

    fn add(&mut self, name: &[u8], member: Member) -> Option<()> {
        if self.order.len() >= MEMBERS_MAX {
            return None;
        }
        let name = shown(name);
        self.order.push(name.clone());
        let count = self.counts.entry(name.clone()).or_default();
        self.members.insert((name, *count), member);
        *count += 1;
        Some(())
    }
}

impl Archive {
    /// Resolves hard links, which are names of one file, whichever of them has the content. Each
    /// gets the content, and the first name of its group instead of a link.
    fn join(&mut self, links: &[(String, String)], budget: &mut Budget) -> Option<()> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, target) in links {
            groups.entry(target).or_default().push(name);
        }
        for (target, names) in groups {
            let Some(holder) = self.members.get(&(target.to_owned(), 0)) else { continue };
            let content = holder.content.clone();
            let first = names.iter().copied().chain([target]).min()?.to_owned();
            for name in names.iter().copied().chain([target]) {
                budget.room(content.len() as u64)?;
                let Some(member) = self.members.get_mut(&(name.to_owned(), 0)) else { continue };
                member.content.clone_from(&content);
                for (field, value) in &mut member.fields {
                    match *field {
                        "kind" => "hard link".clone_into(value),
                        "link" => value.clone_from(&first),
                        _ => {}
                    }
                }
            }
        }
        Some(())
    }
}

fn shown(name: &[u8]) -> String {
    crate::tree::show(std::path::Path::new(
        <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name),
    ))
}

fn read_tar(bytes: &[u8], budget: &mut Budget) -> Option<Archive> {
    let mut archive = Archive::new("tar");
    let mut reader = tar::Reader::new(Cursor::new(bytes));
    let mut links = Vec::new();
    while let Some(found) = reader.next_member().ok()? {
        if found.kind == tar::Type::Hardlink {
            links.push((shown(&found.path), shown(&found.link)));
        }
        let mut content = Vec::new();
        reader.by_ref().take(budget.room(found.size)?).read_to_end(&mut content).ok()?;
        let fields = vec![
            ("kind", format!("{:?}", found.kind).to_lowercase()),
            ("mode", format!("{:04o}", found.mode)),
            ("owner", format!("{}:{}", found.uid, found.gid)),
            ("mtime", found.mtime.to_string()),
            ("link", found.link.escape_ascii().to_string()),
            ("names", format!("{}:{}", found.uname.escape_ascii(), found.gname.escape_ascii())),
            ("xattrs", records(&found.xattrs)),
            ("records", records(&found.records)),
        ];
        archive.add(&found.path, Member { fields, content })?;
    }
    archive.join(&links, budget)?;
    Some(archive)
}

fn records(records: &tar::Records) -> String {
    let one = |(name, value): (&Vec<u8>, &Vec<u8>)| {
        format!("{}={}", name.escape_ascii(), value.escape_ascii())
    };
    let all: String = records.iter().map(one).collect::<Vec<_>>().join(" ");
    all.chars().take(200).collect()
}

fn read_cpio(bytes: &[u8], budget: &mut Budget) -> Option<Archive> {
    let mut archive = Archive::new("cpio");
    let mut reader = cpio::Reader::new(Cursor::new(bytes));
    while let Some((header, name)) = reader.next_entry().ok()? {
        let mut content = Vec::new();
        let room = budget.room(u64::from(header.size))?;
        reader.content().take(room).read_to_end(&mut content).ok()?;
        let [major, minor] = header.rdev;
        let fields = vec![
            ("mode", format!("{:06o}", header.mode)),
            ("owner", format!("{}:{}", header.uid, header.gid)),
            ("mtime", utc(header.mtime.into())),
            ("inode", header.ino.to_string()),
            ("links", header.nlink.to_string()),
            ("device", format!("{major}:{minor}")),
        ];
        archive.add(&name, Member { fields, content })?;
    }
    Some(archive)
}

fn read_ar(bytes: &[u8], budget: &mut Budget) -> Option<Archive> {
    let mut archive = Archive::new("ar");
    let members = ar::parse(bytes).ok()?;
    for found in &members {
        budget.room(found.content.len() as u64)?;
        let [uid, gid, mode] = found.owner().map(|field| field.escape_ascii().to_string());
        let fields = vec![
            ("mtime", text_of(found.mtime())),
            ("owner", format!("{}:{}", uid.trim(), gid.trim())),
            ("mode", mode.trim().to_owned()),
        ];
        let name = if found.is_symbols() { b"(symbols)" } else { found.name(&members) };
        archive.add(name, Member { fields, content: found.content.to_vec() })?;
    }
    Some(archive)
}

/// Formats a text of seconds since 1970 as a time; leaves anything else as it is.
fn text_of(field: &[u8]) -> String {
    let text = field.escape_ascii().to_string();
    text.trim().parse().map_or_else(|_| text.trim().to_owned(), utc)
}

fn read_zip(bytes: &[u8], budget: &mut Budget) -> Option<Archive> {
    const STORED: u16 = 0;
    const DEFLATED: u16 = 8;
    let mut archive = Archive::new("zip");
    for found in zip::parse(bytes).ok()?.entries {
        let room = budget.room(found.size)?;
        let content = match found.method {
            STORED if !found.is_encrypted() => found.packed.to_vec(),
            DEFLATED if !found.is_encrypted() => {
                let mut out = Vec::new();
                let unpacker = flate2::read::DeflateDecoder::new(found.packed);
                unpacker.take(room).read_to_end(&mut out).ok()?;
                out
            }
            _ => found.packed.to_vec(),
        };
        let [local, central] = found.extras().map(|extra| extra.escape_ascii().to_string());
        let fields = vec![
            ("method", found.method.to_string()),
            ("modified", found.modified.to_string()),
            ("attributes", format!("{:#x}", found.attributes)),
            ("flags", format!("{:#x}", found.flags)),
            ("extra", local),
            ("extra in the directory", central),
        ];
        archive.add(found.name, Member { fields, content })?;
    }
    Some(archive)
}

#[cfg(test)]
mod tests {
    use super::super::{content, tests::gzip};
    use super::*;

    /// A cpio archive of these files.
    fn cpio_of(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut writer = cpio::Writer::new(Vec::new(), 0);
        for (name, mtime, content) in files {
            let header = cpio::Header {
                mode: 0o100_644,
                nlink: 1,
                mtime: *mtime,
                size: u32::try_from(content.len()).expect("small"),
                ..cpio::Header::default()
            };
            writer.entry(&header, name.as_bytes(), &mut &content[..], 4).expect("writes");
        }
        writer.finish(false).expect("writes").0
    }

    #[test]
    fn members_are_compared_with_their_paths_inside() {
        let inner = |text: &str| gzip(&cpio_of(&[("etc/conf", 1, text.as_bytes())]), 6);
        let a = cpio_of(&[("boot", 5, &inner("one\n")), ("same", 1, b"x"), ("x", 1, b"")]);
        let b = cpio_of(&[("boot", 6, &inner("two\n")), ("same", 1, b"x"), ("y", 1, b"")]);
        assert_eq!(
            content(&a, &b)[1..],
            [
                "cpio: boot: mtime 1970-01-01T00:00:05Z → 1970-01-01T00:00:06Z",
                "cpio: boot: in gzip: cpio: etc/conf: -one",
                "cpio: boot: in gzip: cpio: etc/conf: +two",
                "cpio: x: only in A",
                "cpio: y: only in B",
            ]
        );
    }

    #[test]
    fn members_of_one_name_are_counted_not_searched() {
        let files = vec![("same", 1, &b""[..]); 50_000];
        let other: Vec<_> = files.iter().map(|(name, _, content)| (*name, 2, *content)).collect();
        let start = std::time::Instant::now();
        let lines = content(&cpio_of(&files), &cpio_of(&other));
        assert_eq!(lines[1], "cpio: same: mtime 1970-01-01T00:00:01Z → 1970-01-01T00:00:02Z");
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
    }

    #[test]
    fn order_alone_is_told() {
        let (x, y): ((&str, u32, &[u8]), _) = (("x", 1, b"1"), ("y", 1, &b"2"[..]));
        let lines = content(&cpio_of(&[x, y]), &cpio_of(&[y, x]));
        assert_eq!(lines[1..], ["cpio: the same members, in another order"]);
    }

    /// Archives as the real programs make them.
    #[test]
    fn real_archives_are_read() {
        let dir = tempfile::tempdir().expect("makes");
        let make = |name: &str, text: &str, args: &[&str]| {
            std::fs::create_dir_all(dir.path().join("d")).expect("makes");
            std::fs::write(dir.path().join("d/member"), text).expect("writes");
            let program = std::process::Command::new(args[0])
                .args(&args[1..])
                .arg(name)
                .arg("d/member")
                .current_dir(dir.path())
                .output()
                .unwrap_or_else(|e| panic!("{}: {e}; install it", args[0]));
            assert!(program.status.success(), "{program:?}");
            std::fs::read(dir.path().join(name)).expect("reads")
        };
        for (format, args) in [
            ("tar", &["tar", "--mtime=@0", "-cf"][..]),
            ("zip", &["python3", "-m", "zipfile", "-c"]),
            ("ar", &["ar", "rcD"]),
        ] {
            let [x, y] = ["a", "b"].map(|name| format!("{name}.{format}"));
            let (a, b) = (make(&x, "one\n", args), make(&y, "two\n", args));
            let member = if format == "tar" { "d/member" } else { "member" };
            let lines = content(&a, &b);
            let wanted = ["-one", "+two"].map(|line| format!("{format}: {member}: {line}"));
            assert!(lines.ends_with(&wanted), "{format}: {lines:?}");
        }
        let packed = make("a.xz", "x", &["tar", "--mtime=@0", "-cJf"]);
        let other = make("b.xz", "y", &["tar", "--mtime=@0", "-cJf"]);
        let lines = content(&packed, &other);
        assert!(lines[1].starts_with("in xz: tar: d/member: -x"), "{lines:?}");
    }
}
