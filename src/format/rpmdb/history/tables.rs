//! The tables of both histories: what their numbers, times and texts are.

/// What a table is, by name.
pub(super) struct TableMeaning {
    pub(super) name: &'static str,
    pub(super) numbers: Numbers,
    /// Columns that hold a number of another table: of the first of these that is there.
    pub(super) refs: &'static [(&'static str, &'static [&'static str])],
    /// Columns that hold a time in seconds.
    pub(super) times: &'static [&'static str],
    /// Columns that hold a cookie.
    pub(super) cookies: &'static [&'static str],
    /// Columns that hold a command line.
    pub(super) commands: &'static [&'static str],
}

/// What the `id` of a table is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Given in order of appearance: given anew in the order of contents.
    Contents,
    /// Given in order of time, which is kept.
    Time,
    /// There is none, or it has a meaning.
    Fixed,
}

const NAMES: &[&str] = &["pkg_name", "pkg_names"];
const ARCHES: &[&str] = &["arch", "archs"];
const ITEM: &[&str] = &["item"];
const TRANS: &[&str] = &["trans"];
const TRANS_ITEM: &[&str] = &["trans_item"];

const fn known(
    name: &'static str,
    numbers: Numbers,
    refs: &'static [(&'static str, &'static [&'static str])],
) -> TableMeaning {
    TableMeaning { name, numbers, refs, times: &[], cookies: &[], commands: &[] }
}

/// The tables of both, each behind those that it refers to.
pub(super) const TABLES: &[TableMeaning] = &[
    known("config", Numbers::Fixed, &[]),
    known("trans_state", Numbers::Fixed, &[]),
    known("trans_item_action", Numbers::Fixed, &[]),
    known("trans_item_reason", Numbers::Fixed, &[]),
    known("trans_item_state", Numbers::Fixed, &[]),
    known("pkg_name", Numbers::Contents, &[]),
    known("pkg_names", Numbers::Contents, &[]),
    known("arch", Numbers::Contents, &[]),
    known("archs", Numbers::Contents, &[]),
    known("repo", Numbers::Contents, &[]),
    known("item", Numbers::Contents, &[]),
    known("rpm", Numbers::Fixed, &[("item_id", ITEM), ("name_id", NAMES), ("arch_id", ARCHES)]),
    known("comps_group", Numbers::Fixed, &[("item_id", ITEM)]),
    known("comps_group_package", Numbers::Contents, &[("group_id", ITEM), ("name_id", NAMES)]),
    known("comps_environment", Numbers::Fixed, &[("item_id", ITEM)]),
    known("comps_environment_group", Numbers::Contents, &[("environment_id", ITEM)]),
    TableMeaning {
        name: "trans",
        numbers: Numbers::Time,
        refs: &[],
        times: &["dt_begin", "dt_end"],
        cookies: &["rpmdb_version_begin", "rpmdb_version_end"],
        commands: &["cmdline", "description"],
    },
    known(
        "trans_item",
        Numbers::Contents,
        &[("trans_id", TRANS), ("item_id", ITEM), ("repo_id", &["repo"])],
    ),
    known(
        "item_replaced_by",
        Numbers::Fixed,
        &[("trans_item_id", TRANS_ITEM), ("by_trans_item_id", TRANS_ITEM)],
    ),
    known("trans_with", Numbers::Contents, &[("trans_id", TRANS), ("item_id", ITEM)]),
    known("console_output", Numbers::Time, &[("trans_id", TRANS)]),
];
/// The tables whose rows say what an item is.
pub(super) const KINDS: [&str; 3] = ["rpm", "comps_group", "comps_environment"];
