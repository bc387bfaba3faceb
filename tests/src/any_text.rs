//! Binary results as PostgreSQL would have written them in text, in time zone UTC.

use std::error::Error;
use std::fmt::Write;

use tokio_postgres::types::{FromSql, Kind, Type};

/// Any value, as text.
#[derive(Clone, Debug)]
pub struct AnyText(pub String);

type Fallible<T> = Result<T, Box<dyn Error + Sync + Send>>;

impl<'a> FromSql<'a> for AnyText {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Fallible<Self> {
        let text = match *ty {
            Type::BOOL => if bool::from_sql(ty, raw)? { "t" } else { "f" }.to_owned(),
            Type::INT2 => i16::from_sql(ty, raw)?.to_string(),
            Type::INT4 => i32::from_sql(ty, raw)?.to_string(),
            Type::INT8 => i64::from_sql(ty, raw)?.to_string(),
            Type::OID => u32::from_sql(ty, raw)?.to_string(),
            Type::CHAR => char::from(raw[0]).to_string(),
            Type::FLOAT4 => {
                let value = f32::from_sql(ty, raw)?;
                float(f64::from(value), &format!("{value:e}"), 6)
            }
            Type::FLOAT8 => {
                let value = f64::from_sql(ty, raw)?;
                float(value, &format!("{value:e}"), 15)
            }
            Type::NUMERIC => numeric(raw)?,
            Type::BYTEA => raw.iter().fold("\\x".to_owned(), |mut text, byte| {
                write!(text, "{byte:02x}").expect("a string can be written to");
                text
            }),
            Type::DATE => date(i64::from(i32::from_sql(&Type::INT4, raw)?)),
            Type::TIME => time(micros(raw)?),
            Type::TIMETZ => {
                let (at, west) = raw.split_at_checked(8).ok_or("timetz is too short")?;
                let west = i32::from_sql(&Type::INT4, west)?;
                time(micros(at)?) + &zone(-west)
            }
            Type::TIMESTAMP => timestamp(micros(raw)?),
            Type::TIMESTAMPTZ => timestamp(micros(raw)?) + "+00",
            Type::INTERVAL => interval(raw)?,
            Type::UUID => uuid(raw)?,
            Type::JSONB => match raw.split_first() {
                Some((1, text)) => std::str::from_utf8(text)?.to_owned(),
                _ => return Err("jsonb of an unknown version".into()),
            },
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::UNKNOWN => {
                std::str::from_utf8(raw)?.to_owned()
            }
            _ => match ty.kind() {
                Kind::Array(item) => array(item, raw)?,
                _ => return Err(format!("no text known for type {ty}").into()),
            },
        };
        Ok(AnyText(text))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// An array of one dimension: dimensions, whether NULLs occur, the items' type, length and first
/// subscript, then each item after its length.
fn array(item: &Type, raw: &[u8]) -> Fallible<String> {
    let word = |at: usize| -> Fallible<i32> {
        let bytes = raw.get(at..at + 4).ok_or("an array that ends too soon")?;
        Ok(i32::from_be_bytes(bytes.try_into()?))
    };
    if word(0)? == 0 {
        return Ok("{}".to_owned());
    }
    let mut words = Vec::new();
    let mut at = 20;
    for _ in 0..word(12)? {
        let length = word(at)?;
        at += 4;
        let Ok(length) = usize::try_from(length) else {
            words.push("NULL".to_owned());
            continue;
        };
        let text = AnyText::from_sql(item, &raw[at..at + length])?.0;
        at += length;
        let special = |c: char| c.is_whitespace() || "{},\"\\".contains(c);
        words.push(if text.is_empty() || text.contains(special) || text == "NULL" {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        } else {
            text
        });
    }
    Ok(format!("{{{}}}", words.join(",")))
}

/// A float as PostgreSQL writes it, from its shortest digits in the form `d.ddde±x`. `digits` is
/// how many a plain number may have before its point.
fn float(value: f64, scientific: &str, digits: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').expect("the e of scientific notation");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    if value != 0.0 && !(-4..digits).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let negative = mantissa.starts_with('-');
    let figures: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let plain = if exponent < 0 {
        let zeros = usize::try_from(-exponent - 1).expect("a small count");
        format!("0.{}{figures}", "0".repeat(zeros))
    } else {
        let whole = usize::try_from(exponent + 1).expect("a small count");
        if figures.len() <= whole {
            format!("{figures:0<whole$}")
        } else {
            format!("{}.{}", &figures[..whole], &figures[whole..])
        }
    };
    if negative { format!("-{plain}") } else { plain }
}

fn micros(raw: &[u8]) -> Fallible<i64> {
    Ok(i64::from_be_bytes(raw.try_into()?))
}

fn short(raw: &[u8], at: usize) -> Fallible<i64> {
    let bytes = raw.get(at..at + 2).ok_or("numeric ends too early")?;
    Ok(i64::from(i16::from_be_bytes(bytes.try_into()?)))
}

fn numeric(raw: &[u8]) -> Fallible<String> {
    let (count, weight, sign) = (short(raw, 0)?, short(raw, 2)?, short(raw, 4)?);
    let scale = usize::try_from(short(raw, 6)?)?;
    match sign {
        0 => {}
        0x4000 => {}
        -0x4000 => return Ok("NaN".to_owned()),
        _ => return Err("numeric of an unknown sign".into()),
    }
    // Groups of four digits; group g stands for 10000^(weight - g).
    let group = |g: i64| -> Fallible<i64> {
        if (0..count).contains(&g) { short(raw, 8 + 2 * usize::try_from(g)?) } else { Ok(0) }
    };
    let mut whole = String::new();
    for g in 0..=weight {
        write!(whole, "{:04}", group(g)?)?;
    }
    let whole = whole.trim_start_matches('0');
    let mut fraction = String::new();
    let mut g = weight + 1;
    while fraction.len() < scale {
        write!(fraction, "{:04}", group(g)?)?;
        g += 1;
    }
    fraction.truncate(scale);
    let mut text = if sign == 0 { String::new() } else { "-".to_owned() };
    text += if whole.is_empty() { "0" } else { whole };
    if scale > 0 {
        text.push('.');
        text += &fraction;
    }
    Ok(text)
}

/// Days since 2000-01-01 as year, month, day of the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Count from 0000-03-01, so that a leap day is the last day of its year.
    let days = days + 730_425;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn date(days: i64) -> String {
    match days {
        d if d == i64::from(i32::MAX) => "infinity".to_owned(),
        d if d == i64::from(i32::MIN) => "-infinity".to_owned(),
        d => {
            let (year, month, day) = civil(d);
            if year > 0 {
                format!("{year:04}-{month:02}-{day:02}")
            } else {
                format!("{:04}-{month:02}-{day:02} BC", 1 - year)
            }
        }
    }
}

/// `+hh[:mm[:ss]]`, of seconds east of UTC.
fn zone(east: i32) -> String {
    let sign = if east < 0 { '-' } else { '+' };
    let east = east.abs();
    let (h, m, s) = (east / 3600, east / 60 % 60, east % 60);
    match (m, s) {
        (0, 0) => format!("{sign}{h:02}"),
        (_, 0) => format!("{sign}{h:02}:{m:02}"),
        _ => format!("{sign}{h:02}:{m:02}:{s:02}"),
    }
}

fn time(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let (h, m, s) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{h:02}:{m:02}:{s:02}{}", fraction(micros % 1_000_000))
}

fn fraction(micros: i64) -> String {
    if micros == 0 {
        return String::new();
    }
    format!(".{micros:06}").trim_end_matches('0').to_owned()
}

fn timestamp(micros: i64) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        _ => {
            let day = 86_400_000_000;
            format!("{} {}", date(micros.div_euclid(day)), time(micros.rem_euclid(day)))
        }
    }
}

fn interval(raw: &[u8]) -> Fallible<String> {
    let micros = micros(raw.get(..8).ok_or("interval ends too early")?)?;
    let part = |at: usize| -> Fallible<i32> {
        let bytes = raw.get(at..at + 4).ok_or("interval ends too early")?;
        Ok(i32::from_be_bytes(bytes.try_into()?))
    };
    let (days, months) = (part(8)?, part(12)?);
    let mut words = Vec::new();
    let mut after_negative = false;
    for (n, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if n != 0 {
            let plural = if n == 1 { "" } else { "s" };
            // A positive part after a negative one carries its sign.
            let sign = if after_negative && n > 0 { "+" } else { "" };
            words.push(format!("{sign}{n} {unit}{plural}"));
            after_negative = n < 0;
        }
    }
    if micros != 0 || words.is_empty() {
        let sign = match (micros < 0, after_negative) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        words.push(format!("{sign}{}", time(micros.abs())));
    }
    Ok(words.join(" "))
}

fn uuid(raw: &[u8]) -> Fallible<String> {
    if raw.len() != 16 {
        return Err("a uuid has 16 bytes".into());
    }
    let mut text = String::new();
    for (i, byte) in raw.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_postgresql_writes_them() {
        let write = |value: f64| float(value, &format!("{value:e}"), 15);
        for (value, text) in [
            (0.0, "0"),
            (20.0, "20"),
            (-1.5, "-1.5"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1234.5678, "1234.5678"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(write(value), text);
        }
        assert_eq!(float(1e6, "1e6", 6), "1e+06");
    }

    #[test]
    fn dates_before_and_after_2000() {
        assert_eq!(date(0), "2000-01-01");
        assert_eq!(date(-1), "1999-12-31");
        assert_eq!(date(59), "2000-02-29");
        assert_eq!(date(-10_957), "1970-01-01");
        assert_eq!(timestamp(-500_000), "1999-12-31 23:59:59.5");
    }

    #[test]
    fn numerics_keep_their_scale() {
        let raw = |groups: &[i16], weight: i16, sign: u16, scale: i16| {
            let mut raw = i16::try_from(groups.len()).unwrap_or_default().to_be_bytes().to_vec();
            raw.extend(weight.to_be_bytes());
            raw.extend(sign.to_be_bytes());
            raw.extend(scale.to_be_bytes());
            raw.extend(groups.iter().flat_map(|g| g.to_be_bytes()));
            numeric(&raw).unwrap_or_default()
        };
        assert_eq!(raw(&[1, 2345, 6000], 1, 0, 2), "12345.60");
        assert_eq!(raw(&[5000], -1, 0x4000, 1), "-0.5");
        assert_eq!(raw(&[], 0, 0, 2), "0.00");
        assert_eq!(raw(&[7], 1, 0, 0), "70000");
    }

    #[test]
    fn intervals_are_written_as_postgresql_writes_them() {
        let raw = |micros: i64, days: i32, months: i32| {
            let mut raw = micros.to_be_bytes().to_vec();
            raw.extend(days.to_be_bytes());
            raw.extend(months.to_be_bytes());
            interval(&raw).unwrap_or_default()
        };
        assert_eq!(raw(0, 0, 0), "00:00:00");
        assert_eq!(raw(3_600_000_000, 1, 14), "1 year 2 mons 1 day 01:00:00");
        assert_eq!(raw(-500_000, 0, 0), "-00:00:00.5");
        assert_eq!(raw(1_000_000, -2, 0), "-2 days +00:00:01");
    }
}
