//! The next steps after comparing two builds that differ, at most three.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{COMPOSEFS, CauseRow, Comparison, Row, Title, paths};
use crate::packages::split_nevra;

/// The next actions, at most three, the one that removes most differences first.
pub(super) fn actions(report: &Comparison) -> Vec<String> {
    let all = [
        drifted(report),
        common(report),
        fix(report),
        known(report),
        unexplained(report),
        metadata(report),
    ];
    all.into_iter().flatten().take(3).collect()
}

/// The rows that count, which no expectation covers.
fn counted(report: &Comparison) -> impl Iterator<Item = &Row> {
    report.differences.iter().filter(|row| row.expected.is_none())
}

/// Advice if packages have different versions, which explains more than any file.
fn drifted(report: &Comparison) -> Option<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut hit = 0;
    for row in counted(report) {
        for nevra in &row.packages {
            versions.entry(split_nevra(nevra).0).or_default().insert(nevra);
        }
        let several =
            |nevra: &String| versions.get(split_nevra(nevra).0).is_some_and(|v| v.len() > 1);
        hit += usize::from(row.packages.iter().any(several));
    }
    let drifted: Vec<_> = versions.into_iter().filter(|(_, v)| v.len() > 1).collect();
    let (first, all) = drifted.first()?;
    let both: Vec<_> = all.iter().copied().collect();
    let differ = match drifted.len() {
        1 => "1 package differs".to_owned(),
        n => format!("{n} packages differ"),
    };
    let follow = if hit == 1 { "follows" } else { "follow" };
    Some(format!(
        "build from one package set (a lockfile, or a snapshot of the repositories): {differ} in \
         version, {first} for one ({}); {} {follow}",
        both.join(", "),
        paths(hit)
    ))
}

/// Advice on one cause of many paths, to be fixed where the compose is started.
fn common(report: &Comparison) -> Option<String> {
    let cause = counted(report).find_map(|row| match Title::of(row) {
        Title::Common(cause) => Some(cause),
        _ => None,
    })?;
    let of_it = |row: &&Row| Title::of(row) == Title::Common(cause);
    let rows: Vec<_> = counted(report).filter(of_it).collect();
    let CauseRow::Known { lines, .. } = &rows.first()?.cause else { return None };
    let packaged = rows.iter().filter(|row| row.is_packaged_otherwise()).count();
    let restored = match packaged {
        0 => String::new(),
        n => format!("; {n} of them are packaged: {}", cause.restored),
    };
    let (what, n) = (lines.first().map_or("", String::as_str), paths(rows.len()));
    Some(format!("{}: {n} differ in {} ({what}){restored}", cause.remedy, cause.changes))
}

fn fix(report: &Comparison) -> Option<String> {
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    for row in counted(report) {
        if let CauseRow::Fixed { plugins } = &row.cause {
            plugins.iter().for_each(|p| *by.entry(p).or_default() += 1);
        }
    }
    let each: Vec<_> = most(by).map(|(plugin, n)| format!("{plugin} {n}")).collect();
    (!each.is_empty()).then(|| {
        format!(
            "run `reprofix fix` in both builds ({}): it would make {} equal ({})",
            if report.composed {
                "include treefiles/reprofix.yaml"
            } else {
                "docs/flows.md says where"
            },
            paths(report.counts.fixed),
            each.join(", ")
        )
    })
}

fn known(report: &Comparison) -> Option<String> {
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    for row in counted(report) {
        if let CauseRow::Known { plugin, .. } = &row.cause
            && !matches!(Title::of(row), Title::Common(_))
        {
            *by.entry(plugin).or_default() += 1;
        }
    }
    let (plugin, n) = most(by).next()?;
    let files = if n == 1 {
        "one of its files differs".to_owned()
    } else {
        format!("{n} of its files differ")
    };
    Some(format!("read `reprofix explain {plugin}`: {files} in what it cannot remove"))
}

/// Names sorted by count, the highest first.
fn most(by: BTreeMap<&str, usize>) -> impl Iterator<Item = (&str, usize)> {
    let mut by: Vec<_> = by.into_iter().collect();
    by.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
    by.into_iter()
}

fn unexplained(report: &Comparison) -> Option<String> {
    let rows: Vec<_> = counted(report).filter(|r| Title::of(r) == Title::Unexplained).collect();
    let first = rows.first()?;
    let owner = match first.packages.first() {
        Some(package) => format!("of {package}"),
        None => "in no package".to_owned(),
    };
    let among = match rows.len() {
        1 => "which nothing explains".to_owned(),
        n => format!("the first of {} that nothing explains", paths(n)),
    };
    Some(format!(
        "look at {} ({owner}), {among}; an entry in reprofix-expect.toml accepts one for some time",
        first.absolute()
    ))
}

fn metadata(report: &Comparison) -> Option<String> {
    let keys: Vec<_> = report
        .metadata
        .iter()
        .filter(|m| m.counts && m.key != COMPOSEFS)
        .map(|m| &*m.key)
        .collect();
    (!keys.is_empty())
        .then(|| format!("pass the same metadata to both commits: {}", keys.join(", ")))
}
