//! `depmod`: the kernel's module indexes.

use super::kinds::reader::Reader;
use crate::format::kmodindex;
use crate::normal::Page;

/// The plugin.
pub(super) static DEPMOD: Reader = Reader::new(
    &PAGE,
    &[
        "{usr/,}lib/modules/*/modules.{dep,alias,symbols,builtin,builtin.alias}{.bin,}",
        "{usr/,}lib/modules/*/modules.{softdep,devname,order,weakdep,builtin.modinfo}",
    ],
    kmodindex::parse,
)
.may_be_empty(&[
    "{usr/,}lib/modules/*/modules.{dep,alias,symbols,builtin,builtin.alias}",
    "{usr/,}lib/modules/*/modules.{softdep,devname,order,weakdep,builtin.modinfo}",
    "{usr/,}lib/modules/*/modules.builtin.alias.bin",
]);

static PAGE: Page = Page {
    name: "depmod",
    summary: "explains differences of the kernel's module indexes, entry by entry",
    default: true,
    paths: "usr/lib/modules/*/modules.* (text and .bin)",
    varies: "The set of modules and their dependencies; the order of modules outside modules.order.",
    why: "depmod indexes what it finds. With the same modules and the same kmod it writes the same \
          files, so a difference follows another one: a module that only one build has, or that \
          was compiled differently.",
    done: "Nothing. `check` names the entries, or says that only their order differs. A truncated \
           index is noticed, except a text file cut after a line: it does not contain the number \
           of lines.",
    lost: "Nothing.",
    upstream: "Not seen to vary with kmod 30; rpm-ostree runs depmod itself, late.",
    payload: false,
    options: &[],
};
