//! LZ4's block format, as file systems pack with it: the length is known from elsewhere, and an extent
//! may want no more than the start.

/// The first `len` bytes that `input` unpacks to; `None` if it is damaged or holds fewer.
pub(crate) fn lz4_block(input: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut rest = input;
    let mut out: Vec<u8> = Vec::new();
    while out.len() < len {
        let token = next(&mut rest)?;
        let literals = length(usize::from(token >> 4), &mut rest)?;
        // What is not wanted of the last literals may be cut off.
        let take = literals.min(len - out.len());
        out.extend_from_slice(rest.get(..take)?);
        if out.len() == len {
            break;
        }
        rest = rest.get(literals..)?;
        let distance = usize::from(next(&mut rest)?) | usize::from(next(&mut rest)?) << 8;
        let count = length(usize::from(token & 15), &mut rest)?.saturating_add(4);
        let from = out.len().checked_sub(distance).filter(|_| distance > 0)?;
        let to = from + count.min(len - out.len());
        // Byte by byte: what is copied may be what was just written.
        (from..to).for_each(|at| out.push(out[at]));
    }
    Some(out)
}

fn next(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

/// A length of four bits, and more bytes where these are full.
fn length(start: usize, rest: &mut &[u8]) -> Option<usize> {
    let mut length = start;
    if start == 15 {
        loop {
            let more = next(rest)?;
            length = length.checked_add(usize::from(more))?;
            if more != 255 {
                break;
            }
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lz4_packs_is_unpacked_whole_and_in_part() {
        let texts =
            [&b"a"[..], &[7; 5000], b"abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcdefg"];
        for text in texts.into_iter().chain([include_bytes!("mod.rs").as_slice()]) {
            let packed = ::lz4::block::compress(text, None, false).expect("packs");
            for len in [0, 1, text.len() / 2, text.len()] {
                assert_eq!(lz4_block(&packed, len).as_deref(), Some(&text[..len]));
            }
            assert_eq!(lz4_block(&packed, text.len() + 1), None);
            for cut in 0..packed.len().min(300) {
                assert_eq!(lz4_block(&packed[..cut], text.len()), None, "cut at {cut}");
            }
        }
    }
}
