//! `AS OF EACH (…)`: a table at every instant of a series, one beside the other.

use std::sync::Arc;

use arrow::datatypes::{DataType as ArrowType, TimeUnit};
use chronos_catalog::{CommitTs, SystemTime};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Result, ScalarValue, TableReference};
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Union, Volatility, lit,
};
use datafusion::sql::sqlparser::ast::{
    self, CastKind, DataType, FunctionArg, FunctionArgExpr, FunctionArguments, TimezoneInfo, Value,
};

use crate::bind::{listed, series};
use crate::error::Error;
use crate::instant;
use crate::parser::TimeClause;
use crate::relation::{Reference, TemporalRelationPlanner};

/// The column that tells at which instant a row was seen.
pub(crate) const EACH_COLUMN: &str = "system_time";

/// Instants of one table reference: each is a scan of its own.
const INSTANTS_MAX: usize = 2_000;

impl TemporalRelationPlanner {
    /// `UNION ALL` over the instants of `SELECT *, instant AS system_time`.
    pub(crate) fn plan_each(
        &self,
        reference: &Reference<'_>,
        items: &[ast::Expr],
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let name = &reference.name;
        let Some(instants) = self.instants(items, context)? else {
            // Only the columns are asked for.
            let plan = self.plan_at(reference, None, None, context)?;
            return with_instant(plan, None, name);
        };
        let mut plans: Vec<Arc<LogicalPlan>> = Vec::with_capacity(instants.len());
        for at in &instants {
            let literal = ast::Expr::value(Value::SingleQuotedString(instant::display(*at)));
            let (clause, time) = (TimeClause::AsOf(literal), SystemTime::AsOf(*at));
            let plan = self.plan_at(reference, Some(&clause), Some(time), context)?;
            let plan = with_instant(plan, Some(*at), name)?;
            if let (Some(first), Some(before)) = (plans.first(), instants.first())
                && !same_shape(first, &plan)
            {
                return Err(Error::unsupported(format!(
                    "AS OF EACH of \"{name}\", whose columns at {} are not those at {}",
                    instant::display(*at),
                    instant::display(*before)
                ))
                .into());
            }
            plans.push(Arc::new(plan));
        }
        match plans.len() {
            0 => {
                let plan = self.plan_at(reference, None, None, context)?;
                let plan = with_instant(plan, None, name)?;
                LogicalPlanBuilder::from(plan).filter(lit(false))?.build()
            }
            1 => Ok(Arc::unwrap_or_clone(plans.remove(0))),
            _ => LogicalPlanBuilder::from(LogicalPlan::Union(Union::try_new(plans)?))
                .alias(name.clone())?
                .build(),
        }
    }

    /// Evaluates the instants; `None` where one is a parameter that is not known yet.
    fn instants(
        &self,
        items: &[ast::Expr],
        context: &mut dyn RelationPlannerContext,
    ) -> Result<Option<Vec<CommitTs>>> {
        let mut instants = Vec::new();
        for item in items {
            let item = typed(listed(item));
            if !self.check_length(&item, context)? {
                return Ok(None);
            }
            let Some(value) = self.evaluate(&item, context)? else { return Ok(None) };
            let values = match &value {
                ScalarValue::List(list) => ScalarValue::convert_array_to_scalar_vec(list.as_ref())?
                    .into_iter()
                    .map(|row| row.ok_or(Error::NullInstant))
                    .collect::<std::result::Result<Vec<_>, Error>>()?
                    .into_iter()
                    .flatten()
                    .collect(),
                _ => vec![value],
            };
            if instants.len() + values.len() > INSTANTS_MAX {
                return Err(too_many());
            }
            for value in values {
                let at = instant::of_value(&value, self.catalog.time_zone(), self.catalog.now())?;
                self.catalog.check_instant(at)?;
                instants.push(at);
            }
        }
        Ok(Some(instants))
    }

    /// Refuses a series of too many instants before it is written out; `false` where a parameter
    /// of it is not known yet.
    fn check_length(
        &self,
        item: &ast::Expr,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<bool> {
        let ast::Expr::Function(function) = item else { return Ok(true) };
        let Some([first, last, step]) = series(function) else { return Ok(true) };
        let mut value = |expr: &ast::Expr| self.evaluate(expr, context);
        let (Some(first), Some(last), Some(step)) = (value(first)?, value(last)?, value(step)?)
        else {
            return Ok(false);
        };
        let (zone, now) = (self.catalog.time_zone(), self.catalog.now());
        let first = instant::of_value(&first, zone, now)?;
        let last = instant::of_value(&last, zone, now)?;
        let length = match step {
            ScalarValue::IntervalMonthDayNano(Some(step)) => {
                let days = i64::from(step.months) * 28 + i64::from(step.days);
                let nanoseconds =
                    i128::from(days) * 86_400_000_000_000 + i128::from(step.nanoseconds);
                if nanoseconds == 0 {
                    return Err(Error::postgres("22023", "step size cannot equal zero").into());
                }
                (nanoseconds.unsigned_abs() / 1_000).max(1)
            }
            step if step.is_null() => return Err(Error::NullInstant.into()),
            _ => return Ok(true),
        };
        // A month may be longer, and a day an hour shorter.
        let items = u128::from(first.micros().abs_diff(last.micros())) / length;
        if items > 2 * INSTANTS_MAX as u128 { Err(too_many()) } else { Ok(true) }
    }
}

fn too_many() -> datafusion::error::DataFusionError {
    Error::postgres("54000", format!("AS OF EACH takes at most {INSTANTS_MAX} instants"))
        .with_hint("Ask for fewer at a time, or for FOR SYSTEM_TIME FROM … TO.")
        .into()
}

/// An item whose text and parameters are typed: a series of them alone is ambiguous.
fn typed(item: &ast::Expr) -> ast::Expr {
    let mut item = item.clone();
    if let ast::Expr::Function(function) = &mut item
        && series(function).is_some()
        && let FunctionArguments::List(list) = &mut function.args
    {
        let instant = || DataType::Timestamp(None, TimezoneInfo::Tz);
        let step = DataType::Interval { fields: None, precision: None };
        for (arg, data_type) in list.args.iter_mut().zip([instant(), instant(), step]) {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else { continue };
            let open = matches!(&*expr, ast::Expr::Value(value) if matches!(
                value.value,
                Value::SingleQuotedString(_) | Value::Placeholder(_) | Value::Null
            ));
            if open {
                *expr = ast::Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(expr.clone()),
                    data_type,
                    array: false,
                    format: None,
                };
            }
        }
    }
    item
}

/// The plan's columns and the instant, as those of the table.
fn with_instant(
    plan: LogicalPlan,
    at: Option<CommitTs>,
    name: &TableReference,
) -> Result<LogicalPlan> {
    if plan.schema().fields().iter().any(|field| field.name() == EACH_COLUMN) {
        return Err(Error::postgres(
            "42701",
            format!("column \"{EACH_COLUMN}\" of \"{name}\" is also the name of the instant"),
        )
        .with_hint("Select from a view that names the column differently.")
        .into());
    }
    let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let instant = ScalarUDF::new_from_impl(Instant::new(at)).call(vec![]);
    columns.push(instant.alias(EACH_COLUMN));
    LogicalPlanBuilder::from(plan).project(columns)?.alias(name.clone())?.build()
}

/// An instant as a function without arguments. DataFusion takes a literal, and whatever is
/// computed from literals, for a constant of its part of the union, holds the part for sorted by
/// it, and then fails to keep that promise above a join.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Instant {
    at: Option<CommitTs>,
    name: String,
    signature: Signature,
}

impl Instant {
    fn new(at: Option<CommitTs>) -> Self {
        let name = at.map_or_else(|| "instant".to_owned(), instant::display);
        Instant { at, name, signature: Signature::nullary(Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for Instant {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[ArrowType]) -> Result<ArrowType> {
        Ok(ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let micros = self.at.map(CommitTs::micros);
        Ok(ScalarValue::TimestampMicrosecond(micros, Some("UTC".into())).into())
    }
}

/// Whether a plan reads a table at a series of instants.
pub(crate) fn has_each(plan: &LogicalPlan) -> Result<bool> {
    let is_instant = |expr: &Expr| {
        let Expr::Alias(alias) = expr else { return false };
        matches!(alias.expr.as_ref(), Expr::ScalarFunction(call)
            if call.func.inner().downcast_ref::<Instant>().is_some())
    };
    plan.exists(|node| {
        Ok(matches!(node, LogicalPlan::Projection(shown) if shown.expr.iter().any(is_instant)))
    })
}

/// Whether two plans have columns of the same names and types.
fn same_shape(a: &LogicalPlan, b: &LogicalPlan) -> bool {
    let (a, b) = (a.schema().fields(), b.schema().fields());
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            a.name() == b.name() && a.data_type() == b.data_type() && a.metadata() == b.metadata()
        })
}
