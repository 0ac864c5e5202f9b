//! `machine-id`: the machine id outside of etc/machine-id, where boot entries have it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::format::verity;
use crate::normal::{
    Consequence, Context, File, Follows, OtherDifferences, Page, Plugin, Verdict, Want,
};
use crate::tree::{Change, Difference, Entry, Kind, Side, show};

/// The plugin.
pub(super) struct MachineId;

static PAGE: Page = Page {
    name: "machine-id",
    summary: "removes the machine id from boot entries and kernel command lines, reports names with it",
    default: true,
    paths: "etc/kernel/{entry-token,cmdline}, etc/machine-info; of boot, boot/efi and efi: \
            loader/entries/*.conf, EFI/Linux/ID-*.efi, ID/",
    varies: "The random id of the machine that made the image, in files, in names of files, and in the \
             name of a directory.",
    why: "kernel-install names entries after the machine id unless it is given another token, and \
          writes systemd.machine_id= into their options. machine-state empties etc/machine-id, but a \
          machine that boots such an entry takes its id from there: all machines of the image share it.",
    done: "The field machine-id of an entry, systemd.machine_id= in options and command lines, \
           KERNEL_INSTALL_MACHINE_ID= in etc/machine-info, and an entry-token that is a machine id go: \
           systemd then makes or reads an id of the machine's own. Names stay, since the entry, the \
           boot loader's counters and the files below ID/ refer to each other: the directory is \
           reported once, with the way out. `check` pairs the names of two builds and compares what \
           they name; roothash= and usrhash= in the same lines follow an image, and it says so.",
    lost: "Which machine made the entry; kernel-install on the machine itself will use another name, \
           so that an old entry is not replaced by a new one of the same version.",
    upstream: "By design: kernel-install --entry-token=os-id (systemd 252), or a token in \
               etc/kernel/entry-token before the first kernel is installed; `bootctl install` writes \
               IMAGE_ID or ID there where os-release has one (systemd 257).",
    payload: false,
    options: &[],
};

const FINDING: &str = "named after the machine id of the build; install the kernel with \
                       `kernel-install --entry-token=os-id`, or with a token in etc/kernel/entry-token, \
                       and the names are the system's";
const WORD: &[u8] = b"systemd.machine_id=";
const ID_LEN: usize = 32;

/// What a path is to this plugin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PathRole {
    /// A token alone.
    Token,
    /// Words of a kernel command line.
    Words,
    /// Lines, some of which are of an id.
    Lines,
    /// The directory of entries, or a kernel, that is named after the id.
    Named,
    /// What is below that directory.
    Below,
}

fn place(entry: &Entry) -> Option<PathRole> {
    let path = entry.logical();
    let file = entry.kind == Kind::File;
    match &*path {
        b"etc/kernel/entry-token" => return file.then_some(PathRole::Token),
        b"etc/kernel/cmdline" | b"usr/lib/kernel/cmdline" => {
            return file.then_some(PathRole::Words);
        }
        b"etc/machine-info" => return file.then_some(PathRole::Lines),
        _ => {}
    }
    let rest =
        [&b"boot/efi/"[..], b"boot/", b"efi/"].iter().find_map(|top| path.strip_prefix(*top))?;
    if let Some(name) = rest.strip_prefix(b"loader/entries/") {
        return (file && name.ends_with(b".conf") && !name.contains(&b'/'))
            .then_some(PathRole::Lines);
    }
    if let Some(name) = rest.strip_prefix(b"EFI/Linux/") {
        return (file && starts_with_id(name, b'-')).then_some(PathRole::Named);
    }
    match rest.len() == ID_LEN {
        true => (is_id(rest) && entry.kind == Kind::Dir).then_some(PathRole::Named),
        false => starts_with_id(rest, b'/').then_some(PathRole::Below),
    }
}

/// Whether these are the 32 digits of a machine id: machine-id(5).
fn is_id(bytes: &[u8]) -> bool {
    bytes.len() == ID_LEN && bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn starts_with_id(name: &[u8], then: u8) -> bool {
    name.get(ID_LEN) == Some(&then) && is_id(&name[..ID_LEN])
}

impl Plugin for MachineId {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        match place(entry) {
            None => Want::No,
            Some(PathRole::Named | PathRole::Below) => Want::Entry,
            Some(PathRole::Token | PathRole::Words | PathRole::Lines) => Want::Bytes,
        }
    }

    fn canonical(&self, file: &File<'_>, _cx: &Context) -> io::Result<Verdict> {
        let changed = |new: Vec<u8>| match new == *file.bytes {
            true => Verdict::Keep,
            false => Verdict::Rewrite(new),
        };
        Ok(match place(file.entry) {
            Some(PathRole::Token) if is_id(file.bytes.trim_ascii()) => Verdict::Remove,
            Some(PathRole::Words) => changed(without_word(&file.bytes)),
            Some(PathRole::Lines) => {
                let lines = file.bytes.split_inclusive(|b| *b == b'\n');
                let kept = lines.filter(|line| !is_of_id(line));
                changed(
                    kept.flat_map(|line| match line.starts_with(b"options") {
                        true => without_word(line),
                        false => line.to_vec(),
                    })
                    .collect(),
                )
            }
            Some(PathRole::Named) => Verdict::Report(FINDING.to_owned()),
            Some(PathRole::Token | PathRole::Below) | None => Verdict::Keep,
        })
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        let [x, y] = [a, b].map(|file| without_ids(&file.content()));
        match x == y {
            true => vec!["a machine id differs".to_owned()],
            false => verity::follows_image(&x, &y).into_iter().collect(),
        }
    }

    fn followers(
        &self,
        open: &[&Difference],
        around: &OtherDifferences<'_>,
    ) -> Vec<Option<Follows>> {
        let twins = Unpaired::of(open);
        open.iter().map(|difference| twins.follows(difference, around)).collect()
    }
}

/// Paths of this plugin that only one build has, by their names without machine ids.
struct Unpaired<'d> {
    a: BTreeMap<Vec<u8>, (&'d Path, &'d Side)>,
    b: BTreeMap<Vec<u8>, (&'d Path, &'d Side)>,
}

impl<'d> Unpaired<'d> {
    fn of(open: &[&'d Difference]) -> Self {
        let only = |change| {
            let here = open.iter().filter(move |d| d.changes == [change]);
            let here = here.filter_map(|d| Some((&*d.path, d.a.as_ref().or(d.b.as_ref())?)));
            here.filter(|(path, side)| place(&side.entry(path)).is_some())
                .map(|(path, side)| (without_ids(path.as_os_str().as_bytes()), (path, side)))
                .collect()
        };
        Unpaired { a: only(Change::OnlyA), b: only(Change::OnlyB) }
    }

    /// A path that stands under the other id in the other build, and is the same, follows the ids.
    fn follows(&self, difference: &Difference, around: &OtherDifferences<'_>) -> Option<Follows> {
        let name = without_ids(difference.path.as_os_str().as_bytes());
        let pair = [self.a.get(&name)?, self.b.get(&name)?];
        let (other, side) = match difference.changes[..] {
            [Change::OnlyA] => pair[1],
            [Change::OnlyB] => pair[0],
            _ => return None,
        };
        // The directory itself has the finding.
        let named = place(&side.entry(other)) == Some(PathRole::Named);
        (!named && is_same(pair, around)).then(|| Follows {
            of: around.own.first().cloned().unwrap_or_else(|| other.to_path_buf()),
            how: Consequence::MachineId,
            why: format!("the same but for the machine id is {} in the other build", show(other)),
        })
    }
}

/// Whether two paths of two builds are one but for machine ids.
fn is_same([a, b]: [&(&Path, &Side); 2], around: &OtherDifferences<'_>) -> bool {
    if a.1.attrs != b.1.attrs || a.1.target != b.1.target {
        return false;
    }
    let read = |n: usize, path: &Path| around.trees[n].read(path).ok().flatten();
    a.1.object == b.1.object
        || a.1.kind() == Kind::Dir
        || matches!((read(0, a.0), read(1, b.0)), (Some(x), Some(y)) if without_ids(&x) == without_ids(&y))
}

/// Bytes with a star for each machine id.
fn without_ids(bytes: &[u8]) -> Vec<u8> {
    let digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let pieces = bytes.chunk_by(|x, y| digit(x) == digit(y));
    pieces.flat_map(|piece| if is_id(piece) { b"*" } else { piece }).copied().collect()
}

/// Whether a line of an entry or of machine-info says nothing but an id.
fn is_of_id(line: &[u8]) -> bool {
    let value = line
        .strip_prefix(b"machine-id")
        .filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace))
        .or_else(|| line.strip_prefix(b"KERNEL_INSTALL_MACHINE_ID="));
    value.is_some_and(|value| is_id(value.trim_ascii()))
}

/// A command line without the word that sets the id, and without the blank before it.
fn without_word(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    for word in line.split_inclusive(|b| b.is_ascii_whitespace()) {
        let (text, blank) = match word.last() {
            Some(last) if last.is_ascii_whitespace() => word.split_at(word.len() - 1),
            _ => (word, &[][..]),
        };
        match text.strip_prefix(WORD).is_some_and(is_id) {
            false => out.extend(word),
            // The blank before the word goes, the one behind it ends what is before.
            true => {
                out.pop_if(|last| *last == b' ' || *last == b'\t');
                out.extend(blank);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_goes_with_one_blank() {
        let id = "0123456789abcdef0123456789abcdef";
        let cases = [
            (format!("root=a systemd.machine_id={id} quiet\n"), "root=a quiet\n"),
            (format!("root=a systemd.machine_id={id}\n"), "root=a\n"),
            (format!("options systemd.machine_id={id} quiet"), "options quiet"),
            (
                "quiet systemd.machine_id=firmware\n".to_owned(),
                "quiet systemd.machine_id=firmware\n",
            ),
        ];
        for (line, left) in cases {
            assert_eq!(String::from_utf8_lossy(&without_word(line.as_bytes())), left);
        }
    }
}
