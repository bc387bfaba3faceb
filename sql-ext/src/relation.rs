//! Plans table references at their instants.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chronos_catalog::{CommitTs, SystemTime};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, Query, TableAlias, TableFactor, Value,
};

use crate::bind::{TABLE_FUNCTION, bind_condition, bind_view, names_columns};
use crate::casts::{self, type_literals};
use crate::error::Error;
use crate::instant;
use crate::parser::{TimeClause, spread_over, take_time_clause};
use crate::statement::StatementKind;
use crate::temporal::{Resolved, TemporalCatalog, is_hidden};

/// A table reference, without what it says of system time.
pub(crate) struct Reference<'a> {
    pub(crate) name: TableReference,
    /// The hidden columns that are offered.
    hidden: Vec<&'a str>,
    /// A period of valid time, and what is said of it.
    period: Option<(String, TimeClause)>,
}

impl Reference<'_> {
    /// Whether it offers the column.
    pub(crate) fn shows(&self, column: &str) -> bool {
        !is_hidden(column) || self.hidden.contains(&column)
    }
}

/// Plans the markers that [`crate::bind`] makes of table references.
#[derive(Debug)]
pub(crate) struct TemporalRelationPlanner {
    pub(crate) catalog: Arc<dyn TemporalCatalog>,
    /// The views around what is planned, the innermost last.
    views: Mutex<Vec<(TableReference, Option<SystemTime>)>>,
}

impl TemporalRelationPlanner {
    pub(crate) fn new(catalog: Arc<dyn TemporalCatalog>) -> Self {
        TemporalRelationPlanner { catalog, views: Mutex::default() }
    }

    fn plan_marker(
        &self,
        args: &[FunctionArg],
        alias: Option<TableAlias>,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let [name, hidden, clause @ ..] = args else { return Err(unhandled()) };
        let name = TableReference::parse_str(text(name)?);
        let hidden: Vec<&str> = text(hidden)?.split(',').collect();
        let (clause, period) = match TimeClause::of_arguments(clause)? {
            Some(clause) => clause.parts(),
            None => (None, None),
        };
        let reference = Reference { name, hidden, period };
        let plan = match &clause {
            None => self.plan_at(&reference, None, None, context)?,
            Some(TimeClause::Each(instants)) => self.plan_each(&reference, instants, context)?,
            Some(TimeClause::AsOf(at) | TimeClause::AsOfRelative(at)) if names_columns(at) => {
                self.plan_per_row(&reference, at, context)?
            }
            Some(clause) => {
                let time = self.system_time(&reference.name, clause, context)?;
                self.plan_at(&reference, Some(clause), time, context)?
            }
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }

    /// A table or view at one time, which the clause says and is evaluated to.
    pub(crate) fn plan_at(
        &self,
        reference: &Reference<'_>,
        clause: Option<&TimeClause>,
        time: Option<SystemTime>,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let Reference { name, hidden, period } = reference;
        match self.catalog.resolve(name, time)? {
            Resolved::Table(provider) => {
                let plan = self.scan(name.clone(), &provider, hidden, time)?;
                let plan = self.filtered(name, &provider, plan, context)?;
                self.within_period(reference, &provider, plan, context)
            }
            Resolved::View { query, columns, owner } => {
                if let Some((period, _)) = period {
                    return Err(no_period(name, period));
                }
                let mut query = view_query(name, &query)?;
                if let Some(clause) = clause {
                    spread_over(&mut query, clause)?;
                }
                self.enter_view(name, time)?;
                if let Some(owner) = owner {
                    self.catalog.enter(owner);
                }
                let plan = bind_view(&mut query, self.catalog.as_ref()).and_then(|()| {
                    context.plan(TableFactor::Derived {
                        lateral: false,
                        subquery: query,
                        alias: None,
                        sample: None,
                    })
                });
                if owner.is_some() {
                    self.catalog.leave();
                }
                self.views().pop();
                let plan = rename(plan?, &columns)?;
                LogicalPlanBuilder::from(plan).alias(name.clone())?.build()
            }
        }
    }

    /// The rows that who asks may see.
    pub(crate) fn filtered(
        &self,
        name: &TableReference,
        provider: &Arc<dyn TableProvider>,
        plan: LogicalPlan,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let filter = self.catalog.row_filter(name, provider.as_ref())?;
        let Some((table, mut condition)) = filter else { return Ok(plan) };
        // A policy's own queries read under policies too.
        let policy = TableReference::bare(format!("\u{1}policy of {table}"));
        if self.views().iter().any(|(known, _)| *known == policy) {
            let message = format!("infinite recursion detected in policy for relation \"{table}\"");
            return Err(Error::postgres("42P17", message).into());
        }
        let depth = self.views().len();
        self.views().push((policy, None));
        let plan = LogicalPlanBuilder::from(plan).alias(table)?.build()?;
        let condition = bind_condition(&mut condition, self.catalog.as_ref())
            .and_then(|()| context.sql_to_expr(condition, plan.schema()));
        self.views().truncate(depth);
        let condition = condition?;
        if condition.contains_outer() {
            return Err(Error::unsupported("a policy over columns that the table had not").into());
        }
        LogicalPlanBuilder::from(plan).filter(condition)?.alias(name.clone())?.build()
    }

    fn views(&self) -> MutexGuard<'_, Vec<(TableReference, Option<SystemTime>)>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the view that is planned next; refuses one within itself.
    fn enter_view(&self, name: &TableReference, time: Option<SystemTime>) -> Result<()> {
        let mut views = self.views();
        let view = (name.clone(), time);
        if views.contains(&view) {
            let table = name.table();
            let message = format!("infinite recursion detected in rules for relation \"{table}\"");
            return Err(Error::postgres("42P17", message).into());
        }
        views.push(view);
        Ok(())
    }

    /// The rows that what the reference says of a period of valid time keeps.
    pub(crate) fn within_period(
        &self,
        reference: &Reference<'_>,
        provider: &Arc<dyn TableProvider>,
        plan: LogicalPlan,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let Some((period, clause)) = &reference.period else { return Ok(plan) };
        let info = self.catalog.info(provider.as_ref()).unwrap_or_default();
        let Some((_, start, end)) = info.periods.iter().find(|(p, ..)| p == period) else {
            return Err(no_period(&reference.name, period));
        };
        let condition = period_condition(start, end, clause)?;
        let condition = context.sql_to_expr(condition, plan.schema())?;
        LogicalPlanBuilder::from(plan).filter(condition)?.build()
    }

    /// A scan of all versions of the table, with when they began and ended.
    pub(crate) fn scan_versions(
        &self,
        reference: &Reference<'_>,
        provider: &Arc<dyn TableProvider>,
        time: SystemTime,
    ) -> Result<LogicalPlan> {
        let mut hidden = reference.hidden.clone();
        hidden.extend(["_system_from", "_system_to"]);
        self.scan(reference.name.clone(), provider, &hidden, Some(time))
    }

    /// A scan of the table, without the hidden columns that were not named.
    fn scan(
        &self,
        name: TableReference,
        provider: &Arc<dyn TableProvider>,
        hidden: &[&str],
        time: Option<SystemTime>,
    ) -> Result<LogicalPlan> {
        let schema = provider.schema();
        let shown: Vec<usize> = (0..schema.fields().len())
            .filter(|i| {
                let name = schema.field(*i).name().as_str();
                !is_hidden(name) || hidden.contains(&name)
            })
            .collect();
        let projection = (shown.len() < schema.fields().len()).then_some(shown);
        // DataFusion takes two scans of one name for the same; each instant has its own name.
        let info = self.catalog.info(provider.as_ref());
        let at = match (time, info.and_then(|info| info.as_of)) {
            (Some(SystemTime::AsOf(at)), _) | (None, Some(at)) => Some(instant::display(at)),
            (Some(SystemTime::All), _) => Some("all".to_owned()),
            (Some(SystemTime::FromTo(a, b)), _) => Some(period("from", a, "to", b)),
            (Some(SystemTime::Between(a, b)), _) => Some(period("between", a, "and", b)),
            (Some(SystemTime::ContainedIn(a, b)), _) => Some(period("contained in", a, "to", b)),
            (None, None) => None,
        };
        let source = provider_as_source(Arc::clone(provider));
        match at {
            None => LogicalPlanBuilder::scan(name, source, projection)?.build(),
            Some(at) => {
                let own = format!("{}@{at}", name.table());
                LogicalPlanBuilder::scan(TableReference::bare(own), source, projection)?
                    .alias(name)?
                    .build()
            }
        }
    }

    /// Evaluates a clause; `None` where an instant is a parameter that is not known yet.
    fn system_time(
        &self,
        name: &TableReference,
        clause: &TimeClause,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<Option<SystemTime>> {
        let mut value = |expr: &ast::Expr| self.evaluate(expr, context);
        let of = |value: &ScalarValue| {
            instant::of_value(value, self.catalog.time_zone(), self.catalog.now())
        };
        let mut pair = |a: &ast::Expr, b: &ast::Expr| -> Result<Option<(CommitTs, CommitTs)>> {
            let (Some(a), Some(b)) = (value(a)?, value(b)?) else { return Ok(None) };
            let (a, b) = (of(&a)?, of(&b)?);
            if b < a {
                return Err(Error::EmptyPeriod.into());
            }
            Ok(Some((a, b)))
        };
        Ok(match clause {
            TimeClause::All => Some(SystemTime::All),
            TimeClause::FromTo(a, b) => pair(a, b)?.map(|(a, b)| SystemTime::FromTo(a, b)),
            TimeClause::Between(a, b) => pair(a, b)?.map(|(a, b)| SystemTime::Between(a, b)),
            TimeClause::ContainedIn(a, b) => {
                pair(a, b)?.map(|(a, b)| SystemTime::ContainedIn(a, b))
            }
            TimeClause::AsOf(t) | TimeClause::AsOfRelative(t) => match value(t)? {
                None => None,
                Some(t) => {
                    let at = of(&t)?;
                    self.catalog.check_instant(at)?;
                    Some(SystemTime::AsOf(at))
                }
            },
            TimeClause::Version(n) => match value(n)? {
                None => None,
                Some(n) => {
                    let n = n.cast_to(&arrow::datatypes::DataType::Int64).map_err(|_| {
                        Error::MalformedInstant(format!("{n} is no version number"))
                    })?;
                    match n {
                        ScalarValue::Int64(Some(n)) => {
                            Some(SystemTime::AsOf(self.catalog.version(name, n)?))
                        }
                        _ => return Err(Error::NullInstant.into()),
                    }
                }
            },
            TimeClause::Each(_)
            | TimeClause::Period(..)
            | TimeClause::Both(..)
            | TimeClause::Portion(..) => {
                return Err(unhandled());
            }
        })
    }

    /// The value of an expression without columns; `None` where it has a parameter that is not
    /// known yet.
    pub(crate) fn evaluate(
        &self,
        expr: &ast::Expr,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<Option<ScalarValue>> {
        let expr = context.sql_to_expr(expr.clone(), &DFSchema::empty())?;
        let parameters = self.catalog.parameters();
        let mut unknown = false;
        let expr = expr.transform(|expr| match &expr {
            Expr::Placeholder(placeholder) => {
                let number = placeholder.id.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
                let value = match (&parameters, number) {
                    (Some(values), Some(n)) if n > 0 => values.get(n - 1),
                    _ => None,
                };
                match value {
                    Some(value) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
                    None if parameters.is_none() => {
                        unknown = true;
                        Ok(Transformed::no(expr))
                    }
                    None => Err(Error::postgres(
                        "42P02",
                        format!("there is no parameter {}", placeholder.id),
                    )
                    .into()),
                }
            }
            _ => Ok(Transformed::no(expr)),
        })?;
        if unknown {
            return Ok(None);
        }
        let now = chrono::DateTime::from_timestamp_micros(self.catalog.now().micros());
        let simplify = SimplifyContext::builder()
            .with_schema(Arc::new(DFSchema::empty()))
            .with_config_options(Arc::new(context.context_provider().options().clone()))
            .with_query_execution_start_time(now)
            .build();
        let simplifier = ExprSimplifier::new(simplify);
        let schema = DFSchema::empty();
        let expr = expr.data.transform_up(|expr| type_literals(expr, &schema))?.data;
        let expr = simplifier.coerce(expr, &schema)?;
        let expr = casts::rewrite(expr, &schema, &self.catalog.text_settings())?.data;
        match simplifier.simplify(expr)? {
            Expr::Literal(value, _) => Ok(Some(value)),
            other => Err(Error::MalformedInstant(format!("{other} is not constant")).into()),
        }
    }
}

impl RelationPlanner for TemporalRelationPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        match relation {
            TableFactor::Function { name, args, alias, .. }
                if matches!(name.0.as_slice(), [part]
                    if part.as_ident().is_some_and(|i| i.value == TABLE_FUNCTION)) =>
            {
                self.plan_marker(&args, alias, context)
            }
            // A clause that was not bound.
            TableFactor::Table { version: Some(_), .. } => Err(unhandled()),
            mut relation @ TableFactor::Table { .. } => match take_time_clause(&mut relation)? {
                Some(_) => Err(unhandled()),
                None => Ok(RelationPlanning::Original(Box::new(relation))),
            },
            other => Ok(RelationPlanning::Original(Box::new(other))),
        }
    }
}

fn no_period(name: &TableReference, period: &str) -> datafusion::error::DataFusionError {
    Error::postgres("42704", format!("period \"{period}\" for table \"{name}\" does not exist"))
        .into()
}

/// Which rows a clause about a period of valid time keeps: `start <= t AND end > t`, ….
fn period_condition(start: &str, end: &str, clause: &TimeClause) -> Result<ast::Expr> {
    use ast::BinaryOperator::{And, Gt, GtEq, Lt, LtEq};
    let column = |name: &str| ast::Expr::Identifier(ast::Ident::with_quote('"', name));
    let compare = |name: &str, op, value: &ast::Expr| ast::Expr::BinaryOp {
        left: Box::new(column(name)),
        op,
        right: Box::new(ast::Expr::Nested(Box::new(value.clone()))),
    };
    let (left, right) = match clause {
        TimeClause::AsOf(t) => (compare(start, LtEq, t), compare(end, Gt, t)),
        TimeClause::FromTo(a, b) => (compare(start, Lt, b), compare(end, Gt, a)),
        TimeClause::Between(a, b) => (compare(start, LtEq, b), compare(end, Gt, a)),
        TimeClause::ContainedIn(a, b) => (compare(start, GtEq, a), compare(end, LtEq, b)),
        _ => return Err(unhandled()),
    };
    Ok(ast::Expr::BinaryOp { left: Box::new(left), op: And, right: Box::new(right) })
}

fn unhandled() -> datafusion::error::DataFusionError {
    Error::Unsupported("this clause of time travel in this place".into()).into()
}

fn period(a: &str, low: CommitTs, b: &str, high: CommitTs) -> String {
    format!("{a} {} {b} {}", instant::display(low), instant::display(high))
}

fn text(argument: &FunctionArg) -> Result<&str> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Value(value))) => {
            match &value.value {
                Value::SingleQuotedString(text) => Ok(text),
                _ => Err(unhandled()),
            }
        }
        _ => Err(unhandled()),
    }
}

fn view_query(name: &TableReference, text: &str) -> Result<Box<Query>> {
    let damaged = || Error::postgres("XX000", format!("the query of view \"{name}\" is damaged"));
    let statement = crate::parser::parse(text)?.pop().ok_or_else(damaged)?;
    match statement.kind {
        StatementKind::Sql(statement) => match *statement {
            ast::Statement::Query(query) => Ok(query),
            _ => Err(damaged().into()),
        },
        StatementKind::Extension(_) => Err(damaged().into()),
    }
}

/// Gives the columns of a view their names.
fn rename(plan: LogicalPlan, names: &[String]) -> Result<LogicalPlan> {
    let mut columns = plan.schema().columns();
    if names.len() < columns.len() {
        // Its query has a wildcard, which takes columns that were added since.
        let known: Vec<_> = columns.iter().filter(|c| names.contains(&c.name)).cloned().collect();
        if !known.iter().map(|c| &c.name).eq(names) {
            return Ok(plan);
        }
        columns = known;
    } else if names.len() > columns.len() {
        return Ok(plan);
    }
    let columns: Vec<Expr> = columns
        .into_iter()
        .zip(names)
        .map(|(column, name)| Expr::Column(column).alias(name))
        .collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}
