//! `reprofix record` against coreos-assembler's rules: its schema, Python's JSON, flufl.lock.
#![cfg(feature = "ostree")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use reprofix::disk::Lock;
use reprofix::record::Job;
use serde_json::{Value, json};

use crate::repo::{commit, init, output, reprofix, scratch, shown_checksum};

/// A work directory of coreos-assembler with one build, its commit in `tmp/repo`.
struct Workdir {
    dir: tempfile::TempDir,
    commit: String,
    content: String,
}

impl Workdir {
    fn new() -> Self {
        let (dir, tree) = scratch();
        let repo = dir.path().join("tmp/repo");
        fs::create_dir_all(&repo).unwrap();
        init(&repo, "archive");
        let commit = commit(&repo, "fedora/x86_64/coreos", &tree);
        let content = shown_checksum(&repo, &commit);
        let this = Workdir { dir, commit, content };
        fs::create_dir_all(this.meta().parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("39.1", this.path().join("builds/latest")).unwrap();
        this.write(&this.text());
        this
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn meta(&self) -> PathBuf {
        self.path().join("builds/39.1/x86_64/meta.json")
    }

    /// A meta.json as cosa writes it, with every sort of JSON in it.
    fn text(&self) -> String {
        let text = json!({
            "name": "fedora-coreos",
            "summary": "Café \u{1f600} \u{7f} \"q\" \\ /\n\t\u{8}\u{c}",
            "coreos-assembler.meta-stamp": 1_700_000_000_123_456_789_u64,
            "coreos-assembler.image-genver": 0,
            "ostree-version": "39.1",
            "images": {"ostree": {"path": "x.ociarchive", "sha256": "00", "size": 1.5}},
            "pkgdiff": [],
            "coreos-assembler.container-config-git": {},
            "coreos-assembler.config-dirty": "false",
            "coreos-assembler.overrides-active": false,
            "buildid": "39.1",
            "ostree-commit": self.commit,
            "ostree-timestamp": "2024-01-01T00:00:00Z",
            "advisories-diff": [["FEDORA-1", 1, null, {"a": [[], {}]}]],
        });
        python(
            "import json,sys; json.dump(json.load(sys.stdin), sys.stdout, indent=4)",
            &[],
            &text.to_string(),
        )
    }

    fn write(&self, text: &str) {
        fs::write(self.meta(), text).unwrap();
    }

    fn record(&self, more: &[&str]) -> (i32, String, String) {
        let mut args = vec!["record", "--workdir", self.path().to_str().unwrap()];
        args.extend(more);
        reprofix(&args)
    }

    fn job(&self) -> Job {
        Job::new(&self.meta(), self.commit.parse().unwrap(), self.content.parse().unwrap())
    }

    /// The names beside meta.json.
    fn beside(&self) -> Vec<String> {
        let names = fs::read_dir(self.meta().parent().unwrap()).unwrap();
        let mut names: Vec<_> =
            names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A Python that has the real flufl.lock (Debian: python3-flufl.lock).
fn python_program() -> &'static str {
    let has = |p: &&str| {
        let out = Command::new(p).args(["-c", "import flufl.lock"]).output();
        out.is_ok_and(|o| o.status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has);
    found.expect("no python3 with flufl.lock: install python3-flufl.lock")
}

fn spawn_python(script: &str, args: &[&str]) -> Child {
    let mut command = Command::new(python_program());
    command.arg("-c").arg(script).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs a script to its end; gives what it printed.
fn python(script: &str, args: &[&str], input: &str) -> String {
    let mut child = spawn_python(script, args);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "python failed");
    String::from_utf8(out.stdout).unwrap()
}

const SET_KEY: &str = "
import json, sys
d = json.load(open(sys.argv[1])); d['ostree-content-checksum'] = sys.argv[2]
json.dump(d, sys.stdout, indent=4)";

#[test]
fn the_file_is_what_python_would_write_with_one_key_more() {
    let work = Workdir::new();
    fs::set_permissions(work.meta(), PermissionsExt::from_mode(0o600)).unwrap();
    let wanted = python(SET_KEY, &[work.meta().to_str().unwrap(), &work.content], "");
    let (code, out, err) = work.record(&[]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&work.content), "{out}");
    assert_eq!(fs::read_to_string(work.meta()).unwrap(), wanted);
    assert_eq!(fs::metadata(work.meta()).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(work.beside(), ["meta.json", "reprofix.json"], "nothing is left behind");
}

#[test]
fn recording_twice_leaves_the_file_alone() {
    let work = Workdir::new();
    assert_eq!(work.record(&[]).0, 0);
    let before = fs::metadata(work.meta()).unwrap();
    let sidecar = fs::read(work.meta().with_file_name("reprofix.json")).unwrap();
    let (code, out, _) = work.record(&[]);
    assert_eq!((code, out.contains("was already in")), (0, true));
    let report = serde_json::from_str(&work.record(&["--json", "-"]).1).unwrap();
    assert_eq!(crate::schema::violations("reprofix-recorded-1", &report), Vec::<String>::new());
    assert_eq!(fs::metadata(work.meta()).unwrap().ino(), before.ino());
    assert_eq!(fs::read(work.meta().with_file_name("reprofix.json")).unwrap(), sidecar);
}

#[test]
fn a_key_that_is_there_keeps_its_place_and_numbers_their_text() {
    let work = Workdir::new();
    let text = format!(
        "{{\n    \"ostree-content-checksum\": \"{}\",\n    \"s\": 1.50,\n    \"buildid\": \"b\",\n    \
         \"name\": \"n\",\n    \"ostree-commit\": \"{}\",\n    \"ostree-timestamp\": \"t\",\n    \
         \"ostree-version\": \"v\"\n}}",
        work.content.replace('a', "b"),
        "0".repeat(64),
    );
    work.write(&text);
    let (code, _, err) = work.record(&["--ref", "fedora/x86_64/coreos", "--other-commit"]);
    assert_eq!(code, 0, "{err}");
    let wanted = text.replace(&work.content.replace('a', "b"), &work.content);
    assert_eq!(fs::read_to_string(work.meta()).unwrap(), wanted);
}

/// What the schema of coreos-assembler (`v1.json`) allows at the top level, and of which type.
const SCHEMA: &[(&str, &str)] = &[
    ("advisories-diff", "array"),
    ("aliyun", "array"),
    ("amis", "array"),
    ("aws-winli", "array"),
    ("azure", "object"),
    ("base-oscontainer", "object"),
    ("build-url", "string"),
    ("buildid", "string"),
    ("coreos-assembler.basearch", "string"),
    ("coreos-assembler.build-timestamp", "string"),
    ("coreos-assembler.code-source", "string"),
    ("coreos-assembler.config-dirty", "string"),
    ("coreos-assembler.config-gitrev", "string"),
    ("coreos-assembler.config-variant", "string"),
    ("coreos-assembler.container-config-git", "object"),
    ("coreos-assembler.container-image-git", "object"),
    ("coreos-assembler.delayed-meta-merge", "boolean"),
    ("coreos-assembler.image-config-checksum", "string"),
    ("coreos-assembler.image-genver", "number"),
    ("coreos-assembler.image-input-checksum", "string"),
    ("coreos-assembler.meta-stamp", "number"),
    ("coreos-assembler.oci-imported", "boolean"),
    ("coreos-assembler.overrides-active", "boolean"),
    ("coreos-assembler.yumrepos-git", "object"),
    ("extensions", "object"),
    ("extensions-container", "object"),
    ("fedora-coreos.parent-commit", "string"),
    ("fedora-coreos.parent-version", "string"),
    ("gcp", "object"),
    ("ibmcloud", "array"),
    ("images", "object"),
    ("koji", "object"),
    ("kubevirt", "object"),
    ("name", "string"),
    ("oscontainer", "object"),
    ("ostree-commit", "string"),
    ("ostree-content-bytes-written", "number"),
    ("ostree-content-checksum", "string"),
    ("ostree-n-cache-hits", "number"),
    ("ostree-n-content-total", "number"),
    ("ostree-n-content-written", "number"),
    ("ostree-n-metadata-total", "number"),
    ("ostree-n-metadata-written", "number"),
    ("ostree-timestamp", "string"),
    ("ostree-version", "string"),
    ("parent-advisories-diff", "array"),
    ("parent-pkgdiff", "array"),
    ("pkgdiff", "array"),
    ("powervs", "array"),
    ("ref", "string"),
    ("release-payload", "object"),
    ("rpm-ostree-inputhash", "string"),
    ("s3", "object"),
    ("summary", "string"),
];

fn violations(meta: &Value) -> Vec<String> {
    let kind = |v: &Value| match v {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let object = meta.as_object().unwrap();
    let mut found = Vec::new();
    for (key, value) in object {
        match SCHEMA.iter().find(|(k, _)| k == key) {
            None => found.push(format!("{key} is not in the schema")),
            Some((_, wanted)) if *wanted != kind(value) => {
                found.push(format!("{key} is no {wanted}"))
            }
            _ => {}
        }
        let long = ["ostree-commit", "ostree-content-checksum"].contains(&key.as_str());
        if long && value.as_str().unwrap().chars().count() < 64 {
            found.push(format!("{key} is shorter than 64"));
        }
    }
    for key in ["buildid", "name", "ostree-commit", "ostree-timestamp", "ostree-version"] {
        if !object.contains_key(key) {
            found.push(format!("{key} is missing"));
        }
    }
    found
}

#[test]
fn the_result_obeys_the_schema() {
    let work = Workdir::new();
    assert_eq!(work.record(&[]).0, 0);
    let mut meta: Value = serde_json::from_slice(&fs::read(work.meta()).unwrap()).unwrap();
    assert_eq!(violations(&meta), Vec::<String>::new());
    assert_eq!(meta["ostree-content-checksum"], work.content.as_str());
    // The rules can be broken.
    meta["reprofix"] = json!(1);
    meta["name"] = json!(1);
    assert_eq!(violations(&meta), ["name is no string", "reprofix is not in the schema"]);
}

#[test]
fn the_sidecar_says_what_meta_json_cannot() {
    let work = Workdir::new();
    let fixed = work.path().join("fix.json");
    let tree = work.path().join("tree");
    let args =
        ["fix", tree.to_str().unwrap(), "--source-date-epoch=1700000000", "--quiet", "--json"];
    let (code, _, err) = reprofix(&[&args[..], &[fixed.to_str().unwrap()]].concat());
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = work.record(&["--report", fixed.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    let text = fs::read(work.meta().with_file_name("reprofix.json")).unwrap();
    let sidecar: Value = serde_json::from_slice(&text).unwrap();
    let keys: Vec<_> = sidecar.as_object().unwrap().keys().collect();
    let wanted = [
        "schema",
        "reprofix",
        "ostree-commit",
        "ostree-content-checksum",
        "source-date-epoch",
        "plugins",
    ];
    assert_eq!(keys, wanted);
    assert_eq!(sidecar["schema"], "reprofix-record-1");
    assert_eq!(sidecar["ostree-commit"], work.commit.as_str());
    assert_eq!(sidecar["ostree-content-checksum"], work.content.as_str());
    assert_eq!(sidecar["source-date-epoch"], 1_700_000_000);
    let plugins = sidecar["plugins"].as_array().unwrap();
    assert!(plugins.iter().any(|p| p["name"] == "pycache" && p["removed"].is_number()));
    assert!(plugins.iter().all(|p| p["reprofix"] == env!("CARGO_PKG_VERSION")));
}

/// Every bad input: exit 2, a message that names it, and meta.json as it was.
#[test]
fn bad_input_is_named_and_changes_nothing() {
    let work = Workdir::new();
    let good = work.text();
    let other = good.replace(&work.commit, &"1".repeat(64));
    let head = |sum: &str| format!("{{\n    \"ostree-content-checksum\": {sum},{}", &good[1..]);
    let wrong = head(&format!("\"{}\"", "2".repeat(64)));
    let meta = work.meta();
    for (text, why) in [
        ("", "not JSON"),
        ("{\"buildid\": \"x\"", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "ostree-commit"),
        (&good.replace("\"buildid\"", "\"id\""), "no \"buildid\""),
        (&good.replace(&work.commit, "abc"), "ostree-commit is \"abc\""),
        (&good.replace(&format!("\"{}\"", work.commit), "7"), "ostree-commit is not a string"),
        (&head("5"), "ostree-content-checksum is not a string"),
        (&head("\"x\""), "ostree-content-checksum is \"x\""),
        (&wrong, "damaged or was edited"),
        (&other, "of commit 1111"),
        (&"[".repeat(100_000), "not JSON"),
    ] {
        work.write(text);
        let more: &[&str] = if text == other { &["--ref=fedora/x86_64/coreos"] } else { &[] };
        let (code, _, err) = work.record(more);
        assert_eq!(code, 2, "{why}: {err}");
        assert!(err.contains(why) && err.contains(meta.to_str().unwrap()), "{why}: {err}");
        assert_eq!(fs::read_to_string(&meta).unwrap(), text, "{why}");
        assert_eq!(work.beside(), ["meta.json"], "{why}");
    }
}

#[test]
fn places_that_are_not_there_are_named() {
    let work = Workdir::new();
    let path = work.path().to_str().unwrap();
    let repo = work.path().join("tmp/repo");
    let repo = repo.to_str().unwrap();
    for (args, why) in [
        (&["--workdir", "/nowhere"][..], "/nowhere is not a work directory"),
        (&["--workdir", path, "--build", "40"], "has no build 40"),
        (&["--workdir", path, "--build", "../39.1"], "not a name of a build"),
        (&["--workdir", path, "--arch", "s390x"], "is of x86_64, not of s390x"),
        (&["--workdir", path, "--repo", "/nowhere"], "opening the ostree repository /nowhere"),
        (&["--workdir", path, "--ref", "no/such"], "has fedora/x86_64/coreos"),
        (&["--meta", "/nowhere/meta.json", "--repo", repo], "/nowhere/meta.json"),
        (&["--meta", "/dev/null", "--repo", repo], "not a regular file"),
        (&["--meta", path, "--repo", repo], "not a regular file"),
        (&["--meta", "meta.json"], "--repo"),
        (&[], "--meta"),
    ] {
        let (code, _, err) = reprofix(&[&["record"], args].concat());
        assert_eq!((code, err.contains(why)), (2, true), "{args:?}: {err}");
    }
}

const HOLD: &str = "
import sys
from flufl.lock import Lock
with Lock(sys.argv[1], lifetime=3600):
    print('held', flush=True)
    sys.stdin.readline()
print('released', flush=True)";

fn lock_of(meta: &Path) -> String {
    meta.with_file_name(".meta.json.lock").to_str().unwrap().to_owned()
}

#[test]
fn record_waits_for_a_python_that_holds_the_lock() {
    let work = Workdir::new();
    let mut holder = spawn_python(HOLD, &[&lock_of(&work.meta())]);
    let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "held");
    let before = fs::read(work.meta()).unwrap();

    let mut impatient = work.job();
    impatient.patience = Duration::from_millis(200);
    let error = format!("{:#}", impatient.run().unwrap_err());
    assert!(error.contains(&format!("process {}", holder.id())), "{error}");
    assert_eq!(fs::read(work.meta()).unwrap(), before);

    let job = work.job();
    let waiting = std::thread::spawn(move || job.run().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(fs::read(work.meta()).unwrap(), before, "written while somebody else held the lock");
    holder.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "released");
    assert!(waiting.join().unwrap().changed);
    assert!(holder.wait().unwrap().success());
    assert_eq!(work.beside(), ["meta.json", "reprofix.json"]);
}

const TRY: &str = "
import sys
from flufl.lock import Lock, TimeOutError
lock = Lock(sys.argv[1])
try:
    lock.lock(timeout=int(sys.argv[2])); print('taken'); lock.unlock()
except TimeOutError:
    print('refused', lock.details[1])";

#[test]
fn python_respects_our_lock_and_breaks_it_when_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".meta.json.lock");
    let lock = Lock::take(&path, Duration::ZERO).unwrap();
    let attempt = |patience: &str| python(TRY, &[path.to_str().unwrap(), patience], "");
    assert_eq!(attempt("1"), format!("refused {}\n", std::process::id()));
    // As if we had died a minute ago.
    let over = SystemTime::now() - Duration::from_secs(60);
    fs::File::options().append(true).open(&path).unwrap().set_modified(over).unwrap();
    assert_eq!(attempt("30"), "taken\n");
    drop(lock);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

const DIE: &str = "
import os, sys
from flufl.lock import Lock
Lock(sys.argv[1], lifetime=0).lock()
os._exit(0)";

#[test]
fn an_abandoned_python_lock_is_broken_but_never_what_it_points_at() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".meta.json.lock");
    python(DIE, &[path.to_str().unwrap()], "");
    assert!(Lock::take(&path, Duration::ZERO).is_err(), "too early: clocks may be apart");
    let age = || {
        let over = SystemTime::now() - Duration::from_secs(11);
        fs::File::options().append(true).open(&path).unwrap().set_modified(over).unwrap();
    };
    age();
    drop(Lock::take(&path, Duration::ZERO).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    let precious = dir.path().join("precious|h|1|2");
    fs::write(&precious, "p").unwrap();
    fs::write(&path, precious.to_str().unwrap()).unwrap();
    age();
    drop(Lock::take(&path, Duration::ZERO).unwrap());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "p");

    // What does not look like a lock is nobody's to break.
    fs::write(&path, "not a claim").unwrap();
    age();
    let error = Lock::take(&path, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("an unknown owner"), "{error}");
}

const COUNT: &str = "
import sys
from flufl.lock import Lock
class Quick(Lock):
    def _sleep(self):
        import time; time.sleep(0.01)
for _ in range(10):
    with Quick(sys.argv[1]):
        n = int(open(sys.argv[2]).read())
        open(sys.argv[2], 'w').write(str(n + 1))";

#[test]
fn threads_of_ours_and_pythons_exclude_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let (path, count) = (dir.path().join("lock"), dir.path().join("count"));
    fs::write(&count, "0").unwrap();
    let args = [path.to_str().unwrap(), count.to_str().unwrap()];
    let pythons: Vec<_> = (0..2).map(|_| spawn_python(COUNT, &args)).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let _lock = Lock::take(&path, Duration::from_secs(60)).unwrap();
                    let n: u32 = fs::read_to_string(&count).unwrap().parse().unwrap();
                    fs::write(&count, (n + 1).to_string()).unwrap();
                }
            });
        }
    });
    for python in pythons {
        assert!(python.wait_with_output().unwrap().status.success());
    }
    assert_eq!(fs::read_to_string(&count).unwrap(), "40");
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error() {
    let work = Workdir::new();
    let dir = work.meta().parent().unwrap().to_str().unwrap().to_owned();
    if !output("mount", &["--bind", "-o", "ro", &dir, &dir]).status.success() {
        println!("not run: no right to mount here");
        return;
    }
    let (code, _, err) = work.record(&[]);
    assert!(output("umount", &[&dir]).status.success());
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("locking") && err.contains("Read-only file system"), "{err}");
}
