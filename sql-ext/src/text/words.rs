//! The words of dates and times that need a clock: `now`, `today`, `tomorrow`, `yesterday`.

use std::borrow::Cow;

use super::datetime::{DAY, write_date, write_timestamptz};
use super::zone::ZoneOffset;
use super::{TextSettings, to_string};

/// The text with such words replaced by the date (and for `now` the time) that they stand for
/// at the transaction's timestamp.
pub(super) fn expand<'a>(text: &'a str, settings: &TextSettings) -> Cow<'a, str> {
    let Some(now) = settings.now else { return Cow::Borrowed(text) };
    let known = |word: &str| {
        ["now", "today", "tomorrow", "yesterday"].iter().any(|w| word.eq_ignore_ascii_case(w))
    };
    if !text.split_ascii_whitespace().any(known) {
        return Cow::Borrowed(text);
    }
    let mut zone = ZoneOffset::new(settings.time_zone);
    let local = now + i64::from(zone.at(now)) * 1_000_000;
    let today = local.div_euclid(DAY);
    let date = |day: i64| to_string(|out| write_date(out, day as i32));
    let words: Vec<String> = text
        .split_ascii_whitespace()
        .map(|word| match word.to_ascii_lowercase().as_str() {
            "now" => to_string(|out| write_timestamptz(out, now, &mut zone)),
            "today" => date(today),
            "tomorrow" => date(today + 1),
            "yesterday" => date(today - 1),
            _ => word.to_owned(),
        })
        .collect();
    Cow::Owned(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_by_the_clock_of_the_session() {
        let settings = TextSettings {
            time_zone: chrono_tz::Tz::Asia__Tokyo,
            now: Some(1_782_918_000_500_000), // 2026-07-01 15:00:00.5 UTC
            ..TextSettings::default()
        };
        for (text, expanded) in [
            ("now", "2026-07-02 00:00:00.5+09"),
            (" Today ", "2026-07-02"),
            ("tomorrow 12:30", "2026-07-03 12:30"),
            ("yesterday", "2026-07-01"),
            ("nowhere", "nowhere"),
        ] {
            assert_eq!(expand(text, &settings), expanded, "{text}");
        }
        assert_eq!(expand("now", &TextSettings::default()), "now");
    }
}
