//! Parallel work with a result that does not depend on timing.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Applies `f` to every item and keeps their order; or returns the error of the first item that has
/// one, whatever the number of threads. Items after a failed one may be skipped.
///
/// rayon's own `collect` into a `Result` returns any one of several errors.
pub(crate) fn try_map<I, U, E, F>(items: I, f: F) -> Result<Vec<U>, E>
where
    I: IndexedParallelIterator,
    U: Send,
    E: Send,
    F: Fn(I::Item) -> Result<U, E> + Sync + Send,
{
    let failed = AtomicUsize::new(usize::MAX);
    let one = |(place, item): (usize, I::Item)| {
        if place > failed.load(Ordering::Relaxed) {
            return None;
        }
        let done = f(item);
        if done.is_err() {
            failed.fetch_min(place, Ordering::Relaxed);
        }
        Some(done)
    };
    let done: Vec<Option<Result<U, E>>> = items.enumerate().map(one).collect();
    // Skipped items come after an error.
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_are_in_order() {
        let more = try_map((0..10_000).into_par_iter(), |n| Ok::<u32, ()>(n + 1));
        assert_eq!(more, Ok((1..=10_000).collect()));
    }

    #[test]
    fn the_first_error_is_told_though_others_come_earlier() {
        let f = |n: u32| match n {
            3 => {
                std::thread::sleep(Duration::from_millis(20));
                Err(3)
            }
            n if n % 8 == 5 => Err(n),
            n => Ok(n),
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().unwrap();
        for _ in 0..8 {
            assert_eq!(pool.install(|| try_map((0..64).into_par_iter(), f)), Err(3));
        }
    }
}
