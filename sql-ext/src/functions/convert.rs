//! Casts between any two types, as PostgreSQL's explicit casts do them.

use chrono_tz::Tz;
use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;
use datafusion::common::Result;

use super::function::type_name;
use super::json::{self, Json};
use super::value::{Decimal, Value};
use crate::error::Error;
use crate::text::datetime::DAY;
use crate::text::interval::Interval;
use crate::text::zone::ZoneOffset;
use crate::text::{TextSettings, array, bits, bytea, datetime, interval, kept, number};
use crate::text::{parse_bool, parse_uuid, range, zone};
use crate::text::{to_string, write_uuid};

/// A value of another type. NULL stays NULL.
///
/// # Errors
/// What PostgreSQL answers: 22P02 and 22007 for text that is no value of the type, 22003 and
/// 22008 for values out of its range, 42846 where there is no cast.
pub(crate) fn convert(value: Value, from: &SqlType, to: &SqlType, zone: Tz) -> Result<Value> {
    if value.is_null() {
        return Ok(value);
    }
    if is_text(to) {
        let text = match (&value, from) {
            (Value::Text(_), SqlType::Char(_)) => value.text().trim_end_matches(' ').to_owned(),
            (Value::Text(text), from) if kept::casts_to_other_text(from) => {
                kept::cast_to_text(from, text, zone)?
            }
            _ => text_of(&value, from, zone)?,
        };
        return Ok(Value::Text(cut(text, to)));
    }
    if is_text(from) {
        return parse(value.text(), to, zone);
    }
    Ok(match (value, to) {
        (Value::Text(text), SqlType::Jsonb) if *from == SqlType::Json => {
            Value::Text(crate::text::json::canonical(&text)?)
        }
        (value @ Value::Text(_), SqlType::Json | SqlType::Jsonb | SqlType::Uuid)
            if from == to || (*from == SqlType::Jsonb && *to == SqlType::Json) =>
        {
            value
        }
        (Value::Text(text), _) if *from == SqlType::Jsonb => from_jsonb(&text, to)?,
        (Value::Text(text), _) if kept::exists(from, to) => {
            Value::Text(kept::convert(&text, from, to)?)
        }
        (Value::Text(text), SqlType::Int4 | SqlType::Int8) if matches!(from, SqlType::Bit(_)) => {
            Value::Int(bits::to_int(&text, *to == SqlType::Int8)?)
        }
        (Value::Int(i), SqlType::Bit(length)) if matches!(from, SqlType::Int4 | SqlType::Int8) => {
            Value::Text(bits::of_int(i, *from == SqlType::Int8, *length))
        }
        (value @ Value::Bool(_), SqlType::Bool) => value,
        (Value::Bool(b), SqlType::Int4) => Value::Int(b.into()),
        // Integer literals are of type bigint here, so that is taken too.
        (Value::Int(i), SqlType::Bool) if matches!(from, SqlType::Int4 | SqlType::Int8) => {
            Value::Bool(i != 0)
        }
        (Value::Int(i), SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Oid) => {
            Value::Int(in_range(i, to)?)
        }
        (Value::Int(i), SqlType::Float4 | SqlType::Float8) => Value::Float(i as f64),
        (Value::Int(i), SqlType::Numeric(_)) => numeric(Decimal { units: i.into(), scale: 0 }, to)?,
        (Value::Float(x), SqlType::Int2 | SqlType::Int4 | SqlType::Int8) => {
            let rounded = x.round_ties_even();
            // 2^63 as a float is the first one that is too large.
            if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded) {
                return Err(int_range(to));
            }
            Value::Int(in_range(rounded as i64, to)?)
        }
        (Value::Float(x), SqlType::Float4) => {
            let narrow = x as f32;
            if narrow.is_infinite() && x.is_finite() {
                return Err(Error::postgres("22003", "value out of range: overflow").into());
            }
            if narrow == 0.0 && x != 0.0 {
                return Err(Error::postgres("22003", "value out of range: underflow").into());
            }
            Value::Float(narrow.into())
        }
        (value @ Value::Float(_), SqlType::Float8) => value,
        (Value::Float(x), SqlType::Numeric(_)) => {
            if !x.is_finite() {
                return Err(Error::unsupported(format!("numeric \"{x}\"")).into());
            }
            // PostgreSQL keeps 15 significant digits of a double, 6 of a real.
            let digits = if *from == SqlType::Float4 { 5 } else { 14 };
            let text = format!("{x:.digits$e}");
            numeric(decimal(&text)?.trimmed(), to)?
        }
        (Value::Numeric(n), SqlType::Int2 | SqlType::Int4 | SqlType::Int8) => {
            let whole = n.at_scale(0).and_then(|i| i64::try_from(i).ok());
            Value::Int(in_range(whole.ok_or_else(|| int_range(to))?, to)?)
        }
        (Value::Numeric(n), SqlType::Float4 | SqlType::Float8) => Value::Float(n.to_f64()),
        (Value::Numeric(n), SqlType::Numeric(_)) => numeric(n, to)?,
        (value @ Value::Bytes(_), SqlType::Bytea) => value,
        (value @ Value::Date(_), SqlType::Date) => value,
        (Value::Date(d), SqlType::Timestamp) => Value::Timestamp(midnight(d)?),
        (Value::Date(d), SqlType::Timestamptz) => Value::Timestamptz(match midnight(d)? {
            t @ (i64::MIN | i64::MAX) => t,
            t => zone::to_utc(zone, t),
        }),
        (value @ Value::Time(_), SqlType::Time) => value,
        (Value::Text(text), SqlType::Time) if *from == SqlType::Other(OtherType::Timetz) => {
            Value::Time(datetime::parse_timetz(&text, Tz::UTC, None)?.0)
        }
        (Value::Time(t), SqlType::Other(OtherType::Timetz)) => {
            // The zone is that of now, which only a literal is told.
            let text = to_string(|out| datetime::write_time(out, t));
            let (t, west) = datetime::parse_timetz(&text, zone, None)?;
            Value::Text(kept::timetz(t, west))
        }
        (Value::Timestamptz(t), SqlType::Other(OtherType::Timetz)) => {
            let west = -ZoneOffset::new(zone).at(t);
            Value::Text(kept::timetz(to_local(zone, t).rem_euclid(DAY), west))
        }
        (Value::Time(t), SqlType::Interval) => {
            Value::Interval(Interval { months: 0, days: 0, micros: t })
        }
        (value @ Value::Timestamp(_), SqlType::Timestamp) => value,
        (value @ Value::Timestamptz(_), SqlType::Timestamptz) => value,
        (Value::Timestamp(t), SqlType::Timestamptz) => Value::Timestamptz(to_utc(zone, t)),
        (Value::Timestamptz(t), SqlType::Timestamp) => Value::Timestamp(to_local(zone, t)),
        (Value::Timestamp(t), SqlType::Date) => Value::Date(day_of(t)),
        (Value::Timestamptz(t), SqlType::Date) => Value::Date(day_of(to_local(zone, t))),
        (Value::Timestamp(t), SqlType::Time) => Value::Time(t.rem_euclid(DAY)),
        (Value::Timestamptz(t), SqlType::Time) => Value::Time(to_local(zone, t).rem_euclid(DAY)),
        (value @ Value::Interval(_), SqlType::Interval) => value,
        (Value::Interval(i), SqlType::Time) => Value::Time(i.micros.rem_euclid(DAY)),
        (Value::List(items), SqlType::Array(to)) => {
            let SqlType::Array(from) = from else { return Err(no_cast(from, to)) };
            let items = items.into_iter().map(|item| convert(item, from, to, zone));
            Value::List(items.collect::<Result<_>>()?)
        }
        (_, to) => return Err(no_cast(from, to)),
    })
}

/// Whether it is a string type, to which and from which everything casts.
pub(crate) fn is_text(ty: &SqlType) -> bool {
    crate::casts::is_character(ty)
}

/// An explicit cast cuts what is too long, and `char(n)` pads.
fn cut(text: String, to: &SqlType) -> String {
    let (limit, pad) = match to {
        SqlType::Varchar(Some(n)) => (*n as usize, false),
        SqlType::Char(n) => (*n as usize, true),
        SqlType::Name => {
            let mut text = text;
            let end = (0..=63.min(text.len())).rev().find(|i| text.is_char_boundary(*i));
            text.truncate(end.unwrap_or(0));
            return text;
        }
        _ => return text,
    };
    let count = text.chars().count();
    if count > limit {
        return text.chars().take(limit).collect();
    }
    if pad { format!("{text}{}", " ".repeat(limit - count)) } else { text }
}

/// The value of a type that a text stands for.
pub(crate) fn parse(text: &str, to: &SqlType, zone: Tz) -> Result<Value> {
    Ok(match to {
        SqlType::Bool => Value::Bool(parse_bool(text)?),
        SqlType::Int2 => {
            Value::Int(number::parse_int(text, i16::MIN.into(), i16::MAX.into(), "smallint")?)
        }
        SqlType::Int4 => {
            Value::Int(number::parse_int(text, i32::MIN.into(), i32::MAX.into(), "integer")?)
        }
        SqlType::Int8 => Value::Int(number::parse_int(text, i64::MIN, i64::MAX, "bigint")?),
        SqlType::Oid => Value::Int(number::parse_int(text, 0, u32::MAX.into(), "oid")?),
        SqlType::Float4 => Value::Float(number::parse_float4(text)?.into()),
        SqlType::Float8 => Value::Float(number::parse_float8(text)?),
        SqlType::Numeric(None) => {
            let (precision, scale) = (38, chronos_catalog::schema::NUMERIC_DEFAULT_SCALE);
            let units = number::parse_numeric(text, precision, scale, true)?;
            Value::Numeric(Decimal { units, scale: scale as u8 }.trimmed())
        }
        SqlType::Numeric(Some((precision, scale))) => {
            let units = number::parse_numeric(text, *precision, *scale, false)?;
            Value::Numeric(Decimal { units, scale: *scale as u8 })
        }
        SqlType::Other(other) if !other.is_character() => {
            let settings = TextSettings { time_zone: zone, ..TextSettings::default() };
            Value::Text(kept::canonical(*other, text, &settings)?)
        }
        SqlType::Bit(length) => Value::Text(bits::fixed(text, *length)?),
        SqlType::Varbit(length) => Value::Text(bits::varying(text, *length)?),
        SqlType::Text
        | SqlType::Varchar(_)
        | SqlType::Char(_)
        | SqlType::Name
        | SqlType::Other(_) => Value::Text(cut(text.to_owned(), to)),
        SqlType::Bytea => Value::Bytes(bytea::parse(text)?),
        SqlType::Date => Value::Date(datetime::parse_date(text)?),
        SqlType::Time => Value::Time(datetime::parse_time(text)?),
        SqlType::Timestamp => Value::Timestamp(datetime::parse_timestamp(text)?),
        SqlType::Timestamptz => Value::Timestamptz(datetime::parse_timestamptz(text, zone)?),
        SqlType::Interval => Value::Interval(interval::parse(text)?),
        SqlType::Uuid => {
            let uuid = parse_uuid(text)?;
            Value::Text(to_string(|out| write_uuid(out, &uuid)))
        }
        SqlType::Json => {
            crate::text::json::validate(text)?;
            Value::Text(text.to_owned())
        }
        SqlType::Jsonb => Value::Text(crate::text::json::canonical(text)?),
        SqlType::Array(item) => {
            let items = array::parse(text)?.into_iter().map(|word| match word {
                None => Ok(Value::Null),
                Some(word) => parse(&word, item, zone),
            });
            Value::List(items.collect::<Result<_>>()?)
        }
    })
}

/// A value as its type's output function writes it.
pub(crate) fn text_of(value: &Value, ty: &SqlType, zone: Tz) -> Result<String> {
    Ok(match value {
        Value::Null => String::new(),
        // A cast to text writes the word, where the protocol writes a letter.
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(x) if *ty == SqlType::Float4 => {
            to_string(|out| number::write_float4(out, *x as f32, 1))
        }
        Value::Float(x) => to_string(|out| number::write_float8(out, *x, 1)),
        Value::Numeric(n) => n.text(matches!(ty, SqlType::Numeric(None))),
        Value::Text(text) => match ty {
            SqlType::Other(ty @ (OtherType::Tstzrange | OtherType::Tstzmultirange)) => {
                range::shown(*ty, text, zone)?
            }
            _ => text.clone(),
        },
        Value::Bytes(bytes) => to_string(|out| bytea::write(out, bytes, false)),
        Value::Date(d) => to_string(|out| datetime::write_date(out, *d)),
        Value::Time(t) => to_string(|out| datetime::write_time(out, *t)),
        Value::Timestamp(t) => to_string(|out| datetime::write_timestamp(out, *t)),
        Value::Timestamptz(t) => {
            to_string(|out| datetime::write_timestamptz(out, *t, &mut ZoneOffset::new(zone)))
        }
        Value::Interval(i) => to_string(|out| interval::write(out, *i, "postgres")),
        Value::List(items) => {
            let SqlType::Array(item_type) = ty else { return Err(no_cast(ty, &SqlType::Text)) };
            let mut text = Vec::with_capacity(items.len());
            for item in items {
                text.push(match item {
                    Value::Null => "NULL".to_owned(),
                    // Within an array a boolean is written as a letter.
                    Value::Bool(b) => if *b { "t" } else { "f" }.to_owned(),
                    item => {
                        let word = text_of(item, item_type, zone)?;
                        to_string(|out| array::write_item(out, word.as_bytes()))
                    }
                });
            }
            format!("{{{}}}", text.join(","))
        }
    })
}

fn from_jsonb(text: &str, to: &SqlType) -> Result<Value> {
    let kind = |kind: &str| {
        let message = format!("cannot cast jsonb {kind} to type {}", type_name(to));
        Err(Error::postgres("22023", message).into())
    };
    match json::read(text)? {
        Json::Bool(b) if *to == SqlType::Bool => Ok(Value::Bool(b)),
        Json::Number(n) if to.is_number() => {
            let number = decimal(&n.to_string())?;
            let from = SqlType::Numeric(None);
            convert(Value::Numeric(number), &from, to, Tz::UTC)
        }
        _ if !to.is_number() && *to != SqlType::Bool => Err(no_cast(&SqlType::Jsonb, to)),
        Json::Null => kind("null"),
        Json::Bool(_) => kind("boolean"),
        Json::Number(_) => kind("numeric"),
        Json::String(_) => kind("string"),
        Json::Array(_) => kind("array"),
        Json::Object(_) => kind("object"),
    }
}

fn in_range(int: i64, to: &SqlType) -> Result<i64> {
    let fits = match to {
        SqlType::Int2 => i16::try_from(int).is_ok(),
        SqlType::Int4 => i32::try_from(int).is_ok(),
        SqlType::Oid => u32::try_from(int).is_ok(),
        _ => true,
    };
    if fits { Ok(int) } else { Err(int_range(to)) }
}

fn int_range(to: &SqlType) -> datafusion::common::DataFusionError {
    Error::postgres("22003", format!("{} out of range", type_name(to))).into()
}

fn no_cast(from: &SqlType, to: &SqlType) -> datafusion::common::DataFusionError {
    let message = format!("cannot cast type {} to {}", type_name(from), type_name(to));
    Error::postgres("42846", message).into()
}

fn numeric(value: Decimal, to: &SqlType) -> Result<Value> {
    match to {
        SqlType::Numeric(Some((precision, scale))) => {
            let scale = *scale as u8;
            let whole = precision - scale;
            let units = value.rescaled(scale, *precision).map_err(|_| {
                Error::postgres("22003", "numeric field overflow").with_detail(format!(
                    "A field with precision {precision}, scale {scale} must round to an absolute \
                     value less than {}.",
                    if whole == 0 { "1".to_owned() } else { format!("10^{whole}") },
                ))
            })?;
            Ok(Value::Numeric(Decimal { units, scale }))
        }
        _ => Ok(Value::Numeric(value)),
    }
}

/// A decimal number of any spelling, with the digits that fit.
pub(crate) fn decimal(text: &str) -> Result<Decimal> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let overflow = || Error::postgres("22003", "value overflows numeric format");
    let exponent: i64 = exponent.parse().map_err(|_| overflow())?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut units: i128 = format!("{whole}{fraction}").parse().map_err(|_| overflow())?;
    let mut scale = fraction.len() as i64 - exponent;
    while scale < 0 {
        units = units.checked_mul(10).ok_or_else(overflow)?;
        scale += 1;
    }
    // Digits beyond what a numeric holds are rounded away.
    let limit = i64::from(chronos_catalog::schema::NUMERIC_PRECISION_MAX);
    if scale > limit {
        let drop = u32::try_from(scale - limit).unwrap_or(u32::MAX);
        units = 10i128.checked_pow(drop).map_or(0, |divisor| units / divisor);
        scale = limit;
    }
    Ok(Decimal { units, scale: scale as u8 })
}

impl Decimal {
    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        self.text(false).parse().unwrap_or(f64::NAN)
    }

    /// Its text; `trim` leaves out the zeros at its end.
    pub fn text(self, trim: bool) -> String {
        to_string(|out| number::write_numeric(out, self.units, self.scale as i8, trim))
    }

    /// Without the zeros at its end.
    pub fn trimmed(mut self) -> Decimal {
        while self.scale > 0 && self.units % 10 == 0 {
            self.units /= 10;
            self.scale -= 1;
        }
        self
    }
}

fn midnight(day: i32) -> Result<i64> {
    match day {
        i32::MIN => Ok(i64::MIN),
        i32::MAX => Ok(i64::MAX),
        day => i64::from(day)
            .checked_mul(DAY)
            .ok_or_else(|| Error::postgres("22008", "date out of range for timestamp").into()),
    }
}

/// The day of a local time; infinity stays infinity.
pub(crate) fn day_of(micros: i64) -> i32 {
    match micros {
        i64::MIN => i32::MIN,
        i64::MAX => i32::MAX,
        t => t.div_euclid(DAY) as i32,
    }
}

/// A local time as an instant; infinity stays infinity.
pub(crate) fn to_utc(zone: Tz, local: i64) -> i64 {
    match local {
        i64::MIN | i64::MAX => local,
        t => zone::to_utc(zone, t),
    }
}

/// An instant as local time; infinity stays infinity.
pub(crate) fn to_local(zone: Tz, micros: i64) -> i64 {
    match micros {
        i64::MIN | i64::MAX => micros,
        t => t + i64::from(ZoneOffset::new(zone).at(t)) * 1_000_000,
    }
}
