//! What a run may take: the budget of a comparison, the memory of `fix`, and the table of worst cases in
//! docs/limits.md, which `REPROFIX_BLESS=1 cargo test --test it limits::` measures anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::repo::{reprofix, run};

const EPOCH: &str = "1600000000";

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Two directories: what differs is a small text, and a file of many MiB.
fn pair(dir: &Path) -> [String; 2] {
    ["a", "b"].map(|side| {
        let root = dir.join(side);
        put(&root, "usr/share/small", format!("side {side}\n").as_bytes());
        let mut large = vec![b'x'; 40 << 20];
        large[7 << 20] = side.as_bytes()[0];
        put(&root, "usr/share/large", &large);
        root.to_str().unwrap().to_owned()
    })
}

fn check([a, b]: &[String; 2], more: &[&str]) -> (i32, Value, String) {
    let args = ["check", a, b, "--source-date-epoch", EPOCH, "--json", "-"];
    let (code, out, err) = reprofix(&[&args[..], more].concat());
    (code, serde_json::from_str(&out).unwrap_or_default(), err)
}

#[test]
fn a_comparison_keeps_to_its_budget_and_says_what_it_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let sides = pair(dir.path());
    let paths = |report: &Value| report["differences"].as_array().unwrap().len();
    let details = |report: &Value, path: &str| {
        let rows = report["differences"].as_array().unwrap();
        rows.iter().find(|row| row["path"] == path).unwrap()["details"].to_string()
    };
    let (code, whole, err) = check(&sides, &[]);
    assert_eq!((code, paths(&whole)), (1, 2), "{err}");
    assert!(!whole.to_string().contains("not looked into"), "{whole:#}");
    // Too large for the memory: that path alone is left out, whatever the number of threads.
    for jobs in ["1", "2", "8"] {
        let (code, report, _) = check(&sides, &["--budget", "1h,100MiB", "--jobs", jobs]);
        assert_eq!((code, paths(&report)), (1, 2));
        let said = details(&report, "usr/share/large");
        assert!(said.contains("not looked into: that may take"), "{said}");
        assert_eq!(details(&report, "usr/share/small"), details(&whole, "usr/share/small"));
        let warned = report["warnings"].to_string();
        assert!(
            warned.contains("1 path was not looked into") && warned.contains("100 MiB"),
            "{warned}"
        );
    }
    // No time at all: the verdict and the paths are still there.
    let (code, report, _) = check(&sides, &["--budget", "0s"]);
    assert_eq!((code, paths(&report)), (1, 2));
    let warned = report["warnings"].to_string();
    assert!(warned.contains("2 paths were not looked into: the time of 0 s"), "{warned}");
    let (code, _, err) = check(&sides, &["--budget", "much"]);
    assert!(code == 2 && err.contains("neither a time (600s, 10m, 1h)"), "{err}");
}

/// Peak memory in KiB and processor time in seconds of a run, and its exit code.
fn measured(args: &[&str]) -> (u64, f64, i32) {
    let script = "import resource, subprocess, sys\n\
        code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode\n\
        used = resource.getrusage(resource.RUSAGE_CHILDREN)\n\
        print(used.ru_maxrss, used.ru_utime + used.ru_stime, code)";
    let bin = env!("CARGO_BIN_EXE_reprofix");
    let said = run("python3", &[&["-c", script, bin][..], args].concat());
    let words: Vec<&str> = said.split_whitespace().collect();
    (words[0].parse().unwrap(), words[1].parse().unwrap(), words[2].parse().unwrap())
}

/// Bytes a name beside its path that a first run may take in which every name changes, and a second
/// one. Measured are 240 and 106, the first with the plan's own copy of the path.
const A_NAME: [u64; 2] = [250, 125];

#[test]
fn a_first_run_takes_little_memory_a_name() {
    const NAMES: u64 = 60_000;
    let dir = tempfile::tempdir().unwrap();
    let (empty, many) = (dir.path().join("empty"), dir.path().join("many"));
    fs::create_dir_all(empty.join("usr")).unwrap();
    fs::create_dir_all(many.join("usr/d")).unwrap();
    for n in 0..NAMES {
        fs::File::create(many.join(format!("usr/d/{n:08}"))).unwrap();
    }
    let path = "usr/d/00000000".len() as u64;
    // As malloc counts it.
    let path = (path + 8).next_multiple_of(16);
    let fix = |root: &Path| {
        let args =
            ["fix", root.to_str().unwrap(), "--source-date-epoch", EPOCH, "--jobs", "2", "-q"];
        let (memory, _, code) = measured(&args);
        assert_eq!(code, 0);
        memory * 1024
    };
    let base = fix(&empty);
    for (run, most) in ["first", "second"].iter().zip(A_NAME) {
        let a_name = (fix(&many) - base) / NAMES - path;
        eprintln!("{a_name} bytes a name in the {run} run");
        assert!(a_name <= most, "{run}: {a_name}");
    }
}

/// A worst case: what it is, and Python that writes side `s` (0 or 1) of it to `f`.
const WORST: &[(&str, &str, &str)] = &[
    (
        "text, every line another",
        "t.txt",
        "f.write(b''.join(b'%d %d\\n' % (n, n * 7 + s) for n in range(100000)))",
    ),
    (
        "a byte in the middle of zeros",
        "z.bin",
        "f.truncate(100 << 20); f.seek(50 << 20); f.write(b'%d' % s)",
    ),
    (
        "gzip of zeros, 1,000 to 1",
        "b.gz",
        "f.write(gzip.compress(bytes(200 << 20) + b'%d' % s, 9, mtime=0))",
    ),
    (
        "gzip in gzip in gzip",
        "n.gz",
        "f.write(gzip.compress(gzip.compress(gzip.compress(bytes(64 << 20) + b'%d' % s, 9, mtime=0), 9, mtime=0), 9, mtime=0))",
    ),
    (
        "ar, 50,000 members of one name",
        "m.a",
        "f.write(b'!<arch>\\n' + b'same/           0           0     0     644     0         `\\n' * 50000 + b'%d' % s)",
    ),
    (
        "zip, 50,000 members",
        "m.zip",
        "z = zipfile.ZipFile(f, 'w'); [z.writestr(zipfile.ZipInfo('%d' % n), '%d' % (s if n % 2 else n)) for n in range(50000)]; z.close()",
    ),
    (
        "tar, 50,000 members",
        "m.tar",
        "t = tarfile.open(fileobj=f, mode='w'); [t.addfile(tarfile.TarInfo('%d-%d' % (n, s if n % 9 == 0 else 0))) for n in range(50000)]; t.close()",
    ),
    (
        "SQLite, a generated column of 900 MB",
        "g.db",
        "d = sqlite3.connect(f.name); d.execute('create table t(x, y generated always as (zeroblob(900000000)) virtual)'); d.execute('insert into t(x) values (?)', (s,)); d.commit()",
    ),
    (
        "SQLite, 200,000 rows, all others",
        "r.db",
        "d = sqlite3.connect(f.name); d.execute('create table t(x)'); d.executemany('insert into t values (?)', ((2 * n + s,) for n in range(200000))); d.commit()",
    ),
    (
        "bytecode, a set of 100,000 elements",
        "c.pyc",
        "f.write(importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(compile('x = 1', 'm', 'exec').replace(co_consts=(frozenset('%d' % n for n in range(100000)), s))))",
    ),
    (
        "10,000 files",
        "many",
        "[open('%s%d' % (f.name, n), 'w').write('%d' % s) for n in range(10000)]",
    ),
];

const MAKE: &str = "import gzip, importlib.util, marshal, sqlite3, sys, tarfile, zipfile\n\
    s, path, code = int(sys.argv[1]), sys.argv[2], sys.argv[3]\n\
    with open(path, 'w+b') as f:\n    exec(code)\n";

const BEGIN: &str = "<!-- worst cases: begin -->\n";
const END: &str = "<!-- worst cases: end -->";

/// Each row is measured again, and may not take much more than the page says.
#[test]
fn worst_cases_take_what_the_page_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/limits.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let mut new =
        "| case | size of each side | memory | processor time |\n|---|---|---|---|\n".to_owned();
    let dir = tempfile::tempdir().unwrap();
    for (what, name, code) in WORST {
        let sides = ["0", "1"].map(|side| {
            let place = dir.path().join(side).join("usr/share");
            fs::create_dir_all(&place).unwrap();
            run("python3", &["-c", MAKE, side, place.join(name).to_str().unwrap(), code]);
            dir.path().join(side)
        });
        let size = |root: &Path| -> u64 {
            let files =
                walkdir::WalkDir::new(root).into_iter().map(|e| e.unwrap().metadata().unwrap());
            files.filter(|m| m.is_file()).map(|m| m.len()).sum()
        };
        let [a, b] = sides.each_ref().map(|side| side.to_str().unwrap());
        let args = [
            "check",
            a,
            b,
            "--source-date-epoch",
            EPOCH,
            "--set",
            "pycache.mode=rewrite",
            "--jobs",
            "1",
        ];
        let (memory, seconds, exit) = measured(&args);
        assert_eq!(exit, 1, "{what}");
        let (size, memory) = (size(&sides[0]).div_ceil(1024), memory.div_ceil(1024));
        let _ = writeln!(new, "| {what} | {size} KiB | {memory} MiB | {seconds:.1} s |");
        let row = table.lines().find(|line| line.contains(&format!("| {what} |")));
        if std::env::var_os("REPROFIX_BLESS").is_none() {
            let row = row.unwrap_or_else(|| panic!("docs/limits.md lacks {what}"));
            let numbers: Vec<f64> = row
                .split('|')
                .filter_map(|cell| cell.split_whitespace().next()?.parse().ok())
                .collect();
            let [_, most, time] = numbers[numbers.len() - 3..] else { panic!("{row}") };
            assert!(
                (memory as f64) <= 1.3 * most + 20.0,
                "{what}: {memory} MiB, the page says {most}"
            );
            // Processor time depends on the machine, and on what else it does.
            assert!(seconds <= 8.0 * time + 4.0, "{what}: {seconds} s, the page says {time}");
        }
        for side in sides {
            fs::remove_dir_all(side).unwrap();
        }
    }
    if std::env::var_os("REPROFIX_BLESS").is_some() {
        fs::write(&page, format!("{before}{BEGIN}{new}{END}{after}")).unwrap();
    }
}
