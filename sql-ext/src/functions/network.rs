//! Functions and operators of addresses.

use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType as O;
use datafusion::common::Result;

use super::function::{Definition, P, f};
use super::value::Value;
use crate::error::Error;
use crate::text::network::{self, Inet};

const INET: fn(&[SqlType]) -> SqlType = |_| SqlType::Other(O::Inet);
const CIDR: fn(&[SqlType]) -> SqlType = |_| SqlType::Other(O::Cidr);
const MACADDR: fn(&[SqlType]) -> SqlType = |_| SqlType::Other(O::Macaddr);
const MACADDR8: fn(&[SqlType]) -> SqlType = |_| SqlType::Other(O::Macaddr8);
const TEXT: fn(&[SqlType]) -> SqlType = |_| SqlType::Text;
const BOOL: fn(&[SqlType]) -> SqlType = |_| SqlType::Bool;
const INT4: fn(&[SqlType]) -> SqlType = |_| SqlType::Int4;

const ONE: &[P] = &[P::Kept(O::Inet)];
const TWO: &[P] = &[P::Kept(O::Inet), P::Kept(O::Inet)];

fn inet(value: &Value) -> Result<Inet> {
    Ok(Inet::parse(value.text())?)
}

fn shown(inet: Inet) -> Result<Value> {
    Ok(Value::Text(inet.to_string()))
}

/// Whether the second network, of at most so many bits, holds the first.
fn within(a: &[Value], equal: bool) -> Result<Value> {
    let (inner, outer) = (inet(&a[0])?, inet(&a[1])?);
    let narrower = inner.bits > outer.bits || equal && inner.bits == outer.bits;
    Ok((narrower && inner.shares(&outer, outer.bits)).into())
}

fn swapped(a: &[Value]) -> [Value; 2] {
    [a[1].clone(), a[0].clone()]
}

fn same_family(a: &Inet, b: &Inet, what: &str) -> Result<()> {
    if a.v6 == b.v6 {
        return Ok(());
    }
    Err(Error::postgres("22023", format!("cannot {what} inet values of different sizes")).into())
}

fn plus(inet: Inet, by: i128) -> Result<Value> {
    let out_of_range = || Error::postgres("22003", "result is out of range");
    let value = if by < 0 {
        inet.value().checked_sub(by.unsigned_abs())
    } else {
        inet.value().checked_add(by.unsigned_abs())
    };
    let value = value.filter(|v| *v <= inet.ones()).ok_or_else(out_of_range)?;
    shown(inet.with(value, inet.bits))
}

fn bits_of(value: &Value, inet: &Inet) -> Result<u8> {
    match value.int() {
        -1 => Ok(inet.max_bits()),
        bits if (0..=i64::from(inet.max_bits())).contains(&bits) => Ok(bits as u8),
        bits => Err(Error::postgres("22023", format!("invalid mask length: {bits}")).into()),
    }
}

fn mac_bytes(value: &Value, eight: bool) -> Result<Vec<u8>> {
    Ok(network::parse_mac(value.text(), "macaddr", eight)?)
}

fn each_byte(a: &[Value], eight: bool, combine: fn(u8, u8) -> u8) -> Result<Value> {
    let (left, right) = (mac_bytes(&a[0], eight)?, mac_bytes(&a[1], eight)?);
    let bytes: Vec<u8> = left.iter().zip(&right).map(|(l, r)| combine(*l, *r)).collect();
    Ok(Value::Text(network::mac(&bytes)))
}

fn inverted(a: &[Value], eight: bool) -> Result<Value> {
    let bytes: Vec<u8> = mac_bytes(&a[0], eight)?.iter().map(|b| !b).collect();
    Ok(Value::Text(network::mac(&bytes)))
}

/// Its first three bytes, the manufacturer's.
fn manufacturer(a: &[Value], eight: bool) -> Result<Value> {
    let mut bytes = mac_bytes(&a[0], eight)?;
    bytes.iter_mut().skip(3).for_each(|b| *b = 0);
    Ok(Value::Text(network::mac(&bytes)))
}

const MACS: &[P] = &[P::Kept(O::Macaddr), P::Kept(O::Macaddr)];
const MACS8: &[P] = &[P::Kept(O::Macaddr8), P::Kept(O::Macaddr8)];

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("host", ONE, TEXT, |_, a| Ok(inet(&a[0])?.host().into())),
    f("family", ONE, INT4, |_, a| Ok(Value::Int(if inet(&a[0])?.v6 { 6 } else { 4 }))),
    f("masklen", ONE, INT4, |_, a| Ok(Value::Int(inet(&a[0])?.bits.into()))),
    f("abbrev", ONE, TEXT, |_, a| Ok(a[0].clone())),
    f("abbrev", &[P::Kept(O::Cidr)], TEXT, |_, a| Ok(inet(&a[0])?.abbreviated().into())),
    f("broadcast", ONE, INET, |_, a| {
        let inet = inet(&a[0])?;
        shown(inet.with(inet.value() | inet.host_mask(inet.bits), inet.bits))
    }),
    f("network", ONE, CIDR, |_, a| {
        let inet = inet(&a[0])?;
        Ok(inet.with(inet.network(inet.bits), inet.bits).cidr().into())
    }),
    f("netmask", ONE, INET, |_, a| {
        let inet = inet(&a[0])?;
        shown(inet.with(inet.ones() & !inet.host_mask(inet.bits), inet.max_bits()))
    }),
    f("hostmask", ONE, INET, |_, a| {
        let inet = inet(&a[0])?;
        shown(inet.with(inet.host_mask(inet.bits), inet.max_bits()))
    }),
    f("set_masklen", &[P::Kept(O::Inet), P::Int4], INET, |_, a| {
        let inet = inet(&a[0])?;
        shown(inet.with(inet.value(), bits_of(&a[1], &inet)?))
    }),
    f("set_masklen", &[P::Kept(O::Cidr), P::Int4], CIDR, |_, a| {
        let inet = inet(&a[0])?;
        let bits = bits_of(&a[1], &inet)?;
        Ok(inet.with(inet.network(bits), bits).cidr().into())
    }),
    f("inet_same_family", TWO, BOOL, |_, a| Ok((inet(&a[0])?.v6 == inet(&a[1])?.v6).into())),
    f("inet_merge", TWO, CIDR, |_, a| {
        let (x, y) = (inet(&a[0])?, inet(&a[1])?);
        if x.v6 != y.v6 {
            let message = "cannot merge addresses from different families";
            return Err(Error::postgres("22023", message).into());
        }
        let most = x.bits.min(y.bits);
        let bits = (0..=most).rev().find(|bits| x.shares(&y, *bits)).unwrap_or(0);
        Ok(x.with(x.network(bits), bits).cidr().into())
    }),
    f("_inet_within", TWO, BOOL, |_, a| within(a, false)),
    f("_inet_within_equal", TWO, BOOL, |_, a| within(a, true)),
    f("_inet_holds", TWO, BOOL, |_, a| within(&swapped(a), false)),
    f("_inet_holds_equal", TWO, BOOL, |_, a| within(&swapped(a), true)),
    f("_inet_overlap", TWO, BOOL, |_, a| {
        let (x, y) = (inet(&a[0])?, inet(&a[1])?);
        Ok(x.shares(&y, x.bits.min(y.bits)).into())
    }),
    f("_inet_and", TWO, INET, |_, a| {
        let (x, y) = (inet(&a[0])?, inet(&a[1])?);
        same_family(&x, &y, "AND")?;
        shown(x.with(x.value() & y.value(), x.bits.max(y.bits)))
    }),
    f("_inet_or", TWO, INET, |_, a| {
        let (x, y) = (inet(&a[0])?, inet(&a[1])?);
        same_family(&x, &y, "OR")?;
        shown(x.with(x.value() | y.value(), x.bits.max(y.bits)))
    }),
    f("_bit_not", ONE, INET, |_, a| {
        let inet = inet(&a[0])?;
        shown(inet.with(!inet.value() & inet.ones(), inet.bits))
    }),
    f("_inet_add", &[P::Kept(O::Inet), P::Int8], INET, |_, a| {
        plus(inet(&a[0])?, a[1].int().into())
    }),
    f("_inet_add", &[P::Int8, P::Kept(O::Inet)], INET, |_, a| {
        plus(inet(&a[1])?, a[0].int().into())
    }),
    f("_inet_subtract", &[P::Kept(O::Inet), P::Int8], INET, |_, a| {
        plus(inet(&a[0])?, -i128::from(a[1].int()))
    }),
    f(
        "_inet_subtract",
        TWO,
        |_| SqlType::Int8,
        |_, a| {
            let (x, y) = (inet(&a[0])?, inet(&a[1])?);
            same_family(&x, &y, "subtract")?;
            let (x, y) = (x.value(), y.value());
            let difference = i64::try_from(x.abs_diff(y)).ok();
            let difference = difference.map(|d| if x < y { -d } else { d });
            difference
                .map(Value::Int)
                .ok_or_else(|| Error::postgres("22003", "result is out of range").into())
        },
    ),
    f("_mac_and", MACS, MACADDR, |_, a| each_byte(a, false, |l, r| l & r)),
    f("_mac_or", MACS, MACADDR, |_, a| each_byte(a, false, |l, r| l | r)),
    f("_mac_and", MACS8, MACADDR8, |_, a| each_byte(a, true, |l, r| l & r)),
    f("_mac_or", MACS8, MACADDR8, |_, a| each_byte(a, true, |l, r| l | r)),
    f("_bit_not", &[P::Kept(O::Macaddr)], MACADDR, |_, a| inverted(a, false)),
    f("_bit_not", &[P::Kept(O::Macaddr8)], MACADDR8, |_, a| inverted(a, true)),
    f("trunc", &[P::Kept(O::Macaddr)], MACADDR, |_, a| manufacturer(a, false)),
    f("trunc", &[P::Kept(O::Macaddr8)], MACADDR8, |_, a| manufacturer(a, true)),
    f("macaddr8_set7bit", &[P::Kept(O::Macaddr8)], MACADDR8, |_, a| {
        let mut bytes = mac_bytes(&a[0], true)?;
        bytes[0] |= 2;
        Ok(Value::Text(network::mac(&bytes)))
    }),
];
