//! `RECORD`: the files of an installed wheel with digest and size, as comma-separated values.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::hashes::Algorithm;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The path, relative to the installation directory; it may contain `..`.
    pub path: Cow<'a, [u8]>,
    /// The digest; `None` if the line has none (for bytecode and RECORD itself) or an unreadable
    /// one.
    pub digest: Option<(Algorithm, Vec<u8>)>,
    /// The original line, with its line end.
    pub text: &'a [u8],
}

/// The lines of a RECORD, in their order. A line without a path is skipped.
pub fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut rest = text;
    let all = std::iter::from_fn(move || {
        let end = end_of_line(rest);
        let (line, after) = rest.split_at_checked(end).filter(|(line, _)| !line.is_empty())?;
        rest = after;
        Some(line)
    });
    all.filter_map(line)
}

/// The RECORD without the lines of paths for which `gone` is true; `None` if there is no such line.
pub fn without(text: &[u8], gone: &mut dyn FnMut(&[u8]) -> bool) -> Option<Vec<u8>> {
    let going: Vec<&[u8]> = lines(text).filter(|l| gone(&l.path)).map(|l| l.text).collect();
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    for line in &going {
        let start = line.as_ptr() as usize - rest.as_ptr() as usize;
        out.extend_from_slice(&rest[..start]);
        rest = &rest[start + line.len()..];
    }
    out.extend_from_slice(rest);
    (!going.is_empty()).then_some(out)
}

/// The end of the first line, including its newline; a quoted newline does not end a line.
fn end_of_line(text: &[u8]) -> usize {
    let mut quoted = false;
    let ends = |(_, byte): &(usize, &u8)| {
        quoted ^= **byte == b'"';
        **byte == b'\n' && !quoted
    };
    text.iter().enumerate().find(ends).map_or(text.len(), |(at, _)| at + 1)
}

fn line(text: &[u8]) -> Option<Line<'_>> {
    let mut fields = text.trim_ascii_end();
    let path = field(&mut fields);
    let digest = field(&mut fields);
    let digest = memchr::memchr(b'=', &digest).and_then(|at| {
        let bytes = URL_SAFE_NO_PAD.decode(digest[at + 1..].trim_ascii_end()).ok()?;
        let algorithm = Algorithm::of_name(&digest[..at])?;
        (bytes.len() == algorithm.size()).then_some((algorithm, bytes))
    });
    (!path.is_empty()).then_some(Line { path, digest, text })
}

/// Takes the first field off a line.
fn field<'a>(line: &mut &'a [u8]) -> Cow<'a, [u8]> {
    let Some(mut rest) = line.strip_prefix(b"\"") else {
        let end = memchr::memchr(b',', line).unwrap_or(line.len());
        let (field, rest) = line.split_at(end);
        *line = rest.strip_prefix(b",").unwrap_or(rest);
        return Cow::Borrowed(field);
    };
    let mut value = Vec::new();
    while let Some(at) = memchr::memchr(b'"', rest) {
        value.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix(b"\"") {
            Some(after) => {
                value.push(b'"');
                rest = after;
            }
            None => break,
        }
    }
    *line = rest.strip_prefix(b",").unwrap_or(rest);
    Cow::Owned(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"m/a.py,sha256=ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0,3\r\n\
        \"m/x,\"\"y\n.gz\",md5=kAFQmDzST7DWlj99KOF_cg,3\n\nm/a.pyc,,\nm-1.dist-info/RECORD,,";

    #[test]
    fn lines_have_path_and_digest() {
        let all: Vec<_> = lines(TEXT).collect();
        let paths: Vec<&[u8]> = all.iter().map(|l| &*l.path).collect();
        assert_eq!(paths, [&b"m/a.py"[..], b"m/x,\"y\n.gz", b"m/a.pyc", b"m-1.dist-info/RECORD"]);
        let algorithms: Vec<_> = all.iter().map(|l| l.digest.as_ref().map(|d| d.0)).collect();
        assert_eq!(algorithms, [Some(Algorithm::Sha256), Some(Algorithm::Md5), None, None]);
    }

    #[test]
    fn a_line_goes_and_the_others_stay_as_they_are() {
        let less = without(TEXT, &mut |path| path == b"m/a.pyc").expect("a line goes");
        assert_eq!(less.len(), TEXT.len() - b"m/a.pyc,,\n".len());
        assert_eq!(lines(&less).count(), 3);
        let last = without(TEXT, &mut |path| path.ends_with(b"RECORD")).expect("a line goes");
        assert!(last.ends_with(b"m/a.pyc,,\n"));
        assert_eq!(without(TEXT, &mut |_| false), None);
    }

    #[test]
    fn damage_is_no_panic() {
        for end in 0..TEXT.len() {
            for line in lines(&TEXT[..end]) {
                assert!(!line.path.is_empty());
            }
        }
        assert_eq!(lines(b"\"").count(), 0);
    }
}
