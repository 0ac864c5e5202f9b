//! The budget of one comparison: memory for contents, and time.
//!
//! The report names what was left out. Which pairs are too large for the memory depends only on
//! their sizes, never on the number of threads; what the time does not suffice for depends on the
//! machine.

use std::str::FromStr;
use std::time::{Duration, Instant};

use super::{Change, Difference};

/// Copies of a pair's contents in memory while it is explained: the contents, their normal forms,
/// and what is compared of these.
const COPIES: u64 = 3;
/// Bytes to which a pair may be unpacked, and the same again for each byte of its own.
const UNPACKED: u64 = 16 << 20;
const RATIO: u64 = 64;
/// The most bytes to which a pair may be unpacked, whatever its size and the budget.
const UNPACKED_MAX: u64 = 512 << 20;

/// The budget of one comparison, which starts when this value is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Time, from `since` on.
    pub time: Duration,
    /// Bytes for the contents of all pairs that are explained at the same time.
    pub memory: u64,
    since: Instant,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { time: Duration::from_secs(3600), memory: 4 << 30, since: Instant::now() }
    }
}

/// `600s,2GiB`: a time (`s`, `m`, `h`), a size (`MiB`, `GiB`), or both.
impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut budget = Budget::default();
        for part in text.split(',') {
            let digits = part.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = &part.trim()[digits.len()..];
            let number: u32 = digits.parse().map_err(|_| wrong(part))?;
            let number = u64::from(number);
            match unit {
                "s" => budget.time = Duration::from_secs(number),
                "m" => budget.time = Duration::from_secs(60 * number),
                "h" => budget.time = Duration::from_secs(3600 * number),
                "MiB" => budget.memory = number << 20,
                "GiB" => budget.memory = number << 30,
                _ => return Err(wrong(part)),
            }
        }
        Ok(budget)
    }
}

fn wrong(part: &str) -> String {
    format!("{part:?} is neither a time (600s, 10m, 1h) nor a size (512MiB, 2GiB)")
}

/// How a pair fits into the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// As many as there are threads fit at once.
    Together,
    /// Only one at a time.
    Alone,
    /// Not at all: it would take this many bytes.
    Not(u64),
}

impl Budget {
    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        self.since.elapsed() >= self.time
    }

    /// Whether a difference does not fit at all.
    pub fn excludes(&self, difference: &Difference) -> bool {
        matches!(self.fit(difference, 1), Fit::Not(_))
    }

    /// How a difference fits while `threads` explain others at the same time.
    pub fn fit(&self, difference: &Difference, threads: usize) -> Fit {
        let content = [Change::Content, Change::OnlyA, Change::OnlyB];
        if !difference.changes.iter().any(|change| content.contains(change)) {
            return Fit::Together;
        }
        let takes = COPIES.saturating_mul(size(difference)).saturating_add(unpacked(difference));
        match takes {
            takes if takes > self.memory => Fit::Not(takes),
            takes if takes.saturating_mul(threads as u64) <= self.memory => Fit::Together,
            _ => Fit::Alone,
        }
    }
}

/// Bytes of both contents.
fn size(difference: &Difference) -> u64 {
    let sides = difference.a.iter().chain(&difference.b);
    sides.fold(0, |sum, side| sum.saturating_add(side.size))
}

/// Bytes to which a pair may be unpacked.
pub(super) fn unpacked(difference: &Difference) -> u64 {
    RATIO.saturating_mul(size(difference)).saturating_add(UNPACKED).min(UNPACKED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_time_and_a_size() {
        let budget: Budget = "600s,2GiB".parse().expect("both");
        assert_eq!((budget.time, budget.memory), (Duration::from_secs(600), 2 << 30));
        let budget: Budget = "10m".parse().expect("a time");
        assert_eq!((budget.time, budget.memory), (Duration::from_secs(600), 4 << 30));
        let budget: Budget = "512MiB".parse().expect("a size");
        assert_eq!((budget.time, budget.memory), (Duration::from_secs(3600), 512 << 20));
        for bad in ["", "600", "2GB", "1.5h", "-1s", "s", "99999999999s", "1s;1GiB"] {
            assert!(bad.parse::<Budget>().is_err(), "{bad}");
        }
    }
}
