//! Which variations are enough to make two builds differ: delta debugging.

/// The result of one trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// The builds are the same.
    Same,
    /// They differ.
    Differs,
    /// It could not be determined.
    Unknown,
}

/// A minimal subset of `items` under which `trial` still differs: without any one of them it does
/// not. Empty if it differs without any. It must differ under all `items`.
///
/// This is ddmin of Zeller and Hildebrandt: at most quadratic in the number of items, about two
/// trials per halving if one item is to blame. An unknown result counts as the same.
pub(crate) fn smallest<T: Copy>(items: &[T], mut trial: impl FnMut(&[T]) -> Trial) -> Vec<T> {
    let mut differs = |items: &[T]| trial(items) == Trial::Differs;
    if differs(&[]) {
        return Vec::new();
    }
    let mut current = items.to_vec();
    let mut parts = 2;
    while current.len() > 1 {
        let size = current.len().div_ceil(parts);
        let chunks: Vec<Vec<T>> = current.chunks(size).map(<[T]>::to_vec).collect();
        let complement = |skip: usize| -> Vec<T> {
            let kept = chunks.iter().enumerate().filter(|(i, _)| *i != skip);
            kept.flat_map(|(_, chunk)| chunk.iter().copied()).collect()
        };
        if let Some(chunk) = chunks.iter().find(|chunk| differs(chunk)) {
            current = chunk.clone();
            parts = 2;
        } else if let Some(rest) =
            // With two parts the complements are the parts themselves.
            (0..chunks.len())
                .filter(|_| parts > 2)
                .map(complement)
                .find(|rest| differs(rest))
        {
            current = rest;
            parts = (parts - 1).max(2);
        } else if size == 1 {
            break;
        } else {
            parts = (parts * 2).min(current.len());
        }
    }
    current
}

/// Disjoint minimal sets of `items` that each suffice to differ: a set of one is enough alone. One
/// empty set if no item is needed. The remaining items do not differ.
pub(crate) fn enough<T: Copy + PartialEq>(
    items: &[T],
    mut trial: impl FnMut(&[T]) -> Trial,
) -> Vec<Vec<T>> {
    let mut left = items.to_vec();
    let mut sets = Vec::new();
    loop {
        let set = smallest(&left, &mut trial);
        left.retain(|item| !set.contains(item));
        let last = set.is_empty();
        sets.push(set);
        if last || left.is_empty() || trial(&left) != Trial::Differs {
            return sets;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bisects `0..n` if all of `guilty` together are to blame; returns the result and the number
    /// of trials.
    fn bisect(n: u32, guilty: &[u32]) -> (Vec<u32>, usize) {
        let items: Vec<u32> = (0..n).collect();
        let mut trials = 0;
        let found = smallest(&items, |set| {
            trials += 1;
            match guilty.iter().all(|g| set.contains(g)) {
                true => Trial::Differs,
                false => Trial::Same,
            }
        });
        (found, trials)
    }

    #[test]
    fn one_culprit_is_found_quickly() {
        for guilty in 0..14 {
            let (found, trials) = bisect(14, &[guilty]);
            assert_eq!(found, [guilty]);
            assert!(trials <= 9, "{guilty}: {trials}");
        }
    }

    #[test]
    fn culprits_that_need_each_other_are_found_together() {
        for (a, b) in [(0, 1), (0, 13), (5, 9), (12, 13)] {
            assert_eq!(bisect(14, &[a, b]).0, [a, b]);
        }
        assert_eq!(bisect(14, &[1, 6, 11]).0, [1, 6, 11]);
    }

    #[test]
    fn every_set_that_is_enough_is_found() {
        let all = |enough: &[&[u32]]| {
            let items: Vec<u32> = (0..14).collect();
            super::enough(&items, |set| {
                let differs = enough.iter().any(|e| e.iter().all(|item| set.contains(item)));
                if differs { Trial::Differs } else { Trial::Same }
            })
        };
        assert_eq!(all(&[&[3], &[9]]), [[3], [9]]);
        assert_eq!(all(&[&[3], &[5, 9]]), [vec![3], vec![5, 9]]);
        assert_eq!(all(&[&[]]), [Vec::<u32>::new()]);
        assert_eq!(super::enough(&[7], |_| Trial::Unknown), [[7]]);
    }

    #[test]
    fn no_variation_needed_and_only_one_there() {
        assert_eq!(bisect(14, &[]), (vec![], 1));
        assert_eq!(bisect(1, &[0]).0, [0]);
    }

    #[test]
    fn what_cannot_be_found_out_never_blames_alone() {
        let found = smallest(&[1, 2, 3, 4], |set| match set {
            [] => Trial::Same,
            [_] => Trial::Unknown,
            set if set.contains(&3) => Trial::Differs,
            _ => Trial::Same,
        });
        assert!(found.contains(&3) && found.len() == 2, "{found:?}");
    }
}
