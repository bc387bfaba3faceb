//! Resolves what a statement says of time and hidden columns before DataFusion plans it.
//!
//! Every table reference becomes the call of a table function that does not exist,
//! `_chronos_table('t', 'hidden columns', …)`, which only
//! [`crate::relation::TemporalRelationPlanner`] plans: DataFusion alone refuses it, so no clause
//! can be lost. A reference to a CTE stays as it is, or, with an instant, becomes the CTE's query
//! with that instant.

mod aggregates;
mod columns;
mod each;
mod expressions;
mod hidden;
mod multisets;
mod populate;
mod rows;
mod using;
mod values;
mod window;

pub(crate) use each::{listed, series};
pub(crate) use window::WINDOW_FUNCTION;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::{Result, TableReference};
use datafusion::sql::sqlparser::ast::{
    self, Cte, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, Query,
    TableAlias, TableFactor, Value, VisitMut, VisitorMut,
};

use crate::error::Error;
use crate::names;
use crate::parser::{TimeClause, spread_over, take_time_clause};
use crate::temporal::TemporalCatalog;

/// The table function that stands for a table reference.
pub(crate) const TABLE_FUNCTION: &str = "_chronos_table";

/// A statement ready to be planned.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What DataFusion's planner gets.
    pub statement: ast::Statement,
    /// Whether its plan holds instants (AS OF, windows), so that it cannot be kept for a later
    /// execution.
    pub holds_instants: bool,
    /// The numbers of the parameters that are instants by themselves (`AS OF $1`), which the
    /// plan does not know any more; they are timestamptz.
    pub instant_parameters: BTreeSet<usize>,
}

/// Makes a query (or EXPLAIN, INSERT … SELECT, CREATE TABLE AS) ready to be planned. UPDATE and
/// DELETE are to be given as the queries that find their rows.
///
/// # Errors
/// What is wrong with its time travel clauses, windowed aggregates and hidden columns.
pub fn bind(statement: &ast::Statement, catalog: &dyn TemporalCatalog) -> Result<Bound> {
    let mut statement = statement.clone();
    let mut binder = Binder::new(catalog);
    if let ControlFlow::Break(error) = statement.visit(&mut binder) {
        return Err((*error).into());
    }
    Ok(Bound {
        statement,
        holds_instants: binder.holds_instants,
        instant_parameters: binder.instant_parameters,
    })
}

/// Binds a view's query, whose CTEs get names of their own, for it is planned within another.
pub(crate) fn bind_view(query: &mut Query, catalog: &dyn TemporalCatalog) -> Result<()> {
    static VIEWS: AtomicU64 = AtomicU64::new(0);
    let mut binder = Binder::new(catalog);
    binder.view = Some(VIEWS.fetch_add(1, Ordering::Relaxed));
    match query.visit(&mut binder) {
        ControlFlow::Break(error) => Err((*error).into()),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Binds a condition that is kept as text.
pub(crate) fn bind_condition(condition: &mut Expr, catalog: &dyn TemporalCatalog) -> Result<()> {
    match condition.visit(&mut Binder::new(catalog)) {
        ControlFlow::Break(error) => Err((*error).into()),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// A CTE in scope.
#[derive(Clone)]
struct Scoped {
    /// The name in the text.
    name: String,
    /// The name that DataFusion knows it by.
    planned: String,
    /// As written, for references with an instant.
    cte: Cte,
    recursive: bool,
    /// How many CTEs were in scope where it was defined.
    outer: usize,
}

struct Binder<'a> {
    catalog: &'a dyn TemporalCatalog,
    scope: Vec<Scoped>,
    /// Of each query around: its WITH, taken out while its body is visited, the CTEs in scope
    /// before it, and the hidden columns that it names.
    queries: Vec<(Option<ast::With>, usize, BTreeSet<String>)>,
    /// CTE names that were given to DataFusion.
    names: BTreeSet<String>,
    view: Option<u64>,
    holds_instants: bool,
    instant_parameters: BTreeSet<usize>,
}

type Flow = ControlFlow<Box<Error>>;

fn flow(result: std::result::Result<(), Error>) -> Flow {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(Box::new(error)),
    }
}

impl<'a> Binder<'a> {
    fn new(catalog: &'a dyn TemporalCatalog) -> Self {
        Binder {
            catalog,
            scope: Vec::new(),
            queries: Vec::new(),
            names: BTreeSet::new(),
            view: None,
            holds_instants: false,
            instant_parameters: BTreeSet::new(),
        }
    }

    /// The CTE that a name stands for, if it is one's.
    fn cte(&self, name: &ObjectName) -> Option<&Scoped> {
        let [part] = name.0.as_slice() else { return None };
        let name = normal(part.as_ident()?);
        self.scope.iter().rev().find(|scoped| scoped.name == name)
    }

    fn enter_with(&mut self, with: &mut ast::With) -> Flow {
        for cte in &mut with.cte_tables {
            let name = normal(&cte.alias.name);
            let mut planned = match self.view {
                None => name.clone(),
                Some(view) => format!("{name}@{view}"),
            };
            while !self.names.insert(planned.clone()) {
                planned.push('\'');
            }
            let scoped = Scoped {
                name,
                planned: planned.clone(),
                cte: cte.clone(),
                recursive: with.recursive,
                outer: self.scope.len(),
            };
            if with.recursive {
                self.scope.push(scoped);
                cte.query.visit(self)?;
            } else {
                cte.query.visit(self)?;
                self.scope.push(scoped);
            }
            cte.alias.name = Ident::with_quote('"', planned);
        }
        ControlFlow::Continue(())
    }

    fn bind_factor(&mut self, factor: &mut TableFactor) -> std::result::Result<(), Error> {
        let clause = take_time_clause(factor)?;
        let TableFactor::Table { name, alias, args, version, sample, .. } = factor else {
            return Ok(());
        };
        if version.is_some() {
            return Err(Error::Unsupported("this form of time travel".into()));
        }
        if sample.is_some() {
            return Err(Error::Unsupported("TABLESAMPLE".into()));
        }
        if args.is_some() {
            return Ok(());
        }
        if let Some(clause) = &clause {
            self.note(clause)?;
        }
        let Some(scoped) = self.cte(name).cloned() else {
            *factor = self.marker(name, alias.take(), clause)?;
            return Ok(());
        };
        match clause {
            None => {
                if alias.is_none() {
                    *alias = Some(table_alias(last_ident(name)));
                }
                *name = ObjectName::from(vec![Ident::with_quote('"', scoped.planned)]);
                Ok(())
            }
            Some(TimeClause::Period(..) | TimeClause::Both(..)) => Err(Error::Unsupported(
                "a period of valid time of a common table expression".into(),
            )),
            Some(TimeClause::Each(_)) => {
                Err(Error::unsupported("AS OF EACH of a common table expression"))
            }
            Some(clause) => {
                if scoped.recursive {
                    return Err(Error::Unsupported(
                        "time travel on a recursive common table expression".into(),
                    ));
                }
                let mut query = scoped.cte.query.clone();
                spread_over(&mut query, &clause)?;
                let mut inner = Binder::new(self.catalog);
                inner.scope = self.scope[..scoped.outer].to_vec();
                inner.names = std::mem::take(&mut self.names);
                inner.view = self.view;
                let visited = query.visit(&mut inner);
                self.names = inner.names;
                if let ControlFlow::Break(error) = visited {
                    return Err(*error);
                }
                let mut alias = alias.take().unwrap_or_else(|| table_alias(last_ident(name)));
                if alias.columns.is_empty() {
                    alias.columns = scoped.cte.alias.columns;
                }
                *factor = TableFactor::Derived {
                    lateral: false,
                    subquery: query,
                    alias: Some(alias),
                    sample: None,
                };
                Ok(())
            }
        }
    }

    /// Gives the columns of a query's select lists their names, wildcards and hidden columns
    /// considered. A query in brackets is visited by itself.
    fn name_columns(
        &mut self,
        body: &mut ast::SetExpr,
        order_by: Option<&mut ast::OrderBy>,
    ) -> std::result::Result<(), Error> {
        match body {
            ast::SetExpr::Select(select) => {
                hidden::expand_wildcards(self, select)?;
                let shown = columns::of_wildcards(self, select);
                names::name_items(&mut select.projection, &shown);
                let mut order_by = order_by;
                rows::write_out(self, select, order_by.as_deref_mut());
                using::qualify(self, select);
                aggregates::tell_apart(&mut select.projection);
                without_empty_group(select);
                if let (Some(ast::Distinct::Distinct), Some(order_by)) =
                    (&select.distinct, order_by)
                {
                    names::order_by_names(&select.projection, order_by);
                }
                for item in &mut select.projection {
                    if let ast::SelectItem::ExprWithAlias { expr, .. } = item {
                        expressions::as_record(expr);
                        names::narrow_integers(expr);
                    }
                }
                Ok(())
            }
            ast::SetExpr::SetOperation { left, right, .. } => {
                self.name_columns(left, None)?;
                self.name_columns(right, None)
            }
            ast::SetExpr::Values(values) => {
                values::like_the_others(values);
                for expr in values.rows.iter_mut().flat_map(|row| row.iter_mut()) {
                    names::narrow_integers(expr);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Remembers what a clause means for keeping the plan, and refuses columns in it.
    fn note(&mut self, clause: &TimeClause) -> std::result::Result<(), Error> {
        let clause = match clause {
            TimeClause::Both(system, period) => {
                self.note(system)?;
                return self.note(period);
            }
            TimeClause::Period(_, clause) => return self.note_period(clause),
            clause => clause,
        };
        self.holds_instants = true;
        let exprs: Vec<&Expr> = match clause {
            TimeClause::All => vec![],
            TimeClause::AsOf(a) | TimeClause::AsOfRelative(a) | TimeClause::Version(a) => vec![a],
            TimeClause::Each(instants) => each::instants(instants),
            TimeClause::FromTo(a, b)
            | TimeClause::Between(a, b)
            | TimeClause::ContainedIn(a, b) => vec![a, b],
            TimeClause::Period(..) | TimeClause::Both(..) | TimeClause::Portion(..) => {
                return Err(Error::Unsupported("this clause of time travel in this place".into()));
            }
        };
        // Of each row its own instant: what may be named is known when the reference is planned.
        let per_row = matches!(clause, TimeClause::AsOf(_) | TimeClause::AsOfRelative(_));
        for expr in exprs {
            let mut inner = expr;
            while let Expr::Nested(nested) = inner {
                inner = nested;
            }
            if let Expr::Value(value) = inner
                && let Value::Placeholder(name) = &value.value
                && let Some(number) = name.strip_prefix('$').and_then(|n| n.parse().ok())
                && !matches!(clause, TimeClause::Version(_))
            {
                self.instant_parameters.insert(number);
            }
            let refused = ast::visit_expressions(expr, |e| match e {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) if !per_row => {
                    ControlFlow::Break(Error::InstantWithColumns)
                }
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                    ControlFlow::Break(Error::Unsupported(
                        "a subquery as the instant of a read".into(),
                    ))
                }
                _ => ControlFlow::Continue(()),
            });
            if let ControlFlow::Break(error) = refused {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Refuses columns in what is said of a period: each stands for the whole reference.
    fn note_period(&mut self, clause: &TimeClause) -> std::result::Result<(), Error> {
        let exprs: Vec<&Expr> = match clause {
            TimeClause::All => vec![],
            TimeClause::AsOf(a) => vec![a],
            TimeClause::FromTo(a, b)
            | TimeClause::Between(a, b)
            | TimeClause::ContainedIn(a, b) => vec![a, b],
            _ => return Err(Error::Unsupported("this form for a period of valid time".into())),
        };
        for expr in exprs {
            let refused = ast::visit_expressions(expr, |e| match e {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                    ControlFlow::Break(Error::InstantWithColumns)
                }
                _ => ControlFlow::Continue(()),
            });
            if let ControlFlow::Break(error) = refused {
                return Err(error);
            }
        }
        Ok(())
    }

    fn marker(
        &self,
        name: &ObjectName,
        alias: Option<TableAlias>,
        clause: Option<TimeClause>,
    ) -> std::result::Result<TableFactor, Error> {
        let reference = table_reference(name)?;
        let empty = BTreeSet::new();
        let hidden = self.queries.last().map_or(&empty, |(_, _, hidden)| hidden);
        let hidden = hidden.iter().cloned().collect::<Vec<_>>().join(",");
        let mut args = vec![text_argument(reference.to_quoted_string()), text_argument(hidden)];
        if let Some(clause) = clause {
            args.extend(clause.arguments());
        }
        Ok(TableFactor::Function {
            lateral: false,
            name: ObjectName::from(vec![Ident::new(TABLE_FUNCTION)]),
            args,
            with_ordinality: false,
            alias,
        })
    }
}

impl VisitorMut for Binder<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> Flow {
        let before = self.scope.len();
        let mut with = query.with.take();
        if let Some(with) = &mut with {
            self.enter_with(with)?;
        }
        if let Some(table) = table_command(query) {
            *query.body = table;
        }
        if let Err(error) = fetch_as_limit(query) {
            return ControlFlow::Break(Box::new(error));
        }
        if matches!(*query.body, ast::SetExpr::SetOperation { .. }) {
            values::of_set(&mut query.body);
        }
        if let Err(error) = multisets::number_rows(self, &mut query.body) {
            return ControlFlow::Break(Box::new(error));
        }
        let named = hidden::named_in(query);
        self.queries.push((with, before, named));
        let Query { body, order_by, .. } = query;
        flow(self.name_columns(body, order_by.as_mut()))
    }

    fn post_visit_query(&mut self, query: &mut Query) -> Flow {
        lateral_instants(&mut query.body);
        if let Some((with, before, _)) = self.queries.pop() {
            query.with = with;
            self.scope.truncate(before);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        flow(populate::write_out(self, factor).and_then(|()| self.bind_factor(factor)))
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        crate::names::settle_numbers(expr);
        expressions::settle(expr);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        zone_as_function(expr);
        interval_as_cast(expr);
        if self.queries.len() > 1 {
            expressions::array_as_call(expr);
        }
        if let Err(error) = expressions::rewrite(expr) {
            return ControlFlow::Break(Box::new(error));
        }
        match window::rewrite(expr) {
            Ok(rewritten) => {
                self.holds_instants |= rewritten;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

/// Whether an expression names columns.
pub(crate) fn names_columns(expr: &Expr) -> bool {
    ast::visit_expressions(expr, |e| match e {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// Lets references after the first of FROM take their instants from columns of those before, as
/// functions may take their arguments.
fn lateral_instants(body: &mut ast::SetExpr) {
    let select = match body {
        ast::SetExpr::Select(select) => select,
        ast::SetExpr::SetOperation { left, right, .. } => {
            lateral_instants(left);
            lateral_instants(right);
            return;
        }
        _ => return,
    };
    let mut first = true;
    for item in &mut select.from {
        let joined = item.joins.iter_mut().map(|join| &mut join.relation);
        for relation in std::iter::once(&mut item.relation).chain(joined) {
            let TableFactor::Function { lateral, name, args, .. } = relation else {
                first = false;
                continue;
            };
            let marker = matches!(name.0.as_slice(), [part]
                if part.as_ident().is_some_and(|i| i.value == TABLE_FUNCTION));
            let clause = TimeClause::of_arguments(args.get(2..).unwrap_or_default());
            if marker
                && !first
                && let Ok(Some(clause)) = clause
                && let (Some(TimeClause::AsOf(at) | TimeClause::AsOfRelative(at)), _) =
                    clause.parts()
            {
                *lateral |= names_columns(&at);
            }
            first = false;
        }
    }
}

/// `t AT TIME ZONE z` as `timezone(z, t)`: DataFusion's cast means something else.
fn zone_as_function(expr: &mut Expr) {
    if let Expr::AtTimeZone { timestamp, time_zone } = expr {
        let null = || Expr::value(Value::Null);
        let time = std::mem::replace(timestamp.as_mut(), null());
        let zone = std::mem::replace(time_zone.as_mut(), null());
        *expr = crate::system_tables::call("timezone", vec![zone, time]);
    }
}

/// `INTERVAL '1 day 02:03:04'` as a cast, where only PostgreSQL reads the text. The others stay
/// literals, for window frames take nothing else.
fn interval_as_cast(expr: &mut Expr) {
    let Expr::Interval(interval) = expr else { return };
    let Expr::Value(value) = interval.value.as_ref() else { return };
    let Value::SingleQuotedString(text) = &value.value else { return };
    let text = text.to_lowercase();
    let words = || text.split(|c: char| !c.is_ascii_alphabetic());
    let bytes = text.as_bytes();
    let years = bytes.windows(2).any(|w| w[0].is_ascii_digit() && w[1] == b'-')
        || text.contains(" - ")
        || text.contains('+');
    let foreign = text.contains([':', '@'])
        || years
        || text.starts_with('p')
        || words().any(|word| matches!(word, "ago" | "mon" | "mons" | "yr" | "yrs" | "hr" | "hrs"));
    let whole = interval.leading_field.is_none() && interval.last_field.is_none();
    // Of a range of fields the text says all that there is.
    let range = interval.last_field.is_some() && text.contains([':', '-', ' ']);
    if whole && foreign || range {
        *expr = Expr::Cast {
            kind: ast::CastKind::Cast,
            expr: interval.value.clone(),
            data_type: ast::DataType::Interval { fields: None, precision: None },
            array: false,
            format: None,
        };
    }
}

/// `FETCH FIRST n ROWS ONLY` as `LIMIT n`.
fn fetch_as_limit(query: &mut Query) -> std::result::Result<(), Error> {
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    if fetch.with_ties {
        return Err(Error::unsupported("FETCH FIRST … WITH TIES"));
    }
    if fetch.percent {
        return Err(Error::unsupported("FETCH FIRST … PERCENT"));
    }
    let one = || Expr::value(Value::Number("1".into(), false));
    let count = Some(fetch.quantity.unwrap_or_else(one));
    match &mut query.limit_clause {
        Some(ast::LimitClause::LimitOffset { limit, .. }) => *limit = count,
        place => {
            *place = Some(ast::LimitClause::LimitOffset {
                limit: count,
                offset: None,
                limit_by: vec![],
            });
        }
    }
    Ok(())
}

/// `GROUP BY ()` is one group of all rows, as of an aggregate without GROUP BY.
fn without_empty_group(select: &mut ast::Select) {
    if let ast::GroupByExpr::Expressions(group, _) = &mut select.group_by {
        group.retain(|expr| !matches!(expr, Expr::Tuple(items) if items.is_empty()));
    }
}

/// `TABLE t` as `SELECT * FROM t`.
fn table_command(query: &Query) -> Option<ast::SetExpr> {
    let ast::SetExpr::Table(table) = query.body.as_ref() else { return None };
    let names = [&table.schema_name, &table.table_name].into_iter().flatten();
    let name = names.cloned().collect::<Vec<_>>().join(".");
    let mut statements = crate::parser::parse(&format!("SELECT * FROM {name}")).ok()?;
    match statements.pop()?.kind {
        crate::statement::StatementKind::Sql(statement) => match *statement {
            ast::Statement::Query(query) => Some(*query.body),
            _ => None,
        },
        crate::statement::StatementKind::Extension(_) => None,
    }
}

fn text_argument(text: String) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::value(Value::SingleQuotedString(text))))
}

fn table_alias(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: vec![], at: None }
}

fn last_ident(name: &ObjectName) -> Ident {
    name.0.last().and_then(ObjectNamePart::as_ident).cloned().unwrap_or_else(|| Ident::new("?"))
}

/// An identifier as PostgreSQL stores it.
pub(crate) fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// A name as DataFusion holds it.
pub(crate) fn table_reference(name: &ObjectName) -> std::result::Result<TableReference, Error> {
    let parts: Option<Vec<String>> =
        name.0.iter().map(|part| part.as_ident().map(normal)).collect();
    match parts.as_deref() {
        Some([table]) => Ok(TableReference::bare(table.as_str())),
        Some([schema, table]) => Ok(TableReference::partial(schema.as_str(), table.as_str())),
        Some([catalog, schema, table]) => {
            Ok(TableReference::full(catalog.as_str(), schema.as_str(), table.as_str()))
        }
        _ => Err(Error::postgres("42601", format!("improper qualified name: {name}"))),
    }
}
