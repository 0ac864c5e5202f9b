//! Man pages, from what clap knows about each command and from [`super::pages`].

use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::pages::{COMMON, FAILED, Page, page};

/// Every page: its file name and its bytes, which are always the same.
pub(super) fn pages(command: clap::Command) -> Vec<(String, Vec<u8>)> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut out = Vec::new();
    add(&command, "", &mut out);
    out
}

fn add(command: &clap::Command, words: &str, out: &mut Vec<(String, Vec<u8>)>) {
    let name = file(words);
    // Writing to memory cannot fail; a missing page fails the tests.
    if let Ok(text) = render(command, words, &name) {
        out.push((format!("{name}.1"), text));
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let words = format!("{words} {}", sub.get_name());
        add(sub, words.trim_start(), out);
    }
}

/// The page name of a command: `oci verify` is `reprofix-oci-verify`.
fn file(words: &str) -> String {
    let dash = if words.is_empty() { "" } else { "-" };
    format!("reprofix{dash}{}", words.replace(' ', "-"))
}

fn render(command: &clap::Command, words: &str, name: &str) -> std::io::Result<Vec<u8>> {
    let mut command = command.clone().display_name(name);
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    let after = after.map(ToString::to_string).unwrap_or_default();
    command = command.after_help(None::<&str>).after_long_help(None::<&str>);
    let subcommands = command.get_subcommands().any(|sub| !sub.is_hide_set());
    let source = format!("reprofix {}", env!("CARGO_PKG_VERSION"));
    let man =
        Man::new(command).title(name.to_uppercase()).date("").source(source).manual("reprofix");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if subcommands {
        man.render_subcommands_section(&mut out)?;
    }
    let mut roff = Roff::new();
    notes(&mut roff, &after);
    match page(words) {
        Some(page) => sections(&mut roff, page),
        None => sections(&mut roff, &TOP),
    }
    roff.to_writer(&mut out)?;
    Ok(ascii(&String::from_utf8_lossy(&out)))
}

/// Writes other characters as escapes that any troff reads in any locale.
fn ascii(text: &str) -> Vec<u8> {
    let escaped = text.chars().map(|c| match c.is_ascii() {
        true => c.to_string(),
        false => format!("\\[u{:04X}]", u32::from(c)),
    });
    escaped.collect::<String>().into_bytes()
}

/// The page of the program itself.
const TOP: Page = Page {
    name: "",
    exit: ["the same, sound or done", "a finding"],
    environment: &[[
        "SOURCE_DATE_EPOCH",
        "the time that no time in a tree may exceed: seconds since 1970-01-01 UTC",
    ]],
    files: &[["reprofix.toml", "the configuration, in the current directory, if it exists"]],
    schema: "",
    examples: &[
        ["reprofix check A B", "why do two builds differ"],
        ["reprofix fix target-rootfs", "bring a tree into normal form"],
    ],
    see: &["fix", "check", "nightly", "record"],
};

/// Adds what the command's help says below its options, line by line.
fn notes(roff: &mut Roff, text: &str) {
    let lines: Vec<&str> =
        text.lines().take_while(|line| !line.starts_with("Exit codes:")).collect();
    if lines.iter().all(|line| line.is_empty()) {
        return;
    }
    roff.control("SH", ["NOTES"]);
    let mut verbatim = false;
    for line in lines {
        let indented = line.starts_with(' ');
        if indented != verbatim && !line.is_empty() {
            roff.control(if indented { "nf" } else { "fi" }, []);
            verbatim = indented;
        }
        if line.is_empty() {
            roff.control("PP", []);
        } else {
            roff.text([roman(line)]);
        }
    }
    if verbatim {
        roff.control("fi", []);
    }
}

fn sections(roff: &mut Roff, page: &Page) {
    if !page.schema.is_empty() {
        roff.control("SH", ["JSON"]);
        let schema = format!("docs/schema/{}.json", page.schema);
        roff.text([roman("What --json writes is described by "), bold(schema), roman(".")]);
    }
    let codes = [("0", page.exit[0]), ("1", page.exit[1]), ("2", FAILED)];
    let group = page.exit[0].is_empty();
    let codes: Vec<_> = codes.into_iter().filter(|(_, what)| !what.is_empty() && !group).collect();
    list(roff, "EXIT STATUS", codes, "Each command has its own page, with its exit status.");
    let variables = page.environment.iter().chain(COMMON).map(|[name, what]| (*name, *what));
    list(roff, "ENVIRONMENT", variables.collect(), "");
    let files = page.files.iter().map(|[name, what]| (*name, *what));
    list(roff, "FILES", files.collect(), "The pages of the commands name theirs.");
    roff.control("SH", ["EXAMPLES"]);
    if page.examples.is_empty() {
        roff.text([roman("Each command has its own page, with its examples.")]);
    }
    for [line, what] in page.examples {
        roff.control("TP", []);
        roff.text([bold(*line)]);
        roff.text([roman(*what)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    let above = page.name.rsplit_once(' ').map_or("", |(above, _)| above);
    let mut all = vec![above];
    all.extend(page.see.iter().filter(|see| **see != above));
    let mut line: Vec<Inline> = Vec::new();
    for words in all.into_iter().filter(|words| *words != page.name || words.is_empty()) {
        if page.name.is_empty() && words.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(file(words)), roman("(1)")]);
    }
    roff.text(line);
}

/// Adds a section of terms, or a sentence if there are none.
fn list(roff: &mut Roff, title: &str, rows: Vec<(&str, &str)>, none: &str) {
    roff.control("SH", [title]);
    if rows.is_empty() {
        roff.text([roman(none)]);
    }
    for (term, what) in rows {
        roff.control("TP", []);
        roff.text([bold(term)]);
        roff.text([roman(what)]);
    }
}
