//! Bodies made here object by object; those of real interpreters are in `tests/`.

use proptest::prelude::*;

use super::*;

const MAGIC: u16 = 3495;

fn text(text: &str) -> Vec<u8> {
    [&[b'z', text.len() as u8][..], text.as_bytes()].concat()
}

/// A code object of 3.11 with these constants, which are written as given.
fn code(consts: &[Vec<u8>]) -> Vec<u8> {
    let tuple = [&[b')', consts.len() as u8][..], &consts.concat()].concat();
    let empty = || vec![b')', 0];
    let bytes = || [&b"s"[..], &2u32.to_le_bytes(), b"ab"].concat();
    let mut out = vec![b'c'];
    out.extend([0u8; 20]);
    for object in [bytes(), tuple, empty(), empty(), bytes(), text("/src.py"), text("m"), text("q")]
    {
        out.extend(object);
    }
    out.extend(1u32.to_le_bytes());
    out.extend([bytes(), bytes()].concat());
    out
}

fn form(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let pyc = Pyc { magic: MAGIC, validity: Validity::Time { mtime: 1, size: 2 }, body };
    pyc.check()?;
    let out = pyc.canonical_body()?;
    let again = Pyc { body: &out, ..pyc }.canonical_body();
    assert_eq!(again.as_ref(), Ok(&out), "twice is once");
    Ok(out)
}

fn flagged(mut object: Vec<u8>) -> Vec<u8> {
    object[0] |= 0x80;
    object
}

fn reference(to: u32) -> Vec<u8> {
    [&b"r"[..], &to.to_le_bytes()].concat()
}

fn set(elements: &[Vec<u8>]) -> Vec<u8> {
    [&b">"[..], &(elements.len() as u32).to_le_bytes(), &elements.concat()].concat()
}

#[test]
fn marks_that_nothing_refers_to_go_and_references_are_counted_anew() {
    let pair = |a: Vec<u8>, b: Vec<u8>| [vec![b')', 2], a, b].concat();
    let one = code(&[
        flagged(text("un used")),
        flagged(pair(flagged(text("un")), flagged(text("sh ared")))),
        reference(2 + 1),
    ]);
    let two = code(&[text("un used"), pair(text("un"), flagged(text("sh ared"))), reference(0)]);
    assert_eq!(form(&one), form(&two));
    // The code object itself is on the list too, where it is marked.
    assert_eq!(form(&flagged(code(&[text("a b")]))), form(&code(&[text("a b")])));
}

#[test]
fn sets_are_sorted_and_what_is_shared_is_written_where_it_comes_first() {
    let ab = code(&[set(&[flagged(text("a b")), text("c d")]), reference(0)]);
    let ba = code(&[set(&[text("c d"), flagged(text("a b"))]), reference(0)]);
    assert_eq!(form(&ab), form(&ba));
    let nested = |x: &[Vec<u8>]| code(&[set(&[set(x), text("z z")])]);
    let (a, b) = (text("a b"), text("c d"));
    assert_eq!(form(&nested(&[a.clone(), b.clone()])), form(&nested(&[b, a])));
}

#[test]
fn strings_are_interned_like_identifiers() {
    let one = code(&[text("name_1"), text("not a name")]);
    let mut two = one.clone();
    let at = memchr::memmem::find(&one, b"name_1").unwrap() - 2;
    two[at] = b'Z';
    assert_eq!(form(&one), Ok(form(&two).unwrap()));
    assert_eq!(form(&one).unwrap()[at], b'Z');
}

#[test]
fn equal_strings_are_one() {
    let shared = code(&[flagged(text("a b")), reference(0)]);
    assert_eq!(form(&code(&[text("a b"), text("a b")])), form(&shared));
}

#[test]
fn what_bytecode_cannot_hold_is_refused() {
    assert!(form(&code(&[vec![b'[', 0, 0, 0, 0]])).is_err(), "a list");
    assert!(form(&code(&[reference(0)])).is_err(), "a reference to nothing");
    let itself = [vec![b')' | 0x80, 1], reference(0)].concat();
    assert!(form(&code(&[itself])).is_err(), "an object in itself");
    assert!(form(&code(&[vec![b'N' | 0x80]])).is_err(), "a marked None");
    assert!(form(&[code(&[]), vec![0]].concat()).is_err(), "bytes behind");
    assert!(form(&text("a")).is_err(), "no code");
    let deep = |n| [[b')', 1].repeat(n), vec![b'N']].concat();
    assert!(
        form(&code(&[deep(DEPTH_MAX - 3)])).is_ok() && form(&code(&[deep(DEPTH_MAX)])).is_err()
    );
    // Each set holds the one before twice: 2^40 elements when written out.
    let mut bomb = flagged(text("a b"));
    let mut consts = vec![bomb.clone()];
    for n in 0..40 {
        bomb = flagged([&[b')', 2][..], &reference(n), &reference(n)].concat());
        consts.push(bomb.clone());
    }
    consts.push(set(&[reference(40)]));
    assert!(form(&code(&consts)).is_err_and(|e| e.what.contains("elements of sets")));
}

#[test]
fn hashes_are_those_of_importlib() {
    for (magic, hash) in [
        (3394, "39ae048169105238"),
        (3439, "3c80f1191ea979cb"),
        (3495, "7c360be58bb7a2aa"),
        (3531, "9bca4702dbaedbed"),
        (3571, "aa4d9968b297cf0d"),
    ] {
        let got: String = source_hash(magic, b"hello").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(got, hash, "{:?}", version(magic));
    }
}

#[test]
fn headers_there_and_back() {
    for validity in [
        Validity::Time { mtime: 7, size: 9 },
        Validity::Hash { checked: true, hash: [1; 8] },
        Validity::Hash { checked: false, hash: [2; 8] },
    ] {
        let pyc = Pyc { magic: MAGIC, validity, body: b"body" };
        let bytes = pyc.with(validity);
        assert_eq!(parse(&bytes), Ok(pyc));
        for cut in 0..HEADER {
            assert!(parse(&bytes[..cut]).is_err());
        }
    }
    let python2 = [&62_211u16.to_le_bytes()[..], b"\r\n", &[0; 12]].concat();
    assert!(!is_pyc(&python2) && parse(&python2).is_err());
}

proptest! {
    #[test]
    fn a_body_that_is_cut_or_damaged_does_not_panic(
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let body = code(&[
            set(&[flagged(text("a b")), text("c d")]),
            flagged([vec![b')', 1], reference(0)].concat()),
            reference(1),
            code(&[text("n")]),
        ]);
        prop_assert!(form(&body).is_ok());
        prop_assert!(form(&body[..cut.index(body.len())]).is_err());
        let mut damaged = body;
        for (at, byte) in noise {
            let at = at.index(damaged.len());
            damaged[at] = byte;
        }
        let _ = form(&damaged);
    }
}
