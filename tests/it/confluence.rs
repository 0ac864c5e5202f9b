//! Two inputs of one meaning come to one output, for every plugin that rewrites.
//!
//! A golden case, or one side of a real pair, is scrambled twice in all that the plugin's page calls
//! free: times after SOURCE_DATE_EPOCH, owners, order, names that nobody reads. Both must come out
//! the same. The inputs are in each plugin's `evidence.toml`.

#![allow(clippy::ptr_arg)] // every row of the table has one signature

use std::path::Path;

use proptest::prelude::*;
use regex::bytes::{Captures, Regex};
use reprofix::format::{fontconfig, jks};
use reprofix::plugins::{default_context, find};
use reprofix::tree::{Kind, Memory, Time};
use sha1::{Digest, Sha1};

use crate::cases::{EPOCH, run};
use crate::evidence::{self, Evidence, folder};

/// What is free in one file.
type Scramble = fn(&mut Dice, &Path, &mut Vec<u8>);

/// What is free, by its name in evidence.toml.
fn scramble(what: &str) -> Scramble {
    match what {
        "accounts" => accounts,
        "anything" => anything,
        "ar" => ar,
        "authselect" => authselect,
        "bytecode" => bytecode,
        "fonts" => fonts,
        "gzip" => gzip,
        "javadoc" => javadoc,
        "keys" => keys,
        "keystore" => keystore,
        "lines" => lines,
        "state" => state,
        "tar" => tar,
        "zip" => zip,
        "nothing" => |_, _, _| {},
        other => panic!("{other}: no such function"),
    }
}

/// Random numbers, from one seed.
struct Dice(u64);

impl Dice {
    /// SplitMix64, below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    /// Seconds since 1970, after SOURCE_DATE_EPOCH by two days or more, before 2038.
    fn time(&mut self) -> u64 {
        let start = u64::from(EPOCH.seconds()) + 2 * 86_400;
        start + self.below(i32::MAX as u64 - start)
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// As many digits as `old` has, the first of them kept.
    fn digits(&mut self, old: &[u8], kept: usize) -> Vec<u8> {
        let random = |(i, b): (usize, &u8)| {
            if i < kept || !b.is_ascii_digit() { *b } else { b'0' + self.below(10) as u8 }
        };
        old.iter().enumerate().map(random).collect()
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn anything(dice: &mut Dice, _: &Path, bytes: &mut Vec<u8>) {
    *bytes = (0..dice.below(100)).map(|_| dice.below(256) as u8).collect();
}

fn keys(dice: &mut Dice, path: &Path, bytes: &mut Vec<u8>) {
    if path.starts_with("etc/ssh") {
        anything(dice, path, bytes);
    }
}

fn state(dice: &mut Dice, path: &Path, bytes: &mut Vec<u8>) {
    if path.starts_with("var") || path.extension().is_some_and(|e| e == "jsa") {
        anything(dice, path, bytes);
    }
}

/// The source's time in the header.
fn bytecode(dice: &mut Dice, path: &Path, bytes: &mut Vec<u8>) {
    if path.extension().is_some_and(|e| e == "pyc") {
        let time = dice.time() as u32;
        put(bytes, 8, &time.to_le_bytes());
    }
}

fn lines(dice: &mut Dice, _: &Path, bytes: &mut Vec<u8>) {
    let text = std::mem::take(bytes);
    let mut all: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
    dice.shuffle(&mut all);
    *bytes = all.concat();
}

/// Order, but not of lines with one number, of which the first counts; days of password changes.
fn accounts(dice: &mut Dice, path: &Path, bytes: &mut Vec<u8>) {
    let key = if path.to_string_lossy().ends_with("shadow") { 0 } else { 2 };
    let mut seen = std::collections::BTreeSet::new();
    let mut text = String::from_utf8(std::mem::take(bytes)).unwrap();
    text = text
        .split_inclusive('\n')
        .filter(|line| seen.insert(line.split(':').nth(key).map(str::to_owned)))
        .collect();
    *bytes = text.into_bytes();
    // Lines for name services say where the others end.
    if !bytes.iter().any(|b| matches!(b, b'+' | b'#')) {
        lines(dice, path, bytes);
    }
    if path.ends_with("shadow") {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let later = |line: &str| {
            let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
            // An earlier day stays as it is: only later ones are free.
            if fields[2].parse().is_ok_and(|day: u64| day > u64::from(EPOCH.seconds()) / 86_400) {
                fields[2] = (dice.time() / 86_400).to_string();
            }
            fields.join(":") + "\n"
        };
        *bytes = text.lines().map(later).collect::<String>().into_bytes();
    }
}

fn replace(bytes: &mut Vec<u8>, pattern: &str, mut new: impl FnMut(&Captures<'_>) -> Vec<u8>) {
    let pattern = Regex::new(pattern).unwrap();
    *bytes = pattern.replace_all(bytes, |c: &Captures<'_>| new(c)).into_owned();
}

fn date(dice: &mut Dice) -> String {
    let [day, hour, minute] = [28, 24, 60].map(|end| dice.below(end));
    format!("Nov {:2} {hour:02}:{minute:02}:00", day + 1)
}

fn authselect(dice: &mut Dice, _: &Path, bytes: &mut Vec<u8>) {
    replace(bytes, "(Generated by authselect on )[^\n]*", |c| {
        [&c[1], format!("Mon {} 2026", date(dice)).as_bytes()].concat()
    });
}

fn javadoc(dice: &mut Dice, _: &Path, bytes: &mut Vec<u8>) {
    replace(bytes, r"(<!-- Generated by javadoc [^\n]* on )[^\n]*( -->)", |c| {
        [&c[1], format!("Mon {} UTC 2026", date(dice)).as_bytes(), &c[2]].concat()
    });
    replace(bytes, r#"(<meta name="dc.created" content="20)[0-9-]+"#, |c| {
        [&c[1], format!("26-11-{:02}", dice.below(28) + 1).as_bytes()].concat()
    });
}

/// Order and creation times, under a digest that fits.
fn keystore(dice: &mut Dice, _: &Path, bytes: &mut Vec<u8>) {
    // A PKCS #12 store beside it is only the real tool's to make.
    let Ok(store) = jks::parse(bytes) else { return };
    let mut entries = store.entries.clone();
    dice.shuffle(&mut entries);
    let mut out = bytes[..12].to_vec();
    for entry in entries {
        out.extend(entry.tag.to_be_bytes());
        out.extend(u16::try_from(entry.alias.len()).unwrap().to_be_bytes());
        out.extend(entry.alias);
        out.extend((dice.time() * 1000).to_be_bytes());
        out.extend(entry.body);
    }
    let password = "changeit".encode_utf16().flat_map(u16::to_be_bytes);
    let keyed: Vec<u8> = password.chain(*b"Mighty Aphrodite").chain(out.clone()).collect();
    out.extend(Sha1::digest(&keyed));
    *bytes = out;
}

/// The time of the directory that was scanned.
fn fonts(dice: &mut Dice, _: &Path, bytes: &mut Vec<u8>) {
    let scanned = fontconfig::parse(bytes).unwrap().scanned.sec as u32;
    let at = (16..80).find(|at| u32_at(bytes, *at) == scanned as usize).expect("the time");
    let time = dice.time() as u32;
    put(bytes, at, &time.to_le_bytes());
}

/// Time, system and name in the header.
fn gzip(dice: &mut Dice, _: &Path, bytes: &mut Vec<u8>) {
    const NAME: u8 = 8;
    let time = dice.time() as u32;
    put(bytes, 4, &time.to_le_bytes());
    bytes[9] = dice.below(14) as u8;
    if bytes[3] == NAME {
        let end = 11 + bytes[10..].iter().position(|b| *b == 0).unwrap();
        bytes.drain(10..end);
        bytes[3] = 0;
    }
    if bytes[3] == 0 && dice.below(2) == 1 {
        bytes[3] = NAME;
        let name: Vec<u8> = (0..dice.below(9)).map(|_| b'a' + dice.below(26) as u8).collect();
        bytes.splice(10..10, name.into_iter().chain([0]));
    }
}

/// Order of entries; times in headers and in the extra fields, uid and gid there.
fn zip(dice: &mut Dice, _: &Path, bytes: &mut Vec<u8>) {
    let end = bytes.windows(4).rposition(|w| w == b"PK\x05\x06").expect("an end");
    let start = u32_at(bytes, end + 16);
    let (mut at, mut entries) = (start, Vec::new());
    while at < end {
        let length = 46 + [28, 30, 32].map(|field| u16_at(bytes, at + field)).iter().sum::<usize>();
        entries.push((u32_at(bytes, at + 42), bytes[at..at + length].to_vec()));
        at += length;
    }
    let mut offsets: Vec<usize> = entries.iter().map(|(offset, _)| *offset).collect();
    offsets.push(start);
    offsets.sort_unstable();
    let mut parts: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (offset, record) in entries {
        let next = offsets[offsets.binary_search(&offset).unwrap() + 1];
        parts.push((bytes[offset..next].to_vec(), record));
    }
    dice.shuffle(&mut parts);
    let tail = bytes[end..].to_vec();
    bytes.clear();
    let mut directory = Vec::new();
    for (mut local, mut record) in parts {
        // The year 2026 and later, in DOS's form.
        let dos = (((46 + dice.below(10)) << 25) | (1 + dice.below(12)) << 21) as u32;
        let dos = dos | ((1 + dice.below(28)) << 16) as u32 | (dice.below(24) << 11) as u32;
        let unix = dice.time() as u32;
        put(&mut local, 10, &dos.to_le_bytes());
        put(&mut record, 12, &dos.to_le_bytes());
        let extra = 30 + u16_at(&local, 26);
        let length = u16_at(&local, 28);
        extra_fields(dice, unix, &mut local[extra..extra + length]);
        let extra = 46 + u16_at(&record, 28);
        let length = u16_at(&record, 30);
        extra_fields(dice, unix, &mut record[extra..extra + length]);
        put(&mut record, 42, &(bytes.len() as u32).to_le_bytes());
        bytes.extend(local);
        directory.extend(record);
    }
    bytes.extend(directory);
    bytes.extend(tail);
}

/// `UT`: flags, then the time of modification and perhaps others. `ux`: version, uid, gid.
fn extra_fields(dice: &mut Dice, modified: u32, mut extra: &mut [u8]) {
    while extra.len() >= 4 {
        let (head, rest) = extra.split_at_mut(4);
        let (field, next) = rest.split_at_mut(u16_at(head, 2));
        match &head[..2] {
            b"UT" => {
                for at in (1..field.len()).step_by(4) {
                    let time = if at == 1 { modified } else { dice.time() as u32 };
                    put(field, at, &time.to_le_bytes());
                }
            }
            b"ux" => {
                for at in [2, 7] {
                    put(field, at, &(dice.below(60_000) as u32).to_le_bytes());
                }
            }
            _ => {}
        }
        extra = next;
    }
}

/// Time, owner, group and mode of each member.
fn ar(dice: &mut Dice, _: &Path, bytes: &mut Vec<u8>) {
    let thin = bytes.starts_with(b"!<thin>");
    let mut at = 8;
    while at + 60 <= bytes.len() {
        let member = bytes[at..at + 60].to_vec();
        let fields = [
            (16, format!("{:<12}", dice.time())),
            (28, format!("{:<6}", dice.below(60_000))),
            (34, format!("{:<6}", dice.below(60_000))),
            (40, format!("{:<8o}", 0o100_600 | dice.below(0o200))),
        ];
        // The table of names has no such fields.
        for (offset, value) in fields.into_iter().filter(|_| !member.starts_with(b"//")) {
            put(&mut bytes[at..at + 60], offset, value.as_bytes());
        }
        let size = std::str::from_utf8(&member[48..58]).unwrap().trim().parse().unwrap();
        // A thin archive holds its tables only.
        let held: usize = if thin && !matches!(&member[..2], b"/ " | b"//") { 0 } else { size };
        at += 60 + held + held % 2;
    }
}

/// Times: in headers, and as records of pax.
fn tar(dice: &mut Dice, _: &Path, bytes: &mut Vec<u8>) {
    replace(bytes, r"((?:m|a|c)time=1[78])([0-9]{8}\.[0-9]+)", |c| {
        [&c[1], dice.digits(&c[2], 0).as_slice()].concat()
    });
    for at in (0..bytes.len()).step_by(512) {
        let header = &mut bytes[at..at + 512];
        if &header[257..262] == b"ustar" {
            put(header, 136, format!("{:011o}\0", dice.time()).as_bytes());
            put(header, 148, b"        ");
            let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
            put(header, 148, format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

fn scrambled(base: &Memory, scramble: Scramble, seed: u64) -> Memory {
    let (mut tree, mut dice) = (base.clone(), Dice(seed));
    for (path, node) in &mut tree.0 {
        node.mtime = Some(Time { sec: dice.time() as i64, nsec: dice.below(1_000_000_000) as u32 });
        if node.kind == Kind::File {
            scramble(&mut dice, path, &mut node.data);
        }
    }
    tree
}

/// Every input of every plugin.
fn rows() -> Vec<(String, evidence::Scramble)> {
    let of =
        |name: String| Evidence::of(&name).scramble.into_iter().map(move |row| (name.clone(), row));
    evidence::plugins().into_iter().flat_map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn two_inputs_of_one_meaning_come_to_one_output(seeds in any::<[u64; 2]>()) {
        for (name, row) in rows() {
            let plugin = find(&name).expect("a plugin");
            let (options, free) = (&row.options, scramble(&row.what));
            let mut cx = default_context(EPOCH);
            for (option, value) in options {
                cx.options.insert((name.clone(), option.clone()), value.clone());
            }
            let base = crate::checkout::load(&folder(&name).join(&row.input), Time { sec: 0, nsec: 0 });
            let [mut a, mut b] = seeds.map(|seed| scrambled(&base, free, seed));
            let notes = [run(plugin, &cx, &mut a), run(plugin, &cx, &mut b)];
            prop_assert!(notes.iter().all(|n| n.is_empty()), "{name} {options:?}: {notes:?}");
            for (path, node) in &mut a.0 {
                let other = b.0.get_mut(path);
                // Only one plugin answers for times.
                let times = name == "mtime";
                let same = other.is_some_and(|other| {
                    other.data == node.data && (!times || other.mtime == node.mtime)
                });
                prop_assert!(same, "{name} {options:?}: {} differs", path.display());
            }
            prop_assert_eq!(a.0.len(), b.0.len(), "{}: files are left over", name);
        }
    }
}
