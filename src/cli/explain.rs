//! `reprofix explain`.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::output::Output;
use super::{Outcome, complete};
use crate::normal::Plugin;
use crate::{plugins, vouchers};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The plugin, as `reprofix plugins` lists it, or `vouchers`: what vouches for bytes, so that
    /// no plugin changes them.
    #[arg(add = complete::pages())]
    name: String,
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        if self.name == "vouchers" {
            self.output.report(&vouchers_json(), vouchers)?;
            return Ok(Outcome::Same);
        }
        let plugin = plugins::find(&self.name).with_context(|| {
            let near = crate::config::nearest(&self.name, plugins::names())
                .map_or(String::new(), |name| format!("did you mean {name}? "));
            format!(
                "unknown plugin {:?}; {near}`reprofix plugins` lists them, and `vouchers` is a \
                 page too",
                self.name
            )
        })?;
        let mut page = super::plugins::as_json(plugin);
        page["schema"] = "reprofix-explain-1".into();
        self.output.report(&page, || text(plugin))?;
        Ok(Outcome::Same)
    }
}

fn text(plugin: &dyn Plugin) -> String {
    let page = plugin.page();
    let state = if page.default { "on by default" } else { "off by default" };
    let mut out = format!("{} ({state})\n{}\n", page.name, page.summary);
    let parts = [
        ("Paths", page.paths),
        ("What varies", page.varies),
        ("Why", page.why),
        ("What is done", page.done),
        ("What is lost", page.lost),
        ("Upstream", page.upstream),
    ];
    for (title, body) in parts {
        let _ = write!(out, "\n{title}\n{}", wrapped(body));
    }
    let table = plugin.table();
    if !table.is_empty() {
        let _ = writeln!(out, "\nTable");
    }
    for [paths, action, reason] in table {
        let _ = write!(out, "  {paths}  ({action})\n{}", wrapped(reason).replace("  ", "    "));
    }
    if !page.options.is_empty() {
        let _ = writeln!(out, "\nOptions");
    }
    for option in page.options {
        let values = option.values.join("|");
        let values = if values.is_empty() { "TEXT" } else { &values };
        let line = format!(
            "--set {}.{}={values}  {} (default: {:?})",
            page.name, option.name, option.help, option.default
        );
        out.push_str(&wrapped(&line));
    }
    out
}

fn vouchers_json() -> Value {
    let row = |row: &vouchers::Row| json!({ "name": row.name, "known_by": row.known_by, "phrase": row.phrase, "fails": row.fails });
    let parts = vouchers::PAGE.iter().map(|(title, body)| json!({ "title": title, "text": body }));
    json!({
        "schema": "reprofix-explain-1",
        "name": "vouchers",
        "parts": parts.collect::<Vec<_>>(),
        "table": vouchers::TABLE.iter().map(row).collect::<Vec<_>>(),
    })
}

fn vouchers() -> String {
    let mut out = "vouchers\nwhat vouches for bytes, so that no plugin changes them\n".to_owned();
    for (title, body) in vouchers::PAGE {
        let _ = write!(out, "\n{title}\n{}", wrapped(body));
    }
    let _ = writeln!(out, "\nTable");
    for row in vouchers::TABLE {
        let _ = writeln!(out, "  {}  ({})", row.name, row.phrase);
        for text in [row.known_by.to_owned(), format!("Otherwise it fails: {}.", row.fails)] {
            out.push_str(&wrapped(&text).replace("  ", "    "));
        }
    }
    out
}

/// The text filled to 80 columns, indented by two.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        if column + word.chars().count() > 76 {
            out.push('\n');
            column = 0;
        }
        out.push_str(if column == 0 { "  " } else { " " });
        out.push_str(word);
        column += word.chars().count() + 1;
    }
    out.push('\n');
    out
}
