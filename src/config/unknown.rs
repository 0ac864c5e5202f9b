//! Unknown keys, and what was probably meant.

use anyhow::{Result, bail};
use serde_json::Value;

/// The keys of [`Settings`](super::Settings).
pub(super) const KEYS: [&str; 8] =
    ["source-date-epoch", "profile", "plugin", "skip", "keep", "vouched", "overrule", "plugins"];

/// Refuses a key that is not in [`KEYS`], with a hint.
pub(super) fn check(settings: &Value) -> Result<()> {
    let Value::Object(map) = settings else { bail!("not a table of keys") };
    let Some(key) = map.keys().find(|key| !KEYS.contains(&key.as_str())) else { return Ok(()) };
    if crate::plugins::find(key).is_some() {
        bail!("unknown key {key:?}; a plugin's options belong in [plugins.{key}]");
    }
    match nearest(key, KEYS.into_iter()) {
        Some(near) => bail!("unknown key {key:?}; did you mean {near:?}?"),
        None => bail!("unknown key {key:?}; there are {}", KEYS.join(", ")),
    }
}

/// The known name that `name` was probably meant to be.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // Other tools use underscores and capitals.
    let plain = name.replace('_', "-").to_lowercase();
    let near = known.map(|known| (distance(known, &plain), known)).min()?;
    // Half of a short name is not similar enough.
    (near.0 < 4 && near.0 * 2 <= name.len()).then_some(near.1)
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
