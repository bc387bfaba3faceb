//! The scalar function that a cast becomes.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use chronos_catalog::SqlType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::{Mode, convert, display_name};
use crate::text::{TextSettings, internal};

/// A cast between two types under the session's settings.
///
/// Immutable within its plan, so that a cast of a literal is folded: a plan is made for one
/// session and its settings of that time.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CastFunction {
    from: SqlType,
    to: SqlType,
    settings: TextSettings,
    signature: Signature,
}

impl CastFunction {
    /// The call that casts an expression.
    pub(super) fn call(expr: Expr, from: SqlType, to: SqlType, settings: &TextSettings) -> Expr {
        let function = CastFunction {
            from,
            to,
            settings: settings.clone(),
            signature: Signature::any(1, Volatility::Immutable),
        };
        let function = Arc::new(ScalarUDF::new_from_impl(function));
        Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![expr]))
    }
}

impl ScalarUDFImpl for CastFunction {
    fn name(&self) -> &str {
        "cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.arrow())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(self.to.field("cast", nullable)))
    }

    /// That of its argument, as of a plain cast, so that replacing one renames no column.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(|a| a.schema_name().to_string()).collect())
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let args: String = args.iter().map(ToString::to_string).collect();
        Ok(format!("CAST({args} AS {})", display_name(&self.to)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return Err(internal("a cast has one argument").into());
        };
        let promised = self.to.field("cast", true).data_type().clone();
        let cast = |array: &ArrayRef| -> Result<ArrayRef> {
            let array = convert(array, &self.from, &self.to, Mode::Explicit, &self.settings)?;
            // The items of a list of json are marked as such; what they are made of is the same.
            if array.data_type() == &promised {
                return Ok(array);
            }
            Ok(arrow::compute::cast(&array, &promised)?)
        };
        Ok(match value {
            ColumnarValue::Array(array) => ColumnarValue::Array(cast(array)?),
            ColumnarValue::Scalar(scalar) => {
                let array = cast(&scalar.to_array()?)?;
                // A list of one row stays as it is: taking it apart forgets what its items are.
                match array.as_list_opt::<i32>() {
                    Some(list) => ColumnarValue::Scalar(ScalarValue::List(Arc::new(list.clone()))),
                    None => ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?),
                }
            }
        })
    }
}
