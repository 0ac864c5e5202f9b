//! dracut's record of its own parameters, which contains temporary paths of the build.

use std::sync::OnceLock;

use regex::bytes::Regex;

/// Whether this is the record, `lib/dracut/build-parameter.txt`.
pub(super) fn wants(name: &[u8]) -> bool {
    [&b"usr/lib/dracut/build-parameter.txt"[..], b"lib/dracut/build-parameter.txt"].contains(&name)
}

/// The record with `X` for each first component below `/tmp` or `/var/tmp`, and with one value of
/// `--tmpdir`: both are gone when the image boots, and only people read the record.
pub(super) fn canonical(record: &[u8]) -> Vec<u8> {
    static RULES: OnceLock<[(Regex, &[u8]); 2]> = OnceLock::new();
    let rules = RULES.get_or_init(|| {
        let regex = |text| Regex::new(text).unwrap_or_else(|e| panic!("a constant: {e}"));
        [
            (regex(r"(?-u)(--tmpdir[ =]'?)[^' \n]+"), b"${1}/var/tmp"),
            (regex(r"(?-u)((?:^|[ '=:])(?:/var)?/tmp/)[^/' \n:]+"), b"${1}X"),
        ]
    });
    let apply = |text: Vec<u8>, (rule, to): &(Regex, &[u8])| rule.replace_all(&text, *to).into();
    rules.iter().fold(record.to_vec(), apply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_paths_go_and_everything_else_stays() {
        let record = b" --tmpdir '/tmp/dracut.Xy' --include '/tmp/a.b/etc' '/etc' -I '/var/tmp/q /tmp/r' --add 'ostree' --confdir '/srv/tmp/x'";
        let expected = b" --tmpdir '/var/tmp' --include '/tmp/X/etc' '/etc' -I '/var/tmp/X /tmp/X' --add 'ostree' --confdir '/srv/tmp/x'";
        assert_eq!(canonical(record), expected);
        assert_eq!(canonical(expected), expected);
    }
}
