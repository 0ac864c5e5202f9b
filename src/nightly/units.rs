//! Durations and sizes as a person writes and reads them.

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
        format!("{text:?} is not a whole number with one of the units {}", names.join(", "))
    })
}

/// A duration for people: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(seconds: f64) -> String {
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
}
