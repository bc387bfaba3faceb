//! Types that are kept as the text of their values: which text that is, in what order they are,
//! and what casts to what.

use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType as O;

use super::network::{self, Inet};
use super::range::{Ranges, number_key};
use super::{TextSettings, bits, datetime, invalid, to_string};
use crate::error::{Error, Result};

/// The one text that is kept of a value.
///
/// # Errors
/// 22P02, 22007, … for text that is no value of the type.
pub fn canonical(ty: O, text: &str, settings: &TextSettings) -> Result<String> {
    Ok(match ty {
        O::Inet => Inet::parse(text)?.to_string(),
        O::Cidr => Inet::parse_cidr(text)?.cidr(),
        O::Macaddr => network::mac(&network::parse_mac(text, "macaddr", false)?),
        O::Macaddr8 => network::mac(&network::parse_mac(text, "macaddr8", true)?),
        O::Timetz => {
            let (micros, west) = datetime::parse_timetz(text, settings.time_zone, settings.now)?;
            timetz(micros, west)
        }
        O::PgLsn => {
            let place = lsn(text)?;
            format!("{:X}/{:X}", place >> 32, place as u32)
        }
        O::Tid => {
            let (block, row) = tid(text)?;
            format!("({block},{row})")
        }
        ty if ty.bound().is_some() => Ranges::read(ty, text, settings)?.text(ty),
        _ => text.to_owned(),
    })
}

/// Bytes in the order of the values, where that of their texts is another.
pub(crate) fn key(ty: O, text: &str) -> Result<Option<Vec<u8>>> {
    Ok(Some(match ty {
        O::Inet | O::Cidr => Inet::parse(text)?.key(),
        O::Timetz => {
            let (micros, west) = datetime::parse_timetz(text, chrono_tz::Tz::UTC, None)?;
            let utc = number_key(micros + i64::from(west) * 1_000_000);
            [utc, number_key(west.into())].concat()
        }
        O::PgLsn => lsn(text)?.to_be_bytes().to_vec(),
        O::Tid => {
            let (block, row) = tid(text)?;
            [&block.to_be_bytes()[..], &row.to_be_bytes()].concat()
        }
        ty if ty.bound().is_some() => Ranges::parse(ty, text, chrono_tz::Tz::UTC)?.key(ty),
        _ => return Ok(None),
    }))
}

/// Whether values are in another order than their texts.
pub(crate) fn has_key(ty: &SqlType) -> bool {
    match ty {
        SqlType::Other(O::Inet | O::Cidr | O::Timetz | O::PgLsn | O::Tid) => true,
        SqlType::Other(other) => other.bound().is_some(),
        _ => false,
    }
}

/// Whether a value of one of these types is one of the other by its text alone.
pub(crate) fn exists(from: &SqlType, to: &SqlType) -> bool {
    use SqlType as T;
    match (from, to) {
        (T::Bit(_) | T::Varbit(_), T::Bit(_) | T::Varbit(_)) => true,
        (T::Other(a), T::Other(b)) => {
            a == b && !a.is_character()
                || matches!((a, b), (O::Inet, O::Cidr) | (O::Cidr, O::Inet))
                || matches!((a, b), (O::Macaddr, O::Macaddr8) | (O::Macaddr8, O::Macaddr))
                || a.multirange() == Some(*b)
        }
        _ => false,
    }
}

/// The value of another type that [`exists`] allows, as an explicit cast makes it.
pub(crate) fn convert(text: &str, from: &SqlType, to: &SqlType) -> Result<String> {
    use SqlType as T;
    Ok(match (from, to) {
        (_, T::Bit(Some(n))) => bits::resized(text, *n),
        (_, T::Varbit(Some(n))) => bits::resized(text, (*n).min(text.len() as u32)),
        (T::Other(O::Inet), T::Other(O::Cidr)) => {
            let inet = Inet::parse(text)?;
            inet.with(inet.network(inet.bits), inet.bits).cidr()
        }
        (T::Other(O::Cidr), T::Other(O::Inet)) => Inet::parse(text)?.to_string(),
        (T::Other(O::Macaddr), T::Other(O::Macaddr8)) => {
            network::mac(&network::parse_mac(text, "macaddr8", true)?)
        }
        (T::Other(O::Macaddr8), T::Other(O::Macaddr)) => {
            match network::parse_mac(text, "macaddr8", true)?.as_slice() {
                [a, b, c, 0xff, 0xfe, d, e, f] => network::mac(&[*a, *b, *c, *d, *e, *f]),
                _ => {
                    let message = "macaddr8 data out of range to convert to macaddr";
                    return Err(Error::postgres("22003", message).with_hint(
                        "Only addresses that have FF and FE as values in the 4th and 5th bytes \
                         from the left, for example xx:xx:xx:ff:fe:xx:xx:xx, are eligible to be \
                         converted from macaddr8 to macaddr.",
                    ));
                }
            }
        }
        (T::Other(from), T::Other(to)) if from.multirange() == Some(*to) => {
            let ranges = Ranges::parse(*from, text, chrono_tz::Tz::UTC)?;
            Ranges::normal(&ranges.bound, ranges.list).text(*to)
        }
        _ => text.to_owned(),
    })
}

/// Whether the text that a cast gives is another than that which is kept.
pub(crate) fn casts_to_other_text(ty: &SqlType) -> bool {
    matches!(ty, SqlType::Other(O::Inet | O::Tstzrange | O::Tstzmultirange))
}

/// The text that a cast to text gives.
pub(crate) fn cast_to_text(ty: &SqlType, text: &str, zone: chrono_tz::Tz) -> Result<String> {
    match ty {
        SqlType::Other(O::Inet) => Ok(Inet::parse(text)?.cidr()),
        SqlType::Other(ty @ (O::Tstzrange | O::Tstzmultirange)) => {
            super::range::shown(*ty, text, zone)
        }
        _ => Ok(text.to_owned()),
    }
}

/// The text that is kept of a time with its zone.
pub fn timetz(micros: i64, west: i32) -> String {
    to_string(|out| datetime::write_timetz(out, micros, west))
}

/// Reads a place in a log.
///
/// # Errors
/// 22P02
pub fn lsn(text: &str) -> Result<u64> {
    let half = |digits: &str| {
        let hex = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if hex { u64::from_str_radix(digits, 16).ok() } else { None }
    };
    text.split_once('/')
        .and_then(|(high, low)| Some(half(high)? << 32 | half(low)?))
        .ok_or_else(|| invalid("22P02", "pg_lsn", text))
}

/// Reads a row's place.
///
/// # Errors
/// 22P02
pub fn tid(text: &str) -> Result<(u32, u16)> {
    let inner = text.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    inner
        .and_then(|inner| inner.split_once(','))
        .and_then(|(block, row)| Some((block.trim().parse().ok()?, row.trim().parse().ok()?)))
        .ok_or_else(|| invalid("22P02", "tid", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_a_zone_are_ordered_by_their_instant() {
        let ascending = ["12:00:00+14", "10:00:00+02", "09:00:00+00", "08:30:00-01", "23:00:00-12"];
        let keys: Vec<_> = ascending.iter().map(|t| key(O::Timetz, t).unwrap().unwrap()).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn places_in_a_log_are_numbers() {
        let settings = TextSettings::default();
        assert_eq!(canonical(O::PgLsn, "00a/1f", &settings).unwrap(), "A/1F");
        assert_eq!(canonical(O::PgLsn, "x", &settings).unwrap_err().sqlstate(), "22P02");
    }
}
