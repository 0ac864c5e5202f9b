//! Bytes in no known format.

use super::Secrets;
use crate::format::secret;

/// The first byte at which two contents differ: at the latest the end of the shorter one.
fn position(a: &[u8], b: &[u8]) -> usize {
    let common = a.len().min(b.len());
    a.iter().zip(b).position(|(x, y)| x != y).unwrap_or(common)
}

/// Where two contents begin to differ, and how much.
pub(super) fn first(a: &[u8], b: &[u8]) -> String {
    let common = a.len().min(b.len());
    let different = a.iter().zip(b).filter(|(x, y)| x != y).count();
    let length = match (a.len(), b.len()) {
        (x, y) if x == y => format!("{x} bytes, {different} of them differ"),
        (x, y) => format!("{x} → {y} bytes, {different} of the first {common} differ"),
    };
    format!("first difference at byte {}: {length}", position(a, b))
}

/// The first bytes that differ and the entropy of both files; no bytes of a file with password
/// hashes, unless `secrets` may be shown.
pub(super) fn explain(a: &[u8], b: &[u8], secrets: Secrets) -> Vec<String> {
    let first = position(a, b);
    let masked = secrets == Secrets::Masked && [a, b].into_iter().any(secret::has_hash);
    vec![
        match masked {
            true => "there: not shown, since there are password hashes in it".to_owned(),
            false => format!("there: {} → {}", hex(a, first), hex(b, first)),
        },
        format!("entropy {:.2} → {:.2} bits per byte", entropy(a), entropy(b)),
    ]
}

/// Up to sixteen bytes from `at`.
fn hex(bytes: &[u8], at: usize) -> String {
    let piece: Vec<_> = bytes.iter().skip(at).take(16).map(|b| format!("{b:02x}")).collect();
    if piece.is_empty() { "end of file".to_owned() } else { piece.join(" ") }
}

/// The Shannon entropy of the bytes: 0 for a single value, 8 for incompressible data.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u64; 256];
    bytes.iter().for_each(|b| counts[usize::from(*b)] += 1);
    let total = bytes.len() as f64;
    let share = |n: &u64| *n as f64 / total;
    counts.iter().filter(|n| **n > 0).map(|n| -share(n) * share(n).log2()).sum::<f64>().abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_differs_is_named() {
        let (a, b) = ([0, 1, 2, 255], [0, 1, 3, 255, 9]);
        let line = first(&a, &b);
        assert_eq!(line, "first difference at byte 2: 4 → 5 bytes, 1 of the first 4 differ");
        let lines = explain(&a, &b, Secrets::Masked);
        assert_eq!(lines[0], "there: 02 ff → 03 ff 09");
        let lines = explain(&[0, 1], &[0, 1, 2], Secrets::Masked);
        assert_eq!(lines[0], "there: end of file → 02");
    }

    /// Hashes far from the beginning, where they do not make the whole file a secret.
    #[test]
    fn bytes_of_password_hashes_are_not_shown() {
        let image = |hash: &str| [&vec![0xff; 3 << 20], hash.as_bytes()].concat();
        let [a, b] = ["one", "two"].map(|hash| image(&format!("$6${hash}${}", "x".repeat(86))));
        let [masked, shown] =
            [Secrets::Masked, Secrets::Shown].map(|secrets| explain(&a, &b, secrets)[0].clone());
        assert_eq!(masked, "there: not shown, since there are password hashes in it");
        assert!(shown.starts_with("there: 6f 6e 65 24 78"), "{shown}");
    }

    #[test]
    fn entropy_is_between_nothing_and_eight() {
        assert_eq!(entropy(&[7; 100]), 0.0);
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(entropy(&all), 8.0);
    }
}
