//! The engine on real directories: links, attributes, races, hostile trees, interrupted runs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use reprofix::disk::{self, Root};
use reprofix::engine::{Plan, Wanted, apply, plan, walk};
use reprofix::env::SourceDateEpoch;
use reprofix::normal::{Chain, Context};
use reprofix::normal::{File, Page, Plugin, Verdict, Want};
use reprofix::plugins::default_context;
use reprofix::tree::{Entry, Kind, Time};
use reprofix::vouchers::Vouchers;

const PAGE: Page = Page {
    name: "upper",
    summary: "",
    default: true,
    paths: "",
    varies: "",
    why: "",
    done: "",
    lost: "",
    upstream: "",
    payload: true,
    options: &[],
};

/// Turns `*.up` into capitals, with a newline more if the name has `grow` in it, and removes
/// `*.rm` and directories called `rmdir`.
struct Upper;

impl Plugin for Upper {
    fn page(&self) -> &'static Page {
        &PAGE
    }
    fn wants(&self, entry: &Entry, _: &Context) -> Want {
        match (entry.kind, entry.name()) {
            (Kind::File, name) if name.ends_with(b".up") => Want::Bytes,
            (Kind::File, name) if name.ends_with(b".rm") => Want::Entry,
            (Kind::Dir, b"rmdir") => Want::Entry,
            _ => Want::No,
        }
    }
    fn canonical(&self, file: &File<'_>, _: &Context) -> std::io::Result<Verdict> {
        Ok({
            if !file.entry.name().ends_with(b".up") {
                return Ok(Verdict::Remove);
            }
            let mut upper = file.bytes.to_ascii_uppercase();
            let grows = file.entry.path.to_string_lossy().contains("grow");
            if grows && !upper.ends_with(b"\n\n") {
                upper.extend_from_slice(b"\n\n");
            }
            match upper == *file.bytes {
                true => Verdict::Keep,
                false => Verdict::Rewrite(upper),
            }
        })
    }
}

/// Says how often it was asked.
struct Counts(std::sync::atomic::AtomicUsize);

impl Plugin for Counts {
    fn page(&self) -> &'static Page {
        &PAGE
    }
    fn wants(&self, entry: &Entry, _: &Context) -> Want {
        if entry.kind == Kind::File { Want::Bytes } else { Want::No }
    }
    fn canonical(&self, file: &File<'_>, _: &Context) -> std::io::Result<Verdict> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Verdict::Rewrite([&file.bytes[..], b"x"].concat()))
    }
    fn judges_bytes_alone(&self) -> bool {
        true
    }
}

/// A plugin that goes by the bytes judges an inode once for each way in which its names end.
#[test]
fn links_to_one_file_are_judged_once() {
    static COUNTS: Counts = Counts(std::sync::atomic::AtomicUsize::new(0));
    let dir = tempfile::tempdir().unwrap();
    let first = put(dir.path().join("usr/first.gz"), "text");
    for n in 0..50 {
        fs::hard_link(&first, dir.path().join(format!("usr/{n}.gz"))).unwrap();
    }
    fs::hard_link(&first, dir.path().join("usr/other.zip")).unwrap();
    let plan = fix_with(dir.path(), &[&COUNTS]);
    assert_eq!(COUNTS.0.load(std::sync::atomic::Ordering::Relaxed), 2);
    assert_eq!(plan.changes.len(), 1);
    assert_eq!(fs::read(dir.path().join("usr/49.gz")).unwrap(), b"textx");
    assert_eq!(first.metadata().unwrap().nlink(), 52);
}

fn fix(dir: &Path) -> Plan {
    fix_with(dir, &[&Upper])
}

fn fix_with(dir: &Path, plugins: &[&'static dyn Plugin]) -> Plan {
    let root = Root::open(dir).unwrap();
    let cx = default_context(SourceDateEpoch::new(1));
    let chain = Chain { plugins, cx: &cx, vouchers: &Vouchers::nobody() };
    let entries = walk(&root, &[]).unwrap();
    let leftovers = disk::leftovers(&root, &entries).unwrap();
    disk::recover(&root, &leftovers).unwrap();
    let entries = walk(&root, &[]).unwrap();
    let plan = plan(&root, &Wanted::of(&entries, &chain), &chain, &|_| ()).unwrap();
    let raced = apply(&root, &entries, &plan, &chain, &|_| ()).unwrap();
    assert_eq!(raced, Vec::<PathBuf>::new());
    plan
}

fn put(path: PathBuf, text: &str) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

fn xattr(path: &Path, name: &str) -> Vec<u8> {
    let mut value = vec![0; 64];
    let len = rustix::fs::getxattr(path, name, &mut value[..]).unwrap();
    value.truncate(len);
    value
}

#[test]
fn a_new_inode_keeps_owner_mode_attributes_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path().join("grow.up"), "abc");
    std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6751)).unwrap();
    set_xattr(&path, "user.note", b"kept");
    // cap_net_raw=ep, revision 2
    let caps = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_xattr(&path, "security.capability", &caps);
    let before = path.metadata().unwrap();
    let dir_before = dir.path().metadata().unwrap();
    assert_eq!(fix(dir.path()).changes.len(), 1);
    let after = path.metadata().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"ABC\n\n");
    assert_eq!((after.uid(), after.gid(), after.mode()), (12, 34, before.mode()));
    assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    assert_eq!(xattr(&path, "user.note"), b"kept");
    assert_eq!(xattr(&path, "security.capability"), caps);
    let dir_after = dir.path().metadata().unwrap();
    assert_eq!(
        (dir_after.mtime(), dir_after.mtime_nsec()),
        (dir_before.mtime(), dir_before.mtime_nsec())
    );
    assert!(fix(dir.path()).is_empty());
}

#[test]
fn a_file_that_a_write_would_take_something_from_gets_a_new_inode() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path().join("f.up"), "abc");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    let caps = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_xattr(&path, "security.capability", &caps);
    let before = path.metadata().unwrap();
    let dir_before = dir.path().metadata().unwrap();
    fix(dir.path());
    let after = path.metadata().unwrap();
    let dir_after = dir.path().metadata().unwrap();
    assert_eq!(
        (dir_after.mtime(), dir_after.mtime_nsec()),
        (dir_before.mtime(), dir_before.mtime_nsec())
    );
    assert_eq!(fs::read(&path).unwrap(), b"ABC");
    assert_eq!(after.mode(), before.mode());
    assert_ne!(after.ino(), before.ino());
    assert_eq!(after.mtime_nsec(), before.mtime_nsec());
    assert_eq!(xattr(&path, "security.capability"), caps);
    // Of any other, one write changes the block.
    let plain = put(dir.path().join("plain.up"), "abc");
    let before = plain.metadata().unwrap();
    fix(dir.path());
    let after = plain.metadata().unwrap();
    assert_eq!((fs::read(&plain).unwrap(), after.ino()), (b"ABC".to_vec(), before.ino()));
    assert_eq!(after.mtime_nsec(), before.mtime_nsec());
}

#[test]
fn links_inside_follow_and_links_outside_keep_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for (case, text) in [("patch", "abc"), ("grow", "abc")] {
        let tree = dir.path().join(case);
        let a = put(tree.join(format!("a/{case}.up")), text);
        let b = tree.join("b/other");
        fs::create_dir_all(b.parent().unwrap()).unwrap();
        fs::hard_link(&a, &b).unwrap();
        let object = put(dir.path().join(format!("repo-{case}/object")), "");
        fs::remove_file(&object).unwrap();
        fs::hard_link(&a, &object).unwrap();
        fix(&tree);
        assert_eq!(fs::read(&object).unwrap(), b"abc", "{case}");
        assert!(fs::read(&a).unwrap().starts_with(b"ABC"), "{case}");
        assert_eq!(a.metadata().unwrap().ino(), b.metadata().unwrap().ino(), "{case}");
        assert_eq!(a.metadata().unwrap().nlink(), 2, "{case}");
        assert_eq!(object.metadata().unwrap().nlink(), 1, "{case}");
        assert!(fix(&tree).is_empty());
    }
}

#[test]
fn a_directory_goes_only_if_everything_in_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path().join("x/rmdir/a.rm"), "");
    put(dir.path().join("y/rmdir/a.rm"), "");
    put(dir.path().join("y/rmdir/deep/keep"), "");
    fix(dir.path());
    assert!(!dir.path().join("x/rmdir").exists());
    assert!(dir.path().join("y/rmdir/deep/keep").exists());
    assert!(!dir.path().join("y/rmdir/a.rm").exists());
    assert!(fix(dir.path()).is_empty());
}

#[test]
fn nothing_outside_the_root_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let outside = put(dir.path().join("outside/secret.up"), "abc");
    put(tree.join("in.up"), "abc");
    symlink(outside.parent().unwrap(), tree.join("dir")).unwrap();
    symlink(&outside, tree.join("link.up")).unwrap();
    symlink("../outside", tree.join("rmdir")).unwrap();
    fix(&tree);
    assert_eq!(fs::read(&outside).unwrap(), b"abc");
    assert_eq!(fs::read(tree.join("in.up")).unwrap(), b"ABC");
    assert!(tree.join("rmdir").is_symlink());
    let root = Root::open(&tree).unwrap();
    for bad in ["../outside/secret.up", "/etc/passwd", "dir/secret.up", "link.up", "a/../../x"] {
        use reprofix::tree::Tree;
        assert!(!matches!(root.read(Path::new(bad)), Ok(Some(_))), "{bad}");
        assert!(root.remove(Path::new(bad)).is_err() || bad == "link.up", "{bad}");
    }
    assert!(outside.exists());
}

#[test]
fn special_files_and_odd_names_are_walked_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo.up");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    std::os::unix::net::UnixListener::bind(dir.path().join("sock.up")).unwrap();
    let odd = dir.path().join(OsStr::from_bytes(b"caf\xe9\n.up"));
    fs::write(&odd, "abc").unwrap();
    let plan = fix(dir.path());
    assert_eq!(plan.changes.len(), 1);
    assert_eq!(fs::read(&odd).unwrap(), b"ABC");
}

/// Path → (content, inode number by first path with it).
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, PathBuf)> {
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(dir).unwrap().to_owned();
        if entry.file_type().is_file() {
            let ino = entry.metadata().unwrap().ino();
            let leader = first.entry(ino).or_insert_with(|| path.clone()).clone();
            all.insert(path, (fs::read(entry.path()).unwrap(), leader));
        }
    }
    all
}

fn linked_tree(dir: &Path) {
    for i in 0..20 {
        let a = put(dir.join(format!("a{i}/grow{i}.up")), "some text\n");
        for j in 0..3 {
            fs::hard_link(&a, dir.join(format!("a{i}/link{j}"))).unwrap();
        }
        put(dir.join(format!("a{i}/gone.rm")), "x");
    }
}

#[test]
fn an_interrupted_replacement_of_links_is_finished_or_undone() {
    let done = tempfile::tempdir().unwrap();
    linked_tree(done.path());
    fix(done.path());
    let want = snapshot(done.path());
    // The two states a kill can leave: links being prepared, and links being renamed.
    for finish in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        linked_tree(dir.path());
        let at = dir.path().join("a0");
        let tag = |name: &str| {
            use sha2::{Digest, Sha256};
            let hash = Sha256::digest(name.as_bytes());
            hash.iter().take(8).map(|b| format!("{b:02x}")).collect::<String>()
        };
        let new = at.join(format!(".reprofix-new-{}", tag("grow0.up")));
        fs::write(&new, if finish { "SOME TEXT\n\n" } else { "SO" }).unwrap();
        for name in ["grow0.up", "link0", "link1", "link2"] {
            fs::hard_link(&new, at.join(format!(".reprofix-ready-{}", tag(name)))).unwrap();
            if !finish && name == "link0" {
                break;
            }
        }
        if finish {
            fs::remove_file(&new).unwrap();
            let ready = at.join(format!(".reprofix-ready-{}", tag("grow0.up")));
            fs::rename(ready, at.join("grow0.up")).unwrap();
        }
        // What the killed run wrote down before it began.
        let root = Root::open(dir.path()).unwrap();
        let times = [(Path::new("a0"), Time { sec: 1, nsec: 0 })];
        disk::note_times(&root, Path::new(""), times).unwrap();
        fix(dir.path());
        let got = snapshot(dir.path());
        assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
        for (path, (_, leader)) in &got {
            assert_eq!(leader, &want[path].1, "{finish} {}", path.display());
        }
        assert!(fix(dir.path()).is_empty());
    }
}

#[test]
fn thread_count_changes_nothing() {
    let run = |threads| {
        let dir = tempfile::tempdir().unwrap();
        linked_tree(dir.path());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let plan = pool.install(|| fix(dir.path()));
        (snapshot(dir.path()), plan)
    };
    assert_eq!(run(1), run(8));
}

#[test]
fn a_file_that_changed_since_it_was_read_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path().join("grow.up"), "abc");
    let root = Root::open(dir.path()).unwrap();
    let cx = default_context(SourceDateEpoch::new(1));
    let chain = Chain { plugins: &[&Upper], cx: &cx, vouchers: &Vouchers::nobody() };
    let entries = walk(&root, &[]).unwrap();
    let plan = plan(&root, &Wanted::of(&entries, &chain), &chain, &|_| ()).unwrap();
    fs::write(&path, "changed meanwhile").unwrap();
    let raced = apply(&root, &entries, &plan, &chain, &|_| ()).unwrap();
    assert_eq!(raced, [PathBuf::from("grow.up")]);
    assert_eq!(fs::read(&path).unwrap(), b"changed meanwhile");
}
