//! Archives made here field by field; those of real tools are in `tests/plugins`.

use proptest::prelude::*;

use super::*;
use crate::format::dos_time::DosTime;

const EPOCH: i64 = 1_600_000_000;

/// One entry to be: name, content, DOS time, extra fields (local, central), behind a descriptor?
#[derive(Clone, Debug)]
pub(crate) struct Make {
    pub(crate) name: &'static str,
    pub(crate) content: Vec<u8>,
    pub(crate) time: i64,
    pub(crate) extra: (Vec<u8>, Vec<u8>),
    pub(crate) streamed: bool,
}

impl Make {
    fn new(name: &'static str, time: i64) -> Make {
        Make { name, content: name.into(), time, extra: Default::default(), streamed: false }
    }
}

/// An archive of stored entries.
pub(crate) fn make(entries: &[Make]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for e in entries {
        let dos = DosTime::from_unix(e.time);
        let len = (e.content.len() as u32).to_le_bytes();
        let flags = if e.streamed { STREAMED } else { 0 };
        let times = [dos.time.to_le_bytes(), dos.date.to_le_bytes()].concat();
        let crc = [0xAA; 4];
        let sizes = [&crc[..], &len, &len].concat();
        let head = |version: &[u8], sizes: &[u8], extra: &[u8]| {
            let lens = [e.name.len() as u16, extra.len() as u16].map(u16::to_le_bytes).concat();
            [version, &flags.to_le_bytes(), &[0; 2], &times, sizes, &lens].concat()
        };
        let offset = (out.len() as u32).to_le_bytes();
        out.extend(LOCAL.to_le_bytes());
        let known = if e.streamed { &[0; 12][..] } else { &sizes };
        out.extend(head(&[20, 0], known, &e.extra.0));
        out.extend([e.name.as_bytes(), &e.extra.0, &e.content].concat());
        if e.streamed {
            out.extend([&DESCRIPTOR.to_le_bytes()[..], &sizes].concat());
        }
        directory.extend(CENTRAL.to_le_bytes());
        directory.extend(head(&[20, 3, 20, 0], &sizes, &e.extra.1));
        directory.extend([&[0; 6][..], &[0; 4], &offset].concat());
        directory.extend([e.name.as_bytes(), &e.extra.1].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let place = [directory.len() as u32, out.len() as u32].map(u32::to_le_bytes).concat();
    out.extend(directory);
    out.extend(END.to_le_bytes());
    out.extend([&[0; 4][..], &count, &count, &place, &[0; 2]].concat());
    out
}

fn field(id: u16, data: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &(data.len() as u16).to_le_bytes(), data].concat()
}

fn form(bytes: &[u8], order: Order) -> Vec<u8> {
    let rules = Rules { epoch: EPOCH, order };
    let out = canonical(bytes, &rules).unwrap().unwrap_or_else(|| bytes.to_vec());
    assert_eq!(canonical(&out, &rules), Ok(None), "twice is once");
    out
}

fn names(bytes: &[u8]) -> Vec<&[u8]> {
    parse(bytes).unwrap().entries.iter().map(|e| e.name).collect()
}

#[test]
fn a_time_without_zone_is_late_if_it_may_be() {
    let at = |time| {
        let out = form(&make(&[Make::new("a", time)]), Order::Kept);
        parse(&out).unwrap().entries[0].modified.to_unix()
    };
    assert_eq!(at(EPOCH + 86_400), EPOCH);
    assert_eq!(at(EPOCH - 11 * 3600), EPOCH);
    assert_eq!(at(EPOCH - 13 * 3600), EPOCH - 13 * 3600);
}

#[test]
fn a_time_with_zone_decides_and_all_follow_it() {
    let utc = EPOCH + 5;
    let two = [utc.to_le_bytes()[..4].to_vec(), 7u32.to_le_bytes().to_vec()].concat();
    let ids = [&two[..], &[1, 2, 3, 4]].concat();
    let local = [
        field(0x5455, &[&[3], &two[..]].concat()),
        field(0x5855, &ids),
        field(0x7875, &[1, 4, 1, 2, 3, 4, 2, 5, 6]),
        field(0xCAFE, b"kept"),
        b"pad".to_vec(),
    ]
    .concat();
    let mut entry = Make::new("a", EPOCH - 5 * 3600);
    entry.extra = (local, field(0x5455, &[&[3], &two[..4]].concat()));
    let out = form(&make(std::slice::from_ref(&entry)), Order::Kept);
    let epoch = EPOCH.to_le_bytes()[..4].to_vec();
    let twice = [&epoch[..], &epoch].concat();
    let want = [
        field(0x5455, &[&[3], &twice[..]].concat()),
        field(0x5855, &[&twice[..], &[0; 4]].concat()),
        field(0x7875, &[1, 4, 0, 0, 0, 0, 2, 0, 0]),
        field(0xCAFE, b"kept"),
        b"pad".to_vec(),
    ]
    .concat();
    entry.extra = (want, field(0x5455, &[&[3], &epoch[..]].concat()));
    entry.time = EPOCH;
    assert_eq!(out, make(&[entry]));
}

#[test]
fn windows_times_are_clamped_and_keep_their_fraction() {
    let ntfs = |unix: i64, fraction: u64| {
        let ticks = (unix + 11_644_473_600).unsigned_abs() * 10_000_000 + fraction;
        let times = [ticks.to_le_bytes(), (ticks + 9).to_le_bytes(), [9; 8]].concat();
        field(0x000A, &[&[0; 4][..], &field(1, &times)].concat())
    };
    let mut late = Make::new("a", EPOCH);
    late.extra = (ntfs(EPOCH + 9, 3), ntfs(EPOCH + 9, 3));
    let mut early = Make::new("b", EPOCH);
    early.extra = (ntfs(EPOCH - 90_000, 3), Vec::new());
    let out = form(&make(&[late, early]), Order::Kept);
    let archive = parse(&out).unwrap();
    assert_eq!(archive.entries[0].modified.to_unix(), EPOCH);
    assert_eq!(archive.entries[1].modified.to_unix(), EPOCH - 90_000);
    let ticks = ((EPOCH - 90_000 + 11_644_473_600).unsigned_abs() * 10_000_000 + 3).to_le_bytes();
    assert_eq!(memchr::memmem::find_iter(&out, &ticks).count(), 3);
}

#[test]
fn order_is_free_in_some_archives_only() {
    let all = ["b/", "META-INF/x", "a", "META-INF/A.SF", "META-INF/MANIFEST.MF", "META-INF/"];
    let bytes = make(&all.map(|n| Make::new(n, 0)));
    let wanted: [&[u8]; 6] =
        [b"META-INF/", b"META-INF/MANIFEST.MF", b"META-INF/A.SF", b"META-INF/x", b"a", b"b/"];
    assert_eq!(names(&form(&bytes, Order::Jar)), wanted);
    let mut sorted = all.map(str::as_bytes);
    sorted.sort();
    assert_eq!(names(&form(&bytes, Order::Sorted)), sorted);
    assert_eq!(names(&form(&bytes, Order::Kept)), all.map(str::as_bytes));
    let book = make(&["mimetype", "b", "a"].map(|n| Make::new(n, 0)));
    assert_eq!(names(&form(&book, Order::Sorted)), [&b"mimetype"[..], b"a", b"b"]);
    for fixed in [
        make(&["b", "a", "b"].map(|n| Make::new(n, 0))),
        [b"#!/bin/sh\n".to_vec(), make(&["b", "a"].map(|n| Make::new(n, 0)))].concat(),
    ] {
        assert_eq!(form(&fixed, Order::Sorted), fixed);
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let bytes = make(&["a", "b"].map(|n| Make::new(n, 0)));
    for cut in 0..bytes.len() {
        assert!(parse(&bytes[..cut]).is_err(), "cut to {cut}");
    }
    let directory = parse(&bytes).unwrap().central.0;
    let mut other = bytes.clone();
    other[LOCAL_LEN] = b'x';
    assert!(parse(&other).is_err(), "another name");
    let mut over = bytes.clone();
    over[directory + CENTRAL_LEN + 1 + 42] = 0;
    assert!(parse(&over).is_err(), "two entries in one place");
    let mut long = bytes.clone();
    long[directory + 20] = 200;
    assert!(parse(&long).is_err(), "content in the directory");
}

#[test]
fn encryption_is_seen() {
    let mut bytes = make(&[Make::new("a", 0)]);
    assert!(!parse(&bytes).unwrap().entries[0].is_encrypted());
    let directory = parse(&bytes).unwrap().central.0;
    bytes[directory + 8] |= 1;
    assert!(parse(&bytes).unwrap().entries[0].is_encrypted());
}

proptest! {
    /// Order, times of the build, access times and owners: none of it is left.
    #[test]
    fn one_archive_from_two_builds(
        seed in prop::collection::vec((0i64..100_000, any::<u32>(), any::<bool>()), 6),
        (shuffled, zone) in (Just(vec![0, 1, 2, 3, 4, 5]).prop_shuffle(), -12i64..=14),
        cut in any::<prop::sample::Index>(),
    ) {
        let all = ["a", "b/", "b/c", "d", "META-INF/", "META-INF/MANIFEST.MF"];
        let entry = |n: usize, late: i64, access: u32, zone: i64| {
            let mut e = Make::new(all[n], EPOCH + late + zone * 3600);
            e.streamed = seed[n].2;
            if n.is_multiple_of(2) {
                let utc = ((EPOCH + late) as u32).to_le_bytes();
                let both = [&[3][..], &utc, &access.to_le_bytes()].concat();
                e.extra = (field(0x5455, &both), field(0x5455, &both[..5]));
            }
            e
        };
        let one: Vec<_> = (0..6).map(|n| entry(n, 0, 0, 0)).collect();
        let two: Vec<_> =
            shuffled.iter().map(|n| entry(*n, seed[*n].0, seed[*n].1, zone)).collect();
        let two = make(&two);
        prop_assert_eq!(form(&make(&one), Order::Jar), form(&two, Order::Jar));
        prop_assert!(parse(&two[..cut.index(two.len())]).is_err());
    }

    #[test]
    fn nothing_panics(
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut archive = make(&["b", "a"].map(|n| Make::new(n, EPOCH * 2)));
        for (at, byte) in noise {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        for order in [Order::Kept, Order::Sorted, Order::Jar] {
            let _ = canonical(&archive, &Rules { epoch: EPOCH, order });
        }
        let _ = canonical(&bytes, &Rules { epoch: EPOCH, order: Order::Jar });
    }
}
