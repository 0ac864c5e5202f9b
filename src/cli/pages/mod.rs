//! What the manual says about each command apart from its options: the table behind the exit codes
//! in `--help` and the pages of `reprofix man`.

mod images;
mod nightly;
mod trees;

/// One command's part of the manual.
pub(super) struct Page {
    /// The command, without `reprofix`.
    pub(super) name: &'static str,
    /// The meaning of exit codes 0 and 1; empty for a code that it never returns.
    pub(super) exit: [&'static str; 2],
    /// Environment variables that it reads, and their use.
    pub(super) environment: &'static [[&'static str; 2]],
    /// Files that it reads or writes by default.
    pub(super) files: &'static [[&'static str; 2]],
    /// The schema of its `--json`; empty if it has no report.
    pub(super) schema: &'static str,
    /// Command lines, and what each does.
    pub(super) examples: &'static [[&'static str; 2]],
    /// The commands to read about next.
    pub(super) see: &'static [&'static str],
}

/// All pages. A group of commands has neither exit codes nor examples itself.
pub(super) fn all() -> impl Iterator<Item = &'static Page> {
    [trees::PAGES, nightly::PAGES, images::PAGES].into_iter().flatten()
}

/// The page of a command.
pub(super) fn page(name: &str) -> Option<&'static Page> {
    all().find(|page| page.name == name)
}

/// The meaning of exit code 2, everywhere.
pub(super) const FAILED: &str = "it could not be done";

/// The environment variables of all commands.
pub(super) const COMMON: &[[&str; 2]] =
    &[["NO_COLOR, CLICOLOR, CLICOLOR_FORCE, TERM", "whether text on a terminal has colours"]];

type Rows = &'static [[&'static str; 2]];

const EPOCH: [&str; 2] = [
    "SOURCE_DATE_EPOCH",
    "the time that no other time may exceed, unless an option sets it: seconds since 1970-01-01 UTC",
];
const TMPDIR: [&str; 2] = ["TMPDIR", "where temporary files go that cannot be beside their target"];
const NO_ENVIRONMENT: Rows = &[];
const SCRATCH: Rows = &[TMPDIR];
const RUN: Rows = &[EPOCH, TMPDIR];
const RECORD: Rows =
    &[["PATH", "where reprofix-content-checksum is searched, if it is not beside the program"]];
const NIGHTLY: Rows = &[
    ["GITHUB_ACTIONS", "if it is `true`, findings are printed as annotations of a workflow"],
    ["PATH", "where the builds' programs and reprofix-post are searched"],
    TMPDIR,
];

const CONFIG: [&str; 2] = [
    "reprofix.toml",
    "the configuration, in the current directory, if it exists and --config names no other",
];
const TREEFILE: [&str; 2] = [
    "ROOTFS/usr/share/rpm-ostree/treefile.json",
    "the treefile of the tree, whose metadata.reprofix has the keys of reprofix.toml",
];
const EXPECT: [&str; 2] = [
    "reprofix-expect.toml",
    "differences that are accepted for some time, in the current directory, if it exists and --expect names no other",
];
const NIGHTLY_TOML: [&str; 2] = [
    "nightly.toml",
    "the nightly job's configuration, in the current directory, unless --nightly names another",
];
const NO_FILES: Rows = &[];
const TREE_FILES: Rows = &[CONFIG, TREEFILE];
const SUBJECTS_FILES: Rows = &[CONFIG, EXPECT];
const COSA_FILES: Rows = &[
    [
        "builds/BUILD/ARCH/meta.json",
        "coreos-assembler's record of a build, which gets the checksum",
    ],
    ["builds/BUILD/ARCH/reprofix.json", "what meta.json cannot record: epoch, plugins"],
];
const NIGHTLY_FILES: Rows = &[
    NIGHTLY_TOML,
    ["history.db", "the history in SQLite; `history` in nightly.toml names another place"],
];
const FEED_FILES: Rows = &[[
    "NAME.manifest, NAME.rebuild.json",
    "what is published for a build: its manifest, and how to build it again",
]];
const SCRATCH_FILES: Rows = &[["$TMPDIR, /var/tmp, /tmp", "temporary files without a name"]];
const IMAGES_FILES: Rows =
    &[["index.json, oci-layout, blobs/", "an OCI layout; an archive has the same files inside"]];
const STACKER_FILES: Rows =
    &[["roots/NAME/stacker.meta, overlay_metadata.json", "stacker's records of its layers"]];
const DOCS_FILES: Rows =
    &[["docs/sources.md", "in the documentation: each source of difference with an example"]];
const RPMDB_FILES: Rows = &[[
    "rpmdb.sqlite, Packages.db, Packages",
    "an rpm database, in usr/share/rpm, usr/lib/sysimage/rpm or var/lib/rpm below a root",
]];
const COMPLETIONS_FILES: Rows = &[
    [
        "PREFIX/share/bash-completion/completions/reprofix",
        "where `make install` puts those of bash",
    ],
    ["PREFIX/share/zsh/site-functions/_reprofix", "those of zsh"],
    ["PREFIX/share/fish/vendor_completions.d/reprofix.fish", "those of fish"],
];
const MAN_FILES: Rows = &[["PREFIX/share/man/man1", "where `make install` puts the pages"]];
