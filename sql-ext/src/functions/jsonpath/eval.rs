//! What a path finds.

use serde_json::Map;

use super::{Expr, Method, Test};
use crate::error::{Error, Result};
use crate::functions::compare::compare;
use crate::functions::convert::decimal;
use crate::functions::json::{Json, kind};
use crate::functions::strings::regex;
use crate::functions::value::{Decimal, Value};

pub(super) struct Evaluation<'a> {
    pub(super) document: &'a Json,
    pub(super) variables: &'a Json,
    /// Whether what is missing is an error.
    pub(super) strict: bool,
}

/// Where an expression stands: `@`, and the array that `last` is of.
#[derive(Clone, Copy)]
struct Place<'a> {
    current: &'a Json,
    length: Option<usize>,
}

fn number(json: &Json) -> Option<Decimal> {
    match json {
        Json::Number(n) => decimal(&n.to_string()).ok(),
        _ => None,
    }
}

fn json_number(text: &str) -> Result<Json> {
    serde_json::from_str(text)
        .map_err(|_| Error::postgres("22003", "value overflows numeric format"))
}

impl Evaluation<'_> {
    pub(super) fn run(&self, expr: &Expr) -> Result<Vec<Json>> {
        self.items(expr, Place { current: self.document, length: None })
    }

    fn items(&self, expr: &Expr, place: Place<'_>) -> Result<Vec<Json>> {
        match expr {
            Expr::Root => Ok(vec![self.document.clone()]),
            Expr::Current => Ok(vec![place.current.clone()]),
            Expr::Last => match place.length {
                Some(length) => json_number(&(length as i64 - 1).to_string()).map(|n| vec![n]),
                None => Err(Error::postgres("42601", "LAST is allowed only in array subscripts")),
            },
            Expr::Variable(name) => match self.variables.get(name) {
                Some(value) => Ok(vec![value.clone()]),
                None => Err(Error::postgres(
                    "42704",
                    format!("could not find jsonpath variable \"{name}\""),
                )),
            },
            Expr::Literal(value) => Ok(vec![value.clone()]),
            Expr::Tested(test) => Ok(vec![match self.test(test, place)? {
                Some(b) => Json::Bool(b),
                None => Json::Null,
            }]),
            Expr::Member(base, name) => {
                let mut found = Vec::new();
                for item in self.unwrapped(base, place)? {
                    match &item {
                        Json::Object(members) => match members.get(name) {
                            Some(value) => found.push(value.clone()),
                            None if self.strict => {
                                let message =
                                    format!("JSON object does not contain key \"{name}\"");
                                return Err(Error::postgres("2203A", message));
                            }
                            None => {}
                        },
                        _ if self.strict => {
                            return Err(Error::postgres(
                                "2203A",
                                "jsonpath member accessor can only be applied to an object",
                            ));
                        }
                        _ => {}
                    }
                }
                Ok(found)
            }
            Expr::Members(base) => {
                let mut found = Vec::new();
                for item in self.unwrapped(base, place)? {
                    match item {
                        Json::Object(members) => found.extend(ordered(members).map(|(_, v)| v)),
                        _ if self.strict => {
                            return Err(Error::postgres(
                                "2203C",
                                "jsonpath wildcard member accessor can only be applied to an object",
                            ));
                        }
                        _ => {}
                    }
                }
                Ok(found)
            }
            Expr::Depths(base, from, to) => {
                let mut found = Vec::new();
                for item in self.items(base, place)? {
                    deeper(item, 0, (*from, *to), &mut found);
                }
                Ok(found)
            }
            Expr::Elements(base) => {
                let mut found = Vec::new();
                for item in self.items(base, place)? {
                    match item {
                        Json::Array(items) => found.extend(items),
                        _ if self.strict => return Err(no_array("wildcard array")),
                        other => found.push(other),
                    }
                }
                Ok(found)
            }
            Expr::Subscripts(base, ranges) => self.subscripts(base, ranges, place),
            Expr::Filter(base, test) => {
                let mut found = Vec::new();
                for item in self.unwrapped(base, place)? {
                    if self.test(test, Place { current: &item, ..place })? == Some(true) {
                        found.push(item);
                    }
                }
                Ok(found)
            }
            Expr::Method(base, method) => self.method(base, *method, place),
            Expr::Negative(base) | Expr::Positive(base) => {
                let negative = matches!(expr, Expr::Negative(_));
                self.unwrapped(base, place)?
                    .into_iter()
                    .map(|item| match number(&item) {
                        Some(n) if negative => {
                            json_number(&Decimal { units: -n.units, scale: n.scale }.text(false))
                        }
                        Some(_) => Ok(item),
                        None => Err(Error::postgres(
                            "2203B",
                            format!(
                                "operand of unary jsonpath operator {} is not a numeric value",
                                if negative { '-' } else { '+' }
                            ),
                        )),
                    })
                    .collect()
            }
            Expr::Arithmetic(left, op, right) => self.arithmetic(left, *op, right, place),
        }
    }

    /// The items of an expression; in lax mode those of arrays instead of them.
    fn unwrapped(&self, expr: &Expr, place: Place<'_>) -> Result<Vec<Json>> {
        let items = self.items(expr, place)?;
        if self.strict {
            return Ok(items);
        }
        Ok(items
            .into_iter()
            .flat_map(|item| match item {
                Json::Array(items) => items,
                other => vec![other],
            })
            .collect())
    }

    fn subscripts(
        &self,
        base: &Expr,
        ranges: &[(Expr, Option<Expr>)],
        place: Place<'_>,
    ) -> Result<Vec<Json>> {
        let mut found = Vec::new();
        for item in self.items(base, place)? {
            let items = match item {
                Json::Array(items) => items,
                _ if self.strict => return Err(no_array("array")),
                other => vec![other],
            };
            let inner = Place { length: Some(items.len()), ..place };
            for (from, to) in ranges {
                let low = self.index(from, inner)?;
                let high = match to {
                    Some(to) => self.index(to, inner)?,
                    None => low,
                };
                let last = items.len() as i64 - 1;
                if self.strict && (low < 0 || low > high || high > last) {
                    return Err(Error::postgres(
                        "22033",
                        "jsonpath array subscript is out of bounds",
                    ));
                }
                for at in low.max(0)..=high.min(last) {
                    found.extend(usize::try_from(at).ok().and_then(|at| items.get(at).cloned()));
                }
            }
        }
        Ok(found)
    }

    fn index(&self, expr: &Expr, place: Place<'_>) -> Result<i64> {
        match self.items(expr, place)?.as_slice() {
            [one] if number(one).is_some() => {
                let n = number(one).map(|n| n.units / 10i128.pow(n.scale.into())).unwrap_or(0);
                i64::try_from(n).map_err(|_| {
                    Error::postgres("22033", "jsonpath array subscript is out of integer range")
                })
            }
            _ => Err(Error::postgres(
                "22033",
                "jsonpath array subscript is not a single numeric value",
            )),
        }
    }

    fn method(&self, base: &Expr, method: Method, place: Place<'_>) -> Result<Vec<Json>> {
        // These two look at arrays as they are.
        let items = match method {
            Method::Type | Method::Size => self.items(base, place)?,
            _ => self.unwrapped(base, place)?,
        };
        let mut found = Vec::new();
        for item in items {
            let number_of = |name: &str| {
                number(&item).ok_or_else(|| {
                    let message = format!(
                        "jsonpath item method .{name}() can only be applied to a numeric value"
                    );
                    Error::postgres("22036", message)
                })
            };
            found.push(match method {
                Method::Type => Json::String(kind(&item).to_owned()),
                Method::Size => match &item {
                    Json::Array(items) => json_number(&items.len().to_string())?,
                    _ if self.strict => return Err(no_array("item method .size()")),
                    _ => json_number("1")?,
                },
                Method::Double => {
                    let text = match &item {
                        Json::Number(n) => n.to_string(),
                        Json::String(text) => text.clone(),
                        _ => String::new(),
                    };
                    match text.trim().parse::<f64>() {
                        Ok(x) if x.is_finite() => json_number(&x.to_string())?,
                        _ => {
                            return Err(Error::postgres(
                                "22036",
                                "jsonpath item method .double() can only be applied to a string \
                                 or numeric value",
                            ));
                        }
                    }
                }
                Method::Abs => {
                    let n = number_of("abs")?;
                    json_number(&Decimal { units: n.units.abs(), scale: n.scale }.text(false))?
                }
                Method::Floor => {
                    let n = number_of("floor")?;
                    json_number(&n.units.div_euclid(10i128.pow(n.scale.into())).to_string())?
                }
                Method::Ceiling => {
                    let n = number_of("ceiling")?;
                    let units = -(-n.units).div_euclid(10i128.pow(n.scale.into()));
                    json_number(&units.to_string())?
                }
                Method::KeyValue => {
                    let Json::Object(members) = item else {
                        return Err(Error::postgres(
                            "2203C",
                            "jsonpath item method .keyvalue() can only be applied to an object",
                        ));
                    };
                    for (key, value) in ordered(members) {
                        let mut pair = Map::new();
                        pair.insert("key".into(), Json::String(key));
                        pair.insert("value".into(), value);
                        pair.insert("id".into(), json_number("0")?);
                        found.push(Json::Object(pair));
                    }
                    continue;
                }
            });
        }
        Ok(found)
    }

    fn arithmetic(
        &self,
        left: &Expr,
        op: char,
        right: &Expr,
        place: Place<'_>,
    ) -> Result<Vec<Json>> {
        let operand = |expr: &Expr, side: &str| -> Result<Decimal> {
            match self.unwrapped(expr, place)?.as_slice() {
                [one] if number(one).is_some() => {
                    Ok(number(one).unwrap_or(Decimal { units: 0, scale: 0 }))
                }
                _ => Err(Error::postgres(
                    "22038",
                    format!(
                        "{side} operand of jsonpath operator {op} is not a single numeric value"
                    ),
                )),
            }
        };
        let (a, b) = (operand(left, "left")?, operand(right, "right")?);
        let overflow = || Error::postgres("22003", "value overflows numeric format");
        let scale = a.scale.max(b.scale);
        let aligned = |n: Decimal| n.at_scale(scale).ok_or_else(overflow);
        let text = |units: Option<i128>, scale: u8| {
            units.map(|units| Decimal { units, scale }.text(false)).ok_or_else(overflow)
        };
        let zero = || Error::postgres("22012", "division by zero");
        let result = match op {
            '+' => text(aligned(a)?.checked_add(aligned(b)?), scale)?,
            '-' => text(aligned(a)?.checked_sub(aligned(b)?), scale)?,
            '*' => text(a.units.checked_mul(b.units), a.scale + b.scale)?,
            '%' => text(Some(aligned(a)?.checked_rem(aligned(b)?).ok_or_else(zero)?), scale)?,
            _ => {
                if b.units == 0 {
                    return Err(zero());
                }
                let wide = Decimal { units: a.units, scale: a.scale }
                    .at_scale(b.scale.saturating_add(16).max(a.scale))
                    .ok_or_else(overflow)?;
                let scale = b.scale.saturating_add(16).max(a.scale) - b.scale;
                Decimal { units: wide / b.units, scale }.text(false)
            }
        };
        json_number(&result).map(|n| vec![n])
    }

    fn test(&self, test: &Test, place: Place<'_>) -> Result<Option<bool>> {
        Ok(match test {
            Test::And(a, b) => match (self.test(a, place)?, self.test(b, place)?) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Test::Or(a, b) => match (self.test(a, place)?, self.test(b, place)?) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Test::Not(inner) => self.test(inner, place)?.map(|b| !b),
            Test::IsUnknown(inner) => Some(self.test(inner, place)?.is_none()),
            Test::Exists(expr) => match self.items(expr, place) {
                Ok(items) => Some(!items.is_empty()),
                Err(_) => None,
            },
            Test::Compare(a, op, b) => {
                let (Ok(left), Ok(right)) = (self.unwrapped(a, place), self.unwrapped(b, place))
                else {
                    return Ok(None);
                };
                any(left.iter().flat_map(|a| right.iter().map(move |b| compared(a, op, b))))
            }
            Test::StartsWith(a, b) => {
                let (Ok(left), Ok(right)) = (self.unwrapped(a, place), self.items(b, place)) else {
                    return Ok(None);
                };
                let start = match right.first() {
                    Some(Json::String(start)) => start.clone(),
                    _ => return Ok(None),
                };
                any(left.iter().map(|item| item.as_str().map(|t| t.starts_with(&start))))
            }
            Test::LikeRegex(a, pattern, flags) => {
                let Ok(left) = self.unwrapped(a, place) else { return Ok(None) };
                let flags: String =
                    flags.chars().filter(|f| matches!(f, 'i' | 's' | 'm' | 'x')).collect();
                let (regex, _) = regex(pattern, &flags).map_err(|_| {
                    Error::postgres("2201B", "invalid regular expression in jsonpath")
                })?;
                any(left.iter().map(|item| item.as_str().map(|t| regex.is_match(t))))
            }
        })
    }
}

fn no_array(what: &str) -> Error {
    let message = format!("jsonpath {what} accessor can only be applied to an array");
    Error::postgres("22039", message)
}

/// True if one is; else unknown if one is; else false.
fn any(tests: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut unknown = false;
    for test in tests {
        match test {
            Some(true) => return Some(true),
            Some(false) => {}
            None => unknown = true,
        }
    }
    if unknown { None } else { Some(false) }
}

fn compared(a: &Json, op: &str, b: &Json) -> Option<bool> {
    let order = match (a, b) {
        (Json::Null, Json::Null) => std::cmp::Ordering::Equal,
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::String(a), Json::String(b)) => a.cmp(b),
        (Json::Number(_), Json::Number(_)) => {
            compare(&Value::Numeric(number(a)?), &Value::Numeric(number(b)?))
        }
        // Something is not null.
        (Json::Null, _) | (_, Json::Null) => return Some(op == "<>"),
        _ => return None,
    };
    Some(match op {
        "=" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    })
}

/// An object's members as `jsonb` orders them.
fn ordered(members: Map<String, Json>) -> impl Iterator<Item = (String, Json)> {
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    members.into_iter()
}

/// An item and all below it, between two levels.
fn deeper(item: Json, level: usize, (from, to): (usize, usize), found: &mut Vec<Json>) {
    if level > to {
        return;
    }
    let leaf = !item.is_array() && !item.is_object();
    let last_level = from == usize::MAX;
    if last_level && leaf || !last_level && level >= from {
        found.push(item.clone());
    }
    let below: Vec<Json> = match item {
        Json::Array(items) => items,
        Json::Object(members) => ordered(members).map(|(_, v)| v).collect(),
        _ => return,
    };
    for item in below {
        deeper(item, level + 1, (from, to), found);
    }
}
