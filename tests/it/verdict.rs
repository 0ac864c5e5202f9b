//! One verdict, in one set of words, whatever the form of the report; and nothing of a secret in any.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::repo::{reprofix, run};

/// Two trees that a test fills.
struct Trees {
    dir: tempfile::TempDir,
}

impl Trees {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for side in ["a", "b"] {
            fs::create_dir(dir.path().join(side)).unwrap();
        }
        Trees { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, side: &str, path: &str, content: &[u8]) {
        let path = self.path(side).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn both(&self, path: &str, a: &[u8], b: &[u8]) {
        self.file("a", path, a);
        self.file("b", path, b);
    }

    /// Exit code, text, and every other form by its name.
    fn check(&self, more: &[&str]) -> (i32, String, Vec<(&'static str, String)>) {
        let forms = ["json", "html", "markdown", "sarif", "junit"];
        let files: Vec<String> =
            forms.iter().map(|f| format!("--{f}={}", self.path(f).display())).collect();
        let subjects = ["a", "b"].map(|side| self.path(side).display().to_string());
        let mut args = vec!["check", &subjects[0], &subjects[1], "--source-date-epoch=1"];
        args.extend(more);
        args.extend(files.iter().map(String::as_str));
        let (code, text, err) = reprofix(&args);
        assert!(code < 2, "{err}");
        let read = |f: &&'static str| (*f, fs::read_to_string(self.path(f)).unwrap());
        (code, text, forms.iter().map(read).collect())
    }
}

fn form<'f>(forms: &'f [(&str, String)], name: &str) -> &'f str {
    &forms.iter().find(|(n, _)| *n == name).unwrap().1
}

const FIRST: &str = "one,sha256=aaaa,1\ntwo,sha256=bbbb,2\nRECORD,,\n";
const SECOND: &str = "two,sha256=bbbb,2\none,sha256=aaaa,1\nRECORD,,\n";

/// Trees with a difference of each cause.
fn every_cause() -> Trees {
    let trees = Trees::new();
    trees.both("usr/lib/__pycache__/m.cpython-311.pyc", b"x", b"y");
    trees.both("etc/ld.so.cache", b"x", b"y");
    trees.both("usr/lib/x.dist-info/RECORD", FIRST.as_bytes(), SECOND.as_bytes());
    trees.both("usr/lib/one", b"left\n", b"right\n");
    trees.both("usr/lib/two", b"left\n", b"right\n");
    trees
}

#[test]
fn every_form_gives_one_verdict() {
    let cases: [(&str, Trees, i32); 3] = [
        ("every cause", every_cause(), 1),
        ("the same", Trees::new(), 0),
        ("expected", every_cause(), 0),
    ];
    for (name, trees, wanted) in cases {
        let expect = trees.path("expect.toml");
        let entry = "[[expect]]\npath = '**'\nreason = 'because'\nexpires = 2999-12-31\n";
        let more = format!("--expect={}", expect.display());
        fs::write(&expect, if name == "expected" { entry } else { "" }).unwrap();
        let (code, text, forms) = trees.check(&[&more]);
        assert_eq!(code, wanted, "{name}: {text}");
        let same = code == 0;
        let json: Value = serde_json::from_str(form(&forms, "json")).unwrap();
        assert_eq!(json["same"], same, "{name}");
        let verdict = text
            .lines()
            .find(|l| l.starts_with("same") || l.contains(" differ: ") || l.contains(" differs: "));
        let verdict = verdict.unwrap_or_else(|| panic!("{name}: no verdict in {text}"));
        assert!(form(&forms, "markdown").starts_with(&format!("**{verdict}**")), "{name}");
        let html = form(&forms, "html");
        assert!(html.contains(&verdict.replace('\'', "&#39;")), "{name}: {verdict}");
        assert_eq!(html.contains("verdict same"), same, "{name}");
        assert_eq!(form(&forms, "junit").contains("failures=\"0\""), same, "{name}");
        let sarif: Value = serde_json::from_str(form(&forms, "sarif")).unwrap();
        let results = sarif["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.iter().all(|r| r["suppressions"].is_array()), same, "{name}");
        #[cfg(feature = "nightly")]
        {
            let config = trees.path("nightly.toml");
            let history = trees.path("history.sqlite");
            fs::write(&config, format!("history = '{}'\n", history.display())).unwrap();
            let sides = ["a", "b"].map(|side| trees.path(side).display().to_string());
            let config = format!("--nightly={}", config.display());
            let night = reprofix(&[
                "nightly",
                "compare",
                "--stream=s",
                &config,
                &more,
                "--source-date-epoch=1",
                &sides[0],
                &sides[1],
            ]);
            assert_eq!(night.0, code, "{name}: {}{}", night.1, night.2);
        }
    }
}

/// Two commits of one content, one of which has a key more: every form says that they differ.
#[test]
fn metadata_that_counts_is_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("tree")).unwrap();
    let repo = path("repo");
    crate::repo::init(&repo, "archive");
    crate::repo::commit(&repo, "left", &path("tree"));
    let odd = ["--add-metadata-string=odd.key=1"];
    crate::repo::commit_with(&repo, "right", &path("tree"), &odd);
    let subjects = ["left", "right"].map(|rev| format!("ostree:{}:{rev}", repo.display()));
    let forms = ["json", "html", "markdown", "sarif", "junit"];
    let files = forms.map(|form| format!("--{form}={}", path(form).display()));
    let mut args = vec!["check", &subjects[0], &subjects[1]];
    args.extend(files.iter().map(String::as_str));
    let (code, text, err) = reprofix(&args);
    assert_eq!(code, 1, "{err}");
    let verdict = "same content; 1 key of commit metadata differs";
    assert!(text.contains(verdict), "{text}");
    let read = |form: &str| fs::read_to_string(path(form)).unwrap();
    assert!(read("markdown").starts_with(&format!("**{verdict}**")));
    assert!(read("html").contains("verdict differs") && read("html").contains(verdict));
    assert!(read("junit").contains("failures=\"1\""));
    let sarif: Value = serde_json::from_str(&read("sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!((results.len(), &results[0]["ruleId"]), (1, &"metadata".into()), "{sarif}");
    let json: Value = serde_json::from_str(&read("json")).unwrap();
    assert_eq!(json["same"], false);
}

/// The words of docs/glossary.md and no older ones, in every form.
#[test]
fn every_form_uses_the_words_of_the_glossary() {
    let trees = every_cause();
    let (_, text, mut forms) = trees.check(&[]);
    let glossary =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/glossary.md"));
    let glossary = glossary.unwrap();
    for word in ["fixable: ", "explained, not fixable: ", "consequence", "unexplained"] {
        assert!(glossary.contains(&format!("**{word}")), "{word:?} is not in the glossary");
    }
    assert!(text.contains("`reprofix fix` would make 1 of them equal"), "{text}");
    assert!(text.contains("consequence of /usr/lib/one: the same two objects differ"), "{text}");
    forms.push(("text", text));
    #[cfg(feature = "nightly")]
    forms.extend(at_night(&trees));
    let old = [
        "fixed by",
        "known to",
        "following",
        "follows",
        "as /",
        "which cannot make",
        "is to blame",
        "nobody knows",
    ];
    for (name, said) in &forms {
        // What a plugin's page says is not the report's.
        let said = match *name {
            "html" => said.split("\"plugins\":{\"").next().unwrap_or_default(),
            _ => said,
        };
        if *name == "json" || *name == "sarif" {
            continue;
        }
        for word in old {
            assert!(!said.contains(word), "{name} says {word:?}: {said}");
        }
        for word in ["fixable: pycache", "consequence", "unexplained"] {
            assert!(said.contains(word), "{name} does not say {word:?}: {said}");
        }
    }
    let html = form(&forms, "html");
    assert!(html.contains("\"how\":\"the same two objects differ there\""), "{html}");
    assert!(!html.contains("The same two objects differ at"), "said of every consequence");
    let sarif: Value = serde_json::from_str(form(&forms, "sarif")).unwrap();
    for result in sarif["runs"][0]["results"].as_array().unwrap() {
        let said = result["message"]["text"].as_str().unwrap();
        assert!(old.iter().all(|word| !said.contains(word)), "{said}");
        let rule = result["ruleId"].as_str().unwrap();
        let known = ["fixable/", "explained/", "consequence/", "unexplained"];
        assert!(known.iter().any(|start| rule.starts_with(start)), "{rule}");
    }
}

/// What the history says of the same trees: the run's page and `history blame`.
#[cfg(feature = "nightly")]
fn at_night(trees: &Trees) -> Vec<(&'static str, String)> {
    let config = trees.path("nightly.toml");
    let text = format!(
        "history = '{}'\npages = '{}'\n",
        trees.path("history.sqlite").display(),
        trees.path("pages").display()
    );
    fs::write(&config, text).unwrap();
    let config = format!("--nightly={}", config.display());
    let sides = ["a", "b"].map(|side| trees.path(side).display().to_string());
    let (code, _, err) = reprofix(&[
        "nightly",
        "compare",
        "--stream=s",
        &config,
        "--source-date-epoch=1",
        &sides[0],
        &sides[1],
    ]);
    assert_eq!(code, 1, "{err}");
    let page = fs::read_to_string(trees.path("pages/run/1.html")).unwrap();
    let badge = fs::read_to_string(trees.path("pages/badge/s.svg")).unwrap();
    assert!(!badge.contains("fixed"), "{badge}");
    let history = config.replace("--nightly=", "--config=");
    let blame = |path: &str| {
        let (code, out, err) = reprofix(&["history", &history, "blame", path]);
        assert!(code < 2, "{err}");
        out
    };
    let all = ["usr/lib/__pycache__/m.cpython-311.pyc", "usr/lib/one", "usr/lib/two"];
    vec![("run page", page), ("blame", all.map(blame).concat())]
}

/// The same lines in another order are said to be that, for wheels' RECORD and any other text.
#[test]
fn another_order_of_lines_is_said() {
    let trees = Trees::new();
    trees.both("usr/lib/x.dist-info/RECORD", FIRST.as_bytes(), SECOND.as_bytes());
    let (code, text, _) = trees.check(&[]);
    assert_eq!(code, 1);
    assert!(text.contains("the same lines, in another order"), "{text}");
}

/// A user's tree beside root's: one line, not one a path.
#[test]
fn owners_alone_are_said_once() {
    let trees = Trees::new();
    for i in 0..28 {
        trees.both(&format!("f{i}"), b"x", b"x");
        let path = trees.path("a").join(format!("f{i}"));
        run("chown", &["1000:1000", path.to_str().unwrap()]);
    }
    let (code, text, forms) = trees.check(&[]);
    assert_eq!(code, 1);
    let said = "all 28 differ in owner only: uid:gid 1000:1000 → 0:0 at 28 paths";
    assert!(text.contains(said) && !text.contains("/f1 "), "{text}");
    assert!(form(&forms, "markdown").contains(said));
    assert!(form(&forms, "html").contains(said));
}

/// Lines that must be in no output.
const SECRETS: [&str; 4] = ["SWORDFISH", "c3dvcmRmaXNo", "$6$saltsalt$", "hunter2"];

fn secrets() -> Trees {
    let trees = Trees::new();
    let pem = |seed: &str| {
        format!("-----BEGIN PRIVATE KEY-----\nc3dvcmRmaXNo{seed}\n-----END PRIVATE KEY-----\n")
    };
    let shadow = |seed: &str| {
        format!("root:$6$saltsalt${seed}{}:19000:0:99999:7:::\n", "abcdefghijklmnopqrstuvwx")
    };
    let gzip = |text: String| {
        use std::io::Write as _;
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    trees.both("etc/shadow", shadow("1").as_bytes(), shadow("2").as_bytes());
    trees.both("usr/etc/gshadow-", b"wheel:SWORDFISH1::\n", b"wheel:SWORDFISH2::\n");
    trees.both("srv/key.pem", pem("1").as_bytes(), pem("2").as_bytes());
    trees.both("srv/key.pem.gz", &gzip(pem("1")), &gzip(pem("2")));
    trees.both("root/ks.cfg", shadow("3").as_bytes(), shadow("4").as_bytes());
    trees.both("etc/credstore/db", b"hunter2 a\n", b"hunter2 b\n");
    trees.both("etc/krb5.keytab", b"\x05\x02SWORDFISH1", b"\x05\x02SWORDFISH2");
    trees.file("a", "srv/only.pem", pem("9").as_bytes());
    let archive = |side: &str, seed: &str| {
        let inner = trees.path(&format!("inner-{side}"));
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("host.key"), pem(seed)).unwrap();
        let to = trees.path(side).join("srv/keys.tar");
        let [inner, to] = [&inner, &to].map(|p| p.to_str().unwrap());
        run("tar", &["--mtime=@0", "-cf", to, "-C", inner, "host.key"]);
    };
    archive("a", "5");
    archive("b", "6");
    trees
}

#[test]
fn no_output_shows_a_secret() {
    let trees = secrets();
    let (code, text, mut forms) = trees.check(&["--limit=0"]);
    assert_eq!(code, 1);
    assert!(text.contains("a private key, not shown: "), "{text}");
    assert!(text.contains("password hashes, not shown: "), "{text}");
    assert!(text.contains("bytes, sha256 "), "{text}");
    forms.push(("text", text));
    for (name, said) in &forms {
        for secret in SECRETS {
            assert!(!said.contains(secret), "{name} shows {secret}");
        }
        // The page shows bytes as digits, too.
        let digits: String = "SWORDFISH".bytes().map(|b| format!("{b:02x}")).collect();
        assert!(!said.contains(&digits[..16]), "{name} shows bytes of a secret");
    }
    let sides = ["a", "b"].map(|side| trees.path(side).display().to_string());
    let (code, _, err) = reprofix(&["check", &sides[0], &sides[1], "--show-secrets"]);
    assert_eq!(code, 2);
    assert!(err.contains("--show-secrets is for a terminal"), "{err}");
    // On a terminal they are shown: `script` makes one.
    let command = format!(
        "{} check {} {} --limit=0 --show-secrets --source-date-epoch=1",
        env!("CARGO_BIN_EXE_reprofix"),
        sides[0],
        sides[1]
    );
    let shown = run("sh", &["-c", "script -qc \"$1\" /dev/null || true", "sh", &command]);
    assert!(shown.contains("hunter2 a"), "{shown}");
}

/// An entry accepts the paths that it names, and of consequences only the same two objects.
#[test]
fn an_expectation_accepts_only_what_it_names() {
    let trees = Trees::new();
    let passwd = |uid: u32| format!("root:x:0:0::/:/bin/sh\nsvc:x:{uid}:{uid}::/:/bin/sh\n");
    trees.both("usr/lib/passwd", passwd(401).as_bytes(), passwd(402).as_bytes());
    trees.both("usr/bin/tool", b"x", b"x");
    for (side, uid) in [("a", "401:0"), ("b", "402:0")] {
        let path = trees.path(side).join("usr/bin/tool");
        run("chown", &[uid, path.to_str().unwrap()]);
        run("chmod", &["4755", path.to_str().unwrap()]);
    }
    trees.both("usr/lib/one", b"left\n", b"right\n");
    trees.both("usr/lib/two", b"left\n", b"right\n");
    let expect = trees.path("expect.toml");
    let entry = |path: &str| {
        format!("[[expect]]\npath = '{path}'\nreason = 'because'\nexpires = 2999-12-31\n")
    };
    let counts = |text: String| {
        fs::write(&expect, text).unwrap();
        let (code, _, forms) = trees.check(&[&format!("--expect={}", expect.display())]);
        let json: Value = serde_json::from_str(form(&forms, "json")).unwrap();
        (code, json["counts"]["expected"].as_u64().unwrap(), json["counts"]["cascade"].clone())
    };
    assert_eq!(counts(entry("usr/lib/passwd")), (1, 1, 2.into()), "the set-uid file is not in it");
    assert_eq!(counts(entry("usr/lib/one")), (1, 2, 1.into()), "the same objects are");
    let all = entry("usr/lib/passwd") + &entry("usr/lib/one") + &entry("usr/bin/tool");
    assert_eq!(counts(all), (0, 4, 0.into()));
}

/// kmod 30 and 34.2 write the entries of an index in other bytes (modules.*.bin of both, made by
/// `depmod` of one tree with two modules).
#[test]
fn indexes_of_two_versions_of_depmod_hold_the_same() {
    let trees = Trees::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/depmod");
    let names = ["modules.alias.bin", "modules.builtin.alias.bin", "modules.dep.bin"];
    for name in names {
        let [a, b] =
            ["kmod-30", "kmod-34.2"].map(|v| fs::read(fixtures.join(v).join(name)).unwrap());
        assert_ne!(a, b, "{name}");
        trees.both(&format!("usr/lib/modules/6.1/{name}"), &a, &b);
    }
    let (code, text, forms) = trees.check(&[]);
    assert_eq!(code, 1);
    let json: Value = serde_json::from_str(form(&forms, "json")).unwrap();
    assert_eq!(json["counts"]["unexplained"], 0, "{text}");
    let rows = json["differences"].as_array().unwrap();
    let files = rows.iter().filter(|row| row["path"].as_str().unwrap().ends_with(".bin"));
    for row in files {
        assert_eq!(row["cause"]["plugin"], "depmod", "{row}");
        let said = row["cause"]["lines"][0].as_str().unwrap();
        assert!(said.contains("same"), "{said}");
    }
}
