//! One umask behind many differences of permission bits.

use std::collections::BTreeMap;
use std::fmt;

/// The fewest differences of mode for which a umask is named as the cause.
const LEAST: usize = 3;
/// The bits of group and others, which a umask usually clears.
const MASKED: u32 = 0o077;

/// The bits that the umasks of two builds removed from modes that would otherwise be equal. No bit
/// is in both: what both umasks remove does not differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Umask {
    /// The bits that no mode of the first build has.
    pub a: u32,
    /// The bits that no mode of the second build has.
    pub b: u32,
}

impl Umask {
    /// The umasks that explain most of these pairs of differing modes; `None` if that is not more
    /// than half of them, or fewer than three.
    pub fn behind(pairs: impl IntoIterator<Item = (u32, u32)>) -> Option<Self> {
        let mut counts: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        for (a, b) in pairs {
            *counts.entry((a & 0o7777, b & 0o7777)).or_default() += 1;
        }
        let lost = |from: fn(&(u32, u32)) -> u32| counts.keys().map(from).fold(0, |x, y| x | y);
        let (in_a, in_b) = (lost(|(a, b)| b & !a) & MASKED, lost(|(a, b)| a & !b) & MASKED);
        // No usual umask removes the right to execute but leaves the right to read.
        let usual = |mask: u32| (mask & 0o011) << 2 & !mask == 0;
        let masks = |of: u32| (0..=MASKED).filter(move |mask| mask & !of == 0 && usual(*mask));
        let both = masks(in_a).flat_map(|a| masks(in_b).map(move |b| Umask { a, b }));
        let explained = |mask: &Umask| -> usize {
            counts.iter().filter(|((a, b), _)| mask.explains(*a, *b)).map(|(_, n)| n).sum()
        };
        let ranked = both.filter(|mask| mask.a & mask.b == 0).map(|mask| {
            let bits = (mask.a | mask.b).count_ones();
            (explained(&mask), std::cmp::Reverse((bits, mask.a, mask.b)), mask)
        });
        let (count, _, best) = ranked.max_by_key(|(count, order, _)| (*count, *order))?;
        let all: usize = counts.values().sum();
        (count >= LEAST && 2 * count > all).then_some(best)
    }

    /// Whether these modes of one path differ, and would not under one umask.
    pub fn explains(self, a: u32, b: u32) -> bool {
        let (a, b) = (a & 0o7777, b & 0o7777);
        let kept = |side: u32, mask: u32| side & mask == 0;
        a != b
            && kept(a, self.a)
            && kept(b, self.b)
            && a & !b & !self.b == 0
            && b & !a & !self.a == 0
    }
}

impl fmt::Display for Umask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides = [("A", self.a), ("B", self.b)].into_iter().filter(|(_, mask)| *mask != 0);
        let said: Vec<_> = sides.map(|(side, mask)| format!("{side} lacks {mask:04o}")).collect();
        write!(f, "{}, as under another umask", said.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mask_explains_what_it_took_and_nothing_else() {
        let strict = [(0o40755, 0o40700), (0o100644, 0o100600), (0o100755, 0o100700)];
        let mask = Umask::behind(strict).expect("077 instead of 022");
        assert_eq!(mask, Umask { a: 0, b: 0o055 });
        assert_eq!(mask.to_string(), "B lacks 0055, as under another umask");
        assert!(!mask.explains(0o644, 0o755) && !mask.explains(0o4755, 0o755));
        // A chmod among them is not explained.
        let odd = strict.into_iter().chain([(0o644, 0o755), (0o755, 0o4755)]);
        assert_eq!(Umask::behind(odd), Some(mask));
    }

    #[test]
    fn two_masks_of_which_neither_holds_the_other() {
        // 022 and 007 on 0777, 0666, 0777.
        let pairs = [(0o755, 0o770), (0o644, 0o660), (0o755, 0o770)];
        assert_eq!(Umask::behind(pairs), Some(Umask { a: 0o020, b: 0o005 }));
    }

    #[test]
    fn few_or_unlike_differences_have_no_mask() {
        assert_eq!(Umask::behind([(0o755, 0o700), (0o644, 0o600)]), None);
        assert_eq!(
            Umask::behind([(0o755, 0o700), (0o600, 0o644), (0o711, 0o755), (0o640, 0o604)]),
            None
        );
        // Programs that lost the right to be executed are no umask's.
        assert_eq!(Umask::behind([(0o755, 0o644), (0o711, 0o600), (0o755, 0o644)]), None);
        assert_eq!(Umask::behind([]), None);
    }
}
