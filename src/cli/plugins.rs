//! `reprofix plugins`.

use anyhow::Result;
use serde_json::json;

use super::Outcome;
use super::output::Output;
use crate::normal::Plugin;
use crate::plugins::REGISTRY;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        let list: Vec<_> = REGISTRY.iter().map(|plugin| as_json(*plugin)).collect();
        self.output.report(&list, || REGISTRY.iter().map(|plugin| line(*plugin)).collect())?;
        Ok(Outcome::Same)
    }
}

fn line(plugin: &dyn Plugin) -> String {
    let page = plugin.page();
    let state = if page.default { "on " } else { "off" };
    format!("{:16} {state}  {}\n", page.name, page.summary)
}

/// A plugin's page as JSON.
pub(super) fn as_json(plugin: &dyn Plugin) -> serde_json::Value {
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
