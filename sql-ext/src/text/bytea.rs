//! `bytea`: the hex and the escape format.

use super::Out;
use crate::error::{Error, Result};

/// Writes two lower-case hexadecimal digits.
pub(super) fn hex_byte(out: &mut Out, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// Writes bytes in the hex format, or in the escape format.
pub fn write(out: &mut Out, bytes: &[u8], escape: bool) {
    if !escape {
        out.reserve(2 + 2 * bytes.len());
        out.extend_from_slice(b"\\x");
        for byte in bytes {
            hex_byte(out, *byte);
        }
        return;
    }
    for byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b' '..=b'~' => out.extend_from_slice(&[*byte]),
            other => {
                let octal = |shift: u32| b'0' + ((other >> shift) & 7);
                out.extend_from_slice(&[b'\\', octal(6), octal(3), octal(0)]);
            }
        }
    }
}

/// Reads bytes in either format.
///
/// # Errors
/// 22023 for wrong hexadecimal digits, 22P02 for a wrong escape.
pub fn parse(text: &str) -> Result<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        let mut bytes = Vec::with_capacity(hex.len() / 2);
        let mut digits = hex.chars().filter(|c| !matches!(c, ' ' | '\n' | '\t' | '\r'));
        while let Some(high) = digits.next() {
            let value = |c: char| {
                c.to_digit(16).ok_or_else(|| {
                    Error::postgres("22023", format!("invalid hexadecimal digit: \"{c}\""))
                })
            };
            let high = value(high)?;
            let Some(low) = digits.next() else {
                return Err(Error::postgres(
                    "22023",
                    "invalid hexadecimal data: odd number of digits",
                ));
            };
            bytes.push((high << 4 | value(low)?) as u8);
        }
        return Ok(bytes);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        match rest {
            [] => return Ok(bytes),
            [b'\\', b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            [b'\\', ..] => {
                return Err(Error::postgres("22P02", "invalid input syntax for type bytea"));
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::to_string;
    use super::*;

    #[test]
    fn bytes_read_back_in_both_formats() {
        let bytes = [0, b'a', b'\\', 0xff, b'\n', b'~', 0x7f];
        let hex = to_string(|o| write(o, &bytes, false));
        let escape = to_string(|o| write(o, &bytes, true));
        assert_eq!(hex, "\\x00615cff0a7e7f");
        assert_eq!(escape, "\\000a\\\\\\377\\012~\\177");
        assert_eq!(parse(&hex).unwrap(), bytes);
        assert_eq!(parse(&escape).unwrap(), bytes);
        assert_eq!(parse("\\x0").unwrap_err().sqlstate(), "22023");
        assert_eq!(parse("\\9").unwrap_err().sqlstate(), "22P02");
    }
}
