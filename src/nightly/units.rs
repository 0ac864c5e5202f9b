//! Durations, sizes and times as a person writes and reads them.

use serde::{Deserialize, Deserializer, de::Error};

/// Seconds, written `90`, `"90s"`, `"15m"`, `"2h"` or `"1d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u64);

/// Bytes, written `1000`, `"64K"`, `"64M"`, `"2G"` or `"1T"`; the units are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const UNITS: &[(&str, u64)] = &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
        read(Written::deserialize(from)?, UNITS).map(Seconds).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const UNITS: &[(&str, u64)] =
            &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)];
        read(Written::deserialize(from)?, UNITS).map(Bytes).map_err(D::Error::custom)
    }
}

fn read(written: Written, units: &[(&str, u64)]) -> Result<u64, String> {
    let text = match written {
        Written::Number(n) => return Ok(n),
        Written::Text(text) => text,
    };
    let unit = units.iter().find_map(|(unit, n)| Some((text.strip_suffix(unit)?, *n)));
    let (digits, factor) = unit.unwrap_or((&text, 1));
    let number = digits.parse::<u64>().ok().filter(|_| !digits.starts_with('+'));
    number.and_then(|n| n.checked_mul(factor)).ok_or_else(|| {
        let names: Vec<&str> = units.iter().map(|u| u.0).collect();
        format!("{text:?} is no whole number with one of the units {}", names.join(", "))
    })
}

/// A point in time as `2023-11-14T22:13:20Z`.
///
/// ```
/// assert_eq!(reprofix::nightly::units::utc(1_700_000_000), "2023-11-14T22:13:20Z");
/// ```
pub fn utc(seconds: i64) -> String {
    let (day, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", date(day))
}

/// The date of a day, counted from 1970-01-01, as `2023-11-14`: the proleptic Gregorian calendar,
/// by the method of Howard Hinnant's "chrono-compatible low-level date algorithms".
pub fn date(day: i64) -> String {
    // Years begin in March here, so that the leap day is the last of its year.
    let shifted = day + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A duration as a person reads it: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..=9 => format!("{:.1} s", seconds.max(0.0)),
        10..=119 => format!("{whole} s"),
        120..=7199 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Both {
        time: Seconds,
        size: Bytes,
    }

    #[test]
    fn units_multiply_and_nonsense_is_refused() {
        let both: Both = toml::from_str("time = '2h'\nsize = '64M'").unwrap();
        assert_eq!((both.time, both.size), (Seconds(7200), Bytes(64 << 20)));
        let both: Both = toml::from_str("time = 90\nsize = 1000").unwrap();
        assert_eq!((both.time, both.size), (Seconds(90), Bytes(1000)));
        for bad in [
            "''",
            "'h'",
            "'-1h'",
            "'+1h'",
            "'1.5h'",
            "'1w'",
            "-1",
            "'99999999999999999999'",
            "'99999999999999999d'",
        ] {
            assert!(toml::from_str::<Both>(&format!("time = {bad}\nsize = 1")).is_err(), "{bad}");
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
        }
    }
}
