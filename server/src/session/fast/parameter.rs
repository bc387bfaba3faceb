//! Parameters that stay open while a statement is planned.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::expr::{Placeholder, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// A parameter of a known type. Volatile, so that the optimizer takes nothing for granted.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Parameter {
    /// From 0.
    pub number: usize,
    name: String,
    data_type: DataType,
    signature: Signature,
}

impl Parameter {
    /// The parameter that an expression is.
    pub(super) fn of(expr: &Expr) -> Option<usize> {
        match expr {
            Expr::ScalarFunction(call) => {
                call.func.inner().downcast_ref::<Parameter>().map(|p| p.number)
            }
            _ => None,
        }
    }
}

impl ScalarUDFImpl for Parameter {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("the parameter {} has no value", self.name)
    }
}

/// Puts [`Parameter`]s in the place of placeholders.
pub(super) fn open(plan: LogicalPlan, types: &[DataType]) -> Result<LogicalPlan> {
    let calls: BTreeMap<String, Expr> = types
        .iter()
        .enumerate()
        .map(|(number, data_type)| {
            let name = format!("${}", number + 1);
            let parameter = Parameter {
                number,
                name: name.clone(),
                data_type: data_type.clone(),
                signature: Signature::nullary(Volatility::Volatile),
            };
            let function = Arc::new(ScalarUDF::new_from_impl(parameter));
            (name, Expr::ScalarFunction(ScalarFunction::new_udf(function, Vec::new())))
        })
        .collect();
    let opened = plan.transform_up(|plan| {
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let opened = expr.transform_up(|expr| match &expr {
                Expr::Placeholder(Placeholder { id, .. }) => match calls.get(id) {
                    Some(call) => Ok(Transformed::yes(call.clone())),
                    None => plan_err!("there is no parameter {id}"),
                },
                _ => Ok(Transformed::no(expr)),
            })?;
            Ok(if opened.transformed {
                opened.update_data(|expr| name.restore(expr))
            } else {
                opened
            })
        })?
        .map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(opened.data)
}
