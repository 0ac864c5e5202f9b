//! `reprofix plugins`.

use anyhow::Result;
use serde_json::json;

use super::Outcome;
use crate::normal::Plugin;
use crate::plugins::REGISTRY;

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
            let list: Vec<_> = REGISTRY.iter().map(|p| as_json(*p)).collect();
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

fn as_json(plugin: &dyn Plugin) -> serde_json::Value {
    let page = plugin.page();
    let row = |[paths, action, reason]: [&str; 3]| json!({ "paths": paths, "action": action, "reason": reason });
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
        "table": plugin.table().into_iter().map(row).collect::<Vec<_>>(),
    })
}
