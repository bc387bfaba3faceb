//! The binary format of types that are kept as text.

use bytes::{BufMut, BytesMut};
use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType as O;
use chronos_sql_ext::text::network::{self, Inet};
use chronos_sql_ext::text::{TextSettings, datetime, kept, range};

use super::{decode, encode, text};
use crate::error::{PgError, PgResult};

/// A family in the binary format of addresses.
const IPV4: u8 = 2;
/// The other.
const IPV6: u8 = 3;

const EMPTY: u8 = 1;
const LOWER_INCLUSIVE: u8 = 2;
const UPPER_INCLUSIVE: u8 = 4;
const LOWER_INFINITE: u8 = 8;
const UPPER_INFINITE: u8 = 16;

/// Appends a bit string: how many bits, then the bytes.
pub(super) fn bits_to_binary(digits: &str, out: &mut BytesMut) {
    out.put_i32(digits.len() as i32);
    for byte in digits.as_bytes().chunks(8) {
        let value = byte.iter().fold(0u8, |value, bit| value << 1 | u8::from(*bit == b'1'));
        out.put_u8(value << (8 - byte.len()));
    }
}

/// The digits of a bit string.
pub(super) fn bits_from_binary(bytes: &[u8]) -> Option<String> {
    let (length, bytes) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    if bytes.len() != length.div_ceil(8) {
        return None;
    }
    let mut digits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    digits.truncate(length);
    Some(digits)
}

/// Appends the binary form of a value.
pub(super) fn to_binary(ty: O, value: &str, out: &mut BytesMut) -> PgResult<()> {
    match ty {
        O::Inet | O::Cidr => {
            let inet = Inet::parse(value)?;
            out.put_u8(if inet.v6 { IPV6 } else { IPV4 });
            out.put_u8(inet.bits);
            out.put_u8(u8::from(ty == O::Cidr));
            out.put_u8(inet.bytes().len() as u8);
            out.extend_from_slice(inet.bytes());
        }
        O::Macaddr | O::Macaddr8 => {
            out.extend_from_slice(&network::parse_mac(value, ty.name(), ty == O::Macaddr8)?);
        }
        O::Timetz => {
            let (micros, west) = datetime::parse_timetz(value, chrono_tz::Tz::UTC, None)?;
            out.put_i64(micros);
            out.put_i32(west);
        }
        O::PgLsn => out.put_u64(kept::lsn(value)?),
        O::Tid => {
            let (block, row) = kept::tid(value)?;
            out.put_u32(block);
            out.put_u16(row);
        }
        _ => {
            let Some(bound) = ty.bound() else {
                out.extend_from_slice(value.as_bytes());
                return Ok(());
            };
            let ranges = range::parts(ty, value)?;
            if ty.range().is_none() {
                return range_to_binary(&bound, ranges.first().unwrap_or(&None), out);
            }
            out.put_u32(ranges.len() as u32);
            for range in &ranges {
                let mut bytes = BytesMut::new();
                range_to_binary(&bound, range, &mut bytes)?;
                out.put_u32(bytes.len() as u32);
                out.extend_from_slice(&bytes);
            }
        }
    }
    Ok(())
}

fn range_to_binary(ty: &SqlType, range: &range::Parts, out: &mut BytesMut) -> PgResult<()> {
    let Some([(lower_inclusive, lower), (upper_inclusive, upper)]) = range else {
        out.put_u8(EMPTY);
        return Ok(());
    };
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.put_u8(
        flag(*lower_inclusive, LOWER_INCLUSIVE)
            | flag(*upper_inclusive, UPPER_INCLUSIVE)
            | flag(lower.is_none(), LOWER_INFINITE)
            | flag(upper.is_none(), UPPER_INFINITE),
    );
    for bound in [lower, upper].into_iter().flatten() {
        let value = text::read::from_text(ty, bound, &TextSettings::default())?;
        let array = value.to_array().map_err(PgError::internal)?;
        let mut bytes = BytesMut::new();
        encode::binary_of(&array, ty, &mut bytes)?;
        out.put_u32(bytes.len() as u32);
        out.extend_from_slice(&bytes);
    }
    Ok(())
}

/// The text of a value's binary form.
pub(super) fn from_binary(ty: O, bytes: &[u8], wrong: &dyn Fn() -> PgError) -> PgResult<String> {
    Ok(match ty {
        O::Inet | O::Cidr => {
            let [family, bits, _, length, address @ ..] = bytes else { return Err(wrong()) };
            let v6 = *family == IPV6;
            let fits = usize::from(*length) == address.len()
                && address.len() == if v6 { 16 } else { 4 }
                && usize::from(*bits) <= address.len() * 8
                && [IPV4, IPV6].contains(family);
            if !fits {
                return Err(wrong());
            }
            let mut inet = Inet { v6, bits: *bits, address: [0; 16] };
            inet.address[..address.len()].copy_from_slice(address);
            if ty == O::Cidr && !inet.is_network() {
                return Err(PgError::new("22P03", "invalid external \"cidr\" value")
                    .detail("Value has bits set to right of mask."));
            }
            inet.cidr()
        }
        O::Macaddr if bytes.len() == 6 => network::mac(bytes),
        O::Macaddr8 if matches!(bytes.len(), 6 | 8) => network::mac(bytes),
        O::Timetz => {
            let [head @ .., a, b, c, d] = bytes else { return Err(wrong()) };
            let micros = i64::from_be_bytes(head.try_into().map_err(|_| wrong())?);
            let west = i32::from_be_bytes([*a, *b, *c, *d]);
            if !(0..=datetime::DAY).contains(&micros) {
                return Err(PgError::new("22008", "time out of range"));
            }
            if west.unsigned_abs() >= 16 * 3600 {
                return Err(PgError::new("22009", "time zone displacement out of range"));
            }
            kept::timetz(micros, west)
        }
        O::PgLsn => {
            let place = u64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?);
            format!("{:X}/{:X}", place >> 32, place as u32)
        }
        O::Tid => {
            let [a, b, c, d, e, f] = bytes else { return Err(wrong()) };
            let block = u32::from_be_bytes([*a, *b, *c, *d]);
            format!("({block},{})", u16::from_be_bytes([*e, *f]))
        }
        _ => {
            let Some(bound) = ty.bound() else { return Err(wrong()) };
            let mut rest = bytes;
            if ty.range().is_none() {
                let text = range_from_binary(&bound, &mut rest, wrong)?;
                return if rest.is_empty() { Ok(text) } else { Err(wrong()) };
            }
            let count = word(&mut rest).ok_or_else(wrong)?;
            let mut ranges = Vec::new();
            for _ in 0..count {
                let mut range = sized(&mut rest).ok_or_else(wrong)?;
                ranges.push(range_from_binary(&bound, &mut range, wrong)?);
                if !range.is_empty() {
                    return Err(wrong());
                }
            }
            if !rest.is_empty() {
                return Err(wrong());
            }
            format!("{{{}}}", ranges.join(","))
        }
    })
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    let (head, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    Some(u32::from_be_bytes(*head))
}

fn sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(word(rest)?).ok()?;
    let (value, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(value)
}

fn range_from_binary(
    ty: &SqlType,
    rest: &mut &[u8],
    wrong: &dyn Fn() -> PgError,
) -> PgResult<String> {
    let (flags, tail) = rest.split_first().ok_or_else(wrong)?;
    *rest = tail;
    if flags & EMPTY != 0 {
        return Ok("empty".to_owned());
    }
    let mut bound = |infinite: u8| -> PgResult<String> {
        if flags & infinite != 0 {
            return Ok(String::new());
        }
        let bytes = sized(rest).ok_or_else(wrong)?;
        let array = decode::from_binary(ty, bytes)?.to_array().map_err(PgError::internal)?;
        let text = encode::text_of(&array, ty, 0, &TextSettings::default())?;
        Ok(range::quoted(&text.ok_or_else(wrong)?))
    };
    let (lower, upper) = (bound(LOWER_INFINITE)?, bound(UPPER_INFINITE)?);
    Ok(format!(
        "{}{lower},{upper}{}",
        if flags & LOWER_INCLUSIVE != 0 { '[' } else { '(' },
        if flags & UPPER_INCLUSIVE != 0 { ']' } else { ')' },
    ))
}
