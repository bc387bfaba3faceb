//! Gives the clauses of time travel to the table references of the syntax tree.
//!
//! A reference with a clause becomes the call `t(_chronos_time => 'as_of', instant)`, which is
//! ordinary SQL for the parser and for whoever prints the tree (a view's text), and which
//! DataFusion refuses by itself: a clause that nobody handles is an error.

use std::fmt;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, Expr, FromTable, FunctionArg, FunctionArgExpr, FunctionArgOperator, Ident, ObjectName,
    ObjectNamePart, Query, TableFactor, TableFunctionArgs, TableWithJoins, Value, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Location;

use super::dialect::ChronosDialect;
use super::source::Source;
use crate::error::{Error, Result};

/// The name of the argument that makes a table reference one with a clause of time travel.
pub(crate) const TIME_ARGUMENT: &str = "_chronos_time";

/// A clause of time travel, its instants not evaluated yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TimeClause {
    /// `AS OF t`
    AsOf(Expr),
    /// `AS OF SYSTEM TIME t`: text may be an interval, counted from now.
    AsOfRelative(Expr),
    /// `AS OF EACH (…)`: series and lists of instants.
    Each(Vec<Expr>),
    /// `VERSION AS OF n`
    Version(Expr),
    /// `FROM a TO b`
    FromTo(Expr, Expr),
    /// `BETWEEN a AND b`
    Between(Expr, Expr),
    /// `CONTAINED IN (a, b)`
    ContainedIn(Expr, Expr),
    /// `ALL`
    All,
    /// `FOR period …`: by a period of valid time.
    Period(String, Box<TimeClause>),
    /// By system time and by a period of valid time.
    Both(Box<TimeClause>, Box<TimeClause>),
    /// `FOR PORTION OF period FROM a TO b`, of UPDATE and DELETE.
    Portion(String, Expr, Expr),
}

/// `FOR PORTION OF period FROM a TO b`
#[derive(Clone, Debug, PartialEq)]
pub struct Portion {
    /// The period's name.
    pub period: String,
    /// Where the portion begins.
    pub from: Expr,
    /// Where it ends.
    pub to: Expr,
}

/// Takes the portion off the table that a statement changes, which becomes an ordinary one.
///
/// # Errors
/// 42601 for a clause that no parser made.
pub fn take_portion(factor: &mut TableFactor) -> Result<Option<Portion>> {
    match take_time_clause(factor)? {
        Some(TimeClause::Portion(period, from, to)) => Ok(Some(Portion { period, from, to })),
        Some(other) => {
            put_time_clause(factor, other);
            Ok(None)
        }
        None => Ok(None),
    }
}

impl TimeClause {
    /// What it says of system time, and of a period of valid time.
    pub(crate) fn parts(self) -> (Option<TimeClause>, Option<(String, TimeClause)>) {
        match self {
            TimeClause::Period(name, clause) => (None, Some((name, *clause))),
            TimeClause::Both(system, period) => match *period {
                TimeClause::Period(name, clause) => (Some(*system), Some((name, *clause))),
                _ => (Some(*system), None),
            },
            other => (Some(other), None),
        }
    }

    /// The two, whichever is given first.
    fn and(self, other: TimeClause) -> Option<TimeClause> {
        match (self, other) {
            (TimeClause::Portion(..) | TimeClause::Both(..), _)
            | (_, TimeClause::Portion(..) | TimeClause::Both(..))
            | (TimeClause::Period(..), TimeClause::Period(..)) => None,
            (period @ TimeClause::Period(..), system)
            | (system, period @ TimeClause::Period(..)) => {
                Some(TimeClause::Both(Box::new(system), Box::new(period)))
            }
            _ => None,
        }
    }

    /// The arguments that stand for it in the syntax tree.
    pub(crate) fn arguments(self) -> Vec<FunctionArg> {
        let name = |name: String| Expr::value(Value::SingleQuotedString(name));
        let (kind, values) = match self {
            TimeClause::Period(period, clause) => {
                let mut arguments = marked("period", vec![name(period)]);
                arguments.extend(clause.arguments());
                return arguments;
            }
            TimeClause::Both(system, period) => {
                let mut arguments = system.arguments();
                arguments.extend(period.arguments());
                return arguments;
            }
            TimeClause::Portion(period, a, b) => {
                return marked("portion", vec![name(period), a, b]);
            }
            TimeClause::AsOf(t) => ("as_of", vec![t]),
            TimeClause::AsOfRelative(t) => ("as_of_relative", vec![t]),
            TimeClause::Each(instants) => ("each", instants),
            TimeClause::Version(n) => ("version", vec![n]),
            TimeClause::FromTo(a, b) => ("from_to", vec![a, b]),
            TimeClause::Between(a, b) => ("between", vec![a, b]),
            TimeClause::ContainedIn(a, b) => ("contained_in", vec![a, b]),
            TimeClause::All => ("all", vec![]),
        };
        marked(kind, values)
    }

    /// Reads the arguments of a table reference; `None` when they are an ordinary call's.
    pub(crate) fn of_arguments(arguments: &[FunctionArg]) -> Result<Option<TimeClause>> {
        let Some(FunctionArg::Named { name, .. }) = arguments.first() else {
            return Ok(None);
        };
        if name.value != TIME_ARGUMENT {
            return Ok(None);
        }
        let is_mark = |a: &FunctionArg| matches!(a, FunctionArg::Named { name, .. } if name.value == TIME_ARGUMENT);
        // System time, a period, and what is said of it: each begins with its mark.
        if let Some(next) = arguments[1..].iter().position(is_mark) {
            let (first, rest) = arguments.split_at(next + 1);
            let rest = Self::of_arguments(rest)?.ok_or_else(|| malformed("period"))?;
            return match Self::of_one(first)? {
                TimeClause::Period(name, _) => Ok(Some(TimeClause::Period(name, Box::new(rest)))),
                system => Ok(Some(TimeClause::Both(Box::new(system), Box::new(rest)))),
            };
        }
        Self::of_one(arguments).map(Some)
    }

    /// Reads the arguments after one mark. A period comes without what is said of it.
    fn of_one(arguments: &[FunctionArg]) -> Result<TimeClause> {
        let Some(FunctionArg::Named { arg, .. }) = arguments.first() else {
            return Err(malformed(""));
        };
        let kind = match arg {
            FunctionArgExpr::Expr(Expr::Value(v)) => match &v.value {
                Value::SingleQuotedString(kind) => kind.as_str(),
                _ => "",
            },
            _ => "",
        };
        let mut values = Vec::new();
        for argument in &arguments[1..] {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => values.push(expr.clone()),
                other => return Err(malformed(&other.to_string())),
            }
        }
        if kind == "each" && !values.is_empty() {
            return Ok(TimeClause::Each(values));
        }
        let mut values = values.into_iter();
        let named = |name: Expr| match name {
            Expr::Value(v) => match v.value {
                Value::SingleQuotedString(name) => Ok(name),
                _ => Err(malformed("period")),
            },
            _ => Err(malformed("period")),
        };
        let clause = match (kind, values.next(), values.next(), values.next()) {
            ("period", Some(name), None, None) => {
                TimeClause::Period(named(name)?, Box::new(TimeClause::All))
            }
            ("portion", Some(name), Some(a), Some(b)) => TimeClause::Portion(named(name)?, a, b),
            ("as_of", Some(t), None, None) => TimeClause::AsOf(t),
            ("as_of_relative", Some(t), None, None) => TimeClause::AsOfRelative(t),
            ("version", Some(n), None, None) => TimeClause::Version(n),
            ("from_to", Some(a), Some(b), None) => TimeClause::FromTo(a, b),
            ("between", Some(a), Some(b), None) => TimeClause::Between(a, b),
            ("contained_in", Some(a), Some(b), None) => TimeClause::ContainedIn(a, b),
            ("all", None, None, None) => TimeClause::All,
            _ => return Err(malformed(kind)),
        };
        Ok(clause)
    }
}

impl fmt::Display for TimeClause {
    /// As the standard writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeClause::AsOf(t) | TimeClause::AsOfRelative(t) => {
                write!(f, "FOR SYSTEM_TIME AS OF {t}")
            }
            TimeClause::Each(instants) => {
                let instants: Vec<String> = instants.iter().map(Expr::to_string).collect();
                write!(f, "FOR SYSTEM_TIME AS OF EACH ({})", instants.join(", "))
            }
            TimeClause::Version(n) => write!(f, "FOR VERSION AS OF {n}"),
            TimeClause::FromTo(a, b) => write!(f, "FOR SYSTEM_TIME FROM {a} TO {b}"),
            TimeClause::Between(a, b) => write!(f, "FOR SYSTEM_TIME BETWEEN {a} AND {b}"),
            TimeClause::ContainedIn(a, b) => {
                write!(f, "FOR SYSTEM_TIME CONTAINED IN ({a}, {b})")
            }
            TimeClause::All => write!(f, "FOR SYSTEM_TIME ALL"),
            TimeClause::Period(name, clause) => {
                let name = Ident::with_quote('"', name);
                match clause.as_ref() {
                    TimeClause::FromTo(a, b) => write!(f, "FOR {name} FROM {a} TO {b}"),
                    TimeClause::Between(a, b) => write!(f, "FOR {name} BETWEEN {a} AND {b}"),
                    TimeClause::ContainedIn(a, b) => {
                        write!(f, "FOR {name} CONTAINED IN ({a}, {b})")
                    }
                    TimeClause::AsOf(t) => write!(f, "FOR {name} AS OF {t}"),
                    _ => write!(f, "FOR {name} ALL"),
                }
            }
            TimeClause::Both(system, period) => write!(f, "{system} {period}"),
            TimeClause::Portion(name, a, b) => {
                let name = Ident::with_quote('"', name);
                write!(f, "FOR PORTION OF {name} FROM {a} TO {b}")
            }
        }
    }
}

fn marked(kind: &str, values: Vec<Expr>) -> Vec<FunctionArg> {
    let kind = FunctionArg::Named {
        name: Ident::new(TIME_ARGUMENT),
        arg: FunctionArgExpr::Expr(Expr::value(Value::SingleQuotedString(kind.into()))),
        operator: FunctionArgOperator::RightArrow,
    };
    let values = values.into_iter().map(|v| FunctionArg::Unnamed(FunctionArgExpr::Expr(v)));
    std::iter::once(kind).chain(values).collect()
}

fn malformed(what: &str) -> Error {
    Error::postgres("42601", format!("malformed clause of time travel: {what}"))
}

/// Takes the clause off a table reference, which becomes an ordinary one.
pub(crate) fn take_time_clause(factor: &mut TableFactor) -> Result<Option<TimeClause>> {
    if let TableFactor::Table { args, .. } = factor
        && let Some(arguments) = args
        && let Some(clause) = TimeClause::of_arguments(&arguments.args)?
    {
        *args = None;
        return Ok(Some(clause));
    }
    Ok(None)
}

/// Whether a table reference is read at a series of instants.
pub(crate) fn reads_each(factor: &TableFactor) -> bool {
    let TableFactor::Table { args: Some(arguments), .. } = factor else { return false };
    let clause = TimeClause::of_arguments(&arguments.args).ok().flatten();
    clause.is_some_and(|clause| matches!(clause.parts().0, Some(TimeClause::Each(_))))
}

/// Takes `AS OF t` off a table reference, which becomes one to the present, and gives the
/// instant. Other clauses stay.
pub fn take_as_of(factor: &mut TableFactor) -> Option<Expr> {
    let TableFactor::Table { args: Some(arguments), .. } = factor else { return None };
    match TimeClause::of_arguments(&arguments.args) {
        Ok(Some(TimeClause::AsOf(t) | TimeClause::AsOfRelative(t))) => {
            take_time_clause(factor).ok()?;
            Some(t)
        }
        _ => None,
    }
}

fn put_time_clause(factor: &mut TableFactor, clause: TimeClause) {
    if let TableFactor::Table { args, .. } = factor {
        *args = Some(TableFunctionArgs { args: clause.arguments(), settings: None });
    }
}

/// Gives every clause to its table reference. A clause of a derived table, and one for the whole
/// statement, goes to every reference inside that has none of its own.
pub(super) fn attach(
    source: &Source<'_>,
    statement: &mut ast::Statement,
    clauses: Vec<(Location, TimeClause)>,
    whole: Option<TimeClause>,
) -> Result<()> {
    let mut attacher = Attacher { clauses };
    if let ControlFlow::Break(error) = statement.visit(&mut attacher) {
        return Err(*error);
    }
    if let Some((location, _)) = attacher.clauses.first() {
        return Err(Error::Syntax {
            message: "a clause of time travel must follow a table reference".into(),
            detail: None,
            position: Some(source.characters(*location) + 1),
        });
    }
    if let Some(clause) = whole {
        if let ast::Statement::Update(_) | ast::Statement::Delete(_) | ast::Statement::Merge(_) =
            statement
        {
            return Err(read_only());
        }
        spread(statement, clause)?;
    }
    refuse_past_targets(statement)
}

/// Nothing writes into the past.
fn refuse_past_targets(statement: &mut ast::Statement) -> Result<()> {
    let targets: Vec<&TableWithJoins> = match &*statement {
        ast::Statement::Update(update) => vec![&update.table],
        ast::Statement::Delete(delete) => match &delete.from {
            FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables) => {
                tables.iter().collect()
            }
        },
        ast::Statement::Merge(merge) => return refuse_past_target(&merge.table),
        // The writes within WITH are looked at when they run.
        ast::Statement::Query(_) => vec![],
        _ => {
            return match statement.visit(&mut FindPortion) {
                ControlFlow::Break(error) => Err(*error),
                ControlFlow::Continue(()) => Ok(()),
            };
        }
    };
    targets.into_iter().try_for_each(|target| refuse_past_target(&target.relation))
}

fn refuse_past_target(target: &TableFactor) -> Result<()> {
    match take_time_clause(&mut target.clone())? {
        Some(TimeClause::Portion(..)) | None => Ok(()),
        Some(_) => Err(read_only()),
    }
}

fn derived_each() -> Error {
    Error::Unsupported("AS OF EACH of a derived table".into())
}

fn derived_period() -> Error {
    Error::Unsupported("a period of valid time of a derived table".into())
}

/// FOR PORTION OF is for the table that UPDATE and DELETE change.
struct FindPortion;

impl VisitorMut for FindPortion {
    type Break = Box<Error>;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Box<Error>> {
        match take_time_clause(&mut factor.clone()) {
            Ok(Some(TimeClause::Portion(..))) => ControlFlow::Break(Box::new(Error::postgres(
                "42601",
                "FOR PORTION OF is for UPDATE and DELETE",
            ))),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn read_only() -> Error {
    Error::Postgres {
        code: "25006",
        message: "cannot write at a past instant".into(),
        detail: None,
        hint: Some("Read the past in a subquery and write to the table as it is now.".into()),
    }
}

struct Attacher {
    clauses: Vec<(Location, TimeClause)>,
}

impl Attacher {
    fn take(&mut self, names: [Option<&Ident>; 2]) -> Result<Option<TimeClause>> {
        let mut found = None;
        for name in names.into_iter().flatten() {
            while let Some(i) = self.clauses.iter().position(|(at, _)| *at == name.span.start) {
                let clause = self.clauses.remove(i).1;
                let both = match found {
                    None => Some(clause),
                    Some(before) => clause.and(before),
                };
                found = Some(both.ok_or_else(|| {
                    Error::postgres(
                        "42601",
                        format!("\"{}\" has two clauses of time travel", name.value),
                    )
                })?);
            }
        }
        Ok(found)
    }

    fn attach(&mut self, factor: &mut TableFactor) -> Result<()> {
        if let Some(clause) = as_of_function(factor)? {
            put_time_clause(factor, clause);
        }
        let alias_name = |alias: &Option<ast::TableAlias>| alias.as_ref().map(|a| a.name.clone());
        match factor {
            TableFactor::Table { name, alias, args, .. } => {
                let alias = alias_name(alias);
                let last = name.0.last().and_then(ObjectNamePart::as_ident).cloned();
                let written = self.take([last.as_ref(), alias.as_ref()])?;
                let quoted = if args.is_none() { instant_in_name(name) } else { None };
                match (written, args.is_some()) {
                    (Some(_), true) => Err(Error::Unsupported(format!(
                        "time travel on the result of function {name}"
                    ))),
                    (Some(clause), false) => {
                        put_time_clause(factor, clause);
                        Ok(())
                    }
                    (None, _) => {
                        if let Some((bare, clause)) = quoted {
                            if let TableFactor::Table { name, .. } = factor {
                                *name = bare;
                            }
                            put_time_clause(factor, clause);
                        }
                        Ok(())
                    }
                }
            }
            TableFactor::Derived { alias, subquery, .. } => {
                let alias = alias_name(alias);
                match self.take([alias.as_ref(), None])? {
                    Some(TimeClause::Period(..) | TimeClause::Both(..)) => Err(derived_period()),
                    Some(TimeClause::Each(_)) => Err(derived_each()),
                    Some(clause) => spread(subquery.as_mut(), clause),
                    None => Ok(()),
                }
            }
            TableFactor::NestedJoin { alias, table_with_joins } => {
                let alias = alias_name(alias);
                match self.take([alias.as_ref(), None])? {
                    Some(TimeClause::Period(..) | TimeClause::Both(..)) => Err(derived_period()),
                    Some(TimeClause::Each(_)) => Err(derived_each()),
                    Some(clause) => spread(table_with_joins.as_mut(), clause),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl VisitorMut for Attacher {
    type Break = Box<Error>;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Box<Error>> {
        match self.attach(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

fn spread<T: VisitMut>(tree: &mut T, clause: TimeClause) -> Result<()> {
    // The same name may be another column's further inside.
    if let TimeClause::AsOf(at) | TimeClause::AsOfRelative(at) = &clause
        && crate::bind::names_columns(at)
    {
        return Err(Error::Unsupported(
            "an instant that is a column's for more than one table reference".into(),
        ));
    }
    match tree.visit(&mut Spread { clause }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Gives every table reference in a query that has no clause this one.
pub(crate) fn spread_over(query: &mut Query, clause: &TimeClause) -> Result<()> {
    spread(query, clause.clone())
}

/// A query as a user writes it, the clauses of time travel after the names and aliases of their
/// tables.
///
/// # Errors
/// 42601 for a clause that no parser made.
pub fn query_text(query: &Query) -> Result<String> {
    struct Print;
    impl VisitorMut for Print {
        type Break = Box<Error>;
        fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Box<Error>> {
            match take_time_clause(factor) {
                Err(error) => return ControlFlow::Break(Box::new(error)),
                Ok(None) => {}
                Ok(Some(clause)) => {
                    if let TableFactor::Table { version, .. } = factor {
                        // Printed as it stands.
                        let text = Expr::Identifier(Ident::new(clause.to_string()));
                        *version = Some(ast::TableVersion::Function(text));
                    }
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut query = query.clone();
    match query.visit(&mut Print) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(query.to_string()),
    }
}

struct Spread {
    clause: TimeClause,
}

impl VisitorMut for Spread {
    type Break = Box<Error>;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Box<Error>> {
        if let TableFactor::Table { args: None, .. } = factor {
            put_time_clause(factor, self.clause.clone());
            return ControlFlow::Continue(());
        }
        // A period of its own leaves system time open.
        match take_time_clause(factor) {
            Err(error) => return ControlFlow::Break(Box::new(error)),
            Ok(Some(own @ TimeClause::Period(..))) => {
                let both = own.clone().and(self.clause.clone()).unwrap_or(own);
                put_time_clause(factor, both);
            }
            Ok(Some(own)) => put_time_clause(factor, own),
            Ok(None) => {}
        }
        ControlFlow::Continue(())
    }
}

/// `as_of('t', instant)`: makes it a reference to `t` and gives the clause.
fn as_of_function(factor: &mut TableFactor) -> Result<Option<TimeClause>> {
    let TableFactor::Table { name, args: Some(arguments), .. } = factor else {
        return Ok(None);
    };
    let is_as_of = matches!(name.0.as_slice(), [part]
        if part.as_ident().is_some_and(|i| i.value.eq_ignore_ascii_case("as_of")));
    if !is_as_of {
        return Ok(None);
    }
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(table))),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(instant)),
    ] = arguments.args.as_slice()
    else {
        return Err(Error::postgres("42883", "as_of takes a table's name and an instant"));
    };
    let Value::SingleQuotedString(table) = &table.value else {
        return Err(Error::postgres("42883", "as_of takes a table's name as a text literal"));
    };
    let instant = instant.clone();
    let table = Parser::new(&ChronosDialect)
        .try_with_sql(table)
        .and_then(|mut parser| parser.parse_object_name(false))
        .map_err(|_| Error::postgres("42602", format!("invalid name \"{table}\"")))?;
    *name = table;
    Ok(Some(TimeClause::AsOf(instant)))
}

/// `"t@2026-11-20"`: the table's name and the clause.
fn instant_in_name(name: &ObjectName) -> Option<(ObjectName, TimeClause)> {
    let last = name.0.last()?.as_ident()?;
    last.quote_style?;
    let (table, instant) = last.value.split_once('@')?;
    if table.is_empty() || !instant.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return None;
    }
    let mut bare = name.clone();
    *bare.0.last_mut()? =
        ObjectNamePart::Identifier(Ident { value: table.to_owned(), ..last.clone() });
    let instant = Expr::value(Value::SingleQuotedString(instant.to_owned()));
    Some((bare, TimeClause::AsOfRelative(instant)))
}
