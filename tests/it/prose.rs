//! Words that no reader should stumble over: in documentation (which `--help` shows too), comments,
//! errors and reports. CONTRIBUTING.md lists what to write instead.

use std::path::Path;

use regex::Regex;

/// A pattern, and what to write instead.
const WORDS: &[(&str, &str)] = &[
    (r"(?:^|[^e]|[^r]e|[^e]re) (?:is|are) none\b", "is not one, is not a …"),
    (r", else\b", "otherwise, or"),
    (r"\b[Ss]omebody\b", "who it is"),
    (r"(?:^|\s)[Nn]obody\b", "no plugin, no process, …"),
    (r"\b[Ww]hoever\b", "who or what it is"),
    (r"\bdear(?:er)?\b", "expensive"),
    (r"\bwith a word\b", "with a warning"),
    (r"\b(?:is|was|be|not|were|are) told\b", "what it knows, or that it is reported"),
    (r"\bstands? (?:at|before|behind|below|beside|between|in|on|there|under)\b", "is, has"),
    (r"\b[Ll]ies? (?:below|beside|in|on|under|where|within)\b", "is, are"),
    (r"\ball the same\b", "anyway, still"),
    (r"\bmended\b", "fixed, repaired"),
    (r"\b(?:entry|key|line|phrase|row) an? (?:[a-z]+)\b", "one line per …"),
    (r"\bheld? (?:against|to)\b", "compared with, tested with"),
];

/// The first words of a text, which is read alone.
const FIRST: &[(&str, &str)] =
    &[(r"^The same, ", "what it is"), (r"^As \[", "what it is"), (r"^Fails? ", "# Errors")];

/// Patterns for documents only.
const IN_DOCUMENTS: &[(&str, &str)] = &[(r"\bis none\b", "is not one, has no …")];

type Rules = Vec<(Regex, &'static str)>;

fn rules<'w>(words: impl IntoIterator<Item = &'w (&'static str, &'static str)>) -> Rules {
    words.into_iter().map(|(word, say)| (Regex::new(word).expect("a pattern"), *say)).collect()
}

/// The manuals, line by line; a table of what not to write may quote it.
#[test]
fn documents_are_plain() {
    let words = rules(WORDS.iter().chain(IN_DOCUMENTS));
    let docs = crate::cases::names(Path::new("docs")).into_iter();
    let docs = docs.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    let own = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(str::to_owned);
    let mut wrong = Vec::new();
    for path in own.into_iter().chain(docs) {
        let text = std::fs::read_to_string(&path).expect("reads");
        let text = text.split("## Style of texts").next().unwrap_or_default();
        for (number, line) in (1..).zip(text.lines()) {
            for (_, say) in words.iter().filter(|(word, _)| word.is_match(line)) {
                wrong.push(format!("{path}:{number}: {line:?}: write {say}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn texts_are_plain() {
    let words = rules(WORDS.iter().chain(FIRST));
    let mut wrong = Vec::new();
    for entry in walkdir::WalkDir::new("src").sort_by_file_name() {
        let path = entry.expect("walks").into_path();
        if path.extension().is_none_or(|e| e != "rs") || path.ends_with("tests.rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("reads");
        let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (number, text) in texts(code) {
            for (_, say) in words.iter().filter(|(word, _)| word.is_match(&text)) {
                wrong.push(format!("{}:{number}: {text:?}: write {say}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each comment whole, and the literals of all other lines.
fn texts(code: &str) -> Vec<(usize, String)> {
    let literal = Regex::new(r#""((?:[^"\\]|\\.)*)""#).expect("a pattern");
    let mut texts: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (line, number) in code.lines().map(str::trim).zip(1..) {
        let comment =
            line.strip_prefix("//").map(|text| text.trim_start_matches(['/', '!']).trim());
        match comment {
            // A paragraph ends at an empty line.
            Some("") => (),
            Some(text) if goes_on => {
                let (_, last) = texts.last_mut().expect("one that goes on");
                *last = format!("{last} {text}");
            }
            Some(text) => texts.push((number, text.to_owned())),
            None => {
                texts.extend(literal.captures_iter(line).map(|found| (number, found[1].to_owned())))
            }
        }
        goes_on = comment.is_some_and(|text| !text.is_empty());
    }
    texts
}
