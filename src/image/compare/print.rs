//! Prints a comparison for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Class, Pair, Report, Side};
use crate::report::composefs;
use crate::report::outline::{Finding, Outline};
use crate::source::oci::Digest;

impl Report {
    /// The report for a terminal, with at most `limit` lines per list.
    pub fn human(&self, limit: usize) -> String {
        let mut out = format!("A {}\nB {}\n", self.a, self.b);
        for pair in &self.pairs {
            pair.write(&mut out, limit);
        }
        for (side, platforms) in [("A", &self.only_a), ("B", &self.only_b)] {
            for platform in platforms {
                let _ = writeln!(out, "\n{platform}: only in {side}");
            }
        }
        for bundles in &self.catalogs {
            let lacks: Vec<&str> = bundles.lacks.iter().map(String::as_str).collect();
            let (side, platform) = (bundles.side, &bundles.platform);
            let _ = writeln!(out, "\n{side}, {platform}: its catalog lacks {}", lacks.join(", "));
        }
        let classes: BTreeSet<Class> =
            self.pairs.iter().flat_map(|p| p.classes.iter().copied()).collect();
        let remedies = classes.iter().filter_map(|c| Some((c.words(), c.remedy()?)));
        let remedies: Vec<String> =
            remedies.map(|(words, remedy)| format!("  {words}: {remedy}\n")).collect();
        let pogreb = |pair: &Pair| {
            let paths = pair.paths.iter().flat_map(|paths| &paths.differences);
            paths.map(|row| &row.path).any(|path| path.contains("pogreb.v1/"))
        };
        let remedies = remedies.into_iter().chain(self.pairs.iter().any(pogreb).then(|| {
            "  pogreb.v1, an operator catalog's cache (no two builds make the same): \
             reprofix opm fix IMAGE -o OUT, in both builds\n"
                .to_owned()
        }));
        let remedies: Vec<String> = remedies.collect();
        if !remedies.is_empty() {
            let _ = write!(out, "\nremedies:\n{}", remedies.concat());
        }
        let _ = writeln!(out, "\n{}", if self.same { "same" } else { "differs" });
        out
    }
}

impl Report {
    /// The report for the other formats: one finding per platform, with at most `limit` lines per
    /// list.
    pub fn outline(&self, limit: usize) -> Outline {
        let alone =
            [("A", &self.only_a), ("B", &self.only_b)].into_iter().flat_map(|(side, all)| {
                all.iter().map(move |platform| Finding {
                    rule: "images/platform".to_owned(),
                    name: platform.clone(),
                    counts: true,
                    message: format!("only in {side}"),
                    lines: Vec::new(),
                })
            });
        Outline {
            a: self.a.clone(),
            b: self.b.clone(),
            same: self.same,
            findings: self.pairs.iter().map(|pair| pair.finding(limit)).chain(alone).collect(),
            text: self.human(limit),
        }
    }
}

impl Pair {
    fn finding(&self, limit: usize) -> Finding {
        // The most severe class is the last one.
        let class = self.classes.last().map_or("identical", |class| class.words());
        let mut text = String::new();
        self.write(&mut text, limit);
        Finding {
            rule: format!("images/{}", class.replace([' ', ','], "-")),
            name: self.platform.clone(),
            counts: !self.same,
            message: self.verdict.clone(),
            lines: text.lines().skip(1).map(|line| line.trim_end().to_owned()).collect(),
        }
    }

    fn write(&self, out: &mut String, limit: usize) {
        let same = if self.same { "" } else { " (differs)" };
        let _ = writeln!(out, "\n{}: {}{same}", self.platform, self.verdict);
        self.a.write("A", out);
        self.b.write("B", out);
        lines(out, &self.details, limit, "  ");
        for layer in &self.layers {
            let words: Vec<&str> = layer.classes.iter().map(|c| c.words()).collect();
            let [a, b] = layer.diff_ids.each_ref().map(Digest::short);
            let _ = writeln!(out, "  layer {}: {} ({a}, {b})", layer.number, words.join(", "));
            lines(out, &layer.details, limit, "    ");
        }
        if let Some(paths) = &self.paths {
            for line in paths.human(limit).lines() {
                let _ = writeln!(out, "  {line}");
            }
        }
        for line in self.composefs.iter().flat_map(composefs::Pair::lines) {
            let _ = writeln!(out, "  {line}");
        }
    }
}

impl Side {
    fn write(&self, name: &str, out: &mut String) {
        let short = |digest: &Option<Digest>| match digest {
            Some(digest) => digest.short().to_owned(),
            None => "-".to_owned(),
        };
        let diff_ids: Vec<&str> = self.diff_ids.iter().map(Digest::short).collect();
        let (manifest, config) = (short(&self.manifest), short(&self.config));
        let diff_ids = diff_ids.join(",");
        let _ = writeln!(out, "  {name} manifest {manifest} config {config} diff_ids {diff_ids}");
        if let Some(commit) = &self.ostree {
            let _ = writeln!(out, "    ostree content checksum {}", commit.content_checksum);
        }
    }
}

fn lines(out: &mut String, all: &[String], limit: usize, indent: &str) {
    for line in all.iter().take(limit) {
        let _ = writeln!(out, "{indent}{line}");
    }
    if all.len() > limit {
        let more = all.len() - limit;
        let _ = writeln!(out, "{indent}… and {more} more; --limit 0 lists all");
    }
}
