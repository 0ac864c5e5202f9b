//! MS-DOS dates and times, as in zip files: in steps of two seconds, from 1980 to 2107, without a
//! time zone. Here they count as UTC.

use super::time::{DAY, Date};

/// A date and a time in the order of a zip header: time first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DosTime {
    /// Days, months and years since 1980.
    pub date: u16,
    /// Double seconds, minutes and hours.
    pub time: u16,
}

/// 1980-01-01 in days since 1970-01-01.
const FIRST_DAY: i64 = 3_652;
/// 2107-12-31.
const LAST_DAY: i64 = 50_402;

impl DosTime {
    /// The latest time that is not after `seconds` since 1970, clamped to the representable range.
    pub(crate) fn from_unix(seconds: i64) -> Self {
        let day = seconds.div_euclid(DAY);
        let (day, second) = match day {
            ..FIRST_DAY => (FIRST_DAY, 0),
            FIRST_DAY..=LAST_DAY => (day, seconds.rem_euclid(DAY)),
            _ => (LAST_DAY, DAY - 2),
        };
        let Date(year, month, day) = Date::of_day(day);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        // Every part is within its bits: year 0 to 127, hour below 24, double seconds below 30.
        DosTime {
            date: ((year - 1980) << 9 | i64::from(month) << 5 | i64::from(day)) as u16,
            time: (hour << 11 | minute << 5 | (second / 2)) as u16,
        }
    }

    /// Seconds since 1970. Invalid months and days count as the nearest valid ones.
    pub(crate) fn to_unix(self) -> i64 {
        let (date, time) = (i64::from(self.date), i64::from(self.time));
        let (year, month, day) = (1980 + (date >> 9), (date >> 5 & 15).clamp(1, 12), date & 31);
        let day = Date(year, month as u8, 1).day() + day.max(1) - 1;
        day * DAY + (time >> 11) * 3600 + (time >> 5 & 63) * 60 + (time & 31) * 2
    }
}

impl std::fmt::Display for DosTime {
    /// `YYYY-MM-DD HH:MM:SS`, as stored: it has no time zone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (date, time) = (self.date, self.time);
        let (year, month, day) = (1980 + (date >> 9), date >> 5 & 15, date & 31);
        let (hour, minute, second) = (time >> 11, time >> 5 & 63, (time & 31) * 2);
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (unix, date, time) in [
            (315_532_800, 0x0021, 0),
            (1_600_000_000, (40 << 9) | (9 << 5) | 13, (12 << 11) | (26 << 5) | 20),
            (1_582_934_400, (40 << 9) | (2 << 5) | 29, 0),
        ] {
            assert_eq!(DosTime::from_unix(unix), DosTime { date, time });
            assert_eq!(DosTime { date, time }.to_unix(), unix);
            let text = crate::format::time::utc(unix).replace('T', " ");
            assert_eq!(format!("{}Z", DosTime { date, time }), text);
        }
        assert_eq!(DosTime::from_unix(-1), DosTime { date: 0x21, time: 0 });
        assert_eq!(DosTime::from_unix(i64::MAX).to_unix(), LAST_DAY * DAY + DAY - 2);
    }

    #[test]
    fn there_and_back_for_every_day() {
        for day in FIRST_DAY..=LAST_DAY {
            assert_eq!(DosTime::from_unix(day * DAY + 7).to_unix(), day * DAY + 6);
        }
    }
}
