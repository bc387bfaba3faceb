//! One value, whatever its type.

use crate::text::interval::Interval;

/// A decimal number: `units / 10^scale`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    pub units: i128,
    pub scale: u8,
}

/// One value. Texts of every kind (`uuid`, `jsonb`, …) are [`Value::Text`]; the SQL type that
/// stands next to it tells them apart.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Numeric(Decimal),
    Text(String),
    Bytes(Vec<u8>),
    Date(i32),
    Time(i64),
    Timestamp(i64),
    Timestamptz(i64),
    Interval(Interval),
    List(Vec<Value>),
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The text of a text; empty for anything else.
    pub fn text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// The integer of an integer; 0 for anything else.
    pub fn int(&self) -> i64 {
        match self {
            Value::Int(int) => *int,
            _ => 0,
        }
    }

    /// The elements of an array; none for anything else.
    pub fn list(&self) -> &[Value] {
        match self {
            Value::List(items) => items,
            _ => &[],
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}
