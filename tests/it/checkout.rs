//! Trees of the checkout, in memory and back.
//!
//! A checkout keeps neither times, owners nor empty directories: `mtime` gives the first, the
//! others are 0 and absent.

use std::path::Path;

use reprofix::tree::{Kind, Memory, Node, Time};

/// Loads what is below `dir`; every time is `mtime`.
pub(crate) fn load(dir: &Path, mtime: Time) -> Memory {
    let mut tree = Memory::empty();
    for found in walkdir::WalkDir::new(dir) {
        let found = found.expect("a readable case");
        let path = found.path().strip_prefix(dir).expect("below").to_owned();
        let kind = found.file_type();
        let node = if kind.is_dir() {
            Node::new(Kind::Dir, "")
        } else if kind.is_symlink() {
            let target = std::fs::read_link(found.path()).expect("a link");
            Node::new(Kind::Symlink, target.into_os_string().into_encoded_bytes())
        } else {
            Node::new(Kind::File, std::fs::read(found.path()).expect("a readable file"))
        };
        tree.0.insert(path, Node { mtime: Some(mtime), ..node });
    }
    tree
}

/// Writes a tree below `dir`.
pub(crate) fn store(tree: &Memory, dir: &Path) {
    for (path, node) in &tree.0 {
        let path = dir.join(path);
        match node.kind {
            Kind::Dir => std::fs::create_dir_all(&path),
            Kind::Symlink => {
                let target = String::from_utf8(node.data.clone()).expect("UTF-8");
                std::os::unix::fs::symlink(target, &path)
            }
            _ => std::fs::write(&path, &node.data),
        }
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}
