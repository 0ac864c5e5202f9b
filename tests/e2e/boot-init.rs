//! The init of boot images under test: prints what the kernel unpacked, as
//! `reprofix initramfs ls --unpacked` does, and ends, which powers the machine off. Static, so that
//! it runs whatever else the image has; std alone, so that `rustc` builds it in a second.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where the init itself is: no part of what is judged.
const OWN: &str = "reprofix-init";

fn main() -> io::Result<()> {
    let mut found = BTreeMap::new();
    walk(Path::new("/"), Path::new("."), &mut found)?;
    let mut out = b"REPROFIX-BOOTED\n".to_vec();
    for (name, line) in &found {
        out.extend(line.as_bytes());
        out.extend(name.as_bytes());
        out.push(b'\n');
    }
    out.extend(b"REPROFIX-BOOTED-END\n");
    io::stdout().write_all(&out)?;
    io::stdout().flush()
}

fn walk(at: &Path, name: &Path, found: &mut BTreeMap<OsString, String>) -> io::Result<()> {
    let meta = fs::symlink_metadata(at)?;
    let kind = meta.mode() & 0o170_000;
    found.insert(name.as_os_str().to_owned(), line(at, &meta, kind)?);
    if kind != 0o040_000 {
        return Ok(());
    }
    for entry in fs::read_dir(at)? {
        let below = entry?.file_name();
        let path = if name == Path::new(".") { below.clone().into() } else { name.join(&below) };
        if path != Path::new(OWN) {
            walk(&at.join(&below), &path, found)?;
        }
    }
    Ok(())
}

/// Mode, owner, links, device, time, digest.
fn line(at: &Path, meta: &fs::Metadata, kind: u32) -> io::Result<String> {
    let (links, device) = match kind {
        0o040_000 => ("-".to_owned(), "-".to_owned()),
        0o020_000 | 0o060_000 => (meta.nlink().to_string(), device(meta.rdev())),
        _ => (meta.nlink().to_string(), "-".to_owned()),
    };
    let digest = match kind {
        0o100_000 if meta.len() > 0 => digest(&mut fs::File::open(at)?)?,
        0o120_000 => digest(&mut fs::read_link(at)?.as_os_str().as_bytes())?,
        _ => "-".to_owned(),
    };
    let (mode, uid, gid, mtime) = (meta.mode(), meta.uid(), meta.gid(), meta.mtime());
    Ok(format!("{mode:06o} {uid}:{gid} {links} {device} {mtime} {digest} "))
}

fn device(number: u64) -> String {
    let major = (number >> 8) & 0xfff;
    let minor = (number & 0xff) | ((number >> 12) & 0xfff00);
    format!("{major}:{minor}")
}

/// SHA-256 in hex.
fn digest(input: &mut dyn Read) -> io::Result<String> {
    let mut state = root_bits(2);
    let rounds = root_bits(3);
    let (mut block, mut filled, mut length) = ([0_u8; 64], 0, 0_u64);
    loop {
        let got = input.read(&mut block[filled..])?;
        filled += got;
        length += got as u64;
        if filled == 64 {
            compress(&mut state, &rounds, &block);
            filled = 0;
        } else if got == 0 {
            break;
        }
    }
    block[filled] = 0x80;
    block[filled + 1..].fill(0);
    if filled >= 56 {
        compress(&mut state, &rounds, &block);
        block.fill(0);
    }
    block[56..].copy_from_slice(&(8 * length).to_be_bytes());
    compress(&mut state, &rounds, &block);
    let mut hex = String::new();
    state[..8].iter().for_each(|word| write!(hex, "{word:08x}").expect("memory"));
    Ok(hex)
}

/// The first 32 bits of the fractions of the square or cube roots of the first 64 primes
/// (FIPS 180-4, 4.2.2 and 5.3.3), found by bisection in integers.
fn root_bits(degree: u32) -> [u32; 64] {
    let primes = (2_u128..).filter(|n| (2..*n).all(|d| n % d != 0));
    let mut out = [0; 64];
    for (word, prime) in out.iter_mut().zip(primes) {
        let (mut low, mut high) = (0_u128, 32 << 32);
        while high - low > 1 {
            let middle = (low + high) / 2;
            match middle.pow(degree) <= prime << (32 * degree) {
                true => low = middle,
                false => high = middle,
            }
        }
        *word = low as u32;
    }
    out
}

fn compress(state: &mut [u32; 64], rounds: &[u32; 64], block: &[u8; 64]) {
    let mut w = [0_u32; 64];
    for (word, bytes) in w.iter_mut().zip(block.chunks(4)) {
        *word = bytes.iter().fold(0, |sum, b| sum << 8 | u32::from(*b));
    }
    for n in 16..64 {
        let (x, y) = (w[n - 15], w[n - 2]);
        let s0 = x.rotate_right(7) ^ x.rotate_right(18) ^ x >> 3;
        let s1 = y.rotate_right(17) ^ y.rotate_right(19) ^ y >> 10;
        w[n] = w[n - 16].wrapping_add(s0).wrapping_add(w[n - 7]).wrapping_add(s1);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] =
        [0, 1, 2, 3, 4, 5, 6, 7].map(|n| state[n]);
    for (k, w) in rounds.iter().zip(w) {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let t1 = h.wrapping_add(s1).wrapping_add(e & f ^ !e & g).wrapping_add(*k).wrapping_add(w);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add(a & b ^ a & c ^ b & c);
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(add);
    }
}
