//! Functions of numbers that keep the type that PostgreSQL keeps.

use chronos_catalog::SqlType;
use datafusion::common::{DataFusionError, Result};

use super::convert::decimal;
use super::function::{Call, Definition, P, f};
use super::value::{Decimal, Value};
use crate::error::Error;

/// A numeric without digits after the point.
const WHOLE: fn(&[SqlType]) -> SqlType = |_| SqlType::Numeric(Some((38, 0)));
const FLOAT: fn(&[SqlType]) -> SqlType = |_| SqlType::Float8;
const INT4: fn(&[SqlType]) -> SqlType = |_| SqlType::Int4;
const NUMERIC: fn(&[SqlType]) -> SqlType = |_| SqlType::Numeric(None);

/// The type of the argument, if it is a number's.
fn same(types: &[SqlType]) -> SqlType {
    types.iter().find(|ty| ty.is_number()).cloned().unwrap_or(SqlType::Float8)
}

/// The wider of two integers' types.
fn wider(types: &[SqlType]) -> SqlType {
    let is = |ty: &SqlType| types.contains(ty);
    if is(&SqlType::Int8) {
        SqlType::Int8
    } else if is(&SqlType::Int4) {
        SqlType::Int4
    } else if is(&SqlType::Int2) {
        SqlType::Int2
    } else {
        SqlType::Int8
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(x) => *x,
        _ => 0.0,
    }
}

fn numeric(value: &Value) -> Decimal {
    match value {
        Value::Numeric(n) => *n,
        Value::Int(i) => Decimal { units: (*i).into(), scale: 0 },
        _ => Decimal { units: 0, scale: 0 },
    }
}

fn out_of_range(ty: &SqlType) -> DataFusionError {
    let name = super::function::type_name(ty);
    Error::postgres("22003", format!("{name} out of range")).into()
}

fn overflow() -> DataFusionError {
    Error::postgres("22003", "value overflows numeric format").into()
}

fn by_zero() -> DataFusionError {
    Error::postgres("22012", "division by zero").into()
}

fn fits(value: i64, ty: &SqlType) -> Result<Value> {
    let fits = match ty {
        SqlType::Int2 => i16::try_from(value).is_ok(),
        SqlType::Int4 => i32::try_from(value).is_ok(),
        _ => true,
    };
    if fits { Ok(Value::Int(value)) } else { Err(out_of_range(ty)) }
}

/// The digits before the point, towards one side.
fn whole(value: &Value, up: Option<bool>) -> Value {
    let n = numeric(value);
    let divisor = 10i128.pow(n.scale.into());
    let units = match up {
        None => n.units / divisor,
        Some(false) => n.units.div_euclid(divisor),
        Some(true) => -(-n.units).div_euclid(divisor),
    };
    Value::Numeric(Decimal { units, scale: 0 })
}

/// Cut after so many digits, with the scale that it had.
fn cut(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let n = numeric(&a[0]);
    let drop = i64::from(n.scale) - a[1].int();
    if drop <= 0 {
        return Ok(Value::Numeric(n));
    }
    let divisor = u32::try_from(drop).ok().and_then(|d| 10i128.checked_pow(d));
    let units = divisor.map_or(0, |divisor| n.units / divisor * divisor);
    Ok(Value::Numeric(Decimal { units, scale: n.scale }))
}

fn quotient(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (x, y) = (numeric(&a[0]), numeric(&a[1]));
    if y.units == 0 {
        return Err(by_zero());
    }
    let scale = x.scale.max(y.scale);
    let (x, y) = (x.at_scale(scale).ok_or_else(overflow)?, y.at_scale(scale).ok_or_else(overflow)?);
    Ok(Value::Numeric(Decimal { units: x / y, scale: 0 }))
}

fn gcd(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.abs()
}

fn as_int(value: i128, ty: &SqlType) -> Result<Value> {
    i64::try_from(value).map_err(|_| out_of_range(ty)).and_then(|v| fits(v, ty))
}

/// A function of a double whose result is finite for finite arguments.
fn checked(x: f64, result: f64) -> Result<Value> {
    if result.is_infinite() && x.is_finite() {
        return Err(Error::postgres("22003", "value out of range: overflow").into());
    }
    Ok(Value::Float(result))
}

fn logarithm(x: f64, of: fn(f64) -> f64) -> Result<Value> {
    if x == 0.0 {
        return Err(Error::postgres("2201E", "cannot take logarithm of zero").into());
    }
    if x < 0.0 {
        return Err(Error::postgres("2201E", "cannot take logarithm of a negative number").into());
    }
    Ok(Value::Float(of(x)))
}

fn within(x: f64, low: f64, high: f64, result: f64) -> Result<Value> {
    if x < low || x > high {
        return Err(Error::postgres("22003", "input is out of range").into());
    }
    Ok(Value::Float(result))
}

/// Degrees of whole quarters are exact.
fn degrees(x: f64, of: fn(f64) -> f64, exact: fn(i64) -> Option<f64>) -> Result<Value> {
    if x.is_infinite() {
        return Err(Error::postgres("22003", "input is out of range").into());
    }
    let turned = x % 360.0;
    let known = (turned.fract() == 0.0).then(|| exact((turned as i64).rem_euclid(360))).flatten();
    Ok(Value::Float(known.unwrap_or_else(|| of(turned.to_radians()))))
}

fn exact_sine(degrees: i64) -> Option<f64> {
    Some(match degrees {
        0 | 180 => 0.0,
        30 | 150 => 0.5,
        90 => 1.0,
        210 | 330 => -0.5,
        270 => -1.0,
        _ => return None,
    })
}

fn exact_cosine(degrees: i64) -> Option<f64> {
    exact_sine((degrees + 90).rem_euclid(360))
}

fn factorial(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let n = a[0].int();
    if n < 0 {
        let message = "factorial of a negative number is undefined";
        return Err(Error::postgres("22003", message).into());
    }
    let mut product = 1i128;
    for factor in 2..=n {
        product = product.checked_mul(factor.into()).ok_or_else(overflow)?;
    }
    Ok(Value::Numeric(Decimal { units: product, scale: 0 }))
}

/// Where a value stands among ordered bounds.
fn bucket_of(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let SqlType::Array(item) = &c.types[1] else { return Ok(Value::Null) };
    let number = |value: &Value, ty: &SqlType| -> Result<f64> {
        match super::convert::convert(value.clone(), ty, &SqlType::Float8, c.zone)? {
            Value::Float(x) => Ok(x),
            _ => Err(Error::postgres("22004", "thresholds array must not contain NULLs").into()),
        }
    };
    let value = number(&a[0], &c.types[0])?;
    let mut at = 0;
    for bound in a[1].list() {
        if value < number(bound, item)? {
            break;
        }
        at += 1;
    }
    Ok(Value::Int(at))
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("abs", &[P::Int8], same, |c, a| {
        fits(a[0].int().checked_abs().ok_or_else(|| out_of_range(&c.types[0]))?, &c.types[0])
    }),
    f("abs", &[P::Numeric], same, |_, a| {
        let n = numeric(&a[0]);
        Ok(Value::Numeric(Decimal { units: n.units.abs(), scale: n.scale }))
    }),
    f("abs", &[P::Float], same, |_, a| Ok(Value::Float(float(&a[0]).abs()))),
    f("sign", &[P::Numeric], WHOLE, |_, a| {
        Ok(Value::Numeric(Decimal { units: numeric(&a[0]).units.signum(), scale: 0 }))
    }),
    f("sign", &[P::Float], FLOAT, |_, a| {
        let x = float(&a[0]);
        Ok(Value::Float(if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            0.0
        }))
    }),
    f("ceil", &[P::Numeric], WHOLE, |_, a| Ok(whole(&a[0], Some(true)))),
    f("ceil", &[P::Float], FLOAT, |_, a| Ok(Value::Float(float(&a[0]).ceil()))),
    f("ceiling", &[P::Numeric], WHOLE, |_, a| Ok(whole(&a[0], Some(true)))),
    f("ceiling", &[P::Float], FLOAT, |_, a| Ok(Value::Float(float(&a[0]).ceil()))),
    f("floor", &[P::Numeric], WHOLE, |_, a| Ok(whole(&a[0], Some(false)))),
    f("floor", &[P::Float], FLOAT, |_, a| Ok(Value::Float(float(&a[0]).floor()))),
    f("trunc", &[P::Numeric], WHOLE, |_, a| Ok(whole(&a[0], None))),
    f("trunc", &[P::Float], FLOAT, |_, a| Ok(Value::Float(float(&a[0]).trunc()))),
    f("trunc", &[P::Numeric, P::Int4], NUMERIC, cut),
    f("div", &[P::Numeric, P::Numeric], WHOLE, quotient),
    f("gcd", &[P::Int8, P::Int8], wider, |c, a| {
        as_int(gcd(a[0].int().into(), a[1].int().into()), &wider(c.types))
    }),
    f("lcm", &[P::Int8, P::Int8], wider, |c, a| {
        let (x, y) = (i128::from(a[0].int()), i128::from(a[1].int()));
        let common = gcd(x, y);
        as_int(if common == 0 { 0 } else { (x / common * y).abs() }, &wider(c.types))
    }),
    f("factorial", &[P::Int8], WHOLE, factorial),
    f("_bit_not", &[P::Int8], same, |_, a| Ok(Value::Int(!a[0].int()))),
    f("sqrt", &[P::Float], FLOAT, |_, a| {
        let x = float(&a[0]);
        if x < 0.0 {
            let message = "cannot take square root of a negative number";
            return Err(Error::postgres("2201F", message).into());
        }
        Ok(Value::Float(x.sqrt()))
    }),
    f("ln", &[P::Float], FLOAT, |_, a| logarithm(float(&a[0]), f64::ln)),
    f("log10", &[P::Float], FLOAT, |_, a| logarithm(float(&a[0]), f64::log10)),
    f("log", &[P::Float], FLOAT, |_, a| logarithm(float(&a[0]), f64::log10)),
    f("log", &[P::Float, P::Float], FLOAT, |_, a| {
        let base = match logarithm(float(&a[0]), f64::log2)? {
            Value::Float(base) => base,
            _ => 0.0,
        };
        if base == 0.0 {
            return Err(by_zero());
        }
        match logarithm(float(&a[1]), f64::log2)? {
            Value::Float(x) => Ok(Value::Float(x / base)),
            other => Ok(other),
        }
    }),
    f("exp", &[P::Float], FLOAT, |_, a| {
        let x = float(&a[0]);
        checked(x, x.exp())
    }),
    f("asin", &[P::Float], FLOAT, |_, a| {
        let x = float(&a[0]);
        within(x, -1.0, 1.0, x.asin())
    }),
    f("acos", &[P::Float], FLOAT, |_, a| {
        let x = float(&a[0]);
        within(x, -1.0, 1.0, x.acos())
    }),
    f("acosh", &[P::Float], FLOAT, |_, a| {
        let x = float(&a[0]);
        within(x, 1.0, f64::INFINITY, x.acosh())
    }),
    f("atanh", &[P::Float], FLOAT, |_, a| {
        let x = float(&a[0]);
        within(x, -1.0, 1.0, x.atanh())
    }),
    f("sind", &[P::Float], FLOAT, |_, a| degrees(float(&a[0]), f64::sin, exact_sine)),
    f("cosd", &[P::Float], FLOAT, |_, a| degrees(float(&a[0]), f64::cos, exact_cosine)),
    f("tand", &[P::Float], FLOAT, |_, a| {
        degrees(float(&a[0]), f64::tan, |d| {
            Some(match d % 180 {
                0 => 0.0,
                45 => 1.0,
                135 => -1.0,
                90 => f64::INFINITY,
                _ => return None,
            })
        })
    }),
    f("asind", &[P::Float], FLOAT, |_, a| {
        let x = float(&a[0]);
        within(x, -1.0, 1.0, x.asin().to_degrees())
    }),
    f("acosd", &[P::Float], FLOAT, |_, a| {
        let x = float(&a[0]);
        within(x, -1.0, 1.0, x.acos().to_degrees())
    }),
    f("atand", &[P::Float], FLOAT, |_, a| Ok(Value::Float(float(&a[0]).atan().to_degrees()))),
    f(
        "to_hex",
        &[P::Int4],
        |_| SqlType::Text,
        |c, a| {
            Ok(Value::Text(match c.types[0] {
                SqlType::Int8 => format!("{:x}", a[0].int()),
                _ => format!("{:x}", a[0].int() as i32),
            }))
        },
    ),
    f("to_hex", &[P::Int8], |_| SqlType::Text, |_, a| Ok(Value::Text(format!("{:x}", a[0].int())))),
    f("scale", &[P::Numeric], INT4, |_, a| Ok(Value::Int(numeric(&a[0]).scale.into()))),
    f("min_scale", &[P::Numeric], INT4, |_, a| {
        Ok(Value::Int(numeric(&a[0]).trimmed().scale.into()))
    }),
    f("trim_scale", &[P::Numeric], NUMERIC, |_, a| Ok(Value::Numeric(numeric(&a[0]).trimmed()))),
    f("width_bucket", &[P::Any, P::Array], INT4, bucket_of),
    f("numeric_inc", &[P::Numeric], NUMERIC, |_, a| {
        let n = numeric(&a[0]);
        let one = decimal("1")?.at_scale(n.scale).ok_or_else(overflow)?;
        Ok(Value::Numeric(Decimal { units: n.units + one, scale: n.scale }))
    }),
];
