//! Variance and standard deviation with PostgreSQL's result types: of whole and decimal numbers
//! they are numeric and exact, of doubles DataFusion's.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, FieldRef, Int64Type, i256,
};
use chronos_catalog::schema::{NUMERIC_PRECISION_MAX, NUMERIC_QUOTIENT_SCALE, SQL_TYPE_KEY};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::stddev::{stddev_pop_udaf, stddev_udaf};
use datafusion::functions_aggregate::variance::{var_pop_udaf, var_samp_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};

use crate::error::Error;
use crate::numeric;
use crate::text::internal;

/// All of them, under each name.
pub(crate) fn functions() -> Vec<Arc<AggregateUDF>> {
    [
        ("stddev", true, false),
        ("stddev_samp", true, false),
        ("stddev_pop", true, true),
        ("var_samp", false, false),
        ("var_pop", false, true),
    ]
    .into_iter()
    .map(|(name, root, population)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Spread { name, root, population, signature }))
    })
    .collect()
}

/// `var_samp` and its like.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Spread {
    name: &'static str,
    root: bool,
    population: bool,
    signature: Signature,
}

impl Spread {
    /// DataFusion's, of doubles.
    fn of_doubles(&self) -> Arc<AggregateUDF> {
        match (self.root, self.population) {
            (true, true) => stddev_pop_udaf(),
            (true, false) => stddev_udaf(),
            (false, true) => var_pop_udaf(),
            (false, false) => var_samp_udaf(),
        }
    }
}

fn is_double(fields: &[FieldRef]) -> bool {
    fields.first().is_none_or(|field| !matches!(field.data_type(), DataType::Decimal128(..)))
}

fn scale_of(fields: &[FieldRef]) -> i8 {
    match fields.first().map(|field| field.data_type()) {
        Some(DataType::Decimal128(_, scale)) => *scale,
        _ => 0,
    }
}

impl AggregateUDFImpl for Spread {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [data_type] = types else {
            let message = format!("function {} takes one argument", self.name);
            return Err(Error::postgres("42883", message).into());
        };
        Ok(vec![match data_type {
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt32
            | DataType::UInt64 => DataType::Decimal128(20, 0),
            // Squares of more digits do not fit.
            DataType::Decimal128(_, scale) if (0..=16).contains(scale) => data_type.clone(),
            _ => DataType::Float64,
        }])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types {
            [DataType::Decimal128(..)] => {
                DataType::Decimal128(NUMERIC_PRECISION_MAX, NUMERIC_QUOTIENT_SCALE)
            }
            _ => DataType::Float64,
        })
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let types: Vec<DataType> = fields.iter().map(|f| f.data_type().clone()).collect();
        let data_type = self.return_type(&types)?;
        let numeric = data_type != DataType::Float64;
        let field = Field::new(self.name, data_type, true);
        Ok(Arc::new(if numeric {
            field.with_metadata([(SQL_TYPE_KEY.to_owned(), "numeric".to_owned())].into())
        } else {
            field
        }))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_double(args.expr_fields) {
            return self.of_doubles().accumulator(args);
        }
        if args.is_distinct {
            return Err(Error::unsupported(format!("{}(DISTINCT numeric)", self.name)).into());
        }
        Ok(Box::new(Moments {
            root: self.root,
            population: self.population,
            scale: scale_of(args.expr_fields),
            count: 0,
            sum: i256::ZERO,
            squares: i256::ZERO,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if is_double(args.input_fields) {
            return self.of_doubles().state_fields(args);
        }
        let scale = scale_of(args.input_fields);
        let name = |part: &str| format!("{}[{part}]", args.name);
        let wide = |scale| DataType::Decimal256(76, scale);
        Ok(vec![
            Arc::new(Field::new(name("count"), DataType::Int64, true)),
            Arc::new(Field::new(name("sum"), wide(scale), true)),
            Arc::new(Field::new(name("squares"), wide(scale * 2), true)),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        is_double(args.expr_fields) && self.of_doubles().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.of_doubles().create_groups_accumulator(args)
    }
}

/// Count, sum and sum of squares of numerics of one scale.
#[derive(Debug)]
struct Moments {
    root: bool,
    population: bool,
    scale: i8,
    count: i64,
    sum: i256,
    squares: i256,
}

fn quotient(units: i128) -> ScalarValue {
    ScalarValue::Decimal128(Some(units), NUMERIC_PRECISION_MAX, NUMERIC_QUOTIENT_SCALE)
}

fn overflow() -> Error {
    Error::postgres("22003", "value overflows numeric format")
}

impl Moments {
    fn add(&mut self, value: i128, sign: i64) -> Result<()> {
        let value = i256::from_i128(value);
        let square = value.checked_mul(value).ok_or_else(overflow)?;
        let (sum, squares) = if sign > 0 {
            (self.sum.checked_add(value), self.squares.checked_add(square))
        } else {
            (self.sum.checked_sub(value), self.squares.checked_sub(square))
        };
        self.sum = sum.ok_or_else(overflow)?;
        self.squares = squares.ok_or_else(overflow)?;
        self.count += sign;
        Ok(())
    }

    fn add_all(&mut self, values: &[ArrayRef], sign: i64) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        let values = values
            .as_primitive_opt::<Decimal128Type>()
            .ok_or_else(|| internal("a variance of what is no numeric"))?;
        values.iter().flatten().try_for_each(|value| self.add(value, sign))
    }

    fn value(&self) -> Result<ScalarValue> {
        let null = ScalarValue::Decimal128(None, NUMERIC_PRECISION_MAX, NUMERIC_QUOTIENT_SCALE);
        if self.count == 0 || self.count == 1 && !self.population {
            return Ok(null);
        }
        let n = i256::from_i128(self.count.into());
        let square = self.sum.checked_mul(self.sum).ok_or_else(overflow)?;
        let all = n.checked_mul(self.squares).ok_or_else(overflow)?;
        let mut above = all.checked_sub(square).ok_or_else(overflow)?;
        // The zeros at the end of what has no scale of its own count for nothing.
        let (ten, mut scale) = (i256::from_i128(10), self.scale * 2);
        while scale > 0 && above.checked_rem(ten) == Some(i256::ZERO) {
            above = above.checked_div(ten).ok_or_else(overflow)?;
            scale -= 1;
        }
        let above = above.to_i128().ok_or_else(overflow)?;
        let below = if self.population { self.count } else { self.count - 1 };
        let below = self.count.checked_mul(below).ok_or_else(overflow)?;
        if above <= 0 {
            return Ok(quotient(0));
        }
        let ScalarValue::Decimal128(Some(units), _, scale) = numeric::average(above, below, scale)?
        else {
            return Ok(null);
        };
        let units =
            crate::casts::rescale(units, scale, NUMERIC_QUOTIENT_SCALE).ok_or_else(overflow)?;
        if self.root {
            let root = square_root(units, NUMERIC_QUOTIENT_SCALE).ok_or_else(overflow)?;
            return Ok(quotient(root));
        }
        Ok(quotient(units))
    }
}

/// The square root of a numeric at its own scale, with the digits that PostgreSQL computes.
fn square_root(units: i128, scale: i8) -> Option<i128> {
    let shown = crate::text::number::shown_scale(units, scale);
    let drop = u32::from((scale - shown).unsigned_abs());
    let power = i256::from_i128(10).checked_pow(u32::from(shown.unsigned_abs()))?;
    let square = i256::from_i128(units / 10i128.checked_pow(drop)?).checked_mul(power)?;
    // Newton's steps from above come down to the root.
    let mut root = i256::from_i128(square.to_string().parse::<f64>().ok()?.sqrt() as i128)
        .checked_add(i256::ONE)?;
    loop {
        let next = root.checked_add(square.checked_div(root)?)?.checked_div(i256::from_i128(2))?;
        if next >= root {
            break;
        }
        root = next;
    }
    while root.checked_mul(root)? > square {
        root = root.checked_sub(i256::ONE)?;
    }
    // Rounded: above root + ½ is what is above root² + root.
    let rest = square.checked_sub(root.checked_mul(root)?)?;
    if rest > root {
        root = root.checked_add(i256::ONE)?;
    }
    root.to_i128()?.checked_mul(10i128.checked_pow(drop)?)
}

impl Accumulator for Moments {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_all(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_all(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.value()
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Int64(Some(self.count)),
            ScalarValue::Decimal256(Some(self.sum), 76, self.scale),
            ScalarValue::Decimal256(Some(self.squares), 76, self.scale * 2),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [counts, sums, squares] = states else {
            return Err(internal("the state of a variance").into());
        };
        self.count += counts.as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        for (total, parts) in [(&mut self.sum, sums), (&mut self.squares, squares)] {
            for part in parts.as_primitive::<Decimal256Type>().iter().flatten() {
                *total = total.checked_add(part).ok_or_else(overflow)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_whole_numbers_is_exact() {
        let mut moments = Moments {
            root: false,
            population: false,
            scale: 0,
            count: 0,
            sum: i256::ZERO,
            squares: i256::ZERO,
        };
        for value in [1, 2, 4] {
            moments.add(value, 1).unwrap();
        }
        let digits = |moments: &Moments| match moments.value().unwrap() {
            ScalarValue::Decimal128(Some(units), _, 20) => units,
            other => panic!("{other:?}"),
        };
        assert_eq!(digits(&moments), 233_333_333_333_333_330_000);
        moments.root = true;
        assert_eq!(digits(&moments), 152_752_523_165_194_670_000);
    }
}
