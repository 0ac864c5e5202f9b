//! Words that no reader should stumble over: in first lines of documentation (which `--help` shows
//! too), in errors and in reports. CONTRIBUTING.md lists what to write instead.

use std::path::Path;

use regex::Regex;

/// A pattern, and what to write instead.
const WORDS: &[(&str, &str)] = &[
    (r"(?:^|[^e]|[^r]e|[^e]re) is none\b", "is not one, is not a …"),
    (r", else\b", "otherwise, or"),
    (r"\b[Ss]omebody\b", "who it is"),
    (r"\bdear\b", "expensive"),
    (r"\bwith a word\b", "with a warning"),
    (r"^The same, ", "what it is: a line is read alone"),
    (r"^As \[", "what it is: a line is read alone"),
];

/// More of them, in what is written for people only.
const IN_DOCUMENTS: &[(&str, &str)] = &[
    (r"\b(?:is|was|be|not|were) told\b", "what it knows, or that it is reported"),
    (r"\bstands? (?:at|beside|behind|below|under|in)\b", "is, has"),
    (r"\blies? (?:in|on|beside|below|under|where)\b", "is, are"),
    (r"\bis none\b", "is not one, has no …"),
];

/// The manuals, line by line; a table of what not to write may quote it.
#[test]
fn documents_are_plain() {
    let all = WORDS.iter().chain(IN_DOCUMENTS);
    let words: Vec<_> =
        all.map(|(word, say)| (Regex::new(word).expect("a pattern"), *say)).collect();
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
    let words: Vec<_> =
        WORDS.iter().map(|(word, say)| (Regex::new(word).expect("a pattern"), *say)).collect();
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

/// The first line of each piece of documentation, and the literals of all other lines.
fn texts(code: &str) -> Vec<(usize, String)> {
    let literal = Regex::new(r#""((?:[^"\\]|\\.)*)""#).expect("a pattern");
    let documents = |line: &str| line.starts_with("///") || line.starts_with("//!");
    let mut texts = Vec::new();
    let mut before = "";
    for (line, number) in code.lines().map(str::trim).zip(1..) {
        if documents(line) {
            if !documents(before) {
                texts.push((number, line[3..].trim().to_owned()));
            }
        } else if !line.starts_with("//") {
            texts.extend(literal.captures_iter(line).map(|found| (number, found[1].to_owned())));
        }
        before = line;
    }
    texts
}
