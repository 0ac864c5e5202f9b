//! Disk images with partition tables: what `check` says of pairs made by the real systemd-repart.
//!
//! `tests/fixtures/disk` has those of systemd 262 (Debian sid), made by the `make` in it; one pair is
//! made here by this system's own systemd-repart, and its root hash held to veritysetup's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reprofix::format::{gpt, verity};

use crate::repo::{reprofix, run};

/// A fixture, unpacked.
fn fixture(dir: &Path, name: &str) -> PathBuf {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/disk");
    let packed = File::open(packed.join(format!("{name}.raw.xz"))).unwrap();
    let to = dir.join(format!("{name}.raw"));
    let out = File::create(&to).unwrap();
    let done = Command::new("xz").arg("-dc").stdin(packed).stdout(out).status().unwrap();
    assert!(done.success(), "xz");
    to
}

/// What `check` says of two files.
fn said(a: &Path, b: &Path) -> String {
    let (code, text, err) =
        reprofix(&["check", a.to_str().unwrap(), b.to_str().unwrap(), "--source-date-epoch=1"]);
    assert_eq!(code, 1, "{text}{err}");
    text
}

fn pair(a: &str, b: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    said(&fixture(dir.path(), a), &fixture(dir.path(), b))
}

/// Lines that are there, in this order.
fn has(text: &str, lines: &[&str]) {
    let mut rest = text;
    for line in lines {
        let at = rest.find(line).unwrap_or_else(|| panic!("no {line:?} in:\n{text}"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn only_the_signature_of_an_elliptic_curve_differs() {
    let text = pair("ecdsa.a", "ecdsa.b");
    has(
        &text,
        &[
            "partition 3 (root-x86-64-verity-sig, label root-x86-64-verity-sig): first difference",
            "ECDSA: such a signature is random; sign with RSA",
            "root hash ",
            " of both; only the signature partition differs",
        ],
    );
    assert!(!text.contains("partition 1"), "{text}");
}

#[test]
fn a_label_changes_the_root_hash_and_the_ids_made_of_it() {
    let text = pair("ecdsa.a", "label.b");
    has(
        &text,
        &[
            "partition 1 (root-x86-64, label root_1): id ",
            " (with verity it is half of the root hash)",
            "partition 1 (root-x86-64, label root_1): label root_1 | root_2",
            "partition 1 (root-x86-64, label root_1): erofs: ",
            "partition 2 (root-x86-64-verity, label root-x86-64-verity): root hash ",
            ": follows the data partition",
        ],
    );
    let text = pair("unvalidated.a", "unvalidated.b");
    has(&text, &["label root_1 | root_2", " of both; only the signature partition differs"]);
    assert!(!text.contains("erofs"), "{text}");
}

#[test]
fn ids_without_a_seed_are_named() {
    let text = pair("seed.a", "seed.b");
    has(
        &text,
        &[
            "id of the disk ",
            ": give a seed",
            "partition 1 (root-x86-64, label root-x86-64): id ",
            "partition 1 (root-x86-64, label root-x86-64): ext4: UUID ",
        ],
    );
}

/// Every byte of both tables damaged, one after another: the other copy is read, or the reason is
/// said; the comparison goes on.
#[test]
fn damaged_tables_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["ecdsa.a", "ecdsa.b"].map(|name| fixture(dir.path(), name));
    let mut bytes = fs::read(&b).unwrap();
    bytes[512 + 16] ^= 1;
    fs::write(&b, &bytes).unwrap();
    has(
        &said(&a, &b),
        &["disk B: partition table: checksum of the header is wrong at byte 528", "partition 3"],
    );
    let last = bytes.len() - 512;
    bytes[last + 16] ^= 1;
    fs::write(&b, &bytes).unwrap();
    has(&said(&a, &b), &["disk B was not read: partition table: checksum of the header is wrong"]);
}

/// This system's own systemd-repart, twice: its salt is random before systemd 253.
#[test]
fn the_systems_own_repart_and_veritysetup_agree() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path();
    fs::create_dir_all(dir.join("tree/usr")).unwrap();
    fs::create_dir(dir.join("defs")).unwrap();
    fs::write(dir.join("tree/usr/file"), "text\n".repeat(40_000)).unwrap();
    let data = dir.join("data.squashfs");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    run("mksquashfs", &[&text(&dir.join("tree")), &text(&data), "-quiet", "-no-progress", "-noD"]);
    let size = "SizeMinBytes=1M\nSizeMaxBytes=1M\nVerityMatchKey=root\n";
    let copied = format!("Type=root\nVerity=data\nCopyBlocks={}\n", data.display());
    for (name, lines) in [("1", &*copied), ("2", "Type=root-verity\nVerity=hash\n")] {
        let text = format!("[Partition]\n{lines}{size}");
        fs::write(dir.join("defs").join(format!("{name}.conf")), text).unwrap();
    }
    let made = ["a.raw", "b.raw"].map(|name| {
        let image = dir.join(name);
        let done = Command::new("systemd-repart")
            .arg(format!("--definitions={}", dir.join("defs").display()))
            .args(["--empty=create", "--size=auto", "--dry-run=no", "--json=off"])
            .arg("--seed=0123456789abcdef0123456789abcdef")
            .arg(&image)
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .stdout(Stdio::null())
            .output()
            .expect("systemd-repart is installed (tests/e2e/deps)");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        image
    });
    let bytes = fs::read(&made[0]).unwrap();
    let table = gpt::read(&mut std::io::Cursor::new(&bytes), bytes.len() as u64).unwrap();
    assert_eq!(table.damage, None);
    let roles: Vec<_> = table.partitions.iter().map(gpt::Partition::role).collect();
    assert_eq!(roles, [gpt::Role::Data, gpt::Role::Verity]);
    let files = table.partitions.iter().map(|partition| {
        let range = partition.bytes.start as usize..partition.bytes.end as usize;
        let file = dir.join(format!("part{}", partition.number));
        fs::write(&file, &bytes[range.clone()]).unwrap();
        (file, range)
    });
    let files: Vec<_> = files.collect();
    let tree = verity::read(&bytes[files[1].1.clone()]).unwrap().expect("a superblock");
    run("veritysetup", &["verify", &text(&files[0].0), &text(&files[1].0), &tree.root_hash()]);
    // The ids of both partitions are the halves of the root hash.
    let ids = table.partitions.iter().map(|p| p.id.to_string().replace('-', ""));
    assert_eq!(ids.collect::<String>(), tree.root_hash());
    if fs::read(&made[1]).unwrap() == bytes {
        return; // a salt from the seed
    }
    has(
        &said(&made[0], &made[1]),
        &["the salt differs: give a seed", "the data partitions are equal"],
    );
}

/// What is random or dated by design is explained: a credential by this system's systemd-creds, a
/// signed variable by bootctl 262.
#[test]
fn credentials_and_signed_variables_are_explained() {
    let base = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/disk");
    for side in ["a", "b"] {
        let store = base.path().join(side).join("usr/lib/credstore.encrypted");
        let keys = base.path().join(side).join("efi/loader/keys/auto");
        fs::create_dir_all(&store).unwrap();
        fs::create_dir_all(&keys).unwrap();
        fs::copy(fixtures.join(format!("db.{side}.auth")), keys.join("db.auth")).unwrap();
        let plain = base.path().join("plain");
        fs::write(&plain, "secret\n").unwrap();
        // The null key: no TPM and no key of the host are asked.
        let done = Command::new("systemd-creds")
            .args(["--with-key=tpm2-absent", "--timestamp=@1700000000", "--name=x.cred", "encrypt"])
            .args([&plain, &store.join("x.cred")])
            .output()
            .expect("systemd-creds is installed (tests/e2e/deps)");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let [a, b] = ["a", "b"].map(|side| format!("dir:{}", base.path().join(side).display()));
    let (code, text, err) = reprofix(&["check", &a, &b, "--source-date-epoch=1"]);
    assert_eq!(code, 1, "{err}");
    has(
        &text,
        &[
            "2 paths explained by generated, not fixable",
            "db.auth",
            "begins with the time of its signature",
            "x.cred",
            "is random by design",
        ],
    );
}
