use std::io::Cursor;

use super::*;

const SECTOR: usize = 512;
const SECTORS_OF_DISK: usize = 256;

fn put(disk: &mut [u8], at: usize, number: u64, width: usize) {
    disk[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
}

/// A disk with these partitions (first and last sector, type), and both copies of their table.
fn disk(partitions: &[(u64, u64, [u8; 16])]) -> Vec<u8> {
    let mut disk = vec![0; SECTORS_OF_DISK * SECTOR];
    let last = SECTORS_OF_DISK - 1;
    let mut entries = vec![0; 128 * ENTRY];
    for (n, (first, end, kind)) in partitions.iter().enumerate() {
        let at = n * ENTRY;
        entries[at..at + 16].copy_from_slice(kind);
        entries[at + 16] = n as u8 + 1;
        put(&mut entries, at + 32, *first, 8);
        put(&mut entries, at + 40, *end, 8);
        entries[at + 56..at + 60].copy_from_slice(b"p\0q\0");
    }
    for (own, other, place) in [(1, last, 2), (last, 1, last - 32)] {
        disk[place * SECTOR..place * SECTOR + entries.len()].copy_from_slice(&entries);
        let header = &mut disk[own * SECTOR..][..SECTOR];
        header[..8].copy_from_slice(SIGNATURE);
        for (at, number, width) in [
            (8, 0x1_0000, 4),
            (12, HEADER as u64, 4),
            (24, own as u64, 8),
            (32, other as u64, 8),
            (40, 34, 8),
            (48, (last - 33) as u64, 8),
            (72, place as u64, 8),
            (80, 128, 4),
            (84, ENTRY as u64, 4),
            (88, crc32(&entries).into(), 4),
        ] {
            put(header, at, number, width);
        }
        sum(header);
    }
    disk
}

/// Puts a header's checksum right.
fn sum(header: &mut [u8]) {
    put(header, 16, 0, 4);
    let crc = crc32(&header[..HEADER]);
    put(header, 16, crc.into(), 4);
}

const ESP: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

fn parse(disk: &[u8]) -> Result<Table, String> {
    read(&mut Cursor::new(disk), disk.len() as u64).map_err(|e| e.to_string())
}

fn two() -> Vec<u8> {
    disk(&[(40, 99, ESP), (100, 199, [7; 16])])
}

#[test]
fn a_table_is_read() {
    let table = parse(&two()).unwrap();
    assert_eq!((table.sector, table.damage), (512, None));
    let shown: Vec<_> = table.partitions.iter().map(Partition::to_string).collect();
    let unknown = "2 (type 07070707-0707-0707-0707-070707070707, label pq)";
    assert_eq!(shown, ["1 (esp, label pq)", unknown]);
    assert_eq!(table.partitions[0].bytes, 40 * 512..100 * 512);
}

#[test]
fn types_have_their_roles() {
    let named: Vec<&str> = include_str!("types.tsv").lines().collect();
    assert!(named.len() > 50);
    let role = |name: &str| {
        let line = named.iter().find(|line| line.ends_with(&format!("\t{name}"))).unwrap();
        let digits: Vec<u8> = line[..36].bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |n: usize| {
            u8::from_str_radix(std::str::from_utf8(&digits[2 * n..2 * n + 2]).unwrap(), 16).unwrap()
        };
        let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        let kind = Guid(order.map(byte));
        assert_eq!(kind.type_name(), Some(name));
        Partition { kind, number: 1, id: kind, bytes: 0..1, attributes: 0, label: String::new() }
            .role()
    };
    assert_eq!(role("root-x86-64"), Role::Data);
    assert_eq!(role("usr-arm64-verity"), Role::Verity);
    assert_eq!(role("root-x86-64-verity-sig"), Role::Signature);
}

/// Every damaged byte of a copy is noticed, and the other copy read; if both are, an error says why.
#[test]
fn one_copy_is_enough_and_its_damage_is_said() {
    let whole = two();
    let expected = parse(&whole).unwrap();
    let last = SECTORS_OF_DISK - 1;
    for at in [SECTOR, SECTOR + 16, SECTOR + 24, SECTOR + 90, 2 * SECTOR, last * SECTOR + 40] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        let table = parse(&damaged).unwrap();
        assert_eq!(table.partitions, expected.partitions, "byte {at}");
        assert!(table.damage.is_some(), "byte {at}");
    }
    let mut both = whole.clone();
    both[SECTOR + 16] ^= 1;
    both[last * SECTOR + 16] ^= 1;
    let why = parse(&both).unwrap_err();
    assert_eq!(why, "partition table: checksum of the header is wrong at byte 528");
}

#[test]
fn copies_that_do_not_agree_are_said() {
    let mut disk = two();
    let other = self::disk(&[(40, 99, ESP)]);
    let tail = (SECTORS_OF_DISK - 33) * SECTOR;
    disk[tail..].copy_from_slice(&other[tail..]);
    let table = parse(&disk).unwrap();
    assert_eq!(table.partitions.len(), 2);
    assert_eq!(
        table.damage.unwrap().to_string(),
        "partition table: the second copy says otherwise at byte 130560"
    );
}

#[test]
fn what_no_disk_can_have_is_refused() {
    let why = |partitions: &[(u64, u64, [u8; 16])]| parse(&disk(partitions)).unwrap_err();
    assert!(why(&[(40, 99, ESP), (99, 120, ESP)]).starts_with("partitions 1 and 2 overlap"));
    assert!(why(&[(40, 39, ESP)]).starts_with("partition 1 is not within the disk"));
    assert!(why(&[(1, 39, ESP)]).starts_with("partition 1 is not within the disk"));
    assert!(why(&[(40, u64::MAX, ESP)]).starts_with("partition 1 is not within the disk"));
    let mut crowd = two();
    for own in [1, SECTORS_OF_DISK - 1] {
        let header = &mut crowd[own * SECTOR..][..SECTOR];
        put(header, 80, u32::MAX.into(), 4);
        put(header, 84, u32::MAX.into(), 4);
        sum(header);
    }
    assert!(parse(&crowd).unwrap_err().contains("impossible number or size of entries"));
}

#[test]
fn no_cut_and_no_byte_makes_it_panic() {
    let whole = two();
    for len in (0..whole.len()).step_by(101) {
        drop(parse(&whole[..len]));
    }
    for at in SECTOR..SECTOR + HEADER {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            sum(&mut damaged[SECTOR..2 * SECTOR]);
            drop(parse(&damaged));
        }
    }
}
