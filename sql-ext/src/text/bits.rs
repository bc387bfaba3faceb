//! Bit strings, kept as their digits: `101`.

use crate::error::{Error, Result};

/// The digits of a bit string: as they are, after `b`, or of the hexadecimal ones after `x`.
fn digits(text: &str) -> Result<String> {
    let (binary, digits) = match text.as_bytes().first() {
        Some(b'b' | b'B') => (true, &text[1..]),
        Some(b'x' | b'X') => (false, &text[1..]),
        _ => (true, text),
    };
    let wrong = |c: char, kind: &str| {
        Error::postgres("22P02", format!("\"{c}\" is not a valid {kind} digit"))
    };
    if binary {
        return match digits.chars().find(|c| !matches!(c, '0' | '1')) {
            Some(c) => Err(wrong(c, "binary")),
            None => Ok(digits.to_owned()),
        };
    }
    let mut out = String::with_capacity(digits.len() * 4);
    for c in digits.chars() {
        let value = c.to_digit(16).ok_or_else(|| wrong(c, "hexadecimal"))?;
        out.push_str(&format!("{value:04b}"));
    }
    Ok(out)
}

/// Reads a `bit(n)`; of any length without one.
///
/// # Errors
/// 22P02 for other digits, 22026 for another length.
pub fn fixed(text: &str, length: Option<u32>) -> Result<String> {
    let digits = digits(text)?;
    match length {
        Some(n) if digits.len() != n as usize => {
            let found = digits.len();
            let message = format!("bit string length {found} does not match type bit({n})");
            Err(Error::postgres("22026", message))
        }
        _ => Ok(digits),
    }
}

/// Reads a `bit varying(n)`.
///
/// # Errors
/// 22P02 for other digits, 22001 for more of them than the length.
pub fn varying(text: &str, length: Option<u32>) -> Result<String> {
    let digits = digits(text)?;
    match length {
        Some(n) if digits.len() > n as usize => {
            let message = format!("bit string too long for type bit varying({n})");
            Err(Error::postgres("22001", message))
        }
        _ => Ok(digits),
    }
}

/// Bits cut, or filled with zeros, at their right.
pub(crate) fn resized(digits: &str, length: u32) -> String {
    let mut digits = digits.to_owned();
    digits.truncate(length as usize);
    let missing = length as usize - digits.len();
    digits.extend(std::iter::repeat_n('0', missing));
    digits
}

/// The integer of these bits.
pub(crate) fn to_int(digits: &str, wide: bool) -> Result<i64> {
    let limit = if wide { 64 } else { 32 };
    if digits.len() > limit {
        let name = if wide { "bigint" } else { "integer" };
        return Err(Error::postgres("22003", format!("{name} out of range")));
    }
    let value = digits.bytes().fold(0u64, |value, b| value << 1 | u64::from(b == b'1'));
    Ok(if wide { value as i64 } else { i64::from(value as u32 as i32) })
}

/// The last bits of an integer, with its sign before them.
pub(crate) fn of_int(value: i64, wide: bool, length: Option<u32>) -> String {
    let own = if wide { 64 } else { 32 };
    let length = length.unwrap_or(own);
    let bit = |at: u32| if value >> at.min(63) & 1 == 1 { '1' } else { '0' };
    (0..length).rev().map(bit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_and_fitted() {
        assert_eq!(fixed("b101", Some(3)).unwrap(), "101");
        assert_eq!(fixed("X1F", None).unwrap(), "00011111");
        assert_eq!(fixed("101", Some(4)).unwrap_err().sqlstate(), "22026");
        assert_eq!(varying("101", Some(2)).unwrap_err().sqlstate(), "22001");
        assert_eq!(fixed("102", None).unwrap_err().sqlstate(), "22P02");
        assert_eq!(resized("101", 5), "10100");
        assert_eq!(of_int(-44, false, Some(12)), "111111010100");
        assert_eq!(to_int("11111111111111111111111111111111", false).unwrap(), -1);
    }
}
