//! `reprofix plugins`.

use anyhow::Result;
use serde_json::json;

use super::Outcome;
use crate::plugins::{Page, REGISTRY};

/// List the plugins.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As JSON on standard output.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        let pages = REGISTRY.iter().map(|p| p.page());
        if self.json {
            let list: Vec<_> = pages.map(as_json).collect();
            super::write_json("-".as_ref(), &list)?;
        } else {
            let lines = pages.map(|p| {
                let state = if p.default { "on " } else { "off" };
                format!("{:16} {state}  {}\n", p.name, p.summary)
            });
            super::print(&lines.collect::<String>())?;
        }
        Ok(Outcome::Same)
    }
}

fn as_json(page: &Page) -> serde_json::Value {
    let options = page.options.iter().map(
        |o| json!({ "name": o.name, "values": o.values, "default": o.default, "help": o.help }),
    );
    json!({
        "name": page.name,
        "summary": page.summary,
        "default": page.default,
        "paths": page.paths,
        "varies": page.varies,
        "why": page.why,
        "done": page.done,
        "lost": page.lost,
        "upstream": page.upstream,
        "rewrites_payload": page.payload,
        "options": options.collect::<Vec<_>>(),
    })
}
