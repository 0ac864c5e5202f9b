//! `reprofix history` on a record with all that one can hold.
#![cfg(feature = "nightly")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use reprofix::history::{Difference, Finish, History, Run, Verdict};
use serde_json::Value;

use crate::schema::violations;

/// Two runs of equal inputs: the first reproduced, the second did not and has every field.
fn record(file: &Path) {
    let mut history = History::open(file).unwrap();
    for (n, verdict) in [Verdict::Reproducible, Verdict::Different].into_iter().enumerate() {
        let mut run = Run::start("main", "build");
        run.token = format!("token-{n}");
        history.begin(&mut run).unwrap();
        run.verdict = verdict;
        run.inputs = "same".into();
        let packages = BTreeMap::from(["bash", "rpm"].map(|p| (p.into(), format!("{n}-1"))));
        let mut finish = Finish { packages, ..Finish::default() };
        if verdict == Verdict::Different {
            run.epoch = Some(1);
            run.checksum_a = Some("0".repeat(64));
            run.checksum_b = Some("1".repeat(64));
            run.culprit = Some("clock".into());
            run.skipped = vec![("pid".into(), "no root".into())];
            run.notes = vec!["a note".into()];
            let owned = Difference {
                path: "usr/bin/bash".into(),
                plugin: Some("mtime".into()),
                package: Some("bash".into()),
                ..Difference::default()
            };
            let nobodys = Difference { path: "etc/x".into(), ..Difference::default() };
            finish.differences = vec![owned, nobodys];
            finish.log = "the end\n".into();
        }
        history.finish(&run, &finish).unwrap();
    }
}

fn json(file: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_reprofix"))
        .args(["history", "--json", "--history"])
        .arg(file)
        .args(arguments)
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_form_is_of_its_schema() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history.db");
    record(&file);
    for (arguments, name) in [
        (&[][..], "reprofix-history-1"),
        (&["show", "1"], "reprofix-history-run-1"),
        (&["show", "2", "--log"], "reprofix-history-run-1"),
        (&["blame", "usr/bin/bash"], "reprofix-history-blame-1"),
        (&["blame", "etc/x"], "reprofix-history-blame-1"),
        (&["flaky"], "reprofix-history-flaky-1"),
    ] {
        let said = json(&file, arguments);
        assert_eq!(said["schema"], name);
        assert_eq!(violations("reprofix-history-1", &said), Vec::<String>::new(), "{arguments:?}");
        let mut more = said.clone();
        more["more"] = true.into();
        assert_ne!(violations("reprofix-history-1", &more), Vec::<String>::new());
    }
    let blame = json(&file, &["blame", "usr/bin/bash"]);
    let seen = &blame["blame"]["streams"][0];
    assert_eq!(seen["last_good"]["id"], 1);
    assert_eq!(
        seen["package"],
        serde_json::json!({"name": "bash", "before": "0-1", "after": "1-1"})
    );
    assert_eq!(seen["changed"][0]["name"], "rpm");
    assert_eq!(json(&file, &["flaky"])["flaky"][0]["bad"], serde_json::json!([2]));
}
