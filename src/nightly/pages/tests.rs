use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::history::{Difference, Finish};

const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&lt;\u{1b}[31m";

/// A history in which every text that can be is hostile.
fn history(dir: &Path) -> History {
    let mut history = History::open(&dir.join("history.db")).unwrap();
    for (n, verdict) in [Verdict::Reproducible, Verdict::Different].into_iter().enumerate() {
        let mut run = Run::start("main", "build");
        run.token = format!("token-{n}");
        run.started = 1_700_000_000 + n as i64 * 86_400;
        run.host = HOSTILE.into();
        run.architecture = HOSTILE.into();
        history.begin(&mut run).unwrap();
        run.verdict = verdict;
        run.inputs = "same".into();
        run.detail = HOSTILE.into();
        run.variations = HOSTILE.into();
        run.plugins = HOSTILE.into();
        run.culprit = Some(HOSTILE.into());
        run.notes = vec![HOSTILE.into()];
        run.skipped = vec![(HOSTILE.into(), HOSTILE.into())];
        let difference = Difference {
            path: format!("usr/{HOSTILE}"),
            kind: HOSTILE.into(),
            cause: HOSTILE.into(),
            plugin: Some(HOSTILE.into()),
            package: Some(HOSTILE.into()),
            text: HOSTILE.into(),
        };
        let differences = if n == 0 { Vec::new() } else { vec![difference] };
        // The second changes with the first, and owns no difference.
        let packages = [HOSTILE, "other"].map(|name| (name.to_owned(), format!("{n}{HOSTILE}")));
        let packages = BTreeMap::from(packages);
        let log = "the log's own secret".to_owned();
        history.finish(&run, &Finish { differences, packages, log }).unwrap();
    }
    history
}

fn all_files(dir: &Path) -> BTreeMap<String, String> {
    let files = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    let name = |path: &Path| path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
    files.map(|e| (name(e.path()), std::fs::read_to_string(e.path()).unwrap())).collect()
}

#[test]
fn hostile_names_are_text_everywhere_and_logs_are_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("pages");
    write(&history(dir.path()), &site, Some("https://example.com/\"><script>")).unwrap();
    let files = all_files(&site);
    assert!(files.len() > 8, "{:?}", files.keys());
    for (name, text) in files {
        assert!(!text.contains("own secret"), "{name}");
        if name != "style.css" {
            assert!(!text.contains("<script") && !text.contains("<img src=x"), "{name}: {text}");
            assert!(!text.contains("\"'>"), "{name}: {text}");
        }
    }
}

#[test]
fn every_link_leads_somewhere_and_the_same_history_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let history = history(dir.path());
    let site = dir.path().join("pages");
    write(&history, &site, None).unwrap();
    let before = all_files(&site);
    let links = regex::Regex::new("(?:href|src)=\"([^\"#:]+)\"").unwrap();
    for (name, text) in before.iter().filter(|(name, _)| name.ends_with(".html")) {
        let folder = Path::new(name).parent().unwrap();
        for link in links.captures_iter(text) {
            let target = site.join(folder).join(&link[1]);
            assert!(target.is_file(), "{name}: {}", &link[1]);
        }
    }
    write(&history, &site, None).unwrap();
    assert_eq!(all_files(&site), before);
}

#[test]
fn pages_of_forgotten_runs_go_and_what_is_not_ours_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = history(dir.path());
    let site = dir.path().join("pages");
    write(&history, &site, None).unwrap();
    std::fs::write(site.join("run/1.report.json"), "{}").unwrap();
    std::fs::write(site.join("run/notes.txt"), "mine").unwrap();
    let keep = crate::history::Retention { runs: 1, log_days: 30 };
    history.retain(keep, 1_700_000_000).unwrap();
    write(&history, &site, None).unwrap();
    let names: BTreeSet<String> = all_files(&site).into_keys().collect();
    let run: Vec<_> = names.iter().filter(|name| name.starts_with("run/")).collect();
    assert_eq!(run, ["run/2.html", "run/notes.txt"]);
}

#[test]
fn a_stream_is_told_at_a_glance_and_to_programs() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::open(&dir.path().join("history.db")).unwrap();
    let tags = regex::Regex::new("<[^>]*>").unwrap();
    let verdicts =
        [Verdict::Reproducible, Verdict::Different, Verdict::Different, Verdict::BuildFailed];
    for (n, verdict) in verdicts.into_iter().enumerate() {
        let mut run = Run::start("stable", "build");
        run.token = format!("token-{n}");
        run.started = 1_697_241_600 + n as i64 * 86_400; // 14 October 2023
        history.begin(&mut run).unwrap();
        (run.verdict, run.seconds) = (verdict, 60.0);
        let difference = |path: &str| Difference {
            path: path.into(),
            kind: "content".into(),
            cause: "fixed".into(),
            plugin: Some("rpmdb".into()),
            ..Difference::default()
        };
        let bad = verdict == Verdict::Different;
        let differences = if bad { vec![difference("a"), difference("b")] } else { Vec::new() };
        history.finish(&run, &Finish { differences, ..Finish::default() }).unwrap();
        let site = dir.path().join("pages");
        write(&history, &site, None).unwrap();
        let page = std::fs::read_to_string(site.join("index.html")).unwrap();
        let text = tags.replace_all(&page, "").into_owned();
        let wanted = match n {
            0 => "stable reproducible since run 1 (14 Oct).",
            1 | 2 => "stable not reproducible since run 2 (15 Oct): 2 paths, fixable: rpmdb.",
            _ => {
                "stable build-failed in run 4 (17 Oct): it could not tell; before, not reproducible since run 2"
            }
        };
        assert!(text.contains(wanted), "{text}");
        // When it was written, on every page.
        for (name, text) in all_files(&site).iter().filter(|(name, _)| name.ends_with(".html")) {
            assert!(text.contains("Written after the run that ended"), "{name}");
        }
        assert!(text.contains("As of 2023-10-"), "{text}");
    }
    let index = std::fs::read(dir.path().join("pages/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let stream = &index["streams"][0];
    assert_eq!(index["schema"], "reprofix-pages-1");
    assert_eq!(
        (&stream["state"], &stream["since"]["run"], &stream["paths"]),
        (&"failed".into(), &2.into(), &2.into())
    );
}

/// The result comes first, the settings are folded, and today is at the end that a phone shows.
#[test]
fn what_matters_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("pages");
    let history = history(dir.path());
    write(&history, &site, None).unwrap();
    std::fs::write(site.join("run/2.intoto.json"), "{}").unwrap();
    write(&history, &site, None).unwrap();
    let run = std::fs::read_to_string(site.join("run/2.html")).unwrap();
    let at = |what: &str| run.find(what).unwrap_or_else(|| panic!("{what}: {run}"));
    assert!(
        at("1 path differs") < at("2.intoto.json")
            && at("2.intoto.json") < at("Settings of this run")
    );
    assert!(at("Settings of this run") < at("Architecture"), "{run}");
    assert!(run.contains("reprofix history show 2 --log"));
    let overview = std::fs::read_to_string(site.join("index.html")).unwrap();
    let days = regex::Regex::new("<abbr title=\"([0-9-]+)\"").unwrap();
    let days: Vec<_> = days.captures_iter(&overview).map(|day| day[1].to_owned()).collect();
    assert!(days.len() == 30 && days.is_sorted_by(|a, b| a > b), "{days:?}");
    assert!(site.join("run/2.intoto.json").exists());
}

/// Whether a write would make nothing.
fn is_sealed(history: &History, dir: &Path, base: Option<&str>) -> bool {
    Seal::new(history, &Site::open(dir).unwrap(), base).unwrap().holds().unwrap()
}

#[test]
fn a_site_is_sealed_until_anything_of_it_or_of_the_history_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = history(dir.path());
    let site = dir.path().join("pages");
    assert!(!is_sealed(&history, &site, None));
    write(&history, &site, None).unwrap();
    assert!(is_sealed(&history, &site, None));
    let before = all_files(&site);
    write(&history, &site, None).unwrap();
    assert!(is_sealed(&history, &site, None) && all_files(&site) == before);
    // The same folder by another way.
    std::os::unix::fs::symlink(&site, dir.path().join("other")).unwrap();
    assert!(!is_sealed(&history, &dir.path().join("elsewhere"), None));
    // Near misses, each of which a write mends.
    let page = site.join("packages.html");
    let text = std::fs::read(&page).unwrap();
    let times = std::fs::metadata(&page).unwrap().modified().unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn());
    let changes: [Change<'_>; 4] = [
        ("one byte, with the same size and time", &|| {
            let mut changed = text.clone();
            changed[100] ^= 1;
            std::fs::write(&page, changed).unwrap();
            let file = std::fs::File::options().write(true).open(&page).unwrap();
            file.set_modified(times).unwrap();
        }),
        ("a page that is gone", &|| std::fs::remove_file(site.join("index.html")).unwrap()),
        ("a page of no run", &|| std::fs::write(site.join("run/77.html"), "x").unwrap()),
        ("a page that another name leads to", &|| {
            std::fs::rename(site.join("feed.xml"), site.join("feed")).unwrap();
            std::fs::copy(site.join("feed"), site.join("feed.xml")).unwrap();
            std::fs::remove_file(site.join("feed")).unwrap();
        }),
    ];
    for (what, change) in changes {
        change();
        assert!(!is_sealed(&history, &site, None), "{what}");
        write(&history, &site, None).unwrap();
        assert!(all_files(&site) == before, "{what}");
        assert!(is_sealed(&history, &site, None), "{what}");
    }
    // Another address, and other things beside the pages.
    assert!(!is_sealed(&history, &site, Some("https://example.com/")));
    std::fs::write(site.join("run/2.intoto.json"), "{}").unwrap();
    assert!(!is_sealed(&history, &site, None));
    write(&history, &site, None).unwrap();
    assert!(all_files(&site)["run/2.html"].contains("2.intoto.json"));
    assert!(is_sealed(&history, &site, None));
    // Every change of the history.
    let mut run = Run::start("main", "build");
    run.token = "token".into();
    history.begin(&mut run).unwrap();
    assert!(!is_sealed(&history, &site, None));
    write(&history, &site, None).unwrap();
    assert!(history.interrupt(run.id).unwrap());
    assert!(!is_sealed(&history, &site, None));
    write(&history, &site, None).unwrap();
    history.finish(&run, &Finish::default()).unwrap();
    assert!(!is_sealed(&history, &site, None));
    write(&history, &site, None).unwrap();
    let keep = crate::history::Retention { runs: 1, log_days: 30 };
    history.retain(keep, 1_700_000_000).unwrap();
    assert!(!is_sealed(&history, &site, None));
    // What a channel was told is in no page.
    write(&history, &site, None).unwrap();
    history.set_told("main", "mail", "different", run.id).unwrap();
    assert!(is_sealed(&history, &site, None));
}
