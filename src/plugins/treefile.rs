//! `treefile`: the configuration that rpm-ostree leaves in the tree.

use serde_json::Value;

use super::kinds::reader::Reader;
use crate::format::Malformed;
use crate::format::facts::Facts;
use crate::normal::Page;

/// The plugin.
pub(super) static TREEFILE: Reader =
    Reader::new(&PAGE, &["usr/share/rpm-ostree/treefile.json"], leaves);

static PAGE: Page = Page {
    name: "treefile",
    summary: "names the keys of the embedded treefile that differ",
    default: true,
    paths: "usr/share/rpm-ostree/treefile.json",
    varies: "The version (automatic-version-prefix, mutate-os-release), the text of postprocess \
             scripts, repositories, and everything from includes.",
    why: "rpm-ostree embeds the flattened treefile, including the text of inline scripts.",
    done: "Nothing: it records the configuration. `check` names the keys.",
    lost: "Nothing.",
    upstream: "By design. Keep dates, temporary paths and revisions out of treefiles and scripts.",
    payload: false,
    options: &[],
};

/// The leaves of the JSON by their pointers.
pub(super) fn leaves(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| Malformed::at(e.column(), format!("line {}: not JSON", e.line())))?;
    add_leaves(&value, &mut String::new(), &mut facts);
    facts.finish()
}

/// serde_json bounds the nesting at 128.
fn add_leaves(value: &Value, pointer: &mut String, facts: &mut Facts) {
    let len = pointer.len();
    let mut below = |name: &str, value: &Value, facts: &mut Facts| {
        pointer.push('/');
        pointer.push_str(name);
        add_leaves(value, pointer, facts);
        pointer.truncate(len);
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(name, value)| below(name, value, facts));
        }
        Value::Array(list) if !list.is_empty() => {
            list.iter().enumerate().for_each(|(n, v)| below(&n.to_string(), v, facts));
        }
        leaf => facts.text("keys", pointer.clone(), leaf.to_string()),
    }
}
