//! A scalar function as a table of overloads.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use chrono_tz::Tz;
use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;
use datafusion::common::{Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::column::{array_of, readable, value_at};
use super::convert::convert;
use super::value::Value;
pub(crate) use crate::casts::display_name as type_name;
use crate::error::Error;

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum P {
    Bool,
    /// `integer` and smaller.
    Int4,
    Int8,
    Float,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Json,
    Jsonb,
    TextArray,
    JsonbArray,
    /// A type that is kept as text.
    Kept(OtherType),
    /// Bits, fixed or varying.
    Bits,
    /// A range or multirange.
    Range,
    /// An array of anything, taken as it is.
    Array,
    /// Anything, taken as it is; a literal without a type is text.
    Any,
}

/// What a body may know besides its arguments.
pub(crate) struct Call<'a> {
    /// The arguments' types as they were given.
    pub types: &'a [SqlType],
    /// The session's time zone.
    pub zone: Tz,
}

/// The body of a function.
pub(crate) type Body = fn(&Call<'_>, &[Value]) -> Result<Value>;

/// One overload.
pub(crate) struct Definition {
    pub name: &'static str,
    pub params: &'static [P],
    /// How many of the last parameters may be left out.
    pub optional: usize,
    /// Whether the last parameter repeats, from no time on.
    pub variadic: bool,
    pub returns: fn(&[SqlType]) -> SqlType,
    /// NULL in, NULL out: the body sees no NULL.
    pub strict: bool,
    pub body: Body,
}

/// A strict function.
pub(crate) const fn f(
    name: &'static str,
    params: &'static [P],
    returns: fn(&[SqlType]) -> SqlType,
    body: Body,
) -> Definition {
    Definition { name, params, optional: 0, variadic: false, returns, strict: true, body }
}

impl Definition {
    pub const fn optional(mut self, count: usize) -> Self {
        self.optional = count;
        self
    }

    pub const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// The body sees NULLs.
    pub const fn called(mut self) -> Self {
        self.strict = false;
        self
    }

    fn param(&self, at: usize) -> Option<P> {
        match self.params.get(at) {
            None if self.variadic => self.params.last().copied(),
            found => found.copied(),
        }
    }

    /// How well it takes arguments of these types; `None` if it does not.
    fn rank(&self, args: &[SqlType], unknown: &[bool]) -> Option<u32> {
        let least = self.params.len() - self.optional - usize::from(self.variadic);
        if args.len() < least || (args.len() > self.params.len() && !self.variadic) {
            return None;
        }
        let mut sum = 0;
        for (at, (ty, unknown)) in args.iter().zip(unknown).enumerate() {
            let param = self.param(at)?;
            sum += match param {
                // A literal is of no range type by itself.
                P::Range if *unknown => return None,
                param if *unknown => literal_rank(param),
                param => param.rank(ty)?,
            };
        }
        Some(sum)
    }
}

/// PostgreSQL prefers strings for a literal without a type, then the widest of a category.
fn literal_rank(param: P) -> u32 {
    match param {
        P::Text => 3,
        P::Float | P::Timestamptz | P::Jsonb => 2,
        _ => 1,
    }
}

impl P {
    fn rank(self, ty: &SqlType) -> Option<u32> {
        use SqlType as T;
        Some(match (self, ty) {
            (P::Bool, T::Bool)
            | (P::Int4, T::Int4)
            | (P::Int8, T::Int8)
            | (P::Float, T::Float8)
            | (P::Numeric, T::Numeric(_))
            | (P::Text, T::Text)
            | (P::Bytea, T::Bytea)
            | (P::Date, T::Date)
            | (P::Time, T::Time)
            | (P::Timestamp, T::Timestamp)
            | (P::Timestamptz, T::Timestamptz)
            | (P::Interval, T::Interval)
            | (P::Json, T::Json)
            | (P::Jsonb, T::Jsonb)
            | (P::Array, T::Array(_)) => 8,
            (P::TextArray | P::JsonbArray, T::Array(_)) => 8,
            (P::Kept(kept), T::Other(other)) if kept == *other => 8,
            (P::Kept(OtherType::Inet), T::Other(OtherType::Cidr)) => 7,
            (P::Kept(OtherType::Macaddr8), T::Other(OtherType::Macaddr)) => 5,
            (P::Bits, T::Bit(_) | T::Varbit(_)) => 8,
            (P::Range, T::Other(other)) if other.bound().is_some() => 8,
            (P::Int4, T::Int2 | T::Int8) | (P::Text, T::Varchar(_) | T::Char(_) | T::Name) => 7,
            (P::Text, T::Other(other)) if other.is_character() => 7,
            (P::Float, T::Float4) => 7,
            (P::Int8, T::Int4 | T::Int2 | T::Oid) => 6,
            (P::Numeric, T::Int2 | T::Int4 | T::Int8) => 4,
            (P::Float, T::Int2 | T::Int4 | T::Int8 | T::Numeric(_)) => 5,
            (P::Timestamptz, T::Date | T::Timestamp) => 5,
            (P::Timestamp, T::Date) => 4,
            (P::Interval, T::Time) => 4,
            (P::Any, _) => 1,
            _ => return None,
        })
    }

    /// The type that the body gets; `None` for that of the argument.
    fn target(self) -> Option<SqlType> {
        Some(match self {
            P::Bool => SqlType::Bool,
            P::Int4 | P::Int8 => SqlType::Int8,
            P::Float => SqlType::Float8,
            P::Kept(other) => SqlType::Other(other),
            P::Numeric | P::Array | P::Any | P::Bits | P::Range => return None,
            P::Text => SqlType::Text,
            P::Bytea => SqlType::Bytea,
            P::Date => SqlType::Date,
            P::Time => SqlType::Time,
            P::Timestamp => SqlType::Timestamp,
            P::Timestamptz => SqlType::Timestamptz,
            P::Interval => SqlType::Interval,
            P::Json => SqlType::Json,
            P::Jsonb => SqlType::Jsonb,
            P::TextArray => SqlType::Array(Box::new(SqlType::Text)),
            P::JsonbArray => SqlType::Array(Box::new(SqlType::Jsonb)),
        })
    }
}

/// All overloads of a name.
pub(crate) struct PostgresFunction {
    name: &'static str,
    overloads: Vec<&'static Definition>,
    signature: Signature,
}

impl PostgresFunction {
    /// The functions of a table of overloads.
    pub fn group(definitions: impl Iterator<Item = &'static Definition>) -> Vec<Arc<ScalarUDF>> {
        let mut names: BTreeMap<&'static str, Vec<&'static Definition>> = BTreeMap::new();
        for definition in definitions {
            names.entry(definition.name).or_default().push(definition);
        }
        names
            .into_iter()
            .map(|(name, overloads)| {
                // The overload is chosen by fields, which know more than Arrow types.
                let signature = Signature::user_defined(Volatility::Immutable);
                Arc::new(ScalarUDF::new_from_impl(PostgresFunction { name, overloads, signature }))
            })
            .collect()
    }

    fn choose(&self, fields: &[FieldRef]) -> Result<(&'static Definition, Vec<SqlType>)> {
        let mut types = Vec::with_capacity(fields.len());
        for field in fields {
            types.push(SqlType::of_field(field).ok_or_else(|| {
                Error::Unsupported(format!("an argument of type {}", field.data_type()))
            })?);
        }
        let unknown: Vec<bool> = fields.iter().map(is_unknown).collect();
        let best = self
            .overloads
            .iter()
            .filter_map(|d| d.rank(&types, &unknown).map(|rank| (rank, *d)))
            .reduce(|best, next| if next.0 > best.0 { next } else { best });
        match best {
            Some((_, definition)) => Ok((definition, types)),
            None => {
                let names: Vec<String> = types
                    .iter()
                    .zip(&unknown)
                    .map(|(ty, unknown)| if *unknown { "unknown".into() } else { type_name(ty) })
                    .collect();
                Err(Error::postgres(
                    "42883",
                    format!("function {}({}) does not exist", self.name, names.join(", ")),
                )
                .with_hint(
                    "No function matches the given name and argument types. You might need to \
                     add explicit type casts.",
                )
                .into())
            }
        }
    }
}

/// Whether a field is that of a literal to which nothing gave a type. Typed text is Utf8View.
fn is_unknown(field: &FieldRef) -> bool {
    matches!(field.data_type(), DataType::Utf8 | DataType::Null) && field.metadata().is_empty()
}

/// The session's time zone.
pub(crate) fn zone(options: &ConfigOptions) -> Tz {
    options.execution.time_zone.as_deref().and_then(|name| name.parse().ok()).unwrap_or(Tz::UTC)
}

impl fmt::Debug for PostgresFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for PostgresFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for PostgresFunction {}

impl Hash for PostgresFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for PostgresFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        Ok(args.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(datafusion::common::DataFusionError::Internal(format!(
            "the result of {} is told by fields",
            self.name
        )))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let (definition, types) = self.choose(args.arg_fields)?;
        Ok(Arc::new((definition.returns)(&types).field(self.name, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (definition, types) = self.choose(&args.arg_fields)?;
        let returns = (definition.returns)(&types);
        let call = Call { types: &types, zone: zone(&args.config_options) };
        evaluate(
            &args,
            |row| {
                let mut converted = Vec::with_capacity(row.len());
                for (at, value) in row.into_iter().enumerate() {
                    if definition.strict && value.is_null() {
                        return Ok(Value::Null);
                    }
                    let target = match definition.param(at) {
                        Some(P::Numeric) if !matches!(types[at], SqlType::Numeric(_)) => {
                            Some(SqlType::Numeric(None))
                        }
                        Some(P::Bits) if !matches!(types[at], SqlType::Bit(_)) => {
                            Some(SqlType::Varbit(None))
                        }
                        Some(param) => param.target(),
                        None => None,
                    };
                    converted.push(match target {
                        Some(to) if to != types[at] && !value.is_null() => {
                            convert(value, &types[at], &to, call.zone)?
                        }
                        _ => value,
                    });
                }
                (definition.body)(&call, &converted)
            },
            &returns,
        )
    }
}

/// Calls a body for each row; once if all arguments are constants.
pub(crate) fn evaluate(
    args: &ScalarFunctionArgs,
    body: impl Fn(Vec<Value>) -> Result<Value>,
    returns: &SqlType,
) -> Result<ColumnarValue> {
    let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
    let rows = if scalar { 1 } else { args.number_rows };
    let arrays: Vec<ArrayRef> =
        args.args.iter().map(|a| readable(&a.to_array(rows)?)).collect::<Result<_>>()?;
    let mut results = Vec::with_capacity(rows);
    for row in 0..rows {
        let values = arrays.iter().map(|a| value_at(a.as_ref(), row)).collect::<Result<_>>()?;
        results.push(body(values)?);
    }
    let array = array_of(&results, returns)?;
    if scalar {
        // A list's scalar made from an array forgets its items' metadata.
        return Ok(ColumnarValue::Scalar(match array.as_list_opt::<i32>() {
            Some(list) => ScalarValue::List(Arc::new(list.clone())),
            None => ScalarValue::try_from_array(&array, 0)?,
        }));
    }
    Ok(ColumnarValue::Array(array))
}
