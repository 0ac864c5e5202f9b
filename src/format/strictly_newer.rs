//! Compiled files that a reader uses only if they are strictly newer than their source.
//!
//! If two times become SOURCE_DATE_EPOCH, "older than" turns into "as old as". Most readers accept
//! that; these do not, so the source must stay older.

/// Endings of sources, and those of the compiled files.
///
/// Clojure's `RT.load` loads `ns__init.class` only if it is later than `ns.clj`, in directories and
/// in archives.
const STRICT: [(&str, &str); 2] = [(".clj", "__init.class"), (".cljc", "__init.class")];

/// Seconds that keep two times apart in every format: a zip time is even.
pub const APART: i64 = 2;

/// The name of the file that has to stay newer than the source called `name`.
pub fn of_source(name: &[u8]) -> Option<Vec<u8>> {
    STRICT.iter().find_map(|(source, compiled)| {
        Some([name.strip_suffix(source.as_bytes())?, compiled.as_bytes()].concat())
    })
}
