//! `to_char`, `to_timestamp`, `to_date` and `to_number`: values through templates.
//!
//! - `template`: a template of dates and times as fields and text.
//! - `write`, `read`: times by such a template, both ways.
//! - `number`: numbers by a template, both ways.

mod number;
mod read;
mod template;
#[cfg(test)]
mod tests;
mod write;

use chronos_catalog::SqlType;
use datafusion::common::Result;

use super::convert::{day_of, decimal, text_of, to_local, to_utc};
use super::function::{Call, Definition, P, f};
use super::value::Value;
use crate::error::Error;
use crate::text::datetime::DAY;

const TEXT: fn(&[SqlType]) -> SqlType = |_| SqlType::Text;

fn time_text(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    // An empty template gives NULL.
    if a[1].text().is_empty() {
        return Ok(Value::Null);
    }
    let moment = match &a[0] {
        Value::Timestamptz(i64::MIN | i64::MAX) | Value::Timestamp(i64::MIN | i64::MAX) => {
            return Ok(Value::Null);
        }
        Value::Timestamptz(t) => write::Moment::zoned(to_local(c.zone, *t), *t, c.zone),
        Value::Timestamp(t) => write::Moment::local(*t),
        Value::Interval(i) => write::Moment::interval(*i),
        _ => return Ok(Value::Null),
    };
    Ok(Value::Text(write::by_template(&moment, a[1].text())?))
}

fn number_text(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let text = match &a[0] {
        Value::Float(x) if !x.is_finite() => {
            return Err(Error::unsupported("to_char() of a number that is not finite").into());
        }
        // Written out, for templates round the digits that are there.
        Value::Float(x) => {
            let digits = if c.types[0] == SqlType::Float4 { 6 } else { 15 };
            let whole = x.abs().log10().floor().max(0.0) as usize + 1;
            format!("{x:.*}", digits_after(digits, whole))
        }
        value => text_of(value, &c.types[0], c.zone)?,
    };
    Ok(Value::Text(number::by_template(&text, a[1].text())?))
}

/// Digits after the point that leave so many in all.
fn digits_after(digits: usize, whole: usize) -> usize {
    digits.saturating_sub(whole)
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("to_char", &[P::Timestamptz, P::Text], TEXT, time_text),
    f("to_char", &[P::Timestamp, P::Text], TEXT, time_text),
    f("to_char", &[P::Interval, P::Text], TEXT, time_text),
    f("to_char", &[P::Int8, P::Text], TEXT, number_text),
    f("to_char", &[P::Int4, P::Text], TEXT, number_text),
    f("to_char", &[P::Numeric, P::Text], TEXT, number_text),
    f("to_char", &[P::Float, P::Text], TEXT, number_text),
    f(
        "to_timestamp",
        &[P::Text, P::Text],
        |_| SqlType::Timestamptz,
        |c, a| {
            let read = read::by_template(a[0].text(), a[1].text())?;
            Ok(Value::Timestamptz(match read.offset {
                Some(seconds) => read.micros - i64::from(seconds) * 1_000_000,
                None => to_utc(c.zone, read.micros),
            }))
        },
    ),
    f(
        "to_timestamp",
        &[P::Float],
        |_| SqlType::Timestamptz,
        |_, a| {
            let Value::Float(x) = &a[0] else { return Ok(Value::Null) };
            if x.is_infinite() {
                return Ok(Value::Timestamptz(if *x > 0.0 { i64::MAX } else { i64::MIN }));
            }
            let micros = (x * 1e6).round_ties_even();
            if x.is_nan() || micros.abs() > 9.2e18 {
                let message = format!("timestamp out of range: \"{x}\"");
                return Err(Error::postgres("22008", message).into());
            }
            Ok(Value::Timestamptz(micros as i64))
        },
    ),
    f(
        "to_date",
        &[P::Text, P::Text],
        |_| SqlType::Date,
        |_, a| {
            let read = read::by_template(a[0].text(), a[1].text())?;
            Ok(Value::Date(day_of(read.micros.div_euclid(DAY) * DAY)))
        },
    ),
    f(
        "to_number",
        &[P::Text, P::Text],
        |_| SqlType::Numeric(None),
        |_, a| match number::read(a[0].text(), a[1].text())? {
            Some(text) => Ok(Value::Numeric(decimal(&text)?)),
            None => Ok(Value::Null),
        },
    ),
];
