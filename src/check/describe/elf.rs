//! ELF files: which sections differ.

use std::collections::BTreeMap;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// The end of a signed kernel module.
const SIGNED: &[u8] = b"~Module signature appended~\n";
/// Bytes of the record before the mark [`SIGNED`]; its last four are the signature's length,
/// big-endian.
const RECORD: usize = 12;
/// The most sections to name.
const SHOWN: usize = 20;

/// The sections that differ, the build-ID first; `None` unless both are ELF files.
pub(super) fn explain(a: &[u8], b: &[u8]) -> Option<Vec<String>> {
    let is_elf = |bytes: &[u8]| bytes.starts_with(b"\x7fELF");
    if !is_elf(a) || !is_elf(b) {
        return None;
    }
    let (x, y) = (unsigned(a), unsigned(b));
    let signed = (x.len() < a.len()) || (y.len() < b.len());
    if signed && x == y {
        return Some(vec!["ELF: only the module's signature differs".to_owned()]);
    }
    let (left, right) = (object::File::parse(x).ok()?, object::File::parse(y).ok()?);
    let mut lines = Vec::new();
    let id = |file: &object::File<'_>| match file.build_id() {
        Ok(Some(id)) => id.iter().map(|b| format!("{b:02x}")).collect(),
        _ => "none".to_owned(),
    };
    if id(&left) != id(&right) {
        lines.push(format!("ELF: build-ID {} → {}", id(&left), id(&right)));
    }
    lines.extend(sections(&left, &right));
    lines.extend(symbols(&left, &right));
    if lines.is_empty() {
        return None;
    }
    if signed {
        lines.push("ELF: the module's signature differs with it".to_owned());
    }
    Some(lines)
}

/// A kernel module without the signature at its end.
fn unsigned(bytes: &[u8]) -> &[u8] {
    let strip = || {
        let body = bytes.strip_suffix(SIGNED)?;
        let length = body.last_chunk::<4>().map(|n| u32::from_be_bytes(*n))?;
        let end = body.len().checked_sub(RECORD)?.checked_sub(usize::try_from(length).ok()?)?;
        body.get(..end)
    };
    strip().unwrap_or(bytes)
}

fn sections(a: &object::File<'_>, b: &object::File<'_>) -> Vec<String> {
    // Names may repeat: the n-th section of a name is compared with the other n-th.
    fn all<'f>(file: &object::File<'f>) -> BTreeMap<(String, usize), &'f [u8]> {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        let mut map = BTreeMap::new();
        for section in file.sections() {
            let name = section.name_bytes().unwrap_or_default().escape_ascii().to_string();
            let n = count.entry(name.clone()).and_modify(|n| *n += 1).or_default();
            map.insert((name, *n), section.data().unwrap_or_default());
        }
        map
    }
    let (x, y) = (all(a), all(b));
    let mut names: Vec<_> = x.keys().chain(y.keys()).collect();
    names.sort();
    names.dedup();
    let line = |key: &(String, usize)| {
        let name = &key.0;
        match (x.get(key), y.get(key)) {
            (Some(p), Some(q)) if p == q => None,
            (Some(p), Some(q)) if p.len() == q.len() => {
                let count = p.iter().zip(*q).filter(|(m, n)| m != n).count();
                Some(format!("ELF: section {name}: {count} of {} bytes differ", p.len()))
            }
            (Some(p), Some(q)) => {
                Some(format!("ELF: section {name}: {} → {} bytes", p.len(), q.len()))
            }
            (Some(_), None) => Some(format!("ELF: section {name} only in A")),
            (None, _) => Some(format!("ELF: section {name} only in B")),
        }
    };
    let mut lines: Vec<_> = names.into_iter().filter_map(line).collect();
    if lines.len() > SHOWN {
        let more = lines.len() - SHOWN;
        lines.truncate(SHOWN);
        lines.push(format!("ELF: … and {more} more sections"));
    }
    lines
}

fn symbols(a: &object::File<'_>, b: &object::File<'_>) -> Option<String> {
    fn names(file: &object::File<'_>) -> std::collections::BTreeSet<Vec<u8>> {
        let all = file.symbols().chain(file.dynamic_symbols());
        all.filter_map(|s| s.name_bytes().ok().map(<[u8]>::to_vec)).collect()
    }
    let (x, y) = (names(a), names(b));
    let (less, more) = (x.difference(&y).count(), y.difference(&x).count());
    (less + more > 0).then(|| format!("ELF: {less} symbols only in A, {more} only in B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Vec<u8> {
        std::fs::read("/bin/true").expect("reads")
    }

    #[test]
    fn a_byte_of_code_is_in_its_section() {
        let a = program();
        let file = object::File::parse(&*a).expect("parses");
        let text = file.section_by_name(".text").expect("has code").file_range().expect("in file");
        let mut b = a.clone();
        b[text.0 as usize + 5] ^= 1;
        let lines = explain(&a, &b).expect("ELF");
        assert_eq!(lines, [format!("ELF: section .text: 1 of {} bytes differ", text.1)]);
    }

    #[test]
    fn the_build_id_is_named() {
        let a = program();
        let id = object::File::parse(&*a).expect("parses").build_id().expect("reads");
        let id = id.expect("has one").to_vec();
        let at = a.windows(id.len()).position(|w| w == id).expect("is there");
        let mut b = a.clone();
        b[at] ^= 0xff;
        let lines = explain(&a, &b).expect("ELF");
        assert!(lines[0].starts_with("ELF: build-ID "), "{lines:?}");
        assert!(lines[1].starts_with("ELF: section .note.gnu.build-id: 1 of "), "{lines:?}");
    }

    #[test]
    fn a_modules_signature_is_told_from_the_module() {
        let sign = |key: u8| {
            let mut module = program();
            module.extend([key; 100]);
            module.extend([0, 1, 2, 0, 0, 0, 0, 0]);
            module.extend(100u32.to_be_bytes());
            module.extend(SIGNED);
            module
        };
        let lines = explain(&sign(1), &sign(2)).expect("ELF");
        assert_eq!(lines, ["ELF: only the module's signature differs"]);
    }

    #[test]
    fn an_impossible_signature_length_is_no_signature() {
        let mut module = vec![0; 8];
        module.extend(u32::MAX.to_be_bytes());
        module.extend(SIGNED);
        assert_eq!(unsigned(&module).len(), module.len());
        assert_eq!(unsigned(SIGNED), SIGNED);
    }
}
