use std::collections::BTreeMap;

use super::*;

fn difference(path: &str, package: &str) -> Difference {
    Difference {
        path: path.into(),
        kind: "content".into(),
        cause: "clock".into(),
        plugin: Some("rpmdb".into()),
        package: Some(package.into()),
        text: format!("{path} differs at byte 4"),
    }
}

/// Adds one ended run and gives its number.
fn add(history: &mut History, stream: &str, paths: &[&str], version: &str) -> i64 {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let mut run = Run::start(stream, "build");
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    run.token = format!("token-{count}");
    history.begin(&mut run).unwrap();
    run.verdict = if paths.is_empty() { Verdict::Reproducible } else { Verdict::Different };
    run.inputs = "same".into();
    run.notes = vec!["a <note>".into()];
    let differences = paths.iter().map(|p| difference(p, "bash")).collect();
    let packages = BTreeMap::from([("bash".to_owned(), version.to_owned())]);
    let finish = Finish { differences, packages, log: format!("log of {version}\n") };
    history.finish(&run, &finish).unwrap();
    run.id
}

fn open() -> (tempfile::TempDir, History) {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(&dir.path().join("history.db")).unwrap();
    (dir, history)
}

#[test]
fn a_run_comes_back_as_it_was_recorded() {
    let (_dir, mut history) = open();
    let id = add(&mut history, "main", &["etc/a", "usr/b"], "5.2-1");
    let run = history.run(id).unwrap();
    assert_eq!((run.verdict, run.notes.as_slice()), (Verdict::Different, &["a <note>".into()][..]));
    let found = history.differences(id, 1 << 20).unwrap();
    assert_eq!(found, [difference("etc/a", "bash"), difference("usr/b", "bash")]);
    assert_eq!(history.log(id).unwrap(), "log of 5.2-1\n");
    assert_eq!(history.paths().unwrap(), [("etc/a".to_owned(), 1), ("usr/b".to_owned(), 1)]);
    assert_eq!(history.of_package("bash", 10).unwrap().len(), 2);
    assert!(history.run(id + 1).is_err());
}

#[test]
fn blame_names_the_first_run_and_the_versions() {
    let (_dir, mut history) = open();
    let _old = add(&mut history, "main", &["etc/a"], "5.0-1");
    let good = add(&mut history, "main", &[], "5.1-1");
    let first = add(&mut history, "main", &["etc/a"], "5.2-1");
    let last = add(&mut history, "main", &["etc/a", "etc/z"], "5.2-1");
    add(&mut history, "other", &[], "5.2-1");
    let blame = history.blame("etc/a").unwrap();
    assert_eq!(blame.streams.len(), 1);
    let seen = &blame.streams[0];
    assert_eq!((seen.first.id, seen.last, seen.times, seen.still), (first, last, 3, true));
    assert_eq!(seen.last_good.as_ref().map(|run| run.id), Some(good));
    let versions = seen.package.as_ref().unwrap();
    assert_eq!(versions.before.as_deref(), Some("5.1-1"));
    assert_eq!(versions.after.as_deref(), Some("5.2-1"));
    add(&mut history, "main", &[], "5.2-1");
    assert!(!history.blame("etc/a").unwrap().streams[0].still);
    assert!(history.blame("etc/nowhere").is_err());
}

#[test]
fn equal_inputs_with_unequal_verdicts_are_flaky() {
    let (_dir, mut history) = open();
    add(&mut history, "steady", &[], "1");
    add(&mut history, "steady", &[], "1");
    let good = add(&mut history, "dice", &[], "1");
    let bad = add(&mut history, "dice", &["etc/a"], "1");
    let flaky = history.flaky(30).unwrap();
    assert_eq!(flaky.len(), 1);
    assert_eq!(
        (flaky[0].stream.as_str(), &flaky[0].good, &flaky[0].bad),
        ("dice", &vec![good], &vec![bad])
    );
}

#[test]
fn retention_forgets_runs_texts_and_names() {
    let (_dir, mut history) = open();
    for version in ["1", "2", "3", "4"] {
        add(&mut history, "main", &[&format!("etc/{version}")], version);
    }
    let keep = Retention { runs: 2, log_days: 30 };
    let now = crate::env::unix_time();
    let retained = history.retain(keep, now).unwrap();
    // Of each forgotten run: its package list, its log and its difference's text.
    assert_eq!(retained, Retained { runs: 2, texts: 6 });
    assert_eq!(history.runs(None, 10).unwrap().len(), 2);
    assert_eq!(history.paths().unwrap().len(), 2);
    let keep = Retention { runs: 2, log_days: 1 };
    assert_eq!(history.retain(keep, now + 2 * 86_400).unwrap().texts, 2);
    let newest = history.runs(None, 1).unwrap()[0].id;
    assert_eq!(history.log(newest).unwrap(), "");
    assert_eq!(history.packages(newest).unwrap().len(), 1);
    history.vacuum().unwrap();
}

#[test]
fn foreign_and_newer_files_are_refused_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    let error = History::open(&foreign).err().map(|e| format!("{e:#}")).unwrap();
    assert!(error.contains("not a history"), "{error}");
    assert_eq!(std::fs::read(&foreign).unwrap(), before);

    let newer = dir.path().join("newer.db");
    History::open(&newer).unwrap().db.pragma_update(None, "user_version", 99).unwrap();
    let error = History::open(&newer).err().map(|e| format!("{e:#}")).unwrap();
    assert!(error.contains("newer reprofix"), "{error}");

    std::fs::write(dir.path().join("text"), "not a database, but long enough to be read").unwrap();
    assert!(History::open(&dir.path().join("text")).is_err());
    assert!(History::open_existing(&dir.path().join("none")).is_err());
}

#[test]
fn several_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let mut history = History::open(path).unwrap();
                for _ in 0..10 {
                    add(&mut history, &format!("stream-{thread}"), &["etc/a", "etc/b"], "1");
                }
            });
        }
    });
    let history = History::open(&path).unwrap();
    assert_eq!(history.runs(None, 100).unwrap().len(), 40);
    assert_eq!(history.paths().unwrap(), [("etc/a".to_owned(), 40), ("etc/b".to_owned(), 40)]);
}
