//! Every parser of the project on any bytes: no panic, no overflow, no endless memory, and what
//! comes out in normal form stays as it is.
//!
//! One program, so that it is built once: REPROFIX_FUZZ names the target, a plugin or a row of
//! [`PARSERS`] or [`documents::DOCUMENTS`]. The paths of a plugin are in `tests/plugins/NAME/fuzz`. `fuzz/all` runs them all, from seeds that are the files of
//! the tests. What writes databases has targets of its own. `tests/it/fuzz.rs` holds which module is
//! tried by which target.
#![no_main]

#[path = "parsers/documents.rs"]
mod documents;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use reprofix::check;
use reprofix::normal::{Chain, Context, Form};
use reprofix::env::SourceDateEpoch;
use reprofix::format::{self, ostree};
use reprofix::image::opm::pogreb;
use reprofix::normal::{File, Plugin};
use reprofix::plugins::{self, default_context};
use reprofix::format::tar;
use reprofix::image::stacker::{filesystem as stacker_filesystem, metadata as stacker};
use reprofix::tree::{Entry, Kind, Memory, Time};
use reprofix::vouchers::Vouchers;

/// A target: its name, and what it tries on any bytes.
type Row = (&'static str, fn(&[u8]));

/// Parsers of bytes that no plugin calls by its default options.
const PARSERS: &[Row] = &[
    ("check-archive", differences),
    ("check-elf", differences),
    ("check-rpm", differences),
    ("check-sqlite", differences),
    ("check-text", differences),
    ("compress", compress),
    ("cpio", cpio),
    ("disk-image", disk_image),
    ("gpt", |bytes| {
        drop(format::gpt::read(&mut io::Cursor::new(bytes), bytes.len() as u64));
        drop(format::verity::read(bytes));
        drop(format::verity::signature(bytes));
    }),
    ("meta-json", |bytes| drop(reprofix::record::meta::Meta::parse(bytes))),
    ("oci-tar", oci_tar),
    ("opm-documents", |bytes| drop(reprofix::image::opm::document::documents(bytes, |_| Ok(())))),
    ("opm-pogreb", opm_pogreb),
    ("tar-split", |bytes| {
        let mut pieces = tar::split::Pieces::new(bytes);
        while let Ok(Some(_)) = pieces.next_piece() {}
    }),
    ("sums", |bytes| {
        format::checksum_files::Sums::parse(bytes, b"SHA256SUMS");
        let lines = format::wheel_record::lines(bytes).count();
        let fewer = format::wheel_record::without(bytes, &mut |path| path.ends_with(b"c"));
        assert!(fewer.is_none_or(|fewer| format::wheel_record::lines(&fewer).count() < lines));
    }),
    ("ostree-commit", |bytes| {
        let _ = ostree::Root::parse_commit(bytes);
        let commit = format::gvariant::Value::new("(a{sv}aya(say)sstayay)", bytes);
        let _ = commit.and_then(|commit| commit.text());
    }),
    ("ostree-dirmeta", |bytes| {
        if let Ok(attrs) = ostree::Attrs::parse_dirmeta(bytes) {
            assert_eq!(attrs.encode_dirmeta(), bytes, "one dirmeta, one encoding");
        }
    }),
    ("ostree-dirtree", |bytes| {
        if let Ok(tree) = ostree::Dirtree::parse(bytes.to_vec()) {
            let files: Vec<_> = tree.files().map(|(n, f)| (n.to_vec(), f)).collect();
            let dirs: Vec<_> = tree.dirs().map(|(n, t, m)| (n.to_vec(), t, m)).collect();
            let again = ostree::Dirtree::new(&files, &dirs);
            assert_eq!(again.bytes(), bytes, "one dirtree, one encoding");
        }
    }),
    ("ostree-xattrs", |bytes| {
        if let Ok(xattrs) = ostree::parse_xattrs(bytes, 0) {
            let attrs = ostree::Attrs { uid: 0, gid: 0, mode: 0, xattrs };
            assert_eq!(&attrs.encode_dirmeta()[12..], bytes, "one list of xattrs, one encoding");
        }
    }),
    ("pe", |bytes| drop(format::pe::read(&mut io::Cursor::new(bytes)))),
    ("pyc", pyc),
    ("rpm-header", |bytes| {
        let _ = format::rpmdb::header::clamp_needed(bytes, 1);
        let _ = format::rpmdb::header::Header::parse(bytes).map(|h| h.nevra());
    }),
    ("stacker-filesystem", |bytes| {
        let _ = stacker_filesystem::Superblock::read(bytes);
        let _ = stacker_filesystem::differences(&mut &bytes[..], &mut &other(bytes)[..]);
    }),
    ("stacker-metadata", |bytes| drop(serde_json::from_slice::<stacker::Metadata>(bytes))),
];

fuzz_target!(|bytes: &[u8]| {
    static TARGET: OnceLock<Target> = OnceLock::new();
    match TARGET.get_or_init(Target::named) {
        Target::Parser(parse) => parse(bytes),
        Target::Plugin(plugin, paths) => {
            for path in paths {
                judge(*plugin, path, bytes);
            }
        }
    }
});

enum Target {
    Parser(fn(&[u8])),
    Plugin(&'static dyn Plugin, Vec<PathBuf>),
}

fn rows() -> impl Iterator<Item = &'static Row> {
    PARSERS.iter().chain(documents::DOCUMENTS)
}

impl Target {
    fn named() -> Target {
        let name = std::env::var("REPROFIX_FUZZ").expect("REPROFIX_FUZZ names a target");
        if let Some((_, parse)) = rows().find(|(parser, _)| *parser == name) {
            return Target::Parser(*parse);
        }
        let plugin = plugins::find(&name).unwrap_or_else(|| panic!("no target {name}"));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/plugins").join(&name);
        let paths = std::fs::read_to_string(file.join("fuzz"));
        let paths = paths.unwrap_or_else(|_| panic!("{name} wants the bytes of no path"));
        Target::Plugin(plugin, paths.lines().map(PathBuf::from).collect())
    }
}

fn context() -> Context {
    default_context(SourceDateEpoch::new(1_600_000_000))
}

fn entry(path: &Path, size: u64) -> Entry {
    Entry {
        path: path.to_owned(),
        kind: Kind::File,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        size,
        mtime: Some(Time { sec: 0, nsec: 0 }),
        inode: None,
    }
}

/// One plugin on one file: twice is once, and an explanation of whatever is there does not panic.
fn judge(plugin: &'static dyn Plugin, path: &Path, bytes: &[u8]) {
    let cx = context();
    let chain = Chain { plugins: &[plugin], cx: &cx, vouchers: &Vouchers::nobody() };
    let form = |bytes: &[u8]| {
        let entry = entry(path, bytes.len() as u64);
        chain.normal_form(&Memory::of_file(path, bytes), &entry).expect("a tree in memory reads").form
    };
    let first = form(bytes);
    let (tree, here) = (Memory::of_file(path, bytes), entry(path, bytes.len() as u64));
    let file = || File { entry: &here, bytes: bytes.into(), tree: &tree };
    plugin.explain(&file(), &file(), &cx);
    let changed = other(bytes);
    let beside = Memory::of_file(path, &*changed);
    let there = entry(path, changed.len() as u64);
    let changed = File { entry: &there, bytes: changed[..].into(), tree: &beside };
    plugin.explain(&file(), &changed, &cx);
    if let Form::Bytes(out) = first {
        let out = out.bytes().expect("was written");
        assert!(out != bytes, "a rewrite that changes nothing");
        let left = File { entry: &here, bytes: (&out[..]).into(), tree: &tree };
        plugin.explain(&left, &file(), &cx);
        assert!(form(&out) == Form::Kept, "the normal form of a normal form is itself");
    }
}

/// The same with one byte changed, or without its end: what a comparison needs beside it.
fn other(bytes: &[u8]) -> Vec<u8> {
    let mut other = bytes.to_vec();
    let at = bytes.iter().fold(bytes.len(), |sum, b| sum.wrapping_mul(31) + usize::from(*b));
    match other.len() {
        0 => return vec![0],
        n if at % 4 == 0 => other.truncate(at / 4 % n),
        n => other[at % n] ^= 1 << (at / n % 8),
    }
    other
}

/// What `check` says of files that no plugin knows, as text and as the page shows it.
fn differences(bytes: &[u8]) {
    let other = other(bytes);
    assert!(!check::differences(bytes, &other).is_empty());
    drop(check::both(Some(bytes), Some(&other)));
    drop(check::both(Some(bytes), None));
}

fn compress(bytes: &[u8]) {
    use format::compress::{HEAD_LEN, Source, detect};
    let Some(packing) = detect(&bytes[..bytes.len().min(HEAD_LEN)]) else { return };
    let mut source = Source::new(bytes);
    let _ = packing.decoder(&mut source).map(|d| io::copy(&mut d.take(1 << 20), &mut io::sink()));
}

fn cpio(bytes: &[u8]) {
    let mut reader = format::cpio::Reader::new(bytes);
    while let Ok(Some(_)) = reader.next_entry() {
        if io::copy(&mut reader.content(), &mut io::sink()).is_err() {
            return;
        }
    }
}

/// Members, and their headers with an earlier time and fewer records, as a layer's normal form has
/// them.
fn oci_tar(bytes: &[u8]) {
    let mut reader = tar::Reader::new(bytes);
    while let Ok(Some(was)) = reader.next_member() {
        assert!(!was.path.starts_with(b"/") && !was.path.starts_with(b"../"));
        let mut now = was.clone();
        now.mtime = now.mtime.min(Time { sec: 1_600_000_000, nsec: 0 });
        now.records.clear();
        let raw = &bytes[was.header as usize..was.data as usize];
        let headers = match tar::patched(raw, &was, &now) {
            Ok(Some(patched)) => patched,
            _ => match tar::header(&now) {
                Ok(anew) => anew,
                Err(_) => continue,
            },
        };
        let again = tar::Reader::new(&headers[..]).next_member().expect("was written");
        let again = again.expect("is a member");
        let told = |m: &tar::Member| (m.path.clone(), m.kind, m.mode, m.uid, m.gid, m.mtime);
        assert!(told(&again) == told(&now), "{again:?} instead of {now:?}");
    }
}

/// A segment, and the same with right checksums: no random change would find one.
fn opm_pogreb(bytes: &[u8]) {
    for bytes in [bytes, &summed(bytes)[..]] {
        let mut records = pogreb::Records::new();
        if pogreb::segment(bytes, &mut records).is_ok() {
            drop(reprofix::image::opm::index::database(&records));
            let written = pogreb::write_segment(&records).expect("was read");
            let mut again = pogreb::Records::new();
            pogreb::segment(&written, &mut again).expect("was written");
            assert!(again == records);
        }
    }
}

/// A segment whose records have the checksums that they need.
fn summed(segment: &[u8]) -> Vec<u8> {
    const HEADER: usize = 512;
    let mut out = segment.to_vec();
    let mut at = HEADER;
    while let Some(head) = out.get(at..at + 6) {
        let key = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let value = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) & 0x7fff_ffff;
        let end = at + 6 + key + value as usize;
        if out.len() < end + 4 {
            break;
        }
        let sum = crc32fast::hash(&out[at..end]);
        out[end..end + 4].copy_from_slice(&sum.to_le_bytes());
        at = end + 4;
    }
    out
}

fn pyc(bytes: &[u8]) {
    let Ok(parsed) = format::pyc::parse(bytes) else { return };
    let checked = parsed.check();
    match parsed.canonical_body() {
        Ok(body) => {
            assert!(checked.is_ok());
            let again = format::pyc::Pyc { body: &body, ..parsed }.canonical_body();
            assert!(again.as_ref() == Ok(&body), "the normal form of a normal form is itself");
        }
        Err(_) => drop(parsed.source_path()),
    }
}

/// A disk image with all its file systems, read whole unless it claims more than a few times its size.
fn disk_image(bytes: &[u8]) {
    let Ok(disk) = reprofix::source::disk::Disk::open(std::sync::Arc::new(bytes.to_vec())) else {
        return;
    };
    let claimed = disk.nodes.values().fold(0_u64, |sum, node| sum.saturating_add(node.inode.size));
    if claimed < 16 << 20 {
        drop(disk.subject("fuzz".to_owned(), &|| ()));
    }
}
