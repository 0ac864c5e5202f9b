//! `build-ids`: links named after what is in a binary.

use std::path::{Component, Path, PathBuf};

use super::table::{Action, Row, Table};
use crate::normal::{Around, Follows, Page};
use crate::tree::{Change, Difference, Kind, Side};

/// The plugin.
pub(super) static BUILD_IDS: Table = Table::new(&PAGE, ROWS).follows(binary);

static PAGE: Page = Page {
    name: "build-ids",
    summary: "explains build-id links: they follow the binaries that they name",
    default: true,
    paths: "usr/lib/.build-id/**, usr/lib/debug/.build-id/**",
    varies: "The names of the links, and which of two equal binaries a link points to.",
    why: "A link is named after the build-id of a binary, a hash of what was linked: another binary \
          has another name here.",
    done: "Nothing: the cause is the binary. Links are payload of its package.",
    lost: "Nothing.",
    upstream: "A consequence, not a cause; a package built twice in one build root has one build-id.",
    payload: false,
    options: &[],
};

static ROWS: &[Row] = &[Row::new(
    "usr/lib/{debug/,}.build-id{,/**}",
    &[Kind::Symlink, Kind::Dir, Kind::File],
    Action::Explain,
    "named after the build-id of a binary: look at the binary that the link leads to",
)];

/// A link follows the binary that it leads to, where that differs too.
fn binary(difference: &Difference, around: &Around<'_>) -> Option<Follows> {
    let named = |change: &Change| {
        matches!(change, Change::OnlyA | Change::OnlyB | Change::Target | Change::Content)
    };
    if !difference.changes.iter().all(named) {
        return None;
    }
    let target = |side: &Option<Side>| {
        let target = side.as_ref()?.target.as_deref()?;
        let of = below_root(&difference.path, target)?;
        around.contents.contains(&of).then_some(of)
    };
    let of = target(&difference.a).or_else(|| target(&difference.b))?;
    Some(Follows { of, why: "the link's name is the build-id of that binary".to_owned() })
}

/// Where a link leads by its text alone; `None` if that is above the root.
fn below_root(link: &Path, target: &Path) -> Option<PathBuf> {
    let mut at = match target.is_absolute() {
        true => PathBuf::new(),
        false => link.parent()?.to_owned(),
    };
    for part in target.components() {
        match part {
            Component::Normal(name) => at.push(name),
            Component::ParentDir if !at.pop() => return None,
            _ => {}
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_their_text_says() {
        let leads = |link: &str, target: &str| below_root(Path::new(link), Path::new(target));
        let build_id = "usr/lib/.build-id/ab/cd";
        assert_eq!(leads(build_id, "../../../bin/x"), Some("usr/bin/x".into()));
        assert_eq!(leads(build_id, "/usr/bin/x"), Some("usr/bin/x".into()));
        assert_eq!(leads("a", "../../x"), None);
    }
}
