//! Spellings of earlier versions that clap's aliases cannot express. They keep working for a
//! release, and no help shows them; `tests/it/spellings.rs` has all of them.

use std::ffi::OsString;

/// Commands whose `--json` was a flag: JSON on standard output.
const FLAGS: [&str; 2] = ["history", "plugins"];

/// What may follow that flag without being its file.
const FOLLOWS: [&str; 4] = ["show", "blame", "flaky", "vacuum"];

/// The command line in the present spelling.
pub(super) fn respelled(mut words: Vec<OsString>) -> Vec<OsString> {
    let is = |word: Option<&OsString>, of: &[&str]| {
        word.is_some_and(|word| of.iter().any(|of| word == of))
    };
    if !is(words.get(1), &FLAGS) {
        return words;
    }
    if let Some(at) = words.iter().position(|word| word == "--json") {
        let next = words.get(at + 1);
        let option =
            next.is_some_and(|next| next != "-" && next.to_string_lossy().starts_with('-'));
        if next.is_none() || option || is(next, &FOLLOWS) {
            words.insert(at + 1, "-".into());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_gets_its_file() {
        let respelled = |line: &str| {
            let words = respelled(line.split(' ').map(OsString::from).collect());
            words.join(std::ffi::OsStr::new(" ")).into_string().expect("text")
        };
        for (old, new) in [
            ("reprofix history --json", "reprofix history --json -"),
            ("reprofix history --json show 3", "reprofix history --json - show 3"),
            ("reprofix history --json --limit 3", "reprofix history --json - --limit 3"),
            ("reprofix plugins --json", "reprofix plugins --json -"),
        ] {
            assert_eq!(respelled(old), new);
            assert_eq!(respelled(new), new);
        }
        assert_eq!(respelled("reprofix check a b --json"), "reprofix check a b --json");
    }
}
