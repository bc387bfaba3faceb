//! Offsets of time zones, found fast for values that lie close together.

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;

use crate::error::{Error, Result};

const HOUR: i64 = 3_600_000_000;

/// A zone and the hour last asked for.
#[derive(Clone, Debug)]
pub struct ZoneOffset {
    zone: Tz,
    utc: bool,
    hour: i64,
    /// The offset throughout that hour, if it is the same.
    offset: Option<i32>,
}

impl ZoneOffset {
    /// Offsets of that zone.
    pub fn new(zone: Tz) -> Self {
        let utc = matches!(zone, Tz::UTC | Tz::Etc__UTC | Tz::GMT | Tz::Etc__GMT);
        ZoneOffset { zone, utc, hour: i64::MIN, offset: None }
    }

    /// Seconds east of Greenwich at an instant, in microseconds since the Unix epoch.
    pub fn at(&mut self, micros: i64) -> i32 {
        if self.utc {
            return 0;
        }
        let hour = micros.div_euclid(HOUR);
        if hour != self.hour {
            self.hour = hour;
            let start = hour.saturating_mul(HOUR);
            let first = offset(self.zone, start);
            self.offset =
                (first == offset(self.zone, start.saturating_add(HOUR - 1))).then_some(first);
        }
        self.offset.unwrap_or_else(|| offset(self.zone, micros))
    }
}

fn offset(zone: Tz, micros: i64) -> i32 {
    // The zones' tables end where this century does; PostgreSQL goes on with their last rules.
    let micros = within_tables(micros);
    let at = DateTime::from_timestamp_micros(micros).map_or_else(
        || if micros < 0 { NaiveDateTime::MIN } else { NaiveDateTime::MAX },
        |at| at.naive_utc(),
    );
    zone.offset_from_utc_datetime(&at).fix().local_minus_utc()
}

/// An instant at which the rules of a zone give the same offset: in a year of the tables that
/// begins on the same weekday and is as long.
fn within_tables(micros: i64) -> i64 {
    use super::datetime::{DAY, civil, days};
    const FIRST: i64 = 2060;
    let day = micros.div_euclid(DAY);
    if day < days(FIRST + 28, 1, 1) {
        return micros;
    }
    let year = civil(day).0;
    let shape = |year| {
        let start = days(year, 1, 1);
        (start.rem_euclid(7), days(year + 1, 1, 1) - start)
    };
    let same = (FIRST..FIRST + 28).find(|y| shape(*y) == shape(year)).unwrap_or(FIRST);
    micros - (days(year, 1, 1) - days(same, 1, 1)) * DAY
}

/// The instant at which a clock in the zone shows `local`, both in microseconds since 1970. Of
/// two instants the later is taken, and in a gap the offset from before it holds, as in
/// PostgreSQL.
pub fn to_utc(zone: Tz, local: i64) -> i64 {
    // Offsets are below a day, so one of the two around it applies.
    const DAY: i64 = 24 * HOUR;
    let before = i64::from(offset(zone, local.saturating_sub(DAY))) * 1_000_000;
    let after = i64::from(offset(zone, local.saturating_add(DAY))) * 1_000_000;
    let (first, second) = (local.saturating_sub(before), local.saturating_sub(after));
    if i64::from(offset(zone, second)) * 1_000_000 == after { second } else { first }
}

/// The zone of that name: of the tz database in any case, or one of the usual abbreviations.
///
/// # Errors
/// 22023
pub fn named(name: &str) -> Result<Tz> {
    if let Ok(zone) = name.parse::<Tz>() {
        return Ok(zone);
    }
    chrono_tz::TZ_VARIANTS
        .iter()
        .find(|zone| zone.name().eq_ignore_ascii_case(name))
        .copied()
        .ok_or_else(|| Error::postgres("22023", format!("time zone \"{name}\" not recognized")))
}

/// The offset in seconds of an abbreviation that PostgreSQL knows by default.
pub fn abbreviation(name: &str) -> Option<i32> {
    const HOURS: [(&str, i32); 22] = [
        ("utc", 0),
        ("gmt", 0),
        ("z", 0),
        ("zulu", 0),
        ("ut", 0),
        ("wet", 0),
        ("bst", 1),
        ("cet", 1),
        ("met", 1),
        ("cest", 2),
        ("eet", 2),
        ("msk", 3),
        ("eest", 3),
        ("jst", 9),
        ("est", -5),
        ("edt", -4),
        ("cst", -6),
        ("cdt", -5),
        ("mst", -7),
        ("mdt", -6),
        ("pst", -8),
        ("pdt", -7),
    ];
    HOURS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, hours)| hours * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Microseconds since 1970 of a UTC clock.
    fn at(text: &str) -> i64 {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
            .unwrap()
            .and_utc()
            .timestamp_micros()
    }

    #[test]
    fn an_offset_changes_within_the_hour_of_a_transition() {
        let mut zone = ZoneOffset::new(Tz::America__St_Johns);
        // In 2010 Newfoundland changed at 00:01 local time.
        assert_eq!(zone.at(at("2010-03-14 03:30:59")), -12_600);
        assert_eq!(zone.at(at("2010-03-14 03:31:00")), -9_000);
    }

    #[test]
    fn a_gap_takes_the_offset_before_it_and_a_fold_the_later_instant() {
        let berlin = Tz::Europe__Berlin;
        assert_eq!(to_utc(berlin, at("2024-01-15 12:00:00")), at("2024-01-15 11:00:00"));
        assert_eq!(to_utc(berlin, at("2024-07-15 12:00:00")), at("2024-07-15 10:00:00"));
        assert_eq!(to_utc(berlin, at("2024-03-31 02:30:00")), at("2024-03-31 01:30:00"));
        assert_eq!(to_utc(berlin, at("2024-10-27 02:30:00")), at("2024-10-27 01:30:00"));
        assert_eq!(to_utc(berlin, at("2024-03-31 03:00:00")), at("2024-03-31 01:00:00"));
    }
}
