//! Bytecode that a real Python made, put in normal form, read by that Python.
//!
//! The interpreters are `python3` or those that REPROFIX_PYTHONS names, separated by colons; with
//! REPROFIX_PYC_ALL set, the whole standard library is compiled instead of a part of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::format::pyc::{self, Validity};

fn pythons() -> Vec<String> {
    let named = std::env::var("REPROFIX_PYTHONS").unwrap_or_else(|_| "python3".to_owned());
    named.split(':').map(str::to_owned).collect()
}

/// Runs a script with arguments; what it prints.
fn python(python: &str, script: &str, args: &[&Path]) -> String {
    let output = Command::new(python)
        .args(["-I", "-B", "-c", script])
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{python}: {e}"));
    assert!(output.status.success(), "{python}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Compiles a part of the standard library into `argv[1]`, and says where each source is.
const COMPILE: &str = "
import os, py_compile, sys, sysconfig
top, share = sysconfig.get_path('stdlib'), int(sys.argv[2])
found = []
for where, dirs, files in os.walk(top):
    dirs[:] = [d for d in dirs if d not in ('site-packages', 'dist-packages', 'lib2to3', 'data')]
    found += [os.path.join(where, f) for f in files if f.endswith('.py')]
for n, source in enumerate(sorted(found)):
    if n % share == 0 and 'bad' not in source:
        target = os.path.join(sys.argv[1], '%d.pyc' % n)
        try:
            py_compile.compile(source, cfile=target, dfile=source, doraise=True)
        except py_compile.PyCompileError:
            continue
        print(n, source)
";

/// Compares the code of each file in `argv[1]` with that of `argv[2]`, sources hashed.
const COMPARE: &str = "
import importlib.util, marshal, os, sys
count = 0
for name in sorted(os.listdir(sys.argv[1])):
    a, b = (open(os.path.join(d, name), 'rb').read() for d in sys.argv[1:])
    x, y, again = marshal.loads(a[16:]), marshal.loads(b[16:]), marshal.loads(a[16:])
    # What holds a NaN does not equal itself.
    assert (x == y or x != again) and x.co_filename == y.co_filename, name
    source = open(x.co_filename, 'rb').read()
    assert b[4:8] == bytes([1, 0, 0, 0]) and b[8:16] == importlib.util.source_hash(source), name
    try:
        # Without references; since Python 3.14 there are constants that this version has not.
        assert marshal.dumps(x, 2) == marshal.dumps(y, 2) or sys.version_info < (3, 11), name
    except ValueError:
        assert sys.version_info >= (3, 14), name
    count += 1
print(count)
";

fn canonical(bytes: &[u8], source: &[u8]) -> Vec<u8> {
    let parsed = pyc::parse(bytes).unwrap();
    assert_eq!(parsed.check(), Ok(()));
    let body = parsed.canonical_body().unwrap();
    let hash = pyc::source_hash(parsed.magic, source);
    let out = pyc::Pyc { body: &body, ..parsed }.with(Validity::Hash { checked: false, hash });
    let again = pyc::parse(&out).unwrap();
    assert_eq!(again.canonical_body().as_ref(), Ok(&body));
    out
}

#[test]
fn python_loads_the_normal_form_as_equal_code() {
    let share = if std::env::var_os("REPROFIX_PYC_ALL").is_some() { "1" } else { "29" };
    for interpreter in pythons() {
        let dir = tempfile::tempdir().unwrap();
        let (made, normal) = (dir.path().join("made"), dir.path().join("normal"));
        fs::create_dir(&made).unwrap();
        fs::create_dir(&normal).unwrap();
        let compiled = python(&interpreter, COMPILE, &[&made, Path::new(share)]);
        let mut changed = 0;
        for line in compiled.lines() {
            let (n, source) = line.split_once(' ').unwrap();
            let name = format!("{n}.pyc");
            let bytes = fs::read(made.join(&name)).unwrap();
            let out = canonical(&bytes, &fs::read(source).unwrap());
            changed += usize::from(out[16..] != bytes[16..]);
            fs::write(normal.join(&name), out).unwrap();
        }
        let count = python(&interpreter, COMPARE, &[&made, &normal]);
        assert_eq!(count.trim(), compiled.lines().count().to_string());
        assert!(compiled.lines().count() > 10);
        println!("{interpreter}: {} files, {changed} bodies changed", count.trim());
    }
}

/// A package in a tree whose times are other than when it was compiled: whether Python takes the
/// bytecode as it is, by the mode.
#[test]
fn python_takes_unchecked_bytecode_whatever_the_times_are() {
    for (mode, epoch, taken) in [
        ("unchecked-hash", 0, true),
        ("unchecked-hash", 1_600_000_000, true),
        ("zero-mtime", 0, true),
        ("rewrite", 0, true),
        ("zero-mtime", 1_600_000_000, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("usr/package");
        fs::create_dir_all(&package).unwrap();
        fs::write(package.join("__init__.py"), "").unwrap();
        fs::write(package.join("module.py"), "NAMES = {'b', 'a'}\n").unwrap();
        python(
            "python3",
            "import compileall, sys; sys.exit(not compileall.compile_dir(sys.argv[1], quiet=1))",
            &[dir.path()],
        );
        let fix = Command::new(env!("CARGO_BIN_EXE_reprofix"))
            .args(["fix", "--plugin", "pycache", "--source-date-epoch", "1", "--quiet"])
            .arg(format!("--set=pycache.mode={mode}"))
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(fix.success());
        for source in ["__init__.py", "module.py"] {
            let file = fs::File::open(package.join(source)).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(epoch);
            file.set_modified(time).unwrap();
        }
        let before = cached(&package);
        let script = "import sys; sys.path.insert(0, sys.argv[1]); sys.dont_write_bytecode = False
import package.module; assert package.module.NAMES == {'a', 'b'}";
        python("python3", script, &[&dir.path().join("usr")]);
        assert_eq!(cached(&package) == before, taken, "{mode}, time {epoch}");
    }
}

fn cached(package: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = fs::read_dir(package.join("__pycache__")).unwrap();
    let mut all: Vec<_> = read.map(|e| e.unwrap().path()).collect();
    all.sort();
    all.into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect()
}

/// An import and compileall, of Python 3.15: the first byte of the code says whether the code object
/// may be referred to. The time is not all that differs then, so `zero-mtime` is not enough.
#[test]
fn what_an_import_and_compileall_write_needs_rewrite() {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pyc/3.15");
    let sides = ["import", "compileall"].map(|how| {
        let cache = dir.path().join(how).join("usr/lib/python3.15/__pycache__");
        fs::create_dir_all(&cache).unwrap();
        fs::copy(fixtures.join(format!("{how}.pyc")), cache.join("m.cpython-315.pyc")).unwrap();
        (dir.path().join(how), cache.join("m.cpython-315.pyc"))
    });
    let bytes = sides.each_ref().map(|(_, path)| fs::read(path).unwrap());
    let parsed = bytes.each_ref().map(|bytes| pyc::parse(bytes).unwrap());
    assert_eq!(parsed.each_ref().map(|p| p.magic), [3666; 2]);
    let first = parsed.each_ref().map(|p| p.body[0]);
    assert_eq!(first[0] ^ first[1], 0x80, "{first:x?}");
    assert_eq!(pyc::version(3666), Some((3, 15)));
    let [a, b] = parsed.each_ref().map(|p| p.canonical_body().unwrap());
    assert!(a == b);
    let run = |command: &str, mode: &str, roots: &[&Path]| {
        let mut run = Command::new(env!("CARGO_BIN_EXE_reprofix"));
        run.arg(command).args(roots).args(["--source-date-epoch", "1700000000"]);
        let done = run.args(["--set", &format!("pycache.mode={mode}")]).output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let roots = sides.each_ref().map(|(root, _)| root.as_path());
    let (code, said) = run("check", "zero-mtime", &roots);
    assert_eq!(code, Some(1));
    assert!(said.contains("pycache.mode=rewrite makes them equal"), "{said}");
    let (_, said) = run("check", "rewrite", &roots);
    assert!(said.contains("fixable") && !said.contains("pycache.mode=rewrite"), "{said}");
    for (mode, equal) in [("zero-mtime", false), ("rewrite", true)] {
        for root in roots {
            assert_eq!(run("fix", mode, &[root]).0, Some(0));
        }
        let now = sides.each_ref().map(|(_, path)| fs::read(path).unwrap());
        assert_eq!(now[0] == now[1], equal, "{mode}");
    }
}

/// What the README promises of packaged bytecode: by default each start of Python compiles again what
/// it imports, where the image is read-only; no other mode does that.
#[test]
fn packaged_bytecode_goes_in_the_default_mode_alone() {
    for mode in [
        None,
        Some("remove"),
        Some("unowned"),
        Some("zero-mtime"),
        Some("rewrite"),
        Some("unchecked-hash"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let lib = dir.path().join("usr/lib/python3/dist-packages/packaged");
        fs::create_dir_all(&lib).unwrap();
        let modules = ["__init__", "one", "two", "three"];
        for name in modules {
            fs::write(lib.join(format!("{name}.py")), format!("name = {name:?}\n")).unwrap();
        }
        let script = "cd \"$0\" && find usr -name '*.py' | xargs touch -d @1500000000 && \
            python3 -m compileall -q usr && mkdir -p var/lib/dpkg/info && \
            printf 'Package: p\\nStatus: install ok installed\\nVersion: 1\\nArchitecture: all\\n\\n' >var/lib/dpkg/status && \
            find usr -type f | xargs md5sum >var/lib/dpkg/info/p.md5sums && \
            find usr -type f | sed 's,^,/,' >var/lib/dpkg/info/p.list";
        let made = Command::new("sh").args(["-ec", script]).arg(dir.path()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let compiled = || {
            let ask = "import sys; sys.path.insert(0, sys.argv[1]); \
                       from packaged import one, two, three";
            let mut run = Command::new("python3");
            run.args(["-I", "-B", "-v", "-c", ask]).arg(lib.parent().unwrap());
            let said = String::from_utf8(run.output().unwrap().stderr).unwrap();
            let from =
                said.lines().filter(|l| l.contains("code object from") && l.contains("/packaged/"));
            let from: Vec<&str> = from.collect();
            assert_eq!(from.len(), modules.len(), "{said}");
            from.iter().filter(|line| !line.contains(".pyc")).count()
        };
        assert_eq!(compiled(), 0);
        let mut fix = Command::new(env!("CARGO_BIN_EXE_reprofix"));
        fix.arg("fix").arg(dir.path()).args(["--source-date-epoch", "1700000000", "--quiet"]);
        fix.args(mode.map(|mode| format!("--set=pycache.mode={mode}")));
        assert!(fix.status().unwrap().success());
        let goes = matches!(mode, None | Some("remove"));
        for _start in 0..2 {
            assert_eq!(compiled(), if goes { modules.len() } else { 0 }, "{mode:?}");
        }
    }
}
