//! Integers, floating point and numeric.

use super::{Out, invalid};
use crate::error::{Error, Result};

/// Without the blanks that PostgreSQL skips around a number.
pub fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c'])
}

/// Writes an integer.
pub fn write_int(out: &mut Out, value: i64) {
    if value < 0 {
        out.extend_from_slice(b"-");
    }
    write_unsigned(out, u128::from(value.unsigned_abs()));
}

fn write_unsigned(out: &mut Out, value: u128) {
    let mut digits = [0u8; 39];
    out.extend_from_slice(decimal_digits(value, &mut digits));
}

/// The decimal digits of a value; one for zero.
fn decimal_digits(mut value: u128, buffer: &mut [u8; 39]) -> &[u8] {
    let mut at = buffer.len();
    // 128-bit division is slow; what is left after it is short.
    while value > u128::from(u64::MAX) {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    let mut low = value as u64;
    loop {
        at -= 1;
        buffer[at] = b'0' + (low % 10) as u8;
        low /= 10;
        if low == 0 {
            return &buffer[at..];
        }
    }
}

/// Writes a number with at least `width` digits.
pub(super) fn write_padded(out: &mut Out, value: u64, width: usize) {
    let mut buffer = [0u8; 39];
    let digits = decimal_digits(u128::from(value), &mut buffer);
    for _ in digits.len()..width {
        out.extend_from_slice(b"0");
    }
    out.extend_from_slice(digits);
}

/// Writes a `double precision` for this `extra_float_digits`: above 0 the shortest text that
/// reads back as the same number.
pub fn write_float8(out: &mut Out, value: f64, extra_float_digits: i32) {
    if special(out, value) {
        return;
    }
    if extra_float_digits > 0 {
        scientific(out, &format!("{value:e}"), 15);
    } else {
        rounded(out, value, (15 + extra_float_digits).max(1));
    }
}

/// [`write_float8`] for a `real`.
pub fn write_float4(out: &mut Out, value: f32, extra_float_digits: i32) {
    if special(out, f64::from(value)) {
        return;
    }
    if extra_float_digits > 0 {
        scientific(out, &format!("{value:e}"), 6);
    } else {
        rounded(out, f64::from(value), (6 + extra_float_digits).max(1));
    }
}

fn special(out: &mut Out, value: f64) -> bool {
    let text: &[u8] = if value.is_nan() {
        b"NaN"
    } else if value == f64::INFINITY {
        b"Infinity"
    } else if value == f64::NEG_INFINITY {
        b"-Infinity"
    } else if value == 0.0 {
        if value.is_sign_negative() { b"-0" } else { b"0" }
    } else {
        return false;
    };
    out.extend_from_slice(text);
    true
}

/// That many significant digits, without the zeros at the end.
fn rounded(out: &mut Out, value: f64, digits: i32) {
    let text = format!("{value:.*e}", digits as usize - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').trim_end_matches('.'),
        false => mantissa,
    };
    scientific(out, &format!("{mantissa}e{exponent}"), digits);
}

/// Writes a number given as `d.ddde±x` plainly if the exponent is from -4 to below `limit`, else
/// with an exponent of two digits or more.
fn scientific(out: &mut Out, text: &str, limit: i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    out.extend_from_slice(sign.as_bytes());
    if exponent < -4 || exponent >= limit {
        out.extend_from_slice(mantissa.as_bytes());
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        write_padded(out, u64::from(exponent.unsigned_abs()), 2);
        return;
    }
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        for _ in 1..-exponent {
            out.extend_from_slice(b"0");
        }
        out.extend_from_slice(first.as_bytes());
        out.extend_from_slice(rest.as_bytes());
        return;
    }
    let whole = exponent as usize;
    out.extend_from_slice(first.as_bytes());
    if rest.len() <= whole {
        out.extend_from_slice(rest.as_bytes());
        for _ in rest.len()..whole {
            out.extend_from_slice(b"0");
        }
    } else {
        out.extend_from_slice(&rest.as_bytes()[..whole]);
        out.extend_from_slice(b".");
        out.extend_from_slice(&rest.as_bytes()[whole..]);
    }
}

/// Writes a numeric of `scale` digits after the point. `trim` leaves out the zeros at its end:
/// a `numeric` without a scale of its own shows none.
pub fn write_numeric(out: &mut Out, value: i128, scale: i8, trim: bool) {
    if value < 0 {
        out.extend_from_slice(b"-");
    }
    let mut buffer = [0u8; 39];
    let digits = decimal_digits(value.unsigned_abs(), &mut buffer);
    write_digits(out, digits, scale, trim);
}

/// How many digits after the point a `numeric` without a scale of its own shows: none of the
/// zeros at the end, but of a quotient (of which [`QUOTIENT_SCALE`] digits or more are kept) as
/// many as PostgreSQL computes. Those are 16 significant ones at least, in groups of four; a
/// quotient of equal leading groups, so every one that is 0 or 1, gets a group more.
pub fn shown_scale(value: i128, scale: i8) -> i8 {
    if scale < QUOTIENT_SCALE {
        let mut rest = value;
        let mut shown = scale;
        while shown > 0 && rest % 10 == 0 {
            rest /= 10;
            shown -= 1;
        }
        return shown;
    }
    let one = 10i128.pow(u32::from(scale.unsigned_abs()));
    let size = value.unsigned_abs();
    if size == 0 || size == one.unsigned_abs() {
        return scale.min(20);
    }
    // The power of 10000 that the first group counts.
    let digits = size.ilog10() as i32 - i32::from(scale);
    let computed = (16 - 4 * digits.div_euclid(4)).clamp(0, i32::from(scale)) as i8;
    // What has more digits than that was computed with more.
    let mut rest = value;
    let mut needed = scale;
    while needed > computed && rest % 10 == 0 {
        rest /= 10;
        needed -= 1;
    }
    needed.max(computed)
}

/// The scale at which quotients are kept.
pub const QUOTIENT_SCALE: i8 = chronos_catalog::schema::NUMERIC_QUOTIENT_SCALE;

/// A numeric without a scale of its own.
pub fn write_free_numeric(out: &mut Out, value: i128, scale: i8) {
    let shown = shown_scale(value, scale);
    let drop = u32::from((scale - shown).unsigned_abs());
    write_numeric(out, value / 10i128.pow(drop), shown, false);
}

/// [`write_numeric`] without a sign, of decimal digits.
pub fn write_digits(out: &mut Out, digits: &[u8], scale: i8, trim: bool) {
    if scale <= 0 {
        out.extend_from_slice(digits);
        if digits != b"0" {
            for _ in 0..scale.unsigned_abs() {
                out.extend_from_slice(b"0");
            }
        }
        return;
    }
    let scale = scale as usize;
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    let mut end = fraction.len();
    if trim {
        while end > 0 && fraction[end - 1] == b'0' {
            end -= 1;
        }
        if end == 0 {
            return;
        }
    }
    out.extend_from_slice(b".");
    for _ in fraction.len()..scale {
        out.extend_from_slice(b"0");
    }
    out.extend_from_slice(&fraction[..end]);
}

/// Reads an integer from `least` to `most`; `ty` is its type's name for the error.
///
/// # Errors
/// 22P02 for what is no integer, 22003 for one that is out of range.
pub fn parse_int(text: &str, least: i64, most: i64, ty: &str) -> Result<i64> {
    let word = trim(text);
    let (negative, digits) = match word.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(invalid("22P02", ty, text));
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit - b'0');
        let next = value
            .checked_mul(10)
            .and_then(|v| if negative { v.checked_sub(digit) } else { v.checked_add(digit) });
        match next {
            Some(next) => value = next,
            None => return Err(out_of_range(text, ty)),
        }
    }
    if (least..=most).contains(&value) { Ok(value) } else { Err(out_of_range(text, ty)) }
}

fn out_of_range(text: &str, ty: &str) -> Error {
    Error::postgres("22003", format!("value \"{text}\" is out of range for type {ty}"))
}

/// Reads a `double precision`.
///
/// # Errors
/// 22P02 for what is no number, 22003 for one that is too large or too small.
pub fn parse_float8(text: &str) -> Result<f64> {
    parse_float(
        text,
        "double precision",
        |t| t.parse::<f64>().ok(),
        |v| v.is_infinite(),
        |v| *v == 0.0,
    )
}

/// Reads a `real`.
///
/// # Errors
/// 22P02 for what is no number, 22003 for one that is too large or too small.
pub fn parse_float4(text: &str) -> Result<f32> {
    parse_float(text, "real", |t| t.parse::<f32>().ok(), |v| v.is_infinite(), |v| *v == 0.0)
}

fn parse_float<T>(
    text: &str,
    ty: &str,
    parse: impl Fn(&str) -> Option<T>,
    infinite: impl Fn(&T) -> bool,
    zero: impl Fn(&T) -> bool,
) -> Result<T> {
    let word = trim(text);
    let unsigned = word.strip_prefix(['-', '+']).unwrap_or(word);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        let known = ["nan", "infinity", "inf"].iter().any(|w| unsigned.eq_ignore_ascii_case(w));
        return match parse(word) {
            Some(value) if known => Ok(value),
            _ => Err(invalid("22P02", ty, text)),
        };
    }
    let Some(value) = parse(word) else { return Err(invalid("22P02", ty, text)) };
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or("");
    let nothing = !mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'));
    if infinite(&value) || (zero(&value) && !nothing) {
        return Err(Error::postgres("22003", format!("\"{word}\" is out of range for type {ty}")));
    }
    Ok(value)
}

/// Reads a numeric for `precision` digits of which `scale` stand after the point; more digits
/// after the point are rounded away from zero at the half, as PostgreSQL does. With `free` the
/// type has no scale of its own: digits that do not fit after the point are refused, not lost.
///
/// # Errors
/// 22P02 for what is no number, 22003 for one that does not fit, 0A000 for NaN and infinity.
pub fn parse_numeric(text: &str, precision: u8, scale: i8, free: bool) -> Result<i128> {
    let word = trim(text);
    let error = || invalid("22P02", "numeric", text);
    let (negative, rest) = match word.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    for special in ["nan", "infinity", "inf"] {
        if rest.eq_ignore_ascii_case(special.as_bytes()) {
            return Err(Error::unsupported(format!("numeric \"{word}\"")));
        }
    }
    let end = rest.iter().position(|b| matches!(b, b'e' | b'E'));
    let (mantissa, exponent) = match end {
        None => (rest, 0i64),
        Some(at) => {
            let exponent = std::str::from_utf8(&rest[at + 1..])
                .ok()
                .filter(|t| t.bytes().last().is_some_and(|b| b.is_ascii_digit()))
                .and_then(|t| t.parse::<i64>().ok())
                .ok_or_else(error)?;
            (&rest[..at], exponent)
        }
    };
    // How many places the digits read so far have to move left to be units of the scale.
    let mut shift = i64::from(scale).saturating_add(exponent);
    let (mut value, mut point, mut any) = (0i128, false, false);
    let (mut first_dropped, mut dropped) = (None, false);
    for byte in mantissa {
        match byte {
            b'0'..=b'9' => {
                any = true;
                let digit = i128::from(byte - b'0');
                if point {
                    shift -= 1;
                }
                if shift < 0 && point {
                    // Beyond the scale.
                    first_dropped.get_or_insert(digit);
                    dropped |= digit != 0;
                    shift += 1;
                    continue;
                }
                value = value
                    .checked_mul(10)
                    .and_then(|v| v.checked_add(digit))
                    .ok_or_else(|| overflow(precision, scale, free))?;
            }
            b'.' if !point => point = true,
            _ => return Err(error()),
        }
    }
    if !any {
        return Err(error());
    }
    if value != 0 && shift > 0 {
        let factor = u32::try_from(shift).ok().and_then(|s| 10i128.checked_pow(s));
        value = factor
            .and_then(|f| value.checked_mul(f))
            .ok_or_else(|| overflow(precision, scale, free))?;
    }
    // The exponent, or a negative scale, moves digits that were read beyond the scale.
    while shift < 0 && value != 0 {
        let digit = value % 10;
        dropped |= first_dropped.is_some_and(|d| d != 0) || digit != 0;
        first_dropped = Some(digit);
        value /= 10;
        shift += 1;
    }
    if free && dropped {
        return Err(Error::postgres(
            "22003",
            format!("numeric \"{word}\" has more than {scale} digits after the decimal point"),
        )
        .with_hint("Declare the column with a precision and scale to have values rounded."));
    }
    if first_dropped.is_some_and(|d| d >= 5) {
        value += 1;
    }
    if value >= 10i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX) {
        return Err(overflow(precision, scale, free));
    }
    Ok(if negative { -value } else { value })
}

fn overflow(precision: u8, scale: i8, free: bool) -> Error {
    let error = Error::postgres("22003", "numeric field overflow");
    if free {
        return error.with_detail(format!(
            "A numeric value has at most {} digits before and {scale} after the decimal point.",
            i32::from(precision) - i32::from(scale)
        ));
    }
    error.with_detail(format!(
        "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{}.",
        i32::from(precision) - i32::from(scale)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::to_string;
    use super::*;

    #[test]
    fn floats_are_written_as_postgresql_15_writes_them() {
        for (value, text) in [
            (1e20, "1e+20"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-0.0, "-0"),
            (20.0, "20"),
            (1.5e-300, "1.5e-300"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(to_string(|o| write_float8(o, value, 1)), text);
        }
        assert_eq!(to_string(|o| write_float4(o, 1e6, 1)), "1e+06");
        assert_eq!(to_string(|o| write_float4(o, 0.1, 1)), "0.1");
        assert_eq!(to_string(|o| write_float8(o, 0.1 + 0.2, 0)), "0.3");
        assert_eq!(to_string(|o| write_float8(o, 1.0 / 3.0, -3)), "0.333333333333");
    }

    #[test]
    fn numerics_keep_their_scale_unless_they_have_none() {
        assert_eq!(to_string(|o| write_numeric(o, -5, 2, false)), "-0.05");
        assert_eq!(to_string(|o| write_numeric(o, 1500, 2, false)), "15.00");
        assert_eq!(to_string(|o| write_numeric(o, 1500, 2, true)), "15");
        assert_eq!(to_string(|o| write_numeric(o, 1050, 3, true)), "1.05");
        assert_eq!(to_string(|o| write_numeric(o, 12, -2, false)), "1200");
    }

    #[test]
    fn numerics_round_at_the_half_away_from_zero() {
        for (text, value) in [
            ("1.005", 101),
            ("-1.005", -101),
            ("1.0049", 100),
            ("1e2", 10_000),
            ("12345e-3", 1235),
            (" .5 ", 50),
            ("5.", 500),
            ("1.5e-10", 0),
            ("0e100", 0),
        ] {
            assert_eq!(parse_numeric(text, 10, 2, false).unwrap(), value, "{text}");
        }
        assert_eq!(parse_numeric("99999999.995", 10, 2, false).unwrap_err().sqlstate(), "22003");
        assert_eq!(parse_numeric("1.2.3", 10, 2, false).unwrap_err().sqlstate(), "22P02");
        assert_eq!(parse_numeric("1e", 10, 2, false).unwrap_err().sqlstate(), "22P02");
        assert_eq!(parse_numeric("0.001", 10, 2, true).unwrap_err().sqlstate(), "22003");
        assert_eq!(parse_numeric("0.010", 10, 2, true).unwrap(), 1);
    }

    #[test]
    fn integers_out_of_range_are_told_from_what_is_none() {
        let parse = |t| parse_int(t, i64::from(i32::MIN), i64::from(i32::MAX), "integer");
        assert_eq!(parse(" -2147483648 ").unwrap(), i64::from(i32::MIN));
        assert_eq!(parse("2147483648").unwrap_err().sqlstate(), "22003");
        assert_eq!(parse("1.5").unwrap_err().sqlstate(), "22P02");
        assert_eq!(parse("").unwrap_err().sqlstate(), "22P02");
        assert_eq!(parse("99999999999999999999").unwrap_err().sqlstate(), "22003");
    }

    #[test]
    fn a_float_that_overflows_or_vanishes_is_out_of_range() {
        assert_eq!(parse_float8("1e400").unwrap_err().sqlstate(), "22003");
        assert_eq!(parse_float8("1e-400").unwrap_err().sqlstate(), "22003");
        assert_eq!(parse_float8("0e-400").unwrap(), 0.0);
        assert_eq!(parse_float8("-inf").unwrap(), f64::NEG_INFINITY);
        assert!(parse_float8("infinit").is_err());
    }
}
