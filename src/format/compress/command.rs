//! The command that a maker of boot images pipes an archive through, and what its members are
//! compressed with again.

use super::{Bcj, Check, DENSE, DICT_MAX, FAST, Packing};

/// Words that change nothing of what [`detect`](super::detect) finds.
const QUIET: [&str; 7] = ["-q", "-c", "--stdout", "--quiet", "-e", "-T0", "--no-progress"];

impl Packing {
    /// What a member is compressed with again that this command made from a pipe, as
    /// [`detect`](super::detect) would find it there; `None` if the command is `cat`.
    ///
    /// # Errors
    ///
    /// If a word is not understood; the error is the word. A name alone has the words that dracut gives it.
    ///
    /// ```
    /// # use reprofix::format::compress::*;
    /// assert_eq!(Packing::of_command("zstd -19 -T0"), Ok(Some(Packing::Zstd(19))));
    /// assert_eq!(Packing::of_command("cat"), Ok(None));
    /// ```
    pub fn of_command(line: &str) -> Result<Option<Packing>, String> {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let words: Vec<_> = words.collect();
        let words = if words.is_empty() { given(name) } else { words };
        let packing = match name {
            "cat" if words.is_empty() => return Ok(None),
            "zstd" => zstd(&words)?,
            "xz" => xz(&words)?,
            "lzma" => Packing::Lzma(dictionary(level(&words, 6, &[])?)),
            "gzip" | "pigz" => {
                match level(&words, 6, &["-n", "--no-name", "-T", "-R", "--rsyncable"])? {
                    9 => Packing::Gzip(9),
                    1 => Packing::Gzip(1),
                    _ => Packing::Gzip(6),
                }
            }
            "bzip2" | "lbzip2" => Packing::Bzip2(level(&words, 9, &[])?.max(1)),
            "lzop" => level(&words, 3, &[]).map(|_| Packing::Lzo)?,
            "lz4" => {
                level(&words, 1, &["-l"])?;
                if words.contains(&"-l") { Packing::Lz4Legacy } else { Packing::Lz4 }
            }
            _ => return Err(name.to_owned()),
        };
        Ok(Some(packing))
    }
}

/// What dracut adds to a compressor's name.
fn given(name: &str) -> Vec<&'static str> {
    match name {
        "zstd" => vec!["-15"],
        "xz" => vec!["--check=crc32", "--lzma2=dict=1MiB"],
        "lz4" => vec!["-l", "-9"],
        "cat" => Vec::new(),
        _ => vec!["-9"],
    }
}

/// The level among `words`, of one digit or two; all others must be `known`.
fn level(words: &[&str], default: u32, known: &[&str]) -> Result<u32, String> {
    let mut level = default;
    for word in words {
        let number = word.strip_prefix('-').filter(|n| n.len() <= 2).and_then(|n| n.parse().ok());
        match number {
            Some(number) => level = number,
            None if known.contains(word) || QUIET.contains(word) => {}
            None => return Err((*word).to_owned()),
        }
    }
    Ok(level)
}

/// The level whose window a frame of this level has.
fn zstd(words: &[&str]) -> Result<Packing, String> {
    match level(words, 3, &["--check", "--no-check"])? {
        0..=8 => Ok(Packing::Zstd(FAST)),
        9..=16 => Ok(Packing::Zstd(15)),
        17..=19 => Ok(Packing::Zstd(DENSE)),
        ultra => Err(format!("-{ultra}")),
    }
}

fn xz(words: &[&str]) -> Result<Packing, String> {
    let (mut check, mut dict, mut bcj) = (Check::Crc64, None, None);
    let mut rest = Vec::new();
    for word in words {
        let value = |name| word.strip_prefix("--").and_then(|w| w.strip_prefix(name));
        match (
            value("check="),
            value("lzma2=dict="),
            Bcj::ALL.iter().find(|b| value(b.2) == Some("")),
        ) {
            (Some("none"), ..) => check = Check::None,
            (Some("crc32"), ..) => check = Check::Crc32,
            (Some("crc64"), ..) => check = Check::Crc64,
            (Some("sha256"), ..) => check = Check::Sha256,
            (_, Some(size), _) => dict = Some(mebibytes(size).ok_or_else(|| (*word).to_owned())?),
            (.., Some(found)) => bcj = Some(found.0),
            _ => rest.push(*word),
        }
    }
    let preset = dictionary(level(&rest, 6, &[])?);
    Ok(Packing::Xz(check, dict.unwrap_or(preset), bcj))
}

/// A dictionary in MiB, as the encoder gets it.
fn mebibytes(text: &str) -> Option<u32> {
    let size: u32 = text.strip_suffix("MiB")?.parse().ok()?;
    (1..=1536).contains(&size).then(|| (size << 20).min(DICT_MAX))
}

/// The dictionary of a preset of xz and lzma (xz(1)), as the encoder gets it.
fn dictionary(preset: u32) -> u32 {
    match preset {
        0 => 256 << 10,
        1 => 1 << 20,
        2 => 2 << 20,
        3 | 4 => 4 << 20,
        _ => DICT_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HEAD_LEN, detect};
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// What the command makes of a pipe is found to be what its words say.
    #[test]
    fn a_command_is_what_is_found_in_what_it_makes() {
        let lines = [
            "zstd -15 -q -T0",
            "zstd -19",
            "zstd -8",
            "zstd -9",
            "zstd -16",
            "zstd -17",
            "zstd -1",
            "xz --check=crc32 --lzma2=dict=1MiB -T0",
            "xz -3",
            "xz -9 --check=crc32",
            "xz -T0 -e",
            "gzip -n -9",
            "gzip -6",
            "gzip -n -1",
            "bzip2 -9",
            "bzip2 -3",
            "lz4 -l -9",
            "lzma -9 -T0",
            "lzma -2",
            "lzop -9",
        ];
        let content: Vec<u8> =
            (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 13) as u8).collect();
        for line in lines {
            let mut words = line.split(' ');
            let mut command = Command::new(words.next().unwrap());
            command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(e) => {
                    eprintln!("skipped: {line}: {e}");
                    continue;
                }
            };
            let mut input = child.stdin.take().unwrap();
            let made = std::thread::scope(|scope| {
                scope.spawn(|| {
                    input.write_all(&content).unwrap();
                    drop(input);
                });
                child.wait_with_output().unwrap().stdout
            });
            let found = detect(&made[..HEAD_LEN]);
            assert_eq!(Packing::of_command(line), Ok(found), "{line}");
        }
    }

    #[test]
    fn a_name_alone_has_dracuts_words_and_doubt_is_an_error() {
        for (line, packing) in [
            ("zstd", Packing::Zstd(15)),
            ("/usr/bin/xz", Packing::Xz(Check::Crc32, 1 << 20, None)),
            ("pigz", Packing::Gzip(9)),
            ("gzip", Packing::Gzip(9)),
            ("lz4", Packing::Lz4Legacy),
            ("lbzip2", Packing::Bzip2(9)),
            ("xz --x86 --lzma2=dict=8MiB", Packing::Xz(Check::Crc64, 8 << 20, Some(Bcj::X86))),
        ] {
            assert_eq!(Packing::of_command(line), Ok(Some(packing)), "{line}");
        }
        for line in [
            "",
            "zstd --ultra -22",
            "zstd -22",
            "zstd --long=27",
            "brotli",
            "xz --lzma2=dict=1G",
            "cat -v",
            "gzip -9x",
        ] {
            assert!(Packing::of_command(line).is_err(), "{line}");
        }
    }
}
