//! `metadata.reprofix`, `reprofix.toml`, and the schema of both.

use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::config::{self, Flags, InForce};
use reprofix::tree::{Memory, TREEFILE};

/// What is in force where a file holds this TOML; or the error's whole chain.
fn from_toml(text: &str) -> Result<InForce, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reprofix.toml");
    std::fs::write(&file, text).unwrap();
    let flags = Flags { config: Some(file), ..Flags::default() };
    let tree = Memory::empty();
    config::in_force(&flags, None, &tree).map_err(|e| format!("{e:#}"))
}

#[test]
fn unknown_keys_are_errors_with_a_hint() {
    let epoch = "source-date-epoch = 1\n";
    for (text, hint) in [
        ("source_date_epoch = 1", "did you mean \"source-date-epoch\"?"),
        ("plugin = []\nkep = []", "did you mean \"keep\"?"),
        (
            "whatever = 1",
            "there are source-date-epoch, profile, plugin, skip, keep, vouched, overrule, plugins",
        ),
        ("[pycache]\nmode = \"remove\"", "belong in [plugins.pycache]"),
        ("[plugins.pycach]\nmode = \"remove\"", "did you mean \"pycache\"?"),
        ("[plugins.pycache]\nmod = \"remove\"", "did you mean \"mode\"?"),
        ("[plugins.pycache]\nmode = \"burn\"", "it takes remove"),
        ("[plugins.authselect]\nmode = \"x\"", "has no options"),
        ("[plugins.pycache]\nenabled = 1", "enabled: it is the integer `1`; write true or false"),
        ("skip = [\"mtimes\"]", "did you mean \"mtime\"?"),
        ("keep = [\"/usr/x\"]", "without a leading slash"),
        ("keep = [\"usr/[x\"]", "is not a glob"),
        ("keep = \"usr/x\"", "write a list"),
        ("vouched = [\"/usr/x\"]", "vouched \"/usr/x\""),
        ("overrule = [\"usr/[x\"]", "overrule \"usr/[x\""),
    ] {
        let all = format!("{}{text}\n", if text.starts_with("source") { "" } else { epoch });
        let error = from_toml(&all).map(|f| f.text()).expect_err(text);
        assert!(error.contains(hint) && error.contains("reprofix.toml"), "{text}: {error}");
    }
}

#[test]
fn what_is_in_force_prints_as_a_configuration_that_gives_the_same() {
    let text = "source-date-epoch = 5\nskip = [\"cacerts\"]\nkeep = [\"opt/**\"]\n\
                [plugins.mtime]\nset = \"all\"\n[plugins.fontconfig]\nenabled = false\n";
    let found = from_toml(text).unwrap();
    let printed = found.text();
    for line in [
        "source-date-epoch = 5  # ",
        "keep = [\"opt/**\"]",
        "[plugins.cacerts]\nenabled = false  # ",
        "[plugins.fontconfig]\nenabled = false  # ",
        "[plugins.accounts]\nenabled = true  # default",
        "set = \"all\"  # ",
        "password = \"changeit\"  # default",
    ] {
        assert!(printed.contains(line), "no {line:?} in:\n{printed}");
    }
    let again = from_toml(&printed).unwrap();
    let names = |f: &InForce| f.chain().iter().map(|p| p.page().name).collect::<Vec<_>>();
    assert_eq!(names(&again), names(&found));
    let keep = |f: &InForce| f.keep.iter().map(|(glob, _)| glob.clone()).collect::<Vec<_>>();
    assert_eq!((keep(&again), again.epoch.0), (keep(&found), found.epoch.0));
}

#[test]
fn keep_globs_of_all_places_hold() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reprofix.toml");
    std::fs::write(&file, "source-date-epoch = 1\nkeep = [\"usr/a/**\"]\n").unwrap();
    let mut tree = Memory::empty();
    tree.add(TREEFILE, r#"{"metadata": {"reprofix": {"keep": ["etc/issue"]}}}"#);
    let keep = vec!["b".to_owned()];
    let flags = Flags { config: Some(file), keep, ..Flags::default() };
    let found = config::in_force(&flags, None, &tree).unwrap();
    assert_eq!(
        found.keep.iter().map(|(g, _)| g.as_str()).collect::<Vec<_>>(),
        ["b", "etc/issue", "usr/a/**"]
    );
    let cx = found.context();
    for (path, kept) in
        [("usr/a/b/c", true), ("usr/a", false), ("usr/etc/issue", true), ("b", true), ("c", false)]
    {
        tree.add(path, "");
        let entry = reprofix::tree::Tree::lookup(&tree, Path::new(path)).unwrap().unwrap();
        assert_eq!(cx.keeps(&entry), kept, "{path}");
    }
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/reprofix-config-1.json")
}

#[test]
fn the_shipped_schema_is_the_registrys() {
    let text = serde_json::to_string_pretty(&config::schema()).unwrap() + "\n";
    if std::env::var_os("REPROFIX_BLESS").is_some() {
        std::fs::write(shipped(), &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(shipped()).unwrap_or_default(), text);
}

/// Python's validator and our own reader agree on every one of these.
#[test]
fn the_schema_allows_what_is_allowed() {
    let samples = [
        "{}",
        r#"{"source-date-epoch": 1700000000}"#,
        r#"{"source-date-epoch": "1700000000", "skip": ["mtime"], "keep": ["usr/**"]}"#,
        r#"{"plugins": {"pycache": {"mode": "unowned", "enabled": true}}}"#,
        r#"{"plugins": {"cacerts": {"password": "x"}}}"#,
        r#"{"plugin": ["rpmdb"]}"#,
        r#"{"source-date-epoch": -1}"#,
        r#"{"source-date-epoch": "soon"}"#,
        r#"{"source-date-epoch": 4294967296}"#,
        r#"{"source_date_epoch": 1}"#,
        r#"{"skip": ["mtimes"]}"#,
        r#"{"keep": ["/usr"]}"#,
        r#"{"plugins": {"pycache": {"mode": "burn"}}}"#,
        r#"{"plugins": {"nothing": {}}}"#,
        r#"{"plugins": {"mtime": {"enabled": "yes"}}}"#,
    ];
    let program = "import json, sys, jsonschema\n\
                   schema = json.load(open(sys.argv[1]))\n\
                   jsonschema.Draft7Validator.check_schema(schema)\n\
                   v = jsonschema.Draft7Validator(schema)\n\
                   print([v.is_valid(json.loads(s)) for s in sys.argv[2:]])";
    let mut python = Command::new("python3");
    python.arg("-c").arg(program).arg(shipped()).args(samples);
    let out = python.output().expect("python3");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let ours: Vec<_> = samples
        .iter()
        .map(|sample| {
            let mut tree = Memory::empty();
            tree.add(TREEFILE, format!(r#"{{"metadata": {{"reprofix": {sample}}}}}"#));
            let ours = sample.contains("source-date-epoch");
            let epoch = if ours { None } else { Some("1".into()) };
            match config::in_force(&Flags::default(), epoch, &tree) {
                Ok(_) => "True",
                Err(_) => "False",
            }
        })
        .collect();
    let theirs = String::from_utf8_lossy(&out.stdout);
    assert_eq!(theirs.trim(), format!("[{}]", ours.join(", ")));
}
