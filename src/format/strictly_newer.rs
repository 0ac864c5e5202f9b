//! Files that a reader takes only if they are strictly newer than what they were compiled from.
//!
//! A time that becomes SOURCE_DATE_EPOCH together with another's turns "older than" into "as old
//! as". Most readers do not mind; these do, so the source keeps its distance.

/// Endings of sources, and what takes their place in the name of the compiled file.
///
/// Clojure's `RT.load` loads `ns__init.class` only if it is later than `ns.clj`, in directories and
/// in archives.
const STRICT: [(&str, &str); 2] = [(".clj", "__init.class"), (".cljc", "__init.class")];

/// Seconds that keep two times apart wherever they are written: a zip time is even.
pub(crate) const APART: i64 = 2;

/// The name of the file that has to stay newer than the source called `name`.
pub(crate) fn of_source(name: &[u8]) -> Option<Vec<u8>> {
    STRICT.iter().find_map(|(source, compiled)| {
        Some([name.strip_suffix(source.as_bytes())?, compiled.as_bytes()].concat())
    })
}
