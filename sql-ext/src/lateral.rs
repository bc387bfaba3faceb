//! Lateral joins that DataFusion does not plan.
//!
//! - A set-returning function of the left side's columns, `FROM t, unnest(t.tags)`, unnests within
//!   the left side: `Join(t, Projection(Unnest(Projection(one row))))` becomes
//!   `Projection(Unnest(Projection(t)))`.
//! - Any other lateral query that limits, sorts or computes with the left side's columns becomes
//!   a function that gives its rows as a list, and the list is unnested.
//!
//! Instants that a lateral query takes from the left side are columns of the left side first.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchemaRef, Result, ScalarValue, TableReference, UnnestOptions, internal_err,
};
use datafusion::config::ConfigOptions;
use datafusion::functions::core::expr_fn::{get_field, named_struct};
use datafusion::functions_nested::expr_fn::cardinality;
use datafusion::logical_expr::{
    Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, lit, when,
};
use datafusion::optimizer::AnalyzerRule;

use crate::row_instants::{hoist, is_chain, of_outer};
use crate::system_tables::{equalities_only, rows_of};

/// The column that holds a lateral query's rows before they are unnested.
const ROWS: &str = "_lateral_rows";

/// Replaces lateral joins.
#[derive(Debug, Default)]
pub(crate) struct LateralJoins;

impl AnalyzerRule for LateralJoins {
    fn name(&self) -> &str {
        "lateral_joins"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        if !plan.exists(|p| Ok(matches!(p, LogicalPlan::Subquery(_))))? {
            return Ok(plan);
        }
        plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Join(join) => replace(join),
            other => Ok(Transformed::no(other)),
        })?
        .data
        .recompute_schema()
    }
}

/// The lateral query of a join's right side with its alias.
fn lateral(plan: &LogicalPlan) -> Option<(&Subquery, Option<TableReference>)> {
    match plan {
        LogicalPlan::Subquery(subquery) => Some((subquery, None)),
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Subquery(subquery) => Some((subquery, Some(alias.alias.clone()))),
            _ => None,
        },
        _ => None,
    }
}

fn replace(join: Join) -> Result<Transformed<LogicalPlan>> {
    let Some((subquery, alias)) = lateral(&join.right) else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let of_left = |column: &Column| join.left.schema().has_column(column);
    if !subquery
        .outer_ref_columns
        .iter()
        .any(|e| matches!(e, Expr::OuterReferenceColumn(_, column) if of_left(column)))
    {
        // It depends on a query further out only.
        let mut right = LogicalPlanBuilder::from(Arc::clone(&subquery.subquery));
        if let Some(alias) = alias {
            right = right.alias(alias)?;
        }
        let right = Arc::new(right.build()?);
        return Ok(Transformed::yes(LogicalPlan::Join(Join { right, ..join })));
    }
    let (inner, hoisted) = hoist(subquery.subquery.as_ref().clone(), &of_left)?;
    if hoisted.is_empty() {
        return replace_hoisted(join, false);
    }
    let by_row = !is_chain(&inner);
    let shown = columns(&LogicalPlan::Join(join.clone()));
    let mut left = columns(&join.left);
    left.extend(hoisted.into_iter().map(|h| h.instant.alias(h.column.name)));
    let left = LogicalPlanBuilder::from(Arc::clone(&join.left)).project(left)?.build()?;
    let outer_ref_columns = inner.all_out_ref_exprs();
    let mut right = LogicalPlanBuilder::from(LogicalPlan::Subquery(Subquery {
        subquery: Arc::new(inner),
        outer_ref_columns,
        ..subquery.clone()
    }));
    if let Some(alias) = alias {
        right = right.alias(alias)?;
    }
    let join = Join { left: Arc::new(left), right: Arc::new(right.build()?), ..join };
    let LogicalPlan::Join(join) = LogicalPlan::Join(join).recompute_schema()? else {
        return internal_err!("a join whose schema makes it none");
    };
    let joined = replace_hoisted(join, by_row)?.data;
    Ok(Transformed::yes(LogicalPlanBuilder::from(joined).project(shown)?.build()?))
}

/// Likewise, its instants columns of the left side; `by_row` says that only a function will do.
fn replace_hoisted(join: Join, by_row: bool) -> Result<Transformed<LogicalPlan>> {
    let Some((subquery, alias)) = lateral(&join.right) else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let outer = match join.join_type {
        JoinType::Inner => false,
        // Rows without a partner are kept where nothing but TRUE is demanded of one.
        JoinType::Left
            if join.on.is_empty()
                && join.filter.as_ref().is_none_or(|f| {
                    matches!(f, Expr::Literal(ScalarValue::Boolean(Some(true)), _))
                }) =>
        {
            true
        }
        _ => return Ok(Transformed::no(LogicalPlan::Join(join))),
    };
    let made = match within(&join.left, subquery, alias.as_ref(), outer)? {
        Some(plan) => plan,
        None if by_row || wants_function(&subquery.subquery)? => {
            by_function(&join.left, subquery, join.right.schema(), outer)?
        }
        None => return Ok(Transformed::no(LogicalPlan::Join(join))),
    };
    let mut conditions: Vec<Expr> = join.on.iter().map(|(a, b)| a.clone().eq(b.clone())).collect();
    conditions.extend(join.filter.clone().filter(|_| !outer));
    let made = match conditions.into_iter().reduce(Expr::and) {
        Some(condition) => LogicalPlanBuilder::from(made).filter(condition)?.build()?,
        None => made,
    };
    Ok(Transformed::yes(made))
}

fn columns(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().columns().into_iter().map(Expr::Column).collect()
}

/// `Projection(Unnest(Projection(one row)))` within the left side.
fn within(
    left: &Arc<LogicalPlan>,
    subquery: &Subquery,
    alias: Option<&TableReference>,
    outer: bool,
) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Projection(Projection { expr: shown, input, .. }) = subquery.subquery.as_ref()
    else {
        return Ok(None);
    };
    let LogicalPlan::Unnest(unnest) = input.as_ref() else { return Ok(None) };
    let LogicalPlan::Projection(Projection { expr: lists, input, .. }) = unnest.input.as_ref()
    else {
        return Ok(None);
    };
    if !matches!(input.as_ref(), LogicalPlan::EmptyRelation(e) if e.produce_one_row)
        || !unnest.struct_type_columns.is_empty()
    {
        return Ok(None);
    }
    let mut inner = columns(left);
    for list in lists {
        let name = list.schema_name().to_string();
        let mut list = of_outer(list.clone())?.unalias();
        if outer {
            // A row without elements stays, as does one of a NULL list.
            let empty = cardinality(list.clone()).eq(lit(0u64));
            list = when(empty, lit(ScalarValue::Null)).otherwise(list)?;
        }
        inner.push(list.alias(name));
    }
    let options = unnest.options.clone().with_preserve_nulls(outer);
    let unnested = LogicalPlanBuilder::from(Arc::clone(left))
        .project(inner)?
        .unnest_columns_with_options(unnest.exec_columns.clone(), options)?;
    let mut out = columns(left);
    for expr in shown {
        let name = expr.schema_name().to_string();
        let expr = of_outer(expr.clone())?.unalias();
        out.push(expr.alias_qualified(alias.cloned(), name));
    }
    unnested.project(out)?.build().map(Some)
}

/// Whether a lateral query does what DataFusion's decorrelation does not undo.
fn wants_function(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        found |= match node {
            LogicalPlan::Limit(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::Values(_) => true,
            LogicalPlan::Projection(p) => p.expr.iter().any(Expr::contains_outer),
            LogicalPlan::Aggregate(a) => {
                a.aggr_expr.iter().chain(&a.group_expr).any(Expr::contains_outer)
                    || !equalities_only(&a.input)
            }
            _ => false,
        };
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn by_function(
    left: &Arc<LogicalPlan>,
    subquery: &Subquery,
    right: &DFSchemaRef,
    outer: bool,
) -> Result<LogicalPlan> {
    let member = |i: usize| format!("c{i}");
    let inner = subquery.subquery.schema();
    let members = inner
        .columns()
        .into_iter()
        .enumerate()
        .flat_map(|(i, column)| [lit(member(i)), Expr::Column(column)])
        .collect();
    let rows = LogicalPlanBuilder::from(Arc::clone(&subquery.subquery))
        .project(vec![named_struct(members).alias("row")])?
        .build()?;
    let function = rows_of(&Subquery { subquery: Arc::new(rows), ..subquery.clone() })?;
    let mut list = columns(left);
    list.push(function.alias(ROWS));
    let options = UnnestOptions::new().with_preserve_nulls(outer);
    let unnested = LogicalPlanBuilder::from(Arc::clone(left))
        .project(list)?
        .unnest_columns_with_options(vec![Column::from_name(ROWS)], options)?;
    let row = Expr::Column(Column::from_name(ROWS));
    debug_assert!(matches!(
        unnested.schema().field_with_unqualified_name(ROWS).map(|f| f.data_type().clone()),
        Ok(DataType::Struct(_))
    ));
    let mut out = columns(left);
    for (i, (qualifier, field)) in right.iter().enumerate() {
        let value = get_field(row.clone(), member(i));
        out.push(value.alias_qualified(qualifier.cloned(), field.name()));
    }
    unnested.project(out)?.build()
}
