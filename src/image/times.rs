//! Times in image documents: RFC 3339.

use crate::format::time::{DAY, Date, utc};

/// Labels and annotations that contain the time of a build.
pub const KEYS: &[&str] =
    &["org.opencontainers.image.created", "org.label-schema.build-date", "build-date"];

/// `text`, or `epoch` (seconds since 1970-01-01 UTC) if that is earlier. `None` if `text` is not an
/// RFC 3339 time.
pub fn clamp(text: &str, epoch: u32) -> Option<String> {
    let (seconds, fraction) = parse(text)?;
    let limit = i64::from(epoch);
    let later = seconds > limit || (seconds == limit && fraction);
    Some(if later { utc(epoch.into()) } else { text.to_owned() })
}

/// Whole seconds since 1970-01-01 UTC, and whether there is a fraction.
fn parse(text: &str) -> Option<(i64, bool)> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let number = |text: &str, digits: usize| -> Option<i64> {
        let right = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
        if right { text.parse().ok() } else { None }
    };
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4)?;
    let month = number(parts.next()?, 2).filter(|m| (1..=12).contains(m))?;
    let day = number(parts.next()?, 2).filter(|d| (1..=31).contains(d))?;
    if parts.next().is_some() {
        return None;
    }
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut parts = clock.split(':');
    let hour = number(parts.next()?, 2).filter(|h| *h < 24)?;
    let minute = number(parts.next()?, 2).filter(|m| *m < 60)?;
    let second = number(parts.next()?, 2).filter(|s| *s <= 60)?;
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (sign, zone) = (if zone.starts_with('-') { -1 } else { 1 }, &zone[1..]);
            let (hours, minutes) = zone.split_once(':')?;
            sign * (number(hours, 2)? * 3600 + number(minutes, 2)? * 60)
        }
    };
    // Both are within their digits' range.
    let date = Date(year, month as u8, day as u8);
    let seconds = date.day() * DAY + hour * 3600 + minute * 60 + second - offset;
    Some((seconds, fraction.bytes().any(|b| b != b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (u32::MAX, "2106-02-07T06:28:15Z"),
        ] {
            assert_eq!(utc(seconds.into()), text);
            assert_eq!(parse(text), Some((i64::from(seconds), false)));
        }
        assert_eq!(parse("2023-11-14T23:13:20.5+01:00"), Some((1_700_000_000, true)));
        assert_eq!(parse("0001-01-01T00:00:00Z"), Some((-62_135_596_800, false)));
        for bad in ["", "now", "2023-11-14", "2023-13-14T00:00:00Z", "2023-11-14T24:00:00Z"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_later_times_are_clamped() {
        let clamped = |text| clamp(text, 1_700_000_000);
        let epoch = Some("2023-11-14T22:13:20Z".to_owned());
        assert_eq!(clamped("2026-11-22T07:42:09.252681762Z"), epoch);
        assert_eq!(clamped("2023-11-14T22:13:20.1Z"), epoch);
        assert_eq!(clamped("1970-01-01T00:00:00Z").as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(clamped("yesterday"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in any::<u32>()) {
            prop_assert_eq!(parse(&utc(seconds.into())), Some((i64::from(seconds), false)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9TZtz:.+ -]{0,30}|.{0,20}") {
            let _ = clamp(&text, 0);
        }
    }
}
