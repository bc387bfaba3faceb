//! Functions and operators of ranges and multiranges.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use chrono_tz::Tz;
use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType as O;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::convert::{convert, parse, text_of};
use super::function::{Call, Definition, P, f};
use super::value::Value;
use crate::error::Error;
use crate::text::internal;
use crate::text::range::{Bound, Range, Ranges};

const BOOL: fn(&[SqlType]) -> SqlType = |_| SqlType::Bool;

/// The range or multirange type of an argument.
pub(super) fn range_type(ty: &SqlType) -> Option<O> {
    match ty {
        SqlType::Other(other) if other.bound().is_some() => Some(*other),
        _ => None,
    }
}

fn no_operator(c: &Call<'_>) -> datafusion::common::DataFusionError {
    let names: Vec<String> = c.types.iter().map(super::function::type_name).collect();
    let message = format!("operator does not exist between {}", names.join(" and "));
    Error::postgres("42883", message).into()
}

/// An argument's ranges.
fn ranges(c: &Call<'_>, a: &[Value], at: usize) -> Result<Ranges> {
    let ty = range_type(&c.types[at]).ok_or_else(|| no_operator(c))?;
    Ok(Ranges::parse(ty, a[at].text(), Tz::UTC)?)
}

/// Both arguments' ranges, which are of one kind of bounds.
fn both(c: &Call<'_>, a: &[Value]) -> Result<(Ranges, Ranges)> {
    let (left, right) = (ranges(c, a, 0)?, ranges(c, a, 1)?);
    if left.bound == right.bound { Ok((left, right)) } else { Err(no_operator(c)) }
}

/// An argument as a bound of that type.
fn bound(c: &Call<'_>, a: &[Value], at: usize, ty: &SqlType) -> Result<Bound> {
    let value = convert(a[at].clone(), &c.types[at], ty, c.zone)?;
    Ok(Bound::parse(ty, &text_of(&value, ty, Tz::UTC)?, Tz::UTC)?)
}

/// Whether the argument at one place holds that at the other.
fn holds(c: &Call<'_>, a: &[Value], outer: usize, inner: usize) -> Result<Value> {
    let whole = ranges(c, a, outer)?;
    if range_type(&c.types[inner]).is_some() {
        let (left, right) = both(c, a)?;
        let (outer, inner) = if outer == 0 { (&left, &right) } else { (&right, &left) };
        return Ok(outer.contains(inner).into());
    }
    Ok(whole.holds(&bound(c, a, inner, &whole.bound)?).into())
}

fn test(c: &Call<'_>, a: &[Value], holds: impl Fn(&Ranges, &Ranges) -> bool) -> Result<Value> {
    let (left, right) = both(c, a)?;
    Ok(holds(&left, &right).into())
}

/// The result of an operator of two ranges, or of two multiranges.
fn combined(
    c: &Call<'_>,
    a: &[Value],
    what: &str,
    combine: impl Fn(&Ranges, &Ranges) -> Ranges,
) -> Result<Value> {
    let (left, right) = both(c, a)?;
    let Some(ty) = range_type(&c.types[0]).filter(|_| c.types[0] == c.types[1]) else {
        return Err(no_operator(c));
    };
    let result = combine(&left, &right);
    if ty.range().is_none() && result.list.len() > 1 {
        let message = format!("result of range {what} would not be contiguous");
        return Err(Error::postgres("22000", message).into());
    }
    Ok(Value::Text(result.text(ty)))
}

fn first(types: &[SqlType]) -> SqlType {
    types.first().cloned().unwrap_or(SqlType::Text)
}

/// The type of the first argument's bounds.
fn bound_type(types: &[SqlType]) -> SqlType {
    types.first().and_then(range_type).and_then(O::bound).unwrap_or(SqlType::Text)
}

/// The range type of a range or multirange.
fn range_of(types: &[SqlType]) -> SqlType {
    let ty = types.first().and_then(range_type);
    ty.map_or(SqlType::Text, |ty| SqlType::Other(ty.range().unwrap_or(ty)))
}

fn multirange_of(types: &[SqlType]) -> SqlType {
    let ty = types.first().and_then(range_type);
    ty.map_or(SqlType::Text, |ty| SqlType::Other(ty.multirange().unwrap_or(ty)))
}

fn end(c: &Call<'_>, bound: Option<&Bound>) -> Result<Value> {
    match bound {
        Some(bound) => parse(&bound.text, &bound_type(c.types), Tz::UTC),
        None => Ok(Value::Null),
    }
}

/// `int4range(1, 5, '[]')`
fn constructed(ty: O, c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let bound_type = ty.bound().ok_or_else(|| internal("no range type"))?;
    let flags = match a.get(2) {
        None => "[)",
        Some(Value::Null) => {
            let message = "range constructor flags argument must not be null";
            return Err(Error::postgres("22000", message).into());
        }
        Some(flags) => flags.text(),
    };
    let (lower_inclusive, upper_inclusive) = match flags {
        "[]" => (true, true),
        "[)" => (true, false),
        "(]" => (false, true),
        "()" => (false, false),
        _ => {
            return Err(Error::postgres("42601", "invalid range bound flags")
                .with_hint("Valid values are \"[]\", \"[)\", \"(]\", and \"()\".")
                .into());
        }
    };
    let read = |at: usize| match &a[at] {
        Value::Null => Ok(None),
        _ => bound(c, a, at, &bound_type).map(Some),
    };
    let range = Range::new(&bound_type, (read(0)?, lower_inclusive), (read(1)?, upper_inclusive))?;
    Ok(Value::Text(Ranges { list: vec![range], bound: bound_type }.text(ty)))
}

/// `int4multirange(int4range(1, 5), …)`
fn collected(ty: O, c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let range = ty.range().ok_or_else(|| internal("no multirange type"))?;
    let bound = ty.bound().ok_or_else(|| internal("no multirange type"))?;
    let mut list = Vec::new();
    for (value, given) in a.iter().zip(c.types) {
        let value = convert(value.clone(), given, &SqlType::Other(range), c.zone)?;
        list.extend(Ranges::parse(range, value.text(), Tz::UTC)?.list);
    }
    Ok(Value::Text(Ranges::normal(&bound, list).text(ty)))
}

/// The two constructors of a range type, and that of its multirange type.
macro_rules! constructors {
    ($range:literal, $type:ident, $multirange:literal, $multi:ident) => {
        [
            f(
                $range,
                &[P::Any, P::Any],
                |_| SqlType::Other(O::$type),
                |c, a| constructed(O::$type, c, a),
            )
            .called(),
            f(
                $range,
                &[P::Any, P::Any, P::Text],
                |_| SqlType::Other(O::$type),
                |c, a| constructed(O::$type, c, a),
            )
            .called(),
            f(
                $multirange,
                &[P::Any],
                |_| SqlType::Other(O::$multi),
                |c, a| collected(O::$multi, c, a),
            )
            .variadic(),
        ]
    };
}

pub(crate) static CONSTRUCTORS: &[[Definition; 3]] = &[
    constructors!("int4range", Int4range, "int4multirange", Int4multirange),
    constructors!("int8range", Int8range, "int8multirange", Int8multirange),
    constructors!("numrange", Numrange, "nummultirange", Nummultirange),
    constructors!("tsrange", Tsrange, "tsmultirange", Tsmultirange),
    constructors!("tstzrange", Tstzrange, "tstzmultirange", Tstzmultirange),
    constructors!("daterange", Daterange, "datemultirange", Datemultirange),
];

const TWO: &[P] = &[P::Any, P::Any];
const ONE: &[P] = &[P::Range];

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("_range_contains", TWO, BOOL, |c, a| holds(c, a, 0, 1)),
    f("_range_contained", TWO, BOOL, |c, a| holds(c, a, 1, 0)),
    f("_range_overlap", TWO, BOOL, |c, a| test(c, a, Ranges::overlaps)),
    f("_range_before", TWO, BOOL, |c, a| test(c, a, Ranges::before)),
    f("_range_after", TWO, BOOL, |c, a| test(c, a, |l, r| r.before(l))),
    f("_range_not_right", TWO, BOOL, |c, a| test(c, a, Ranges::not_right_of)),
    f("_range_not_left", TWO, BOOL, |c, a| test(c, a, Ranges::not_left_of)),
    f("_range_adjacent", TWO, BOOL, |c, a| test(c, a, Ranges::adjacent)),
    f("_range_union", TWO, first, |c, a| combined(c, a, "union", Ranges::union)),
    f("_range_common", TWO, first, |c, a| combined(c, a, "intersection", Ranges::common)),
    f("_range_minus", TWO, first, |c, a| combined(c, a, "difference", Ranges::without)),
    f("_range_lower", ONE, bound_type, |c, a| {
        end(c, ranges(c, a, 0)?.first().and_then(|range| range.lower.as_ref()))
    }),
    f("_range_upper", ONE, bound_type, |c, a| {
        end(c, ranges(c, a, 0)?.last().and_then(|range| range.upper.as_ref()))
    }),
    f("isempty", ONE, BOOL, |c, a| Ok(ranges(c, a, 0)?.is_empty().into())),
    f("lower_inc", ONE, BOOL, |c, a| {
        Ok(ranges(c, a, 0)?.first().is_some_and(|range| range.lower_inclusive).into())
    }),
    f("upper_inc", ONE, BOOL, |c, a| {
        Ok(ranges(c, a, 0)?.last().is_some_and(|range| range.upper_inclusive).into())
    }),
    f("lower_inf", ONE, BOOL, |c, a| {
        Ok(ranges(c, a, 0)?.first().is_some_and(|range| range.lower.is_none()).into())
    }),
    f("upper_inf", ONE, BOOL, |c, a| {
        Ok(ranges(c, a, 0)?.last().is_some_and(|range| range.upper.is_none()).into())
    }),
    f("range_merge", &[P::Range, P::Range], first, |c, a| {
        let (left, right) = both(c, a)?;
        let ty = range_type(&first(c.types)).ok_or_else(|| no_operator(c))?;
        let merged = left.merged().merged(&right.merged());
        Ok(Value::Text(Ranges { list: vec![merged], bound: left.bound }.text(ty)))
    }),
    f("range_merge", ONE, range_of, |c, a| {
        let ranges = ranges(c, a, 0)?;
        let ty = range_type(&range_of(c.types)).ok_or_else(|| no_operator(c))?;
        let merged = ranges.merged();
        Ok(Value::Text(Ranges { list: vec![merged], bound: ranges.bound }.text(ty)))
    }),
    f("multirange", ONE, multirange_of, |c, a| {
        convert(a[0].clone(), &c.types[0], &multirange_of(c.types), c.zone)
    }),
];

/// `lower` and `upper`: of strings DataFusion's, of ranges a bound.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OrBound {
    of_strings: Arc<ScalarUDF>,
    of_ranges: &'static str,
    signature: Signature,
}

impl OrBound {
    fn of_ranges(&self, fields: &[FieldRef]) -> Option<Arc<ScalarUDF>> {
        let ty = fields.first().and_then(|field| SqlType::of_field(field));
        ty.as_ref().and_then(range_type).and_then(|_| super::scalar(self.of_ranges))
    }
}

/// Both of them.
pub(super) fn lower_and_upper() -> [Arc<ScalarUDF>; 2] {
    let of = |of_strings: Arc<ScalarUDF>, of_ranges| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(OrBound { of_strings, of_ranges, signature }))
    };
    [
        of(datafusion::functions::string::lower(), "_range_lower"),
        of(datafusion::functions::string::upper(), "_range_upper"),
    ]
}

impl ScalarUDFImpl for OrBound {
    fn name(&self) -> &str {
        self.of_strings.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View] => Ok(types.to_vec()),
            [DataType::Null] => Ok(vec![DataType::Utf8View]),
            [DataType::Dictionary(_, value)] => self.coerce_types(&[value.as_ref().clone()]),
            _ => {
                let name = |ty: &DataType| {
                    let known = SqlType::of_arrow(ty);
                    known.map_or_else(|| ty.to_string(), |ty| super::function::type_name(&ty))
                };
                let names: Vec<String> = types.iter().map(name).collect();
                let message =
                    format!("function {}({}) does not exist", self.name(), names.join(", "));
                Err(Error::postgres("42883", message)
                    .with_hint(
                        "No function matches the given name and argument types. You might need to \
                         add explicit type casts.",
                    )
                    .into())
            }
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of_strings.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match self.of_ranges(args.arg_fields) {
            Some(function) => function.return_field_from_args(args),
            None => self.of_strings.return_field_from_args(args),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self.of_ranges(&args.arg_fields) {
            Some(function) => function.invoke_with_args(args),
            None => self.of_strings.invoke_with_args(args),
        }
    }
}

/// `range_agg` and `range_intersect_agg`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RangeAggregate {
    /// Of what all have in common.
    common: bool,
    signature: Signature,
}

/// Both of them.
pub(super) fn aggregates() -> [Arc<AggregateUDF>; 2] {
    [false, true].map(|common| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(RangeAggregate { common, signature }))
    })
}

impl RangeAggregate {
    /// The types of the argument and of the result.
    fn types(&self, fields: &[FieldRef]) -> Result<(O, O)> {
        let ty = fields.first().and_then(|field| SqlType::of_field(field));
        match ty.as_ref().and_then(range_type) {
            Some(ty) if self.common => Ok((ty, ty)),
            Some(ty) => Ok((ty, ty.multirange().unwrap_or(ty))),
            None => {
                let name = ty.map_or_else(String::new, |ty| super::function::type_name(&ty));
                let message = format!("function {}({name}) does not exist", self.name());
                Err(Error::postgres("42883", message).into())
            }
        }
    }
}

impl AggregateUDFImpl for RangeAggregate {
    fn name(&self) -> &str {
        if self.common { "range_intersect_agg" } else { "range_agg" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let (_, result) = self.types(fields)?;
        Ok(Arc::new(SqlType::Other(result).field(self.name(), true)))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let (from, to) = self.types(args.expr_fields)?;
        Ok(Box::new(Collected { from, to, common: self.common, list: None }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(SqlType::Text.field(args.name, true))])
    }
}

#[derive(Debug)]
struct Collected {
    from: O,
    to: O,
    common: bool,
    list: Option<Ranges>,
}

impl Collected {
    fn add(&mut self, values: &ArrayRef, ty: O) -> Result<()> {
        let values = arrow::compute::cast(values, &DataType::Utf8View)?;
        for text in values.as_string_view().iter().flatten() {
            let next = Ranges::parse(ty, text, Tz::UTC)?;
            self.list = Some(match self.list.take() {
                Some(list) if self.common => list.common(&next),
                Some(list) => list.union(&next),
                None => Ranges::normal(&next.bound, next.list),
            });
        }
        Ok(())
    }

    fn text(&self) -> ScalarValue {
        ScalarValue::Utf8View(self.list.as_ref().map(|list| list.text(self.to)))
    }
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values.first() {
            Some(values) => self.add(values, self.from),
            None => Ok(()),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        match states.first() {
            Some(values) => self.add(values, self.to),
            None => Ok(()),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.text()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.text())
    }

    fn size(&self) -> usize {
        let ranges = self.list.as_ref().map_or(0, |list| list.list.len());
        size_of_val(self) + ranges * size_of::<Range>()
    }
}
