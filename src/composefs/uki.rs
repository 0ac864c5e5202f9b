//! The composefs digests that unified kernel images in a tree carry on their command lines.

use std::ffi::OsString;
use std::io::{Read as _, SeekFrom};

use anyhow::{Context as _, Result, ensure};

use crate::format::composefs::Version;
use crate::format::pe;
use crate::tree::Seekable;

/// The longest command line in bytes; the kernel accepts 2048 to 4096.
const LINE: u64 = 64 << 10;

/// A unified kernel image and the digests on its command lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uki {
    /// Its path below the root.
    pub path: String,
    /// What `composefs=` and `composefs.digest=` say, in the order of the command line, for all
    /// profiles of the image.
    pub claims: Vec<Claim>,
}

/// One argument that carries a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The argument as it is on the command line.
    pub argument: String,
    /// Its meaning.
    pub says: Meaning,
}

/// The meaning of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A digest with SHA-512.
    Digest {
        /// Its 128 hexadecimal digits, in lower case.
        hex: String,
        /// The format of the image it belongs to; `composefs=` does not name one.
        version: Option<Version>,
    },
    /// A digest with another hash, which bootc ignores.
    OtherHash,
    /// Something that bootc does not understand, and why.
    Malformed(String),
}

/// Lists the directory at a path below a root; empty if there is no directory.
pub type List<'a> = dyn Fn(&str) -> Result<Vec<OsString>> + 'a;
/// Opens the regular file at a path below a root; `None` if there is no such file.
pub type Open<'a> = dyn Fn(&str) -> Result<Option<Box<dyn Seekable + 'a>>> + 'a;

/// The directory of unified kernel images.
const FOLDER: &str = "boot/EFI/Linux";
/// The directory of kernels, which may have unified kernel images beside them.
const MODULES: &str = "usr/lib/modules";

/// Whether bootc looks for a unified kernel image at this path below a root.
pub fn is_uki(path: &str) -> bool {
    let name = |rest: &str| rest.ends_with(".efi") && !rest.contains('/');
    let below = |folder: &str| path.strip_prefix(folder)?.strip_prefix('/');
    let kernel = |rest: &str| rest.split_once('/').is_some_and(|(_, rest)| name(rest));
    below(FOLDER).is_some_and(name) || below(MODULES).is_some_and(kernel)
}

/// The unified kernel images of a tree: those in `/boot/EFI/Linux` and beside the kernels in
/// `/usr/lib/modules`.
///
/// # Errors
///
/// If one cannot be read.
pub fn ukis(list: &List<'_>, open: &Open<'_>) -> Result<Vec<Uki>> {
    let text = |names: Vec<OsString>| names.into_iter().filter_map(|name| name.into_string().ok());
    let mut folders = vec![FOLDER.to_owned()];
    folders.extend(text(list(MODULES)?).map(|kernel| format!("{MODULES}/{kernel}")));
    let mut found = Vec::new();
    for folder in folders {
        for name in text(list(&folder)?) {
            let path = format!("{folder}/{name}");
            if !is_uki(&path) {
                continue;
            }
            let Some(mut content) = open(&path)? else { continue };
            let lines = command_lines(&mut *content).with_context(|| format!("reading {path}"))?;
            let claims = lines.iter().flat_map(|line| claims(line)).collect();
            found.push(Uki { path, claims });
        }
    }
    Ok(found)
}

/// The `.cmdline` sections, one per profile; empty if there is no command line.
fn command_lines(file: &mut dyn Seekable) -> Result<Vec<String>> {
    let headers = pe::read(file)?.context("it is not a PE program")?;
    let mut lines = Vec::new();
    for section in headers.sections.iter().filter(|section| section.name == ".cmdline") {
        let size = section.content.end - section.content.start;
        ensure!(size <= LINE, "its command line of {size} bytes is longer than any kernel accepts");
        file.seek(SeekFrom::Start(section.content.start))?;
        let mut text = Vec::new();
        (&mut *file).take(size).read_to_end(&mut text)?;
        lines.push(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned());
    }
    Ok(lines)
}

/// The arguments of a command line that carry digests.
fn claims(line: &str) -> Vec<Claim> {
    let claim = |argument: &str| {
        let (key, value) = argument.split_once('=')?;
        // The question mark allows a file system without fs-verity.
        let value = value.strip_prefix('?').unwrap_or(value);
        let says = match key {
            "composefs" => digest(value, None),
            "composefs.digest" => described(value),
            _ => return None,
        };
        Some(Claim { argument: argument.to_owned(), says })
    };
    arguments(line).filter_map(claim).collect()
}

/// The arguments as the kernel splits them: blanks between double quotes do not count.
fn arguments(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let parts = line.split(move |c: char| {
        quoted ^= c == '"';
        !quoted && c.is_ascii_whitespace()
    });
    parts.filter(|part| !part.is_empty())
}

/// `FORMAT-HASH-BLOCKSIZE:DIGEST`, as `v1-sha512-12:…`.
fn described(value: &str) -> Meaning {
    let malformed = |what: &str| Meaning::Malformed(format!("{what}; expected v1-sha512-12:"));
    let Some((kind, hex)) = value.split_once(':') else {
        return malformed("it names no format");
    };
    match kind.split('-').collect::<Vec<_>>()[..] {
        ["v1", "sha512", "12"] => digest(hex, Some(Version::V1)),
        ["v2", "sha512", "12"] => digest(hex, Some(Version::V2)),
        ["v1" | "v2", "sha256", _] => Meaning::OtherHash,
        _ => malformed(&format!("its format {kind:?} is unknown")),
    }
}

fn digest(hex: &str, version: Option<Version>) -> Meaning {
    match hex.len() == 128 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Meaning::Digest { hex: hex.to_ascii_lowercase(), version },
        false => Meaning::Malformed("it is not a digest of 128 hexadecimal digits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digest_on_the_command_line_is_found() {
        let (one, two) = ("aB".repeat(64), "0".repeat(128));
        let line = format!(
            "rw composefs=?{one} x=\"a composefs={two}\" composefs.digest=v1-sha512-12:{two} \
             composefs.digest=?v2-sha512-12:{one} composefs.digest=v1-sha256-12:cc composefsx={two}"
        );
        let found: Vec<Meaning> = claims(&line).into_iter().map(|claim| claim.says).collect();
        let says = |hex: &str, version| Meaning::Digest { hex: hex.to_ascii_lowercase(), version };
        let expected = [
            says(&one, None),
            says(&two, Some(Version::V1)),
            says(&one, Some(Version::V2)),
            Meaning::OtherHash,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_a_digest_is_called_so() {
        for argument in [
            "composefs=ab",
            "composefs.digest=ab",
            "composefs.digest=v9-sha512-12:ab",
            "composefs=",
        ] {
            let found = claims(argument);
            assert!(matches!(found[..], [Claim { says: Meaning::Malformed(_), .. }]), "{argument}");
        }
    }

    #[test]
    fn what_is_not_a_program_is_refused() {
        let read = |bytes: &[u8]| command_lines(&mut std::io::Cursor::new(bytes.to_vec()));
        assert!(read(b"MZ").is_err());
        assert!(read(&[0; 4096]).is_err());
    }
}
