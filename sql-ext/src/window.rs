//! Windowed aggregates in the plan: finds the time column and the end of each window.
//!
//! `avg(x) FILTER (WHERE _chronos_window(w, x))` becomes `avg(x) FILTER (WHERE time > T - w AND
//! time <= T)`. T is the instant of the table's AS OF, else the statement's `now()`. The time
//! column is the one given, else the table's option `time_column`, else its only timestamptz
//! column, else `_system_from`.
//!
//! The answer equals that of the plain FILTER query, always. To read no more than the windows,
//! - without GROUP BY, where every aggregate is windowed, the union of the windows filters the
//!   input;
//! - with GROUP BY the groups that have no row in any window must stay, so the groups come from
//!   the whole input (of which that reads the grouping columns only) and the aggregates from the
//!   filtered one, joined on the grouping columns. Only over a single table, and not for floats
//!   (grouping and joining disagree on zeros).

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use chrono::DateTime;
use chronos_catalog::CommitTs;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, NullEquality, Result, ScalarValue, TableReference};
use datafusion::config::ConfigOptions;
use datafusion::datasource::source_as_provider;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs,
    ScalarUDFImpl, Signature, Volatility, cast, lit,
};
use datafusion::optimizer::analyzer::AnalyzerRule;

use crate::bind::WINDOW_FUNCTION;
use crate::error::Error;
use crate::row_instants::has_row_instants;
use crate::temporal::{TemporalCatalog, is_hidden};

/// Stands for a window until [`WindowRule`] knows its time; never evaluated.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowFunction {
    signature: Signature,
}

impl WindowFunction {
    pub(crate) fn new() -> Self {
        WindowFunction { signature: Signature::variadic_any(Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        WINDOW_FUNCTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(Error::Unsupported("a windowed aggregate in this place".into()).into())
    }
}

/// Gives windows their time.
#[derive(Debug)]
pub(crate) struct WindowRule {
    catalog: Arc<dyn TemporalCatalog>,
}

impl WindowRule {
    pub(crate) fn new(catalog: Arc<dyn TemporalCatalog>) -> Self {
        WindowRule { catalog }
    }
}

impl AnalyzerRule for WindowRule {
    fn name(&self) -> &str {
        "windowed_aggregates"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.iter().any(has_window) => {
                Ok(Transformed::yes(self.rewrite(aggregate)?))
            }
            other => Ok(Transformed::no(other)),
        })
        .map(|transformed| transformed.data)
    }
}

/// One window over one time column.
#[derive(Clone, PartialEq)]
struct Window {
    time: Expr,
    /// Exclusive.
    low: ScalarValue,
    /// Inclusive.
    high: ScalarValue,
    micros: i64,
}

impl Window {
    fn predicate(&self) -> Expr {
        let bound = |value: &ScalarValue| Expr::Literal(value.clone(), None);
        self.time.clone().gt(bound(&self.low)).and(self.time.clone().lt_eq(bound(&self.high)))
    }
}

impl WindowRule {
    fn rewrite(&self, aggregate: Aggregate) -> Result<LogicalPlan> {
        let mut windows: Vec<Window> = Vec::new();
        let mut all_windowed = true;
        let mut rewritten = Vec::with_capacity(aggregate.aggr_expr.len());
        let mut names = Vec::with_capacity(aggregate.aggr_expr.len());
        for expr in &aggregate.aggr_expr {
            names.push(expr.schema_name().to_string());
            all_windowed &= has_window(expr);
            let expr = expr.clone().unalias();
            let expr = expr.transform_up(|expr| match window_arguments(&expr) {
                None => Ok(Transformed::no(expr)),
                Some(arguments) => {
                    let window = self.window(arguments, &aggregate.input)?;
                    let predicate = window.predicate();
                    windows.push(window);
                    Ok(Transformed::yes(predicate))
                }
            })?;
            rewritten.push(expr.data);
        }
        let input = aggregate.input.as_ref().clone();
        let groups = &aggregate.group_expr;
        let filtered = |input: LogicalPlan| -> Result<LogicalPlan> {
            LogicalPlanBuilder::from(input).filter(union(&windows)?)?.build()
        };
        if !all_windowed {
            return named(input, groups, rewritten, &names);
        }
        if groups.is_empty() {
            return named(filtered(input)?, groups, rewritten, &names);
        }
        if can_split(&input, groups)? {
            return split(input.clone(), filtered(input)?, groups, rewritten, &names);
        }
        named(input, groups, rewritten, &names)
    }

    fn window(&self, arguments: &[Expr], input: &LogicalPlan) -> Result<Window> {
        let [micros, argument, time @ ..] = arguments else {
            return Err(Error::Unsupported("this windowed aggregate".into()).into());
        };
        let Expr::Literal(micros, _) = micros else {
            return Err(Error::Unsupported("this windowed aggregate".into()).into());
        };
        let micros = match micros.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(Some(micros)) => micros,
            _ => return Err(Error::Unsupported("this windowed aggregate".into()).into()),
        };
        let given = time.first();
        let relation = relation_of(given.unwrap_or(argument), input)?;
        if crate::each::has_each(relation)? {
            return Err(Error::unsupported("a windowed aggregate over AS OF EACH").into());
        }
        if has_row_instants(relation)? {
            let what = "a windowed aggregate over a table as of the instants of other rows";
            return Err(Error::unsupported(what).into());
        }
        let end = self.end(relation)?;
        let time = match given {
            Some(time) => time.clone(),
            None => Expr::Column(self.time_column(relation)?),
        };
        let data_type = {
            use datafusion::logical_expr::ExprSchemable;
            time.get_type(input.schema())?
        };
        let (time, zoned) = match &data_type {
            DataType::Timestamp(_, zone) => (time, zone.is_some()),
            DataType::Date32 => {
                (cast(time, DataType::Timestamp(TimeUnit::Microsecond, None)), false)
            }
            other => {
                return Err(Error::WindowTime {
                    message: format!("the time of a window cannot be of type {other}"),
                    hint: "Give a timestamp column as the second argument.".into(),
                }
                .into());
            }
        };
        let compared = match &data_type {
            DataType::Date32 => DataType::Timestamp(TimeUnit::Microsecond, None),
            other => other.clone(),
        };
        let high = if zoned { end.micros() } else { self.local(end)? };
        let bound = |micros: i64| {
            let zone = zoned.then(|| Arc::from("UTC"));
            ScalarValue::TimestampMicrosecond(Some(micros), zone).cast_to(&compared)
        };
        Ok(Window { time, low: bound(high - micros)?, high: bound(high)?, micros })
    }

    /// The instant as microseconds of the session's clock on the wall.
    fn local(&self, instant: CommitTs) -> Result<i64> {
        DateTime::from_timestamp_micros(instant.micros())
            .map(|t| t.with_timezone(&self.catalog.time_zone()).naive_local())
            .map(|t| t.and_utc().timestamp_micros())
            .ok_or_else(|| Error::MalformedInstant(instant.to_string()).into())
    }

    /// Where the windows over a relation end.
    fn end(&self, relation: &LogicalPlan) -> Result<CommitTs> {
        let mut ends: Vec<CommitTs> = Vec::new();
        relation.apply(|plan| {
            if let LogicalPlan::TableScan(scan) = plan
                && let Ok(provider) = source_as_provider(&scan.source)
            {
                let info = self.catalog.info(provider.as_ref());
                let end = info.and_then(|i| i.as_of).unwrap_or_else(|| self.catalog.now());
                if !ends.contains(&end) {
                    ends.push(end);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        match ends.as_slice() {
            [] => Ok(self.catalog.now()),
            [end] => Ok(*end),
            _ => Err(Error::WindowTime {
                message: "the end of a window is ambiguous: the query reads at several instants"
                    .into(),
                hint: "Aggregate over one table reference, or write AVG(x) FILTER (WHERE …)."
                    .into(),
            }
            .into()),
        }
    }

    fn time_column(&self, relation: &LogicalPlan) -> Result<Column> {
        let schema = relation.schema();
        let columns = || schema.iter().map(|(qualifier, field)| (qualifier.cloned(), field));
        let column = |(qualifier, field): (Option<TableReference>, &Arc<_>)| {
            let field: &arrow::datatypes::Field = field;
            Column::new(qualifier, field.name())
        };
        if let Some(scan) = single_scan(relation)
            && let LogicalPlan::TableScan(scan) = scan
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(name) = self.catalog.info(provider.as_ref()).and_then(|i| i.time_column)
        {
            return columns().find(|(_, field)| *field.name() == name).map(column).ok_or_else(
                || {
                    Error::WindowTime {
                        message: format!("the table's time column \"{name}\" is not there"),
                        hint: "Give the time column as the second argument.".into(),
                    }
                    .into()
                },
            );
        }
        let zoned = |field: &arrow::datatypes::Field| {
            matches!(field.data_type(), DataType::Timestamp(_, Some(_)))
        };
        let mut candidates =
            columns().filter(|(_, field)| zoned(field) && !is_hidden(field.name()));
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Ok(column(only)),
            (Some((_, first)), Some((_, second))) => Err(Error::WindowTime {
                message: format!(
                    "the time column of a window is ambiguous: \"{}\" or \"{}\"",
                    first.name(),
                    second.name()
                ),
                hint: "Give it as the second argument, or set the table's option time_column."
                    .into(),
            }
            .into()),
            (None, _) => columns()
                .find(|(_, field)| field.name() == "_system_from")
                .map(column)
                .ok_or_else(|| {
                    Error::WindowTime {
                        message: "a windowed aggregate needs a timestamptz column".into(),
                        hint: "Give the time column as the second argument.".into(),
                    }
                    .into()
                }),
        }
    }
}

fn window_arguments(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::ScalarFunction(function) if function.name() == WINDOW_FUNCTION => {
            Some(&function.args)
        }
        _ => None,
    }
}

fn has_window(expr: &Expr) -> bool {
    expr.exists(|e| Ok(window_arguments(e).is_some())).unwrap_or(false)
}

/// The part of the input that the columns of an expression come from.
fn relation_of<'a>(expr: &Expr, input: &'a LogicalPlan) -> Result<&'a LogicalPlan> {
    let ambiguous = || Error::WindowTime {
        message: "the table of a windowed aggregate is ambiguous".into(),
        hint: "Give the time column, qualified, as the second argument.".into(),
    };
    let mut qualifiers: Vec<Option<&TableReference>> = Vec::new();
    let columns = expr.column_refs();
    for column in &columns {
        if !qualifiers.contains(&column.relation.as_ref()) {
            qualifiers.push(column.relation.as_ref());
        }
    }
    let mut leaves = Vec::new();
    relations(input, &mut leaves);
    match (qualifiers.as_slice(), leaves.as_slice()) {
        // COUNT(*), or an expression without columns.
        ([], [only]) => Ok(only),
        ([None], [only]) => Ok(only),
        ([Some(qualifier)], _) => leaves
            .into_iter()
            .find(|leaf| leaf.schema().iter().any(|(q, _)| q == Some(*qualifier)))
            .ok_or_else(|| ambiguous().into()),
        _ => Err(ambiguous().into()),
    }
}

/// The relations that a FROM joins.
fn relations<'a>(plan: &'a LogicalPlan, found: &mut Vec<&'a LogicalPlan>) {
    match plan {
        LogicalPlan::Filter(_) | LogicalPlan::Join(_) | LogicalPlan::Sort(_) => {
            for input in plan.inputs() {
                relations(input, found);
            }
        }
        other => found.push(other),
    }
}

/// The table scan that a relation is, under other names at most.
fn single_scan(relation: &LogicalPlan) -> Option<&LogicalPlan> {
    match relation {
        LogicalPlan::TableScan(_) => Some(relation),
        LogicalPlan::SubqueryAlias(alias) => single_scan(&alias.input),
        _ => None,
    }
}

/// Windows of one time column are one, as long as the longest.
fn union(windows: &[Window]) -> Result<Expr> {
    let mut longest: Vec<&Window> = Vec::new();
    for window in windows {
        match longest.iter_mut().find(|w| w.time == window.time && w.high == window.high) {
            Some(known) if known.micros < window.micros => *known = window,
            Some(_) => {}
            None => longest.push(window),
        }
    }
    longest
        .into_iter()
        .map(Window::predicate)
        .reduce(Expr::or)
        .ok_or_else(|| Error::Unsupported("a windowed aggregate without a window".into()).into())
}

/// The aggregate, its columns under the names that the plan above knows.
fn named(
    input: LogicalPlan,
    groups: &[Expr],
    aggregates: Vec<Expr>,
    names: &[String],
) -> Result<LogicalPlan> {
    let plan = LogicalPlanBuilder::from(input).aggregate(groups.to_vec(), aggregates)?.build()?;
    let columns = plan.schema().columns();
    let first = columns.len() - names.len();
    let projection: Vec<Expr> = columns
        .into_iter()
        .enumerate()
        .map(|(i, column)| match i.checked_sub(first) {
            None => Expr::Column(column),
            Some(place) => Expr::Column(column).alias(&names[place]),
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(projection)?.build()
}

/// Whether reading the input twice is right and cheap.
fn can_split(input: &LogicalPlan, groups: &[Expr]) -> Result<bool> {
    use datafusion::logical_expr::ExprSchemable;
    for group in groups {
        if matches!(group, Expr::GroupingSet(_)) || group.is_volatile() {
            return Ok(false);
        }
        if !hashes_as_it_groups(&group.get_type(input.schema())?) {
            return Ok(false);
        }
    }
    let mut simple = true;
    input.apply(|plan| {
        match plan {
            LogicalPlan::TableScan(_) | LogicalPlan::SubqueryAlias(_) => {}
            LogicalPlan::Filter(filter) => {
                let predicate = &filter.predicate;
                simple &= !predicate.is_volatile()
                    && !predicate.exists(|e| {
                        Ok(matches!(
                            e,
                            Expr::ScalarSubquery(_)
                                | Expr::InSubquery(_)
                                | Expr::Exists(_)
                                | Expr::OuterReferenceColumn(..)
                        ))
                    })?;
            }
            _ => simple = false,
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(simple)
}

fn hashes_as_it_groups(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Utf8
                | DataType::Utf8View
                | DataType::LargeUtf8
                | DataType::Date32
                | DataType::Timestamp(..)
                | DataType::Decimal128(..)
        )
}

/// The groups of the whole input, each with the aggregates over the windows' rows.
fn split(
    whole: LogicalPlan,
    filtered: LogicalPlan,
    groups: &[Expr],
    aggregates: Vec<Expr>,
    names: &[String],
) -> Result<LogicalPlan> {
    let counts: Vec<bool> = aggregates
        .iter()
        .map(|e| matches!(e, Expr::AggregateFunction(f) if f.func.name() == "count"))
        .collect();
    let left =
        LogicalPlanBuilder::from(whole).aggregate(groups.to_vec(), Vec::<Expr>::new())?.build()?;
    let right =
        LogicalPlanBuilder::from(filtered).aggregate(groups.to_vec(), aggregates)?.build()?;
    let group_columns = left.schema().columns();
    let right_columns = right.schema().columns();
    let renamed: Vec<Expr> = right_columns
        .into_iter()
        .enumerate()
        .map(|(i, column)| Expr::Column(column).alias(format!("_chronos_w{i}")))
        .collect();
    let right = LogicalPlanBuilder::from(right).project(renamed)?.build()?;
    let right_columns = right.schema().columns();
    let (right_keys, right_values) = right_columns.split_at(group_columns.len());
    let joined = LogicalPlanBuilder::from(left)
        .join_detailed(
            right,
            JoinType::Left,
            (group_columns.clone(), right_keys.to_vec()),
            None,
            NullEquality::NullEqualsNull,
        )?
        .build()?;
    let mut projection: Vec<Expr> = group_columns.into_iter().map(Expr::Column).collect();
    for ((column, name), count) in right_values.iter().zip(names).zip(counts) {
        let value = Expr::Column(column.clone());
        let value = if count { coalesce(vec![value, lit(0i64)]) } else { value };
        projection.push(value.alias(name));
    }
    LogicalPlanBuilder::from(joined).project(projection)?.build()
}
