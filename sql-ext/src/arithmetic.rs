//! Arithmetic that fails where PostgreSQL's does: integers out of range (22003) and division by
//! zero (22012). DataFusion's wraps, and divides floats by zero.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Scalar};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRewriter};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::analyzer::AnalyzerRule;

use crate::error::Error;

/// An operator that checks its result.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: Operator,
    name: &'static str,
    signature: Signature,
}

impl Checked {
    fn of(operator: Operator) -> Option<Checked> {
        let name = match operator {
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_subtract",
            Operator::Multiply => "checked_multiply",
            Operator::Divide => "checked_divide",
            Operator::Modulo => "checked_modulo",
            _ => return None,
        };
        Some(Checked { operator, name, signature: Signature::any(2, Volatility::Immutable) })
    }

    fn apply(
        &self,
        left: &dyn arrow::array::Datum,
        right: &dyn arrow::array::Datum,
    ) -> Result<ArrayRef> {
        let data_type = left.get().0.data_type().clone();
        if data_type.is_floating()
            && matches!(self.operator, Operator::Divide | Operator::Modulo)
            && has_zero(right.get().0)
        {
            return Err(division_by_zero());
        }
        let result = match self.operator {
            Operator::Plus => numeric::add(left, right),
            Operator::Minus => numeric::sub(left, right),
            Operator::Multiply => numeric::mul(left, right),
            Operator::Divide => numeric::div(left, right),
            _ => numeric::rem(left, right),
        };
        let result = result.map_err(|error| match error {
            ArrowError::DivideByZero => division_by_zero(),
            ArrowError::ArithmeticOverflow(_) => out_of_range(&data_type),
            other => datafusion::error::DataFusionError::from(other),
        })?;
        // Infinity comes of infinity only.
        if data_type.is_floating()
            && has_infinity(&result)
            && !has_infinity(left.get().0)
            && !has_infinity(right.get().0)
        {
            return Err(Error::postgres("22003", "value out of range: overflow").into());
        }
        Ok(result)
    }
}

fn division_by_zero() -> datafusion::error::DataFusionError {
    Error::postgres("22012", "division by zero").into()
}

fn out_of_range(data_type: &DataType) -> datafusion::error::DataFusionError {
    let name = match data_type {
        DataType::Int8 | DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        _ => "value",
    };
    Error::postgres("22003", format!("{name} out of range")).into()
}

fn has_infinity(array: &dyn Array) -> bool {
    match array.data_type() {
        DataType::Float64 => {
            array.as_primitive::<Float64Type>().iter().flatten().any(f64::is_infinite)
        }
        DataType::Float32 => {
            array.as_primitive::<Float32Type>().iter().flatten().any(f32::is_infinite)
        }
        _ => false,
    }
}

fn has_zero(array: &dyn Array) -> bool {
    match array.data_type() {
        DataType::Float64 => {
            array.as_primitive::<Float64Type>().iter().flatten().any(|value| value == 0.0)
        }
        DataType::Float32 => {
            array.as_primitive::<Float32Type>().iter().flatten().any(|value| value == 0.0)
        }
        _ => false,
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types
            .first()
            .cloned()
            .ok_or_else(|| Error::postgres("42883", "an operator without operands").into())
    }

    /// That of the plain operator, so that replacing it renames no column.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => {
                Ok(format!("{} {} {}", left.schema_name(), self.operator, right.schema_name()))
            }
            _ => Ok(self.name.to_owned()),
        }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => Ok(format!("{left} {} {right}", self.operator)),
            _ => Ok(self.name.to_owned()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return Err(Error::postgres("42883", "an operator takes two operands").into());
        };
        match (left, right) {
            (ColumnarValue::Array(left), ColumnarValue::Array(right)) => {
                Ok(ColumnarValue::Array(self.apply(left, right)?))
            }
            (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => {
                let right = Scalar::new(right.to_array()?);
                Ok(ColumnarValue::Array(self.apply(left, &right)?))
            }
            (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => {
                let left = Scalar::new(left.to_array()?);
                Ok(ColumnarValue::Array(self.apply(&left, right)?))
            }
            (ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)) => {
                let result = self.apply(&left.to_array()?, &right.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
            }
        }
    }
}

/// Replaces the operators, once their operands have one type.
#[derive(Debug)]
pub(crate) struct CheckedArithmeticRule {
    functions: Vec<(Operator, Arc<ScalarUDF>)>,
}

impl CheckedArithmeticRule {
    pub(crate) fn new() -> Self {
        let functions = [
            Operator::Plus,
            Operator::Minus,
            Operator::Multiply,
            Operator::Divide,
            Operator::Modulo,
        ]
        .into_iter()
        .filter_map(|operator| {
            Some((operator, Arc::new(ScalarUDF::new_from_impl(Checked::of(operator)?))))
        })
        .collect();
        CheckedArithmeticRule { functions }
    }
}

impl AnalyzerRule for CheckedArithmeticRule {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let mut schema = DFSchema::empty();
            for input in plan.inputs() {
                schema.merge(input.schema());
            }
            plan.map_expressions(|expr| expr.rewrite(&mut Replace { rule: self, schema: &schema }))?
                .map_data(|plan| plan.recompute_schema())
        })
        .map(|transformed| transformed.data)
    }
}

struct Replace<'a> {
    rule: &'a CheckedArithmeticRule,
    schema: &'a DFSchema,
}

impl TreeNodeRewriter for Replace<'_> {
    type Node = Expr;

    fn f_up(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
            return Ok(Transformed::no(expr));
        };
        let original =
            |left, right| Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
        let Some((_, function)) = self.rule.functions.iter().find(|(known, _)| *known == op) else {
            return original(left, right);
        };
        // A type that cannot be told here (an outer query's column) is left to DataFusion.
        let (Ok(a), Ok(b)) = (left.get_type(self.schema), right.get_type(self.schema)) else {
            return original(left, right);
        };
        let integers = a.is_signed_integer();
        let floats = a.is_floating();
        if a != b || !(integers || floats) {
            return original(left, right);
        }
        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(
            Arc::clone(function),
            vec![*left, *right],
        ))))
    }
}
