//! Texts as a report shows them.

/// The first `len` characters of a text, on one line.
pub(crate) fn shorten(text: &str, len: usize) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(len) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
