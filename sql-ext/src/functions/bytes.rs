//! Functions of `bytea`, and encodings.

use chronos_catalog::SqlType;
use datafusion::common::Result;

use super::function::{Call, Definition, P, f};
use super::value::Value;
use crate::error::Error;

const INT4: fn(&[SqlType]) -> SqlType = |_| SqlType::Int4;
const BYTEA: fn(&[SqlType]) -> SqlType = |_| SqlType::Bytea;
const TEXT: fn(&[SqlType]) -> SqlType = |_| SqlType::Text;

fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::Bytes(bytes) => bytes,
        _ => &[],
    }
}

fn place(value: &Value, length: usize) -> Result<usize> {
    let at = value.int();
    usize::try_from(at).ok().filter(|at| *at < length).ok_or_else(|| {
        let message = format!("index {at} out of valid range, 0..{}", length as i64 - 1);
        Error::postgres("2202E", message).into()
    })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base 64 in lines of 76 characters.
fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 4 / 3 + 4);
    let mut line = 0;
    for chunk in bytes.chunks(3) {
        if line == 76 {
            out.push('\n');
            line = 0;
        }
        let group =
            chunk.iter().fold(0u32, |g, b| g << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(ALPHABET[(group >> (18 - 6 * i) & 63) as usize] as char);
            } else {
                out.push('=');
            }
        }
        line += 4;
    }
    out
}

fn from_base64(text: &str) -> Result<Vec<u8>> {
    let bad = |what: &str| Error::postgres("22023", what.to_owned());
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut group, mut count, mut ended) = (0u32, 0, 0);
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace()) {
        if c == b'=' {
            ended += 1;
            if count + ended > 4 || count < 2 {
                return Err(bad("unexpected \"=\" while decoding base64 sequence").into());
            }
            continue;
        }
        let Some(digit) = ALPHABET.iter().position(|a| *a == c).filter(|_| ended == 0) else {
            let message =
                format!("invalid symbol \"{}\" found while decoding base64 sequence", c as char);
            return Err(bad(&message).into());
        };
        group = group << 6 | digit as u32;
        count += 1;
        if count == 4 {
            out.extend_from_slice(&group.to_be_bytes()[1..]);
            (group, count) = (0, 0);
        }
    }
    match (count, ended) {
        (0, 0) => {}
        (2, 2) => out.push((group >> 4) as u8),
        (3, 1) => out.extend_from_slice(&((group >> 2) as u16).to_be_bytes()),
        _ => {
            return Err(bad("invalid base64 end sequence")
                .with_hint(
                    "Input data is missing padding, is truncated, or is otherwise corrupted.",
                )
                .into());
        }
    }
    Ok(out)
}

fn encode(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let bytes = bytes(&a[0]);
    Ok(Value::Text(match a[1].text().to_lowercase().as_str() {
        "hex" => bytes.iter().map(|b| format!("{b:02x}")).collect(),
        "base64" => base64(bytes),
        "escape" => {
            let mut out = String::new();
            for byte in bytes {
                match byte {
                    0 | 0x80.. => out.push_str(&format!("\\{byte:03o}")),
                    b'\\' => out.push_str("\\\\"),
                    byte => out.push(*byte as char),
                }
            }
            out
        }
        other => return Err(no_encoding(other)),
    }))
}

fn no_encoding(name: &str) -> datafusion::common::DataFusionError {
    Error::postgres("22023", format!("unrecognized encoding: \"{name}\"")).into()
}

fn decode(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let text = a[0].text();
    Ok(Value::Bytes(match a[1].text().to_lowercase().as_str() {
        "hex" => {
            let digits: Vec<u8> = text.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
            if digits.len() % 2 == 1 {
                return Err(Error::postgres(
                    "22023",
                    "invalid hexadecimal data: odd number of digits",
                )
                .into());
            }
            let digit = |c: u8| {
                (c as char).to_digit(16).ok_or_else(|| {
                    let message = format!("invalid hexadecimal digit: \"{}\"", c as char);
                    Error::postgres("22023", message)
                })
            };
            digits
                .chunks(2)
                .map(|pair| Ok((digit(pair[0])? << 4 | digit(pair[1])?) as u8))
                .collect::<Result<_>>()?
        }
        "base64" => from_base64(text)?,
        "escape" => crate::text::bytea::parse(text)?,
        other => return Err(no_encoding(other)),
    }))
}

/// A part from a place (counted from 1) of so many bytes.
fn part(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let all = bytes(&a[0]);
    let start = a[1].int();
    let end = match a.get(2) {
        Some(count) if count.int() < 0 => {
            return Err(Error::postgres("22011", "negative substring length not allowed").into());
        }
        Some(count) => start.saturating_add(count.int()),
        None => i64::MAX,
    };
    let from = (start.max(1) as usize - 1).min(all.len());
    let to = (end.max(1) as usize - 1).min(all.len());
    Ok(Value::Bytes(all[from..to.max(from)].to_vec()))
}

fn convert_from(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let bytes = bytes(&a[0]);
    match encoding(a[1].text())? {
        Encoding::Utf8 => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(error) => {
                let at = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
                let message = format!("invalid byte sequence for encoding \"UTF8\": 0x{at:02x}");
                Err(Error::postgres("22021", message).into())
            }
        },
        Encoding::Latin1 => Ok(Value::Text(bytes.iter().map(|b| *b as char).collect())),
    }
}

fn convert_to(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let text = a[0].text();
    Ok(Value::Bytes(match encoding(a[1].text())? {
        Encoding::Utf8 => text.as_bytes().to_vec(),
        Encoding::Latin1 => text
            .chars()
            .map(|c| {
                u8::try_from(c as u32).map_err(|_| {
                    let message = format!(
                        "character \"{c}\" of encoding \"UTF8\" has no equivalent in encoding \
                         \"LATIN1\""
                    );
                    Error::postgres("22P05", message).into()
                })
            })
            .collect::<Result<_>>()?,
    }))
}

enum Encoding {
    Utf8,
    Latin1,
}

fn encoding(name: &str) -> Result<Encoding> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_lowercase().as_str() {
        "utf8" | "unicode" => Ok(Encoding::Utf8),
        "latin1" | "iso88591" => Ok(Encoding::Latin1),
        _ => Err(Error::unsupported(format!("the encoding \"{name}\"")).into()),
    }
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("length", &[P::Text], INT4, |_, a| Ok(Value::Int(a[0].text().chars().count() as i64))),
    f("length", &[P::Bytea], INT4, |_, a| Ok(Value::Int(bytes(&a[0]).len() as i64))),
    f("octet_length", &[P::Text], INT4, |c, a| {
        // The blanks of a char(n) count here.
        let padded = match c.types[0] {
            SqlType::Char(n) => (n as usize).saturating_sub(a[0].text().chars().count()),
            _ => 0,
        };
        Ok(Value::Int((a[0].text().len() + padded) as i64))
    }),
    f("octet_length", &[P::Bytea], INT4, |_, a| Ok(Value::Int(bytes(&a[0]).len() as i64))),
    f("bit_length", &[P::Text], INT4, |_, a| Ok(Value::Int(a[0].text().len() as i64 * 8))),
    f("bit_length", &[P::Bytea], INT4, |_, a| Ok(Value::Int(bytes(&a[0]).len() as i64 * 8))),
    f("get_byte", &[P::Bytea, P::Int4], INT4, |_, a| {
        let all = bytes(&a[0]);
        Ok(Value::Int(all[place(&a[1], all.len())?].into()))
    }),
    f("set_byte", &[P::Bytea, P::Int4, P::Int4], BYTEA, |_, a| {
        let mut all = bytes(&a[0]).to_vec();
        let at = place(&a[1], all.len())?;
        all[at] = a[2].int() as u8;
        Ok(Value::Bytes(all))
    }),
    f("get_bit", &[P::Bytea, P::Int8], INT4, |_, a| {
        let all = bytes(&a[0]);
        let at = place(&a[1], all.len() * 8)?;
        Ok(Value::Int((all[at / 8] >> (at % 8) & 1).into()))
    }),
    f("set_bit", &[P::Bytea, P::Int8, P::Int4], BYTEA, |_, a| {
        let mut all = bytes(&a[0]).to_vec();
        let at = place(&a[1], all.len() * 8)?;
        if a[2].int() == 0 {
            all[at / 8] &= !(1 << (at % 8));
        } else {
            all[at / 8] |= 1 << (at % 8);
        }
        Ok(Value::Bytes(all))
    }),
    f(
        "bit_count",
        &[P::Bytea],
        |_| SqlType::Int8,
        |_, a| Ok(Value::Int(bytes(&a[0]).iter().map(|b| i64::from(b.count_ones())).sum())),
    ),
    f("encode", &[P::Bytea, P::Text], TEXT, encode),
    f("decode", &[P::Text, P::Text], BYTEA, decode),
    f("_substring_bytes", &[P::Bytea, P::Int8, P::Int8], BYTEA, part).optional(1),
    f("convert_from", &[P::Bytea, P::Text], TEXT, convert_from),
    f("convert_to", &[P::Text, P::Text], BYTEA, convert_to),
];
