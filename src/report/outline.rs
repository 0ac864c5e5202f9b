//! A comparison that is not path by path, for example of images, as Markdown, JUnit XML, SARIF and
//! a page.

use std::fmt::Write as _;

use maud::{DOCTYPE, html};
use serde_json::{Value, json};

use super::html::escape;
use super::junit::xml;

/// The result of such a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The first subject, as written.
    pub a: String,
    /// The second.
    pub b: String,
    /// Whether nothing that counts differs.
    pub same: bool,
    /// What differs, and what is the same.
    pub findings: Vec<Finding>,
    /// The whole report for a terminal.
    pub text: String,
}

/// One thing that was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind of difference, as a name: `images/content`.
    pub rule: String,
    /// What was compared: a platform.
    pub name: String,
    /// Whether it makes the subjects differ.
    pub counts: bool,
    /// One line that says how they differ.
    pub message: String,
    /// Details, one phrase per line.
    pub lines: Vec<String>,
}

impl Outline {
    /// The verdict, as at the end of the report for a terminal.
    pub fn verdict(&self) -> &'static str {
        if self.same { "same" } else { "differs" }
    }

    /// As Markdown (GitHub's and GitLab's).
    pub fn markdown(&self) -> String {
        let mut out = format!("**{}**\n\n| | subject |\n|---|---|\n", self.verdict());
        for (name, subject) in [("A", &self.a), ("B", &self.b)] {
            let _ = writeln!(
                out,
                "| {name} | <code>{}</code> |",
                escape(subject).replace('|', "&#124;")
            );
        }
        for finding in &self.findings {
            let mark = if finding.counts { "differs" } else { "does not count" };
            let (name, message) = (escape(&finding.name), escape(&finding.message));
            let _ = writeln!(out, "\n<details><summary>{name}: {message} ({mark})</summary>\n");
            let _ = writeln!(out, "<pre>{}</pre>\n</details>", escape(&finding.lines.join("\n")));
        }
        out
    }

    /// As JUnit XML: one test per finding, which fails if it makes the subjects differ.
    pub fn junit(&self) -> String {
        let failures = self.findings.iter().filter(|finding| finding.counts).count();
        let tests = self.findings.len().max(1);
        let totals =
            format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\"");
        let name = xml(&format!("{} and {}", self.a, self.b));
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"reprofix check\" {totals}>\n  \
             <testsuite name=\"{name}\" {totals}>\n"
        );
        if self.findings.is_empty() {
            out +=
                "    <testcase classname=\"reprofix.check\" name=\"the builds are the same\"/>\n";
        }
        for finding in &self.findings {
            let class = format!("reprofix.{}", finding.rule.replace('/', "."));
            let _ =
                write!(out, "    <testcase classname=\"{class}\" name=\"{}\"", xml(&finding.name));
            let lines = xml(&finding.lines.join("\n"));
            let _ = match finding.counts {
                true => writeln!(
                    out,
                    "><failure message=\"{}\">{lines}</failure></testcase>",
                    xml(&finding.message)
                ),
                false => writeln!(out, "><system-out>{lines}</system-out></testcase>"),
            };
        }
        out + "  </testsuite>\n</testsuites>\n"
    }

    /// As SARIF 2.1.0 (OASIS): one result for each finding that makes the subjects differ.
    pub fn sarif(&self) -> Value {
        let counted = || self.findings.iter().filter(|finding| finding.counts);
        let mut rules: Vec<&str> = counted().map(|finding| &*finding.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        let rule = |id: &str| json!({"id": id, "shortDescription": {"text": id}});
        let result = |finding: &Finding| {
            let text =
                format!("{}: {}\n{}", finding.name, finding.message, finding.lines.join("\n"));
            json!({
                "ruleId": finding.rule,
                "level": "error",
                "message": {"text": text.trim_end()},
            })
        };
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "reprofix",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules.into_iter().map(rule).collect::<Vec<_>>(),
                }},
                "columnKind": "unicodeCodePoints",
                "results": counted().map(result).collect::<Vec<_>>(),
            }],
        })
    }

    /// As a page that needs no network and no script.
    pub fn page(&self) -> String {
        let title = format!("reprofix check: {}", self.verdict());
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) }
                    style { "body { font-family: sans-serif; margin: 1rem } pre { overflow-x: auto }" }
                }
                body { main { h1 { (title) } pre tabindex="0" { (self.text) } } }
            }
        };
        page.into_string() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(counts: bool) -> Outline {
        let finding = Finding {
            rule: "images/content".to_owned(),
            name: "linux/amd64 <x>".to_owned(),
            counts,
            message: "content".to_owned(),
            lines: vec!["</pre><script>".to_owned()],
        };
        Outline {
            a: "oci:a".to_owned(),
            b: "oci:b|".to_owned(),
            same: !counts,
            findings: vec![finding],
            text: "a <script>\n".to_owned(),
        }
    }

    #[test]
    fn every_form_gives_the_verdict_and_takes_no_markup_from_a_build() {
        for counts in [true, false] {
            let outline = outline(counts);
            assert!(outline.markdown().starts_with(if counts {
                "**differs**"
            } else {
                "**same**"
            }));
            let failures = format!("failures=\"{}\"", u8::from(counts));
            assert!(outline.junit().contains(&failures));
            let results = outline.sarif()["runs"][0]["results"].as_array().map(Vec::len);
            assert_eq!(results, Some(usize::from(counts)));
            assert!(outline.page().contains(&format!("check: {}</h1>", outline.verdict())));
            for text in [outline.markdown(), outline.junit(), outline.page()] {
                assert!(!text.contains("<script>"), "{text}");
            }
        }
    }
}
