//! Functions and operators of bit strings, which are kept as their digits.

use chronos_catalog::SqlType;
use datafusion::common::Result;

use super::function::{Definition, P, f};
use super::value::Value;
use crate::error::Error;

const INT4: fn(&[SqlType]) -> SqlType = |_| SqlType::Int4;
const VARBIT: fn(&[SqlType]) -> SqlType = |_| SqlType::Varbit(None);

/// `bit` of any length, or `bit varying` where the first argument is one.
fn like_first(types: &[SqlType]) -> SqlType {
    match types.first() {
        Some(SqlType::Varbit(_)) => SqlType::Varbit(None),
        _ => SqlType::Bit(None),
    }
}

fn digits(bits: impl Iterator<Item = bool>) -> Value {
    Value::Text(bits.map(|bit| if bit { '1' } else { '0' }).collect())
}

fn bits(value: &Value) -> impl DoubleEndedIterator<Item = bool> + ExactSizeIterator + Clone {
    value.text().as_bytes().iter().map(|digit| *digit == b'1')
}

fn each_bit(a: &[Value], name: &str, combine: fn(bool, bool) -> bool) -> Result<Value> {
    if a[0].text().len() != a[1].text().len() {
        let message = format!("cannot {name} bit strings of different sizes");
        return Err(Error::postgres("22026", message).into());
    }
    Ok(digits(bits(&a[0]).zip(bits(&a[1])).map(|(l, r)| combine(l, r))))
}

/// Moved to the left, or to the right by a negative number.
fn shifted(value: &Value, by: i64) -> Value {
    let length = value.text().len();
    let count = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX).min(length);
    let zeros = std::iter::repeat_n(false, count);
    if by < 0 {
        digits(zeros.chain(bits(value).take(length - count)))
    } else {
        digits(bits(value).skip(count).chain(zeros))
    }
}

fn place(value: &Value, at: i64) -> Result<usize> {
    let length = value.text().len();
    usize::try_from(at).ok().filter(|at| *at < length).ok_or_else(|| {
        let last = length as i64 - 1;
        let message = format!("bit index {at} out of valid range (0..{last})");
        Error::postgres("2202E", message).into()
    })
}

/// From a place, counted from 1, so many.
fn part(value: &Value, from: i64, count: Option<i64>) -> Result<Value> {
    if count.is_some_and(|count| count < 0) {
        return Err(Error::postgres("22011", "negative substring length not allowed").into());
    }
    let length = value.text().len() as i64;
    let end =
        count.map_or(length, |count| from.saturating_add(count).saturating_sub(1)).min(length);
    let start = from.max(1) - 1;
    let text = if start < end { &value.text()[start as usize..end as usize] } else { "" };
    Ok(text.into())
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("_bits_and", &[P::Bits, P::Bits], like_first, |_, a| each_bit(a, "AND", |l, r| l & r)),
    f("_bits_or", &[P::Bits, P::Bits], like_first, |_, a| each_bit(a, "OR", |l, r| l | r)),
    f("_bits_xor", &[P::Bits, P::Bits], like_first, |_, a| each_bit(a, "XOR", |l, r| l ^ r)),
    f("_bit_not", &[P::Bits], like_first, |_, a| Ok(digits(bits(&a[0]).map(|bit| !bit)))),
    f("_bits_left", &[P::Bits, P::Int4], like_first, |_, a| Ok(shifted(&a[0], a[1].int()))),
    f("_bits_right", &[P::Bits, P::Int4], like_first, |_, a| Ok(shifted(&a[0], -a[1].int()))),
    f("_bits_concat", &[P::Bits, P::Bits], VARBIT, |_, a| {
        Ok(format!("{}{}", a[0].text(), a[1].text()).into())
    }),
    f("length", &[P::Bits], INT4, |_, a| Ok(Value::Int(a[0].text().len() as i64))),
    f("bit_length", &[P::Bits], INT4, |_, a| Ok(Value::Int(a[0].text().len() as i64))),
    f("octet_length", &[P::Bits], INT4, |_, a| {
        Ok(Value::Int(a[0].text().len().div_ceil(8) as i64))
    }),
    f(
        "bit_count",
        &[P::Bits],
        |_| SqlType::Int8,
        |_, a| Ok(Value::Int(bits(&a[0]).filter(|bit| *bit).count() as i64)),
    ),
    f("get_bit", &[P::Bits, P::Int4], INT4, |_, a| {
        let at = place(&a[0], a[1].int())?;
        Ok(Value::Int(i64::from(a[0].text().as_bytes()[at] == b'1')))
    }),
    f("set_bit", &[P::Bits, P::Int4, P::Int4], like_first, |_, a| {
        let at = place(&a[0], a[1].int())?;
        let new = match a[2].int() {
            0 => "0",
            1 => "1",
            _ => return Err(Error::postgres("22023", "new bit must be 0 or 1").into()),
        };
        let mut text = a[0].text().to_owned();
        text.replace_range(at..=at, new);
        Ok(text.into())
    }),
    f("_bits_part", &[P::Bits, P::Int4], like_first, |_, a| part(&a[0], a[1].int(), None)),
    f("_bits_part", &[P::Bits, P::Int4, P::Int4], like_first, |_, a| {
        part(&a[0], a[1].int(), Some(a[2].int()))
    }),
];
