//! Texts as a report shows them.

/// The first `len` characters of a text, on one line.
pub(crate) fn shorten(text: &str, len: usize) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(len) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A number and its noun, given in the singular: `1 path`, `2 paths`, `3 entries`.
pub(crate) fn counted(n: impl TryInto<u64>, noun: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        _ => format!("{n} {noun}s"),
    }
}

/// Whether a reader does not see the character as it is: a control or format character, a filler,
/// an unusual space, or one that reorders a line. From Unicode's categories Cc, Cf, Zl, Zp and Zs
/// and from Default_Ignorable_Code_Point.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || c.is_whitespace() && c != ' '
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Turns a phrase that begins with a plural into the singular: `entry differs in time` for `entries
/// differ in time`.
pub(crate) fn in_singular(phrase: &str) -> String {
    const FORMS: [(&str, &str); 4] =
        [("entries", "entry"), ("members", "member"), ("differ", "differs"), ("are", "is")];
    let one = |word| FORMS.iter().find(|form| form.0 == word).map_or(word, |form| form.1);
    phrase.split(' ').map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(in_singular("entries differ in time"), "entry differs in time");
        assert_eq!(in_singular("members only in the first"), "member only in the first");
    }
}
