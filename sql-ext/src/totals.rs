//! `sum` and `avg` with PostgreSQL's result types: the sum of bigints and the average of whole
//! and decimal numbers are numeric, and no sum wraps.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use chronos_catalog::SqlType;
use chronos_catalog::schema::{NUMERIC_PRECISION_MAX, SQL_TYPE_KEY};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF,
    Signature, Volatility,
};

use crate::casts::display_name;
use crate::error::Error;
use crate::numeric;
use crate::text::internal;

/// Digits of a bigint, with room for as many of them as there can be rows.
const BIGINT_SUM: DataType = DataType::Decimal128(28, 0);

/// Both.
pub(crate) fn functions() -> [Arc<AggregateUDF>; 2] {
    let signature = || Signature::user_defined(Volatility::Immutable);
    [
        Arc::new(AggregateUDF::new_from_impl(Sum { signature: signature() })),
        Arc::new(AggregateUDF::new_from_impl(Average { signature: signature() })),
    ]
}

fn no_function(name: &str, data_type: &DataType) -> Error {
    let ty =
        SqlType::of_arrow(data_type).map_or_else(|| data_type.to_string(), |t| display_name(&t));
    Error::postgres("42883", format!("function {name}({ty}) does not exist"))
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

fn tagged(field: Field) -> FieldRef {
    Arc::new(field.with_metadata([(SQL_TYPE_KEY.to_owned(), "numeric".to_owned())].into()))
}

/// `sum`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    signature: Signature,
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [data_type] = types else {
            return Err(Error::postgres("42883", "sum takes one argument").into());
        };
        Ok(vec![match data_type {
            // Left as they are: were they made bigints here, the next look would take them for such.
            DataType::Int8 | DataType::Int16 | DataType::Int32 => data_type.clone(),
            DataType::Null => DataType::Int32,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => BIGINT_SUM,
            DataType::Float32 | DataType::Float64 => DataType::Float64,
            DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Interval(_)
            | DataType::Duration(_) => data_type.clone(),
            other => return Err(no_function("sum", other).into()),
        }])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if types.iter().any(is_small) {
            return Ok(DataType::Int64);
        }
        sum_udaf().return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let types: Vec<DataType> = fields.iter().map(|f| f.data_type().clone()).collect();
        let field = Field::new("sum", self.return_type(&types)?, true);
        // Values without a scale of their type's have a sum without.
        Ok(match fields {
            [input] if SqlType::of_field(input) == Some(SqlType::Numeric(None)) => tagged(field),
            _ => Arc::new(field),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let small = takes_small(&args);
        let inner = sum_udaf().accumulator(args)?;
        Ok(if small { Box::new(Widened(inner)) } else { inner })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        sum_udaf().state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        sum_udaf().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let small = takes_small(&args);
        let inner = sum_udaf().create_groups_accumulator(args)?;
        Ok(if small { Box::new(Widened(inner)) } else { inner })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let small = takes_small(&args);
        let inner = sum_udaf().create_sliding_accumulator(args)?;
        Ok(if small { Box::new(Widened(inner)) } else { inner })
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn is_small(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32)
}

fn takes_small(args: &AccumulatorArgs) -> bool {
    args.expr_fields.iter().any(|field| is_small(field.data_type()))
}

/// Sums integers as bigints.
#[derive(Debug)]
struct Widened<A: ?Sized>(Box<A>);

fn widen(values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let widened = values.iter().map(|v| arrow::compute::cast(v, &DataType::Int64));
    Ok(widened.collect::<std::result::Result<_, _>>()?)
}

impl Accumulator for Widened<dyn Accumulator> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(&widen(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.evaluate()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.retract_batch(&widen(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.0.supports_retract_batch()
    }
}

impl GroupsAccumulator for Widened<dyn GroupsAccumulator> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.0.update_batch(&widen(values)?, groups, filter, total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        self.0.evaluate(emit)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.0.state(emit)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.0.merge_batch(values, groups, total)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.0.convert_to_state(&widen(values)?, filter)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

/// `avg`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Average {
    signature: Signature,
}

/// Scale of the inputs of an average of numerics.
fn input_scale(fields: &[FieldRef]) -> Result<i8> {
    match fields.first().map(|f| f.data_type()) {
        Some(DataType::Decimal128(_, scale)) => Ok(*scale),
        other => Err(internal(format_args!("an average of {other:?}")).into()),
    }
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &str {
        "avg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [data_type] = types else {
            return Err(Error::postgres("42883", "avg takes one argument").into());
        };
        Ok(vec![match data_type {
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt32
            | DataType::UInt64
            | DataType::Null => DataType::Decimal128(20, 0),
            DataType::Float32 | DataType::Float64 => DataType::Float64,
            DataType::Decimal128(p, s) if *s < 0 => {
                DataType::Decimal128(p.saturating_add(s.unsigned_abs()).min(38), 0)
            }
            DataType::Decimal128(..) => data_type.clone(),
            DataType::Decimal256(_, s) => {
                DataType::Decimal128(NUMERIC_PRECISION_MAX, (*s).clamp(0, 38))
            }
            DataType::Interval(_) | DataType::Duration(_) => {
                return Err(Error::unsupported("avg(interval)").into());
            }
            other => return Err(no_function("avg", other).into()),
        }])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types {
            [DataType::Decimal128(_, scale)] => {
                DataType::Decimal128(NUMERIC_PRECISION_MAX, numeric::average_scale(*scale))
            }
            _ => DataType::Float64,
        })
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let types: Vec<DataType> = fields.iter().map(|f| f.data_type().clone()).collect();
        let data_type = self.return_type(&types)?;
        let numeric = data_type != DataType::Float64;
        let field = Field::new("avg", data_type, true);
        Ok(if numeric { tagged(field) } else { Arc::new(field) })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.return_type() == &DataType::Float64 {
            return avg_udaf().accumulator(args);
        }
        Ok(Box::new(NumericAverage {
            scale: input_scale(args.expr_fields)?,
            count: 0,
            sum: 0,
            distinct: args.is_distinct.then(HashSet::new),
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.return_field.data_type() == &DataType::Float64 {
            return avg_udaf().state_fields(args);
        }
        let input = DataType::Decimal128(NUMERIC_PRECISION_MAX, input_scale(args.input_fields)?);
        let name = |part: &str| format!("{}[{part}]", args.name);
        if args.is_distinct {
            let item = Field::new_list_field(input, true);
            return Ok(vec![Arc::new(Field::new_list(name("distinct"), item, true))]);
        }
        Ok(vec![
            Arc::new(Field::new(name("count"), DataType::Int64, true)),
            Arc::new(Field::new(name("sum"), input, true)),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        args.return_type() == &DataType::Float64 && avg_udaf().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        avg_udaf().create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.return_type() == &DataType::Float64 {
            return avg_udaf().create_sliding_accumulator(args);
        }
        if args.is_distinct {
            return Err(Error::unsupported("avg(DISTINCT …) over a moving window").into());
        }
        self.accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The running sum and count of numerics of one scale.
#[derive(Debug)]
struct NumericAverage {
    scale: i8,
    count: i64,
    sum: i128,
    distinct: Option<HashSet<i128>>,
}

impl NumericAverage {
    fn add(&mut self, value: i128) -> Result<()> {
        if let Some(seen) = &mut self.distinct
            && !seen.insert(value)
        {
            return Ok(());
        }
        self.sum = self.sum.checked_add(value).ok_or_else(overflow)?;
        self.count += 1;
        Ok(())
    }

    fn add_all(&mut self, values: &dyn Array) -> Result<()> {
        let values = values
            .as_primitive_opt::<Decimal128Type>()
            .ok_or_else(|| internal("an average of what is no numeric"))?;
        values.iter().flatten().try_for_each(|value| self.add(value))
    }
}

fn overflow() -> Error {
    Error::postgres("22003", "value overflows numeric format")
}

impl Accumulator for NumericAverage {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.first().map_or(Ok(()), |values| self.add_all(values.as_ref()))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        for value in values.as_primitive::<Decimal128Type>().iter().flatten() {
            self.sum = self.sum.checked_sub(value).ok_or_else(overflow)?;
            self.count -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.distinct.is_none()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        numeric::average(self.sum, self.count, self.scale)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.distinct.as_ref().map_or(0, |d| d.capacity() * size_of::<i128>())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let value = |v: i128| ScalarValue::Decimal128(Some(v), NUMERIC_PRECISION_MAX, self.scale);
        Ok(match &self.distinct {
            Some(seen) => {
                let values: Vec<ScalarValue> = seen.iter().map(|v| value(*v)).collect();
                let item = DataType::Decimal128(NUMERIC_PRECISION_MAX, self.scale);
                vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &item))]
            }
            None => vec![ScalarValue::Int64(Some(self.count)), value(self.sum)],
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        match states {
            [lists] => {
                for list in lists.as_list::<i32>().iter().flatten() {
                    self.add_all(list.as_ref())?;
                }
            }
            [counts, sums] => {
                for count in counts.as_primitive::<Int64Type>().iter().flatten() {
                    self.count += count;
                }
                for sum in sums.as_primitive::<Decimal128Type>().iter().flatten() {
                    self.sum = self.sum.checked_add(sum).ok_or_else(overflow)?;
                }
            }
            _ => return Err(internal("the state of an average").into()),
        }
        Ok(())
    }
}
