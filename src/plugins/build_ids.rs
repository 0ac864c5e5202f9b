//! `build-ids`: links named after what is in a binary.

use super::kinds::table::{Action, Row, Table};
use crate::normal::{Consequence, Follows, OtherDifferences, Page};
use crate::tree::{Difference, Kind};

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
fn binary(difference: &Difference, around: &OtherDifferences<'_>) -> Option<Follows> {
    let of = around.target(difference)?;
    Some(Follows {
        how: Consequence::BuildId,
        of,
        why: "the link's name is the build-id of that binary".to_owned(),
    })
}
