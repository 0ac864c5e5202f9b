//! Points in time, and the calendar: the proleptic Gregorian one, in UTC.

/// Seconds in a day.
pub const DAY: i64 = 86_400;

/// A point in time, as `stat` gives it: seconds since the epoch and nanoseconds.
///
/// Packed, since a tree has millions: an optional one takes 16 bytes instead of 24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(4))]
pub struct Time {
    /// Seconds since 1970-01-01 UTC.
    pub sec: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nsec: u32,
}

impl std::fmt::Display for Time {
    /// In UTC, with a fraction if it is not zero: `2023-11-14T22:13:20.5Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = utc(self.sec);
        match self.nsec {
            0 => f.write_str(&whole),
            nsec => {
                let fraction = format!("{nsec:09}");
                write!(f, "{}.{}Z", whole.trim_end_matches('Z'), fraction.trim_end_matches('0'))
            }
        }
    }
}

/// A day of the calendar: year, month, day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub i64, pub u8, pub u8);

impl Date {
    /// The date of a day, counted from 1970-01-01.
    ///
    /// Uses the method of Howard Hinnant's "chrono-compatible low-level date algorithms".
    pub fn of_day(day: i64) -> Self {
        // Years begin in March here, so that the leap day is the last of its year.
        let shifted = day + 719_468;
        let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
        let year = year + era * 400 + i64::from(month <= 2);
        // Both are within 1 to 31.
        Date(year, month as u8, day as u8)
    }

    /// The date, in UTC, of a second since 1970-01-01.
    pub fn of_second(second: i64) -> Self {
        Self::of_day(second.div_euclid(DAY))
    }

    /// Days from 1970-01-01 to this date.
    pub fn day(self) -> i64 {
        let (month, day) = (i64::from(self.1), i64::from(self.2));
        let year = if month <= 2 { self.0 - 1 } else { self.0 };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }
}

impl std::fmt::Display for Date {
    /// `YYYY-MM-DD`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0, self.1, self.2)
    }
}

/// A second since 1970-01-01 as `2023-11-14T22:13:20Z`.
///
/// ```
/// assert_eq!(reprofix::format::time::utc(1_700_000_000), "2023-11-14T22:13:20Z");
/// ```
pub fn utc(second: i64) -> String {
    let rest = second.rem_euclid(DAY);
    let (hour, minute, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{}T{hour:02}:{minute:02}:{seconds:02}Z", Date::of_second(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (day, date) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (-719_162, "0001-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(Date::of_day(day).to_string(), date);
        }
    }

    #[test]
    fn there_and_back_for_every_day() {
        for day in -800_000..800_000 {
            assert_eq!(Date::of_day(day).day(), day);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), text);
            assert_eq!(Time { sec: seconds, nsec: 0 }.to_string(), text);
            let half = Time { sec: seconds, nsec: 500_000_000 }.to_string();
            assert_eq!(half, text.replace('Z', ".5Z"));
        }
    }
}
