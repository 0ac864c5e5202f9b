//! What the archive with the system is compressed with: an option, or what dracut's configuration in
//! the tree says.
//!
//! hooks/dracut/zz-reprofix-uncompressed.conf makes dracut leave the compression to us. The file is
//! read last, so what the others say is what dracut would have done without it.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::PAGE;
use crate::format::Malformed;
use crate::format::compress::{Check, DICT_MAX, Packing};
use crate::format::initramfs::{Compress, Error};
use crate::normal::Context;
use crate::tree::{Entry, Kind, Tree};

/// dracut's drop-in that leaves the compression to us.
const DROP_IN: &str = "zz-reprofix-uncompressed.conf";
/// The folders of dracut's configuration; of two files with one name, that of the first counts.
const FOLDERS: [&str; 3] =
    ["etc/dracut.conf.d", "usr/etc/dracut.conf.d", "usr/lib/dracut/dracut.conf.d"];
/// dracut's configuration that is read before those folders.
const FILES: [&str; 2] = ["etc/dracut.conf", "usr/etc/dracut.conf"];
/// What dracut takes where no configuration says what.
const BY_ITSELF: &str = "gzip -n -9";
/// Bytes of a configuration, at most.
const FILE_MAX: usize = 1 << 20;

/// The option's values, and what they stand for; two more are not in this table.
pub(super) const CHOICES: [(&str, Packing); 10] = [
    ("zstd-3", Packing::Zstd(3)),
    ("zstd-15", Packing::Zstd(15)),
    ("zstd-19", Packing::Zstd(19)),
    ("xz", Packing::Xz(Check::Crc32, 1 << 20, None)),
    ("gzip-6", Packing::Gzip(6)),
    ("gzip-9", Packing::Gzip(9)),
    ("bzip2-9", Packing::Bzip2(9)),
    ("lzma", Packing::Lzma(DICT_MAX)),
    ("lz4", Packing::Lz4Legacy),
    ("lzop", Packing::Lzo),
];

/// What an image of `tree` is compressed with.
///
/// # Errors
///
/// If dracut's configuration is asked and not understood.
pub(super) fn of(tree: &dyn Tree, cx: &Context) -> Result<Compress, Error> {
    let option = cx.option(&PAGE, "compress");
    if let Some((_, packing)) = CHOICES.iter().find(|(name, _)| *name == option) {
        return Ok(Compress::Always(*packing));
    }
    if option != "as-recorded" && !has_drop_in(tree)? {
        return Ok(Compress::AsFound);
    }
    let advice = "name the compression with --set initramfs.compress=";
    let doubt = |what| Error::Malformed(Malformed::at(0, format!("{what}: {advice}")));
    let line = recorded(tree)?.map_err(doubt)?;
    let packing = Packing::of_command(&line).map_err(|word| {
        doubt(format!("dracut's compress=\"{line}\" has {word:?}, not understood"))
    })?;
    Ok(packing.map_or(Compress::AsFound, Compress::Plain))
}

/// Whether the path is dracut's drop-in that leaves the compression to us.
pub(super) fn is_drop_in(entry: &Entry) -> bool {
    let path = entry.path.as_path();
    entry.kind == Kind::File
        && path.file_name().is_some_and(|name| name == DROP_IN)
        && FOLDERS.iter().any(|folder| path.parent() == Some(Path::new(folder)))
}

fn has_drop_in(tree: &dyn Tree) -> io::Result<bool> {
    for folder in FOLDERS {
        if tree.lookup(&Path::new(folder).join(DROP_IN))?.is_some_and(|e| is_drop_in(&e)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The boot images of a tree: beside a kernel's modules, or in `boot`.
pub(super) fn images(tree: &dyn Tree) -> io::Result<Vec<PathBuf>> {
    let modules = Path::new("usr/lib/modules");
    let kernels = list(tree, modules)?.into_iter().map(|kernel| modules.join(kernel));
    let mut all = Vec::new();
    for folder in kernels.chain([PathBuf::from("boot"), PathBuf::from("usr/lib/ostree-boot")]) {
        for name in list(tree, &folder)? {
            if let Some(entry) = tree.lookup(&folder.join(name))?
                && super::role(&entry) == Some(super::Role::Image)
            {
                all.push(entry.path);
            }
        }
    }
    Ok(all)
}

/// The names in a folder, if it is one.
fn list(tree: &dyn Tree, folder: &Path) -> io::Result<Vec<OsString>> {
    match tree.lookup(folder)? {
        Some(entry) if entry.kind == Kind::Dir => tree.list(folder),
        _ => Ok(Vec::new()),
    }
}

/// The last value of `compress=` in the order in which dracut reads its files, our own apart; or why
/// it is not known.
fn recorded(tree: &dyn Tree) -> io::Result<Result<String, String>> {
    let files = files(tree)?;
    if files.is_empty() && tree.lookup(Path::new("usr/lib/dracut"))?.is_none() {
        return Ok(Err("the tree has no configuration of dracut".to_owned()));
    }
    let mut value = BY_ITSELF.to_owned();
    for path in files {
        let Some(bytes) = tree.read(&path)? else { continue };
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(FILE_MAX)]);
        for (number, line) in text.lines().enumerate() {
            match assigned(line) {
                Line::Other => {}
                // dracut takes an empty one for none.
                Line::Value("") => value = BY_ITSELF.to_owned(),
                Line::Value(new) => value = new.to_owned(),
                Line::Doubt => {
                    let (path, number) = (path.display(), number + 1);
                    return Ok(Err(format!(
                        "{path}:{number}: what it sets compress to is not known"
                    )));
                }
            }
        }
    }
    Ok(Ok(value))
}

/// The files of the configuration as dracut reads them: one, then all that end in `.conf` by the
/// versions in their names.
fn files(tree: &dyn Tree) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in FILES.map(Path::new) {
        if tree.lookup(path)?.is_some() {
            all.push(path.to_owned());
        }
    }
    let mut named: Vec<(OsString, PathBuf)> = Vec::new();
    for folder in FOLDERS.map(Path::new) {
        for name in list(tree, folder)? {
            let wanted = name.as_bytes().ends_with(b".conf") && name != DROP_IN;
            if wanted && !named.iter().any(|(known, _)| *known == name) {
                let path = folder.join(&name);
                named.push((name, path));
            }
        }
    }
    named.sort_by(|(a, _), (b, _)| by_version(a.as_bytes(), b.as_bytes()));
    all.extend(named.into_iter().map(|(_, path)| path));
    Ok(all)
}

/// The order of `sort -V`: names without their endings first, then whole.
fn by_version(a: &[u8], b: &[u8]) -> Ordering {
    let stems = runs(&a[..stem(a)], &b[..stem(b)]);
    stems.then_with(|| runs(a, b)).then_with(|| a.cmp(b))
}

/// The length of a file's name without its endings: `.` and letters, digits or `~`, no digit first.
fn stem(name: &[u8]) -> usize {
    let mut len = name.len();
    while let Some(dot) = name[..len].iter().rposition(|byte| *byte == b'.') {
        let ending = &name[dot + 1..len];
        let letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'~';
        let fits = |byte: &u8| letter(byte) || byte.is_ascii_digit();
        if !(ending.first().is_some_and(letter) && ending.iter().all(fits)) {
            break;
        }
        len = dot;
    }
    len
}

/// Runs of digits by their value, everything else bytewise with letters first.
fn runs(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let other = |bytes: &[u8]| bytes.iter().take_while(|b| !b.is_ascii_digit()).count();
        let digits = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_digit()).count();
        let rank = |byte: &u8| (*byte != b'~', !byte.is_ascii_alphabetic(), *byte);
        let ((x, rest_of_left), (y, rest_of_right)) =
            (left.split_at(other(left)), right.split_at(other(right)));
        // An end comes after `~`, and before all else.
        let ends = |part: &[u8]| {
            let ranks = part.iter().map(rank).map(|r| (r.0, true, r.1, r.2));
            ranks.chain([(true, false, false, 0)]).collect::<Vec<_>>()
        };
        let ((m, p), (n, q)) = (
            rest_of_left.split_at(digits(rest_of_left)),
            rest_of_right.split_at(digits(rest_of_right)),
        );
        let value = |digits: &[u8]| {
            let from = digits.iter().position(|d| *d != b'0').unwrap_or(digits.len());
            (digits.len() - from, digits[from..].to_vec())
        };
        let order = ends(x).cmp(&ends(y)).then_with(|| value(m).cmp(&value(n)));
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (p, q);
    }
    Ordering::Equal
}

/// What a line of a shell script does to `compress`.
enum Line<'a> {
    /// Nothing.
    Other,
    /// It gets this value.
    Value(&'a str),
    /// More than an assignment of plain text at the line's beginning.
    Doubt,
}

fn assigned(line: &str) -> Line<'_> {
    let names = |name: &str| {
        line.match_indices(name)
            .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    };
    if line.trim_start().starts_with('#')
        || !names("compress=") && !names("compress+=") && !names("compress_level_")
    {
        return Line::Other;
    }
    let Some(rest) = line.strip_prefix("compress=") else { return Line::Doubt };
    let quoted = ['"', '\''].into_iter().find_map(|q| rest.strip_prefix(q)?.split_once(q));
    let word = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let (value, end) =
        quoted.unwrap_or_else(|| rest.split_at(rest.find(|c| !word(c)).unwrap_or(rest.len())));
    let plain = value.chars().all(|c| word(c) || " =,+".contains(c));
    let ended = end.trim().is_empty()
        || end.trim() == ";"
        || end.starts_with([' ', '\t']) && end.trim_start().starts_with('#');
    if plain && ended { Line::Value(value.trim()) } else { Line::Doubt }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_sort() {
        let sorted = [
            "01-a.conf",
            "2.conf",
            "9-b.conf",
            "10-a.conf",
            "a.conf",
            "a10.conf",
            "a10.1.conf",
            "b~.conf",
            "b.conf",
            "zz-x.conf",
        ];
        let mut names = sorted;
        names.reverse();
        let mut child = std::process::Command::new("sort")
            .arg("-V")
            .env("LC_ALL", "C")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        io::Write::write_all(&mut input, names.join("\n").as_bytes()).unwrap();
        drop(input);
        let said = child.wait_with_output().unwrap().stdout;
        names.sort_by(|a, b| by_version(a.as_bytes(), b.as_bytes()));
        assert_eq!(names.join("\n"), String::from_utf8(said).unwrap().trim_end());
    }

    #[test]
    fn a_line_assigns_plain_text_or_is_doubted() {
        let value = |line| match assigned(line) {
            Line::Other => "other".to_owned(),
            Line::Value(value) => format!("={value}"),
            Line::Doubt => "doubt".to_owned(),
        };
        for (line, means) in [
            ("compress=\"zstd -19\"", "=zstd -19"),
            (
                "compress='xz --check=crc32 --lzma2=dict=1MiB'  # smaller",
                "=xz --check=crc32 --lzma2=dict=1MiB",
            ),
            ("compress=gzip;", "=gzip"),
            ("compress=", "="),
            ("# compress=\"cat\"", "other"),
            ("squash_compress=\"zstd\"", "other"),
            ("hostonly=no", "other"),
            ("compress=\"$tool -9\"", "doubt"),
            ("  compress=gzip", "doubt"),
            ("[ -x /bin/zstd ] && compress=zstd", "doubt"),
            ("compress=gzip other=1", "doubt"),
            ("compress+=\" -9\"", "doubt"),
            ("compress_level_zstd=3", "doubt"),
            ("compress=\"zstd", "doubt"),
        ] {
            assert_eq!(value(line), means, "{line}");
        }
    }
}
