//! `ld-cache`: the dynamic loader's cache.

use super::kinds::reader::Reader;
use crate::format::ldcache;
use crate::normal::Page;

/// The plugin.
pub(super) static LD_CACHE: Reader = Reader::new(&PAGE, &["etc/ld.so.cache"], ldcache::parse);

static PAGE: Page = Page {
    name: "ld-cache",
    summary: "explains differences of ld.so.cache, library by library",
    default: true,
    paths: "etc/ld.so.cache",
    varies: "The set of libraries, their paths and the hardware they are for; the version \
             and the package revision of the glibc whose ldconfig wrote it.",
    why: "ldconfig records what it found. With the same libraries and the same glibc it writes the \
          same file, so a difference follows another one: a library, a link or a folder of \
          etc/ld.so.conf.d that only one build has.",
    done: "Nothing: the order of entries is the loader's order of search. `check` names the \
           libraries.",
    lost: "Nothing.",
    upstream: "Deterministic in every tested glibc; ldconfig's own aux-cache is not, and \
               build-traces removes it.",
    payload: false,
    options: &[],
};
