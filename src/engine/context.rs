//! What every plugin is told about the run.

use std::collections::BTreeMap;

use crate::env::SourceDateEpoch;

/// The run's inputs as plugins see them.
#[derive(Clone, Debug)]
pub struct Context {
    /// The time that no time in the tree may exceed.
    pub epoch: SourceDateEpoch,
    /// Plugin options in force that differ from their defaults, by (plugin, option).
    pub options: BTreeMap<(String, String), String>,
}

impl Context {
    /// A context with no option set.
    pub fn new(epoch: SourceDateEpoch) -> Self {
        Context { epoch, options: BTreeMap::new() }
    }

    /// The value of a plugin's option: as set, else the default of its page.
    ///
    /// An option that the page does not list has the empty value.
    pub fn option(&self, page: &'static crate::plugins::Page, name: &str) -> &str {
        let set = self.options.get(&(page.name.to_owned(), name.to_owned()));
        let default = || page.options.iter().find(|o| o.name == name).map_or("", |o| o.default);
        set.map_or_else(default, String::as_str)
    }
}
