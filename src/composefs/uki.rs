//! The composefs digests that unified kernel images in a tree carry.

use anyhow::{Context as _, Result};
use object::read::pe::PeFile64;
use object::{Object as _, ObjectSection as _};

use super::node;
use crate::format::composefs::{Directory, Node, Tree};

/// A unified kernel image and the digests on its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uki {
    /// Its path below the root.
    pub path: String,
    /// The values of `composefs=` and `composefs.digest=`, without the mark that allows a missing
    /// fs-verity.
    pub digests: Vec<String>,
}

/// The unified kernel images of `tree`, of whose files `content` gives the content: those in
/// `/boot/EFI/Linux` and beside the kernels in `/usr/lib/modules`.
///
/// Fails where one cannot be read.
pub fn ukis(tree: &Tree, content: &dyn Fn(&str) -> Result<Option<Vec<u8>>>) -> Result<Vec<Uki>> {
    let mut folders = vec!["boot/EFI/Linux".to_owned()];
    if let Some(Node::Directory(modules)) = node(tree, "usr/lib/modules") {
        folders.extend(names(modules).map(|kernel| format!("usr/lib/modules/{kernel}")));
    }
    let mut found = Vec::new();
    for folder in folders {
        let Some(Node::Directory(directory)) = node(tree, &folder) else { continue };
        for name in names(directory).filter(|name| name.ends_with(".efi")) {
            let path = format!("{folder}/{name}");
            let Some(bytes) = content(&path)? else { continue };
            let line = command_line(&bytes).with_context(|| format!("reading {path}"))?;
            found.push(Uki { path, digests: digests(&line) });
        }
    }
    Ok(found)
}

fn names(directory: &Directory) -> impl Iterator<Item = String> {
    directory.entries.keys().map(|name| String::from_utf8_lossy(name).into_owned())
}

/// The section `.cmdline`; empty where there is none.
fn command_line(bytes: &[u8]) -> Result<String> {
    let file = PeFile64::parse(bytes).context("it is not a PE program of 64 bits")?;
    let Some(section) = file.section_by_name(".cmdline") else { return Ok(String::new()) };
    let text = section.data().context("its section .cmdline is outside of the file")?;
    Ok(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}

fn digests(line: &str) -> Vec<String> {
    let value = |word: &str| {
        let (key, value) = word.split_once('=')?;
        let known = key == "composefs" || key == "composefs.digest";
        known.then(|| value.trim_start_matches('?').to_owned())
    };
    line.split_whitespace().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_on_the_command_line() {
        let line = "rw composefs=?aa quiet composefs.digest=bb composefsx=cc";
        assert_eq!(digests(line), ["aa", "bb"]);
    }

    #[test]
    fn what_is_not_a_program_is_refused() {
        assert!(command_line(b"MZ").is_err());
        assert!(command_line(&[0; 4096]).is_err());
    }
}
