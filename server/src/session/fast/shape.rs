//! The shape of a plan that a key may answer: columns of the rows of one table that a condition
//! holds for.

use std::collections::HashMap;
use std::sync::Arc;

use chronos_storage::VersionedTable;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Expr, ExprSchemable, FetchType, LogicalPlan, SkipType, TableScan, Volatility,
};

use super::parameter::Parameter;

/// Projection over filter over one table, with columns named without a qualifier and parameters
/// as columns of their own names.
pub(super) struct Shape {
    pub table: VersionedTable,
    pub outputs: Vec<Expr>,
    pub predicates: Vec<Expr>,
    /// A limit or an order was left out, which changes nothing where there is one row at most.
    pub one_row: bool,
}

/// The name of the column that stands for a parameter.
pub(super) fn parameter_column(number: usize) -> String {
    format!("\u{1}${}", number + 1)
}

impl Shape {
    /// The shape of an optimized plan, `None` if it has another.
    pub fn of(plan: &LogicalPlan) -> Option<Shape> {
        let mut outputs: Option<Vec<Expr>> = None;
        let mut predicates: Vec<Expr> = Vec::new();
        let mut one_row = false;
        let mut plan = plan;
        let scan = loop {
            plan = match plan {
                LogicalPlan::Projection(p) => {
                    let inner: HashMap<String, Expr> = p
                        .schema
                        .fields()
                        .iter()
                        .map(|f| f.name().clone())
                        .zip(p.expr.iter().map(|e| e.clone().unalias_nested().data))
                        .collect();
                    match &mut outputs {
                        None => outputs = Some(p.expr.clone()),
                        Some(outer) => {
                            for expr in outer.iter_mut().chain(&mut predicates) {
                                *expr = replaced(expr.clone(), &inner)?;
                            }
                        }
                    }
                    &p.input
                }
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Filter(filter) => {
                    if outputs.is_none() {
                        outputs = Some(columns_of(filter.input.schema()));
                    }
                    predicates.push(filter.predicate.clone());
                    &filter.input
                }
                // A key finds one row, of which these leave all.
                LogicalPlan::Limit(limit) if predicates.is_empty() => {
                    let all = matches!(limit.get_skip_type().ok()?, SkipType::Literal(0))
                        && match limit.get_fetch_type().ok()? {
                            FetchType::Literal(n) => n.is_none_or(|n| n > 0),
                            FetchType::UnsupportedExpr => false,
                        };
                    if !all {
                        return None;
                    }
                    one_row = true;
                    &limit.input
                }
                LogicalPlan::Sort(sort) if predicates.is_empty() => {
                    if sort.fetch == Some(0) {
                        return None;
                    }
                    one_row = true;
                    &sort.input
                }
                LogicalPlan::TableScan(scan) => break scan,
                _ => return None,
            };
        };
        let table = versioned(scan)?;
        let outputs = outputs.unwrap_or_else(|| columns_of(&scan.projected_schema));
        if scan.fetch.is_some() {
            one_row = true;
        }
        predicates.extend(scan.filters.iter().cloned());
        let predicates = predicates.iter().flat_map(split_conjunction).map(|e| plain(e.clone()));
        Some(Shape {
            table,
            predicates: predicates.collect::<Option<_>>()?,
            outputs: outputs.into_iter().map(plain).collect::<Option<_>>()?,
            one_row,
        })
    }
}

fn versioned(scan: &TableScan) -> Option<VersionedTable> {
    let provider = source_as_provider(&scan.source).ok()?;
    provider.downcast_ref::<VersionedTable>().cloned()
}

fn columns_of(schema: &DFSchema) -> Vec<Expr> {
    schema.columns().into_iter().map(Expr::Column).collect()
}

/// The expression over what an inner projection gives.
fn replaced(expr: Expr, inner: &HashMap<String, Expr>) -> Option<Expr> {
    let replaced = expr.transform_up(|expr| {
        Ok(match &expr {
            Expr::Column(column) => match inner.get(&column.name) {
                Some(value) => Transformed::yes(value.clone()),
                None => Transformed::no(expr),
            },
            _ => Transformed::no(expr),
        })
    });
    replaced.ok().map(|t| t.data)
}

/// Columns without their qualifiers, parameters as columns.
fn plain(expr: Expr) -> Option<Expr> {
    let plain = expr.transform_up(|expr| {
        if let Some(number) = Parameter::of(&expr) {
            let column = Column::new_unqualified(parameter_column(number));
            return Ok(Transformed::yes(Expr::Column(column)));
        }
        Ok(match expr {
            Expr::Column(column) => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    });
    plain.ok().map(|t| t.data)
}

/// Whether a plan that was not optimized yet means the same whenever it is executed.
pub(super) fn is_constant(plan: &LogicalPlan) -> bool {
    let found = plan.apply(|plan| {
        let schema = plan
            .inputs()
            .first()
            .map_or_else(|| Arc::new(DFSchema::empty()), |input| Arc::clone(input.schema()));
        let mut moves = false;
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                moves |= may_change(expr, &schema);
                Ok(if moves { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })?;
        if moves {
            // An error is the shortest way out of both walks.
            return datafusion::common::plan_err!("it may change");
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found.is_ok()
}

/// Whether an expression by itself may have another value in the next execution.
fn may_change(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::ScalarFunction(call) => {
            Parameter::of(expr).is_none()
                && call.func.signature().volatility != Volatility::Immutable
        }
        Expr::Literal(value, _) => tells_now(value),
        // Words such as `today` in text.
        Expr::Cast(cast) => {
            cast.field.data_type().is_temporal()
                && !matches!(
                    cast.expr.get_type(schema),
                    Ok(DataType::Timestamp(..)
                        | DataType::Date32
                        | DataType::Time64(_)
                        | DataType::Interval(_))
                )
        }
        Expr::TryCast(_)
        | Expr::ScalarSubquery(_)
        | Expr::InSubquery(_)
        | Expr::Exists(_)
        | Expr::SetComparison(_)
        | Expr::OuterReferenceColumn(..)
        | Expr::ScalarVariable(..)
        | Expr::AggregateFunction(_)
        | Expr::WindowFunction(_)
        | Expr::Unnest(_)
        | Expr::Placeholder(_) => true,
        _ => false,
    }
}

fn tells_now(value: &ScalarValue) -> bool {
    let (ScalarValue::Utf8(Some(text))
    | ScalarValue::LargeUtf8(Some(text))
    | ScalarValue::Utf8View(Some(text))) = value
    else {
        return false;
    };
    let text = text.to_ascii_lowercase();
    ["now", "today", "tomorrow", "yesterday"].iter().any(|word| text.contains(word))
}
