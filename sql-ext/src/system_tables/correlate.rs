//! Correlated subqueries that DataFusion cannot turn into joins.
//!
//! `(SELECT … WHERE inner = outer)` without an aggregate, `EXISTS` in a select list and their like
//! become a function of the outer columns. Called with a batch of outer rows it runs the subquery:
//! once, joined with the distinct outer values, where its shape allows; else once for each
//! distinct outer value.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DataFusionError, Result, ScalarValue, TableReference, internal_err,
};
use datafusion::config::ConfigOptions;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::expr::{Exists, InSubquery, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Subquery, Volatility,
    lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::error::Error;
use crate::row_instants::{has_row_instants, hoist};

/// Replaces correlated subqueries that DataFusion cannot decorrelate by functions.
#[derive(Debug, Default)]
pub(crate) struct CorrelatedSubqueries;

impl AnalyzerRule for CorrelatedSubqueries {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let has_subquery = plan.exists(|p| {
            let mut found = false;
            p.apply_expressions(|e| {
                found |= e.exists(|e| {
                    Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_)))
                })?;
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })?;
            Ok(found)
        })?;
        if !has_subquery {
            return Ok(plan);
        }
        plan.transform_up_with_subqueries(|node| {
            let in_filter = matches!(node, LogicalPlan::Filter(_));
            // Where DataFusion makes joins of subqueries.
            let joins = matches!(
                node,
                LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_)
            );
            let schema_names = matches!(
                node,
                LogicalPlan::Projection(_)
                    | LogicalPlan::Aggregate(_)
                    | LogicalPlan::Window(_)
                    | LogicalPlan::Distinct(_)
            );
            let rewritten = node.map_expressions(|expr| {
                let name = schema_names.then(|| expr.qualified_name());
                let result = expr.transform_up(|e| replace(e, in_filter, joins))?;
                if !result.transformed {
                    return Ok(result);
                }
                // A select list's names must survive.
                Ok(match name {
                    Some((qualifier, name))
                        if result.data.qualified_name() != (qualifier.clone(), name.clone()) =>
                    {
                        Transformed::yes(result.data.unalias().alias_qualified(qualifier, name))
                    }
                    _ => result,
                })
            })?;
            if rewritten.transformed {
                return Ok(Transformed::yes(rewritten.data.recompute_schema()?));
            }
            Ok(rewritten)
        })
        .map(|t| t.data)
    }

    fn name(&self) -> &str {
        "correlated_subqueries"
    }
}

fn replace(expr: Expr, in_filter: bool, joins: bool) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::ScalarSubquery(subquery)
            if !(subquery.outer_ref_columns.is_empty()
                || joins && is_decorrelatable(&subquery.subquery)) =>
        {
            Transformed::yes(function(&subquery, Kind::Scalar, Vec::new())?)
        }
        Expr::Exists(Exists { subquery, negated })
            if !in_filter || has_row_instants(&subquery.subquery)? =>
        {
            let exists = function(&subquery, Kind::Exists, Vec::new())?;
            Transformed::yes(if negated { Expr::Not(Box::new(exists)) } else { exists })
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated })
            if !in_filter
                || computes_with_outer(&subquery.subquery)
                || has_row_instants(&subquery.subquery)?
                // The join that NOT IN becomes compares one column only.
                || (negated && !subquery.outer_ref_columns.is_empty()) =>
        {
            let found = function(&subquery, Kind::In, vec![*expr])?;
            Transformed::yes(if negated { Expr::Not(Box::new(found)) } else { found })
        }
        other => Transformed::no(other),
    })
}

/// Whether the subquery's own column is made of the outer query's.
fn computes_with_outer(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(p) => {
            p.expr.iter().any(Expr::contains_outer) || computes_with_outer(&p.input)
        }
        LogicalPlan::SubqueryAlias(a) => computes_with_outer(&a.input),
        LogicalPlan::Distinct(d) => computes_with_outer(d.input()),
        _ => false,
    }
}

/// Whether DataFusion turns the scalar subquery into a join: one aggregate without groups over
/// filters that compare inner expressions with outer columns for equality.
fn is_decorrelatable(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(p) => {
            !p.expr.iter().any(Expr::contains_outer) && is_decorrelatable(&p.input)
        }
        LogicalPlan::SubqueryAlias(a) => is_decorrelatable(&a.input),
        LogicalPlan::Aggregate(a) => {
            !a.aggr_expr.is_empty()
                && a.group_expr.is_empty()
                && !a.aggr_expr.iter().any(Expr::contains_outer)
                && equalities_only(&a.input)
        }
        _ => false,
    }
}

pub(crate) fn equalities_only(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(f) => {
            f.input.all_out_ref_exprs().is_empty()
                && datafusion::logical_expr::utils::split_conjunction(&f.predicate).into_iter().all(
                    |conjunct| {
                        !conjunct.contains_outer()
                            || matches!(conjunct, Expr::BinaryExpr(b) if b.op == Operator::Eq
                            && b.left.contains_outer() != b.right.contains_outer()
                            && [&b.left, &b.right].into_iter().all(|side| {
                                !side.contains_outer()
                                    || matches!(side.as_ref(), Expr::OuterReferenceColumn(..))
                            }))
                    },
                )
        }
        other => other.all_out_ref_exprs().is_empty(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Scalar,
    Exists,
    In,
    /// All values, as a list; NULL where there is none.
    List,
}

/// The only column of a lateral query as a list, a function of the outer columns.
pub(crate) fn rows_of(subquery: &Subquery) -> Result<Expr> {
    function(subquery, Kind::List, Vec::new())
}

/// A call of the subquery as a function of the outer columns that it names.
fn function(subquery: &Subquery, kind: Kind, mut args: Vec<Expr>) -> Result<Expr> {
    let mut outer: Vec<(Column, FieldRef)> = Vec::new();
    collect_outer(&subquery.subquery, &mut outer)?;
    let is_outer = |column: &Column| outer.iter().any(|(known, _)| known == column);
    let (plan, hoisted) = hoist(subquery.subquery.as_ref().clone(), &is_outer)?;
    if !hoisted.is_empty() {
        outer.clear();
        collect_outer(&plan, &mut outer)?;
    }
    args.extend(outer.iter().map(
        |(column, _)| match hoisted.iter().find(|h| h.column == *column) {
            Some(h) => h.instant.clone(),
            None => Expr::Column(column.clone()),
        },
    ));
    let schema = subquery.subquery.schema();
    let Some(field) = schema.fields().first() else {
        return internal_err!("a subquery without columns");
    };
    let result = match kind {
        Kind::Scalar => Arc::new(field.as_ref().clone().with_nullable(true)),
        Kind::Exists | Kind::In => Arc::new(Field::new(field.name(), DataType::Boolean, true)),
        Kind::List => {
            let item = Field::new_list_field(field.data_type().clone(), true);
            Arc::new(Field::new_list(field.name(), item, true))
        }
    };
    // One without outer columns is not to be run when it is planned.
    let volatility = if args.is_empty() { Volatility::Volatile } else { Volatility::Stable };
    let udf = CorrelatedSubquery {
        plan: Arc::new(plan),
        outer: outer.into_iter().map(|(column, _)| column).collect(),
        kind,
        result,
        signature: Signature::user_defined(volatility),
    };
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(udf)), args)))
}

/// The outer columns that a plan names, each once.
fn collect_outer(plan: &LogicalPlan, outer: &mut Vec<(Column, FieldRef)>) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                if let Expr::OuterReferenceColumn(field, column) = e
                    && !outer.iter().any(|(known, _)| known == column)
                {
                    outer.push((column.clone(), Arc::clone(field)));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    // What a nested subquery takes from a level in between is not ours.
    let mut inner = Vec::new();
    plan.apply_with_subqueries(|node| {
        inner.extend(node.schema().columns());
        Ok(TreeNodeRecursion::Continue)
    })?;
    let own = |column: &Column| {
        plan.all_out_ref_exprs()
            .iter()
            .any(|e| matches!(e, Expr::OuterReferenceColumn(_, c) if c == column))
    };
    outer.retain(|(column, _)| own(column) || !inner.contains(column));
    Ok(())
}

struct CorrelatedSubquery {
    plan: Arc<LogicalPlan>,
    outer: Vec<Column>,
    kind: Kind,
    result: FieldRef,
    signature: Signature,
}

impl fmt::Debug for CorrelatedSubquery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("correlated_subquery")
    }
}

impl PartialEq for CorrelatedSubquery {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.outer == other.outer && self.plan == other.plan
    }
}

impl Eq for CorrelatedSubquery {}

impl Hash for CorrelatedSubquery {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.plan.hash(state);
        self.kind.hash(state);
    }
}

impl ScalarUDFImpl for CorrelatedSubquery {
    fn name(&self) -> &str {
        "correlated_subquery"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        Ok(args.to_vec())
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(self.result.data_type().clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::clone(&self.result))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays: Vec<ArrayRef> =
            args.args.iter().map(|a| a.to_array(rows)).collect::<Result<_>>()?;
        let own = usize::from(self.kind == Kind::In);
        let mut distinct: HashMap<Vec<ScalarValue>, usize> = HashMap::new();
        let mut tuples: Vec<Vec<ScalarValue>> = Vec::new();
        let mut tuple_of = Vec::with_capacity(rows);
        for row in 0..rows {
            let tuple = arrays[own..]
                .iter()
                .map(|a| ScalarValue::try_from_array(a, row))
                .collect::<Result<Vec<_>>>()?;
            let next = tuples.len();
            let at = *distinct.entry(tuple.clone()).or_insert(next);
            if at == next {
                tuples.push(tuple);
            }
            tuple_of.push(at);
        }
        let found = run(Arc::clone(&self.plan), &self.outer, &tuples, &args.config_options)?;
        let mut results = Vec::with_capacity(rows);
        for (row, &at) in tuple_of.iter().enumerate() {
            let values = &found[at];
            results.push(match self.kind {
                Kind::Scalar => match values.as_slice() {
                    [] => ScalarValue::try_from(self.result.data_type())?,
                    [one] => one.clone(),
                    _ => {
                        let message =
                            "more than one row returned by a subquery used as an expression";
                        return Err(Error::postgres("21000", message).into());
                    }
                },
                Kind::Exists => ScalarValue::Boolean(Some(!values.is_empty())),
                Kind::List if values.is_empty() => ScalarValue::try_from(self.result.data_type())?,
                Kind::List => {
                    let item = values[0].data_type();
                    ScalarValue::List(ScalarValue::new_list_nullable(values, &item))
                }
                Kind::In => {
                    let wanted = ScalarValue::try_from_array(&arrays[0], row)?;
                    ScalarValue::Boolean(is_in(&wanted, values)?)
                }
            });
        }
        if results.is_empty() {
            return Ok(ColumnarValue::Array(arrow::array::new_empty_array(
                self.result.data_type(),
            )));
        }
        let array = ScalarValue::iter_to_array(results)?;
        let array = arrow::compute::cast(&array, self.result.data_type())?;
        Ok(ColumnarValue::Array(array))
    }
}

/// `x IN (values)` with SQL's NULL.
fn is_in(wanted: &ScalarValue, values: &[ScalarValue]) -> Result<Option<bool>> {
    if values.is_empty() {
        return Ok(Some(false));
    }
    if wanted.is_null() {
        return Ok(None);
    }
    let mut unknown = false;
    for value in values {
        if value.is_null() {
            unknown = true;
        } else if value.cast_to(&wanted.data_type())? == *wanted {
            return Ok(Some(true));
        }
    }
    Ok(if unknown { None } else { Some(false) })
}

/// Runs the subquery for every tuple of outer values: the first column's values for each.
///
/// Functions are called on threads that must not block on their own runtime, so the subquery runs
/// on another one.
fn run(
    plan: Arc<LogicalPlan>,
    outer: &[Column],
    tuples: &[Vec<ScalarValue>],
    options: &Arc<ConfigOptions>,
) -> Result<Vec<Vec<ScalarValue>>> {
    if tuples.is_empty() {
        return Ok(Vec::new());
    }
    std::thread::scope(|scope| {
        let handle = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| DataFusionError::External(Box::new(e)))?;
            runtime.block_on(run_all(&plan, outer, tuples, options))
        });
        handle.join().unwrap_or_else(|_| internal_err!("a correlated subquery panicked"))
    })
}

async fn run_all(
    plan: &LogicalPlan,
    outer: &[Column],
    tuples: &[Vec<ScalarValue>],
    options: &Arc<ConfigOptions>,
) -> Result<Vec<Vec<ScalarValue>>> {
    let config = SessionConfig::from(options.as_ref().clone()).with_target_partitions(1);
    let mut builder = SessionStateBuilder::new().with_config(config).with_default_features();
    let rules = builder.analyzer_rules().get_or_insert_default();
    let mut all = super::analyzer_rules();
    all.extend(datafusion::optimizer::Analyzer::new().rules);
    *rules = all;
    let context = SessionContext::new_with_state(builder.build());
    let mut found = vec![Vec::new(); tuples.len()];
    if tuples.len() > 1
        && let Some(joined) = join_with_tuples(plan, outer, tuples)?
    {
        let batches = context.execute_logical_plan(joined).await?.collect().await?;
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let at = match ScalarValue::try_from_array(batch.column(0), row)? {
                    ScalarValue::Int64(Some(at)) => usize::try_from(at).unwrap_or(usize::MAX),
                    other => return internal_err!("a tuple's number is {other}"),
                };
                if let Some(values) = found.get_mut(at) {
                    values.push(ScalarValue::try_from_array(batch.column(1), row)?);
                }
            }
        }
        return Ok(found);
    }
    for (at, tuple) in tuples.iter().enumerate() {
        let plan = substitute(plan.clone(), &|column| {
            let i = outer.iter().position(|c| c == column)?;
            Some(Expr::Literal(tuple[i].clone(), None))
        })?;
        let batches: Vec<RecordBatch> = context.execute_logical_plan(plan).await?.collect().await?;
        for batch in &batches {
            for row in 0..batch.num_rows() {
                found[at].push(ScalarValue::try_from_array(batch.column(0), row)?);
            }
        }
    }
    Ok(found)
}

/// The outer values' relation in the join.
const TUPLES: &str = "_outer";

/// `SELECT e FROM x WHERE p` becomes `SELECT number, e FROM x, tuples WHERE p` with the outer
/// columns taken from the tuples. `None` for other shapes.
fn join_with_tuples(
    plan: &LogicalPlan,
    outer: &[Column],
    tuples: &[Vec<ScalarValue>],
) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Projection(Projection { expr, input, .. }) = plan else { return Ok(None) };
    let (predicate, source) = match input.as_ref() {
        LogicalPlan::Filter(Filter { predicate, input, .. }) => {
            (Some(predicate.clone()), Arc::clone(input))
        }
        _ => (None, Arc::clone(input)),
    };
    let mut inside = Vec::new();
    collect_outer(&source, &mut inside)?;
    // A subquery in the expressions has its own idea of what is outer.
    let nested = expr.iter().chain(&predicate).any(|e| {
        e.exists(|e| {
            Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_)))
        })
        .unwrap_or(true)
    });
    if !inside.is_empty() || nested || expr.len() != 1 {
        return Ok(None);
    }
    let rows: Vec<Vec<Expr>> = (0_i64..)
        .zip(tuples)
        .map(|(n, tuple)| {
            std::iter::once(lit(n))
                .chain(tuple.iter().map(|v| Expr::Literal(v.clone(), None)))
                .collect()
        })
        .collect();
    let names =
        std::iter::once("number".to_owned()).chain((0..outer.len()).map(|i| format!("o{i}")));
    let values = LogicalPlanBuilder::values(rows)?;
    let renamed: Vec<Expr> = values
        .schema()
        .columns()
        .into_iter()
        .zip(names)
        .map(|(column, name)| Expr::Column(column).alias(name))
        .collect();
    let values = values.project(renamed)?.alias(TUPLES)?.build()?;
    let column = |name: &str| Expr::Column(Column::new(Some(TableReference::bare(TUPLES)), name));
    let replace = |c: &Column| Some(column(&format!("o{}", outer.iter().position(|o| o == c)?)));
    let mut builder = LogicalPlanBuilder::from(source.as_ref().clone()).cross_join(values)?;
    if let Some(predicate) = predicate {
        builder = builder.filter(substitute_expr(predicate, &replace)?)?;
    }
    let value = substitute_expr(expr[0].clone(), &replace)?.unalias().alias("value");
    Ok(Some(builder.project(vec![column("number"), value])?.build()?))
}

fn substitute_expr(expr: Expr, with: &dyn Fn(&Column) -> Option<Expr>) -> Result<Expr> {
    expr.transform_up(|e| {
        Ok(match &e {
            Expr::OuterReferenceColumn(_, column) => match with(column) {
                Some(value) => Transformed::yes(value),
                None => Transformed::no(e),
            },
            _ => Transformed::no(e),
        })
    })
    .map(|t| t.data)
}

/// Puts values in the place of outer columns, in nested subqueries too.
fn substitute(plan: LogicalPlan, with: &dyn Fn(&Column) -> Option<Expr>) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let node = node.map_expressions(|expr| {
            let expr = expr.transform_up(|e| {
                Ok(match &e {
                    Expr::OuterReferenceColumn(_, column) => match with(column) {
                        Some(value) => Transformed::yes(value),
                        None => Transformed::no(e),
                    },
                    _ => Transformed::no(e),
                })
            })?;
            expr.transform_data(|e| {
                e.transform_up(|e| {
                    Ok(match e {
                        Expr::ScalarSubquery(mut s) => {
                            s.outer_ref_columns.retain(|o| keep(o, with));
                            Transformed::yes(Expr::ScalarSubquery(s))
                        }
                        Expr::Exists(mut x) => {
                            x.subquery.outer_ref_columns.retain(|o| keep(o, with));
                            Transformed::yes(Expr::Exists(x))
                        }
                        Expr::InSubquery(mut x) => {
                            x.subquery.outer_ref_columns.retain(|o| keep(o, with));
                            Transformed::yes(Expr::InSubquery(x))
                        }
                        other => Transformed::no(other),
                    })
                })
            })
        })?;
        match node.data {
            // Lateral derived tables.
            LogicalPlan::Subquery(mut s) => {
                s.outer_ref_columns.retain(|o| keep(o, with));
                Ok(Transformed::yes(if s.outer_ref_columns.is_empty() {
                    s.subquery.as_ref().clone()
                } else {
                    LogicalPlan::Subquery(s)
                }))
            }
            data => Ok(Transformed::new(data, node.transformed, node.tnr)),
        }
    })?
    .data
    .recompute_schema()
}

fn keep(outer: &Expr, with: &dyn Fn(&Column) -> Option<Expr>) -> bool {
    !matches!(outer, Expr::OuterReferenceColumn(_, column) if with(column).is_some())
}
