//! An image's command, and the directories of catalog and cache in it.

use anyhow::Context as _;

use super::Places;
use crate::image::opm::bundles;
use crate::source::oci::{Image, Images};

/// The command of an image.
pub(in crate::image::opm) struct Command {
    /// The command line, with the words of a shell's `-c` split.
    words: Vec<String>,
    /// The label `operators.operatorframework.io.index.configs.v1`.
    label: Option<String>,
    /// The user.
    pub(in crate::image::opm) user: Option<String>,
}

/// Flags of `opm serve` with a separate value.
const WITH_VALUE: [&str; 7] =
    ["--cache-dir", "--port", "-p", "--pprof-addr", "--termination-log", "-t", "--timeout-seconds"];

impl Command {
    pub(in crate::image::opm) fn of_image(subject: &Images, image: &Image) -> anyhow::Result<Self> {
        let mut command = Command { words: Vec::new(), label: None, user: None };
        let Some(config) = &image.config else { return Ok(command) };
        let limit = crate::source::oci::limits::CONFIG_BYTES;
        let bytes = subject.store.small(&config.name, limit)?.unwrap_or_default();
        let parsed: serde_json::Value =
            serde_json::from_slice(&bytes).context("parsing the image's config")?;
        let run = &parsed["config"];
        command.label = run["Labels"][bundles::LABEL].as_str().map(str::to_owned);
        command.user = run["User"].as_str().map(str::to_owned);
        let words = ["Entrypoint", "Cmd"].iter().filter_map(|key| run[key].as_array()).flatten();
        let words: Vec<&str> = words.filter_map(|word| word.as_str()).collect();
        for (i, word) in words.iter().enumerate() {
            let shell = i >= 2 && words[i - 1] == "-c" && words[i - 2].ends_with("sh");
            match shell {
                true => {
                    let inner = word.split([' ', '\t', '\n', ';', '&']).filter(|w| !w.is_empty());
                    command.words.extend(inner.map(|w| w.trim_matches(['"', '\'']).to_owned()));
                }
                false => command.words.push((*word).to_owned()),
            }
        }
        Ok(command)
    }

    /// The directories of catalog and cache: from the user, the command line, the label, or the
    /// defaults of `opm generate dockerfile`. The word after `serve` wins over the label, as in
    /// opm.
    pub(in crate::image::opm) fn places(
        &self,
        configs: Option<&str>,
        cache: Option<&str>,
    ) -> Places {
        let serve = self.words.iter().position(|word| word == "serve");
        let after = serve.map_or(&[][..], |at| &self.words[at + 1..]);
        let mut served = None;
        let mut given = None;
        let mut words = after.iter();
        while let Some(word) = words.next() {
            let value = match word.split_once('=') {
                Some(("--cache-dir", value)) => Some(value.to_owned()),
                _ if WITH_VALUE.contains(&&**word) => {
                    let value = words.next().cloned();
                    value.filter(|_| word == "--cache-dir")
                }
                _ if !word.starts_with('-') => {
                    served.get_or_insert_with(|| word.clone());
                    None
                }
                _ => None,
            };
            given = value.filter(|dir| !dir.is_empty()).or(given);
        }
        let used = cache.is_some() || serve.is_none() || given.is_some();
        let own = |text: Option<&str>| text.map(str::to_owned);
        Places {
            configs: own(configs)
                .or(served)
                .or_else(|| self.label.clone())
                .unwrap_or_else(|| "/configs".to_owned()),
            cache: own(cache).or(given).unwrap_or_else(|| "/tmp/cache".to_owned()),
            used,
        }
    }
}
