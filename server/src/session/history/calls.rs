//! Functions in FROM that answer about history. A call becomes the query that it stands for; the
//! tables in it are given by name and instant, so that a table that was renamed since is met.

use std::ops::ControlFlow;
use std::sync::Arc;

use chronos_catalog::{CommitTs, Oid, SystemTime, TableDef};
use chronos_sql_ext::TemporalCatalog;
use chronos_storage::VersionedTable;
use datafusion::catalog::TableProvider;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, Statement, TableAlias,
    TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::{column_names, key_names, object, q, query_of, same_key};
use crate::error::{PgError, PgResult};
use crate::session::names::{Lookup, fold, no_relation, relation};
use crate::session::privileges::{check_read, check_schema, denied_for};
use crate::session::session::Session;
use crate::session::shared::SessionCatalog;

/// Which function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Diff,
    History,
    Blame,
    Totals,
    LastCommitted,
}

struct Call {
    which: Which,
    args: Vec<FunctionArg>,
}

fn which(name: &ObjectName) -> Option<Which> {
    let parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident().map(fold)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Some(match parts.as_slice() {
        ["chronos", "diff"] => Which::Diff,
        ["chronos", "history"] => Which::History,
        ["chronos", "blame"] => Which::Blame,
        ["chronos", "get_totals"] => Which::Totals,
        ["pg_last_committed_xact"] | ["pg_catalog", "pg_last_committed_xact"] => {
            Which::LastCommitted
        }
        _ => return None,
    })
}

/// The call that a FROM item is.
fn call_of(factor: &TableFactor) -> Option<Call> {
    match factor {
        TableFactor::Table { name, args: Some(args), .. } => {
            Some(Call { which: which(name)?, args: args.args.clone() })
        }
        TableFactor::Function { name, args, .. } => {
            Some(Call { which: which(name)?, args: args.clone() })
        }
        _ => None,
    }
}

fn alias_of(factor: &mut TableFactor) -> TableAlias {
    let (alias, name) = match factor {
        TableFactor::Table { alias, name, .. } | TableFactor::Function { alias, name, .. } => {
            (alias.take(), name.0.last().and_then(|p| p.as_ident()).cloned())
        }
        _ => (None, None),
    };
    alias.unwrap_or_else(|| TableAlias {
        explicit: true,
        name: name.unwrap_or_else(|| Ident::new("call")),
        columns: Vec::new(),
        at: None,
    })
}

struct Collect(Vec<Call>);

impl Visitor for Collect {
    type Break = ();
    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.0.extend(call_of(factor));
        ControlFlow::Continue(())
    }
}

struct Replace(std::vec::IntoIter<Query>);

impl VisitorMut for Replace {
    type Break = ();
    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if call_of(factor).is_some()
            && let Some(query) = self.0.next()
        {
            *factor = TableFactor::Derived {
                lateral: false,
                alias: Some(alias_of(factor)),
                subquery: Box::new(query),
                sample: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// Whether a query calls one of the functions.
pub(in crate::session) fn holds_call(query: &Query) -> bool {
    let mut calls = Collect(Vec::new());
    let _ = Visit::visit(query, &mut calls);
    !calls.0.is_empty()
}

fn expression(arg: &FunctionArg) -> PgResult<(Option<String>, Expr)> {
    let (name, arg) = match arg {
        FunctionArg::Unnamed(arg) => (None, arg),
        FunctionArg::Named { name, arg, .. } => (Some(fold(name)), arg),
        FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => (Some(fold(name)), arg),
        FunctionArg::ExprNamed { .. } => {
            return Err(PgError::new("42601", "improper name of an argument"));
        }
    };
    match arg {
        FunctionArgExpr::Expr(expr) => Ok((name, expr.clone())),
        _ => Err(PgError::new("42601", "a wildcard cannot be an argument here")),
    }
}

fn no_function(name: &str) -> PgError {
    PgError::new("42883", format!("function chronos.{name} does not take these arguments"))
}

impl Session {
    /// Writes the calls of a statement out.
    pub(in crate::session) async fn expand_calls(
        &mut self,
        statement: &mut Statement,
    ) -> PgResult<()> {
        let mut calls = Collect(Vec::new());
        let _ = Visit::visit(&*statement, &mut calls);
        if calls.0.is_empty() {
            return Ok(());
        }
        let mut queries = Vec::with_capacity(calls.0.len());
        for (i, call) in calls.0.into_iter().enumerate() {
            queries.push(self.expand_call(i, call).await?);
        }
        let _ = VisitMut::visit(statement, &mut Replace(queries.into_iter()));
        Ok(())
    }

    async fn expand_call(&mut self, number: usize, call: Call) -> PgResult<Query> {
        let args = call.args.iter().map(expression).collect::<PgResult<Vec<_>>>()?;
        match call.which {
            Which::LastCommitted if args.is_empty() => {
                let at = self.shared.as_of();
                let commits = self.offer_table(number, "commits", Oid::COMMITS, at)?;
                let text = format!(
                    "SELECT c._cv AS xid, c._system_from AS \"timestamp\", \
                     CAST(0 AS oid) AS roident FROM {commits} c \
                     ORDER BY c._system_from DESC LIMIT 1"
                );
                query_of(&text, &[])
            }
            Which::LastCommitted => {
                Err(PgError::new("42883", "function pg_last_committed_xact takes no arguments"))
            }
            Which::Diff => self.diff(number, &args).await,
            Which::History => self.history(number, &args),
            Which::Blame => self.blame(number, &args),
            Which::Totals => {
                let [(_, table)] = args.as_slice() else { return Err(no_function("get_totals")) };
                let (oid, _) = self.named_table(table)?;
                query_of(
                    &format!("SELECT * FROM chronos.table_counters WHERE table_oid = {oid}"),
                    &[],
                )
            }
        }
    }

    /// The table that an argument names, as it is at the session's instant.
    pub(in crate::session) fn named_table(&self, arg: &Expr) -> PgResult<(Oid, Arc<TableDef>)> {
        let mut inner = arg;
        while let Expr::Cast { expr, .. } | Expr::Nested(expr) = inner {
            inner = expr;
        }
        let Expr::Value(value) = inner else {
            return Err(PgError::unsupported("the name of a table that is not a literal"));
        };
        let Value::SingleQuotedString(text) = &value.value else {
            return Err(PgError::unsupported("the name of a table that is not a literal"));
        };
        let name = Parser::new(&PostgreSqlDialect {})
            .try_with_sql(text)
            .and_then(|mut p| p.parse_object_name(false))
            .map_err(|_| PgError::new("42602", format!("invalid name syntax: \"{text}\"")))?;
        let name = relation(&name, &self.shared.identity.database)?;
        let (objects, now) = self.shared.objects()?;
        let at = self.shared.as_of().unwrap_or(now);
        let rights = self.shared.rights(&objects, now);
        let path = self.shared.usable_path(&rights);
        let lookup = Lookup { objects: &objects, at, path: &path };
        let (oid, found) = lookup.relation(&name).ok_or_else(|| no_relation(&name))?;
        check_schema(&rights, &name)?;
        if check_read(&rights, &objects, now, oid)?.is_some() {
            return Err(denied_for(found));
        }
        match &found.relation {
            chronos_catalog::Relation::Table(def) => Ok((oid, Arc::clone(def))),
            _ => Err(PgError::new("42809", format!("\"{name}\" is not a table"))),
        }
    }

    /// Lets a provider be planned under a name of its own, which is given in quotes.
    pub(super) fn offer(&self, number: usize, name: &str, provider: Arc<VersionedTable>) -> String {
        let name = format!("\u{1}{name}{number}");
        let provider: Arc<dyn TableProvider> = provider;
        self.shared.scope.lock().overrides.insert(name.clone(), provider);
        q(&name)
    }

    fn offer_table(
        &self,
        number: usize,
        name: &str,
        oid: Oid,
        at: Option<CommitTs>,
    ) -> PgResult<String> {
        let provider = self.shared.table(oid, at.map(SystemTime::AsOf))?;
        Ok(self.offer(number, name, provider))
    }

    /// All versions of a table up to the session's instant.
    pub(super) fn offer_versions(&self, number: usize, name: &str, oid: Oid) -> PgResult<String> {
        let guard = self
            .shared
            .transaction
            .try_read()
            .map_err(|_| PgError::internal("planning while a statement writes"))?;
        let transaction =
            guard.as_ref().ok_or_else(|| PgError::internal("planning without a transaction"))?;
        let provider = transaction.versions(oid, self.shared.as_of())?;
        Ok(self.offer(number, name, provider))
    }

    async fn diff(&mut self, number: usize, args: &[(Option<String>, Expr)]) -> PgResult<Query> {
        let mut table = None;
        let mut bounds = [None, None];
        for (i, (name, expr)) in args.iter().enumerate() {
            match (name.as_deref(), i) {
                (Some("from"), _) | (None, 1) => bounds[0] = Some(expr.clone()),
                (Some("to"), _) | (None, 2) => bounds[1] = Some(expr.clone()),
                (None, 0) => table = Some(expr),
                _ => return Err(no_function("diff")),
            }
        }
        let (Some(table), [Some(from), to]) = (table, bounds) else {
            return Err(no_function("diff"));
        };
        let (oid, _) = self.named_table(table)?;
        let a = self.bound(&from).await?;
        let b = match to {
            Some(to) => self.bound(&to).await?,
            None => self.shared.as_of(),
        };
        let shape = |provider: &VersionedTable| Arc::clone(provider.def());
        let before = self.shared.table(oid, a.map(SystemTime::AsOf))?;
        let after = self.shared.table(oid, b.map(SystemTime::AsOf))?;
        let (before_def, after_def) = (shape(&before), shape(&after));
        let keys = key_names(&after_def);
        // A key that was renamed is not looked for under its old name.
        let keyed = !keys.is_empty() && keys == key_names(&before_def);
        let internal =
            |t: &Arc<VersionedTable>| Arc::new(t.as_ref().clone().with_internal_columns());
        let x = self.offer(number, "before", internal(&before));
        let y = self.offer(number, "after", internal(&after));
        let before_row = object("t", &column_names(&before_def));
        let after_row = object("t", &column_names(&after_def));
        let text = if keyed {
            let list: Vec<String> = keys.iter().map(|k| format!("t.{}", q(k))).collect();
            let list = list.join(", ");
            let members: Vec<String> = keys
                .iter()
                .map(|k| format!("{}, coalesce(a.{1}, b.{1})", super::literal(k), q(k)))
                .collect();
            let key = format!("jsonb_build_object({})", members.join(", "));
            format!(
                "SELECT CASE WHEN a.\"\u{1}row\" IS NULL THEN 'insert' \
                 WHEN b.\"\u{1}row\" IS NULL THEN 'delete' ELSE 'update' END AS change, \
                 {key} AS key, \
                 a.\"\u{1}row\" AS before, b.\"\u{1}row\" AS after \
                 FROM (SELECT {list}, {before_row} AS \"\u{1}row\" FROM {x} t) a \
                 FULL JOIN (SELECT {list}, {after_row} AS \"\u{1}row\" FROM {y} t) b \
                 ON {} \
                 WHERE a.\"\u{1}row\" IS DISTINCT FROM b.\"\u{1}row\"",
                same_key("a", "b", &keys)
            )
        } else {
            // Without a key, a row is the version that it is.
            format!(
                "SELECT 'delete' AS change, NULL::jsonb AS key, {before_row} AS before, \
                 NULL::jsonb AS after FROM {x} t WHERE NOT EXISTS (SELECT 1 FROM {y} u \
                 WHERE u._segment = t._segment AND u._position = t._position) \
                 UNION ALL SELECT 'insert', NULL::jsonb, NULL::jsonb, {after_row} FROM {y} t \
                 WHERE NOT EXISTS (SELECT 1 FROM {x} u \
                 WHERE u._segment = t._segment AND u._position = t._position)"
            )
        };
        query_of(&text, &[])
    }

    /// An instant given as an argument; `None` while parameters are not known yet.
    async fn bound(&mut self, expr: &Expr) -> PgResult<Option<CommitTs>> {
        let describing = self.shared.scope.lock().parameters.is_none();
        if describing && has_parameter(expr) {
            return Ok(None);
        }
        let t = Box::pin(self.evaluate_instant(expr)).await?;
        SessionCatalog(Arc::clone(&self.shared)).check_instant(t)?;
        Ok(Some(t))
    }

    fn history(&mut self, number: usize, args: &[(Option<String>, Expr)]) -> PgResult<Query> {
        let [(None, table), given @ ..] = args else { return Err(no_function("history")) };
        let (oid, def) = self.named_table(table)?;
        let keys = key_names(&def);
        if keys.is_empty() {
            return Err(PgError::unsupported("the history of a table without a primary key")
                .hint("Read its versions with FOR SYSTEM_TIME ALL."));
        }
        if !given.is_empty() && given.len() != keys.len() {
            let message = format!("the key of the table has {} columns", keys.len());
            return Err(PgError::new("42883", message));
        }
        let gaps: Vec<(String, Expr)> = given
            .iter()
            .enumerate()
            .map(|(i, (_, expr))| (format!("\u{1}argument{i}"), expr.clone()))
            .collect();
        let condition: Vec<String> = keys
            .iter()
            .zip(&gaps)
            .map(|(key, (gap, _))| format!("t.{} = {}", q(key), q(gap)))
            .collect();
        let condition = if condition.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", condition.join(" AND "))
        };
        let versions = self.offer_versions(number, "versions", oid)?;
        let commits = self.offer_table(number, "commits", Oid::COMMITS, self.shared.as_of())?;
        let partition: Vec<String> = keys.iter().map(|k| format!("t.{}", q(k))).collect();
        let partition = partition.join(", ");
        let (key, row) = (object("t", &keys), object("t", &column_names(&def)));
        let window = format!("OVER (PARTITION BY {partition} ORDER BY t._system_from)");
        let text = format!(
            "SELECT v.key, v.system_from, v.system_to, v.op, v._ov AS _ov, v._cv AS _cv, \
             v.\"row\", c.user_name, c.actor, c.reason, c.function_id FROM (\
             SELECT w.key, w.f AS system_from, w.u AS system_to, \
             CASE WHEN w.before = w.f THEN 'UPDATE' ELSE 'INSERT' END AS op, \
             w.o AS _ov, w.n AS _cv, w.\"row\" FROM (SELECT {key} AS key, t._system_from AS f, \
             t._system_to AS u, t._ov AS o, t._cv AS n, {row} AS \"row\", \
             lag(t._system_to) {window} AS before FROM {versions} t {condition}) w \
             UNION ALL SELECT w.key, w.u, w.next, 'DELETE', NULL, NULL, NULL::jsonb FROM (\
             SELECT {key} AS key, t._system_to AS u, lead(t._system_from) {window} AS next \
             FROM {versions} t {condition}) w \
             WHERE w.u IS NOT NULL AND (w.next IS NULL OR w.next <> w.u)) v \
             LEFT JOIN (SELECT k._system_from AS f, k.user_name, k.actor, k.reason, \
             k.function_id FROM {commits} k WHERE k.table_oid = {oid}) c \
             ON c.f = v.system_from"
        );
        query_of(&text, &gaps)
    }

    fn blame(&mut self, number: usize, args: &[(Option<String>, Expr)]) -> PgResult<Query> {
        let [(None, table)] = args else { return Err(no_function("blame")) };
        let (oid, def) = self.named_table(table)?;
        let keys = key_names(&def);
        let key = object("t", if keys.is_empty() { &[] } else { &keys });
        let key = if keys.is_empty() { object("t", &column_names(&def)) } else { key };
        let at = self.shared.as_of();
        let current = self.offer_table(number, "current", oid, at)?;
        let commits = self.offer_table(number, "commits", Oid::COMMITS, at)?;
        let text = format!(
            "SELECT v.key, v.o AS _ov, v.n AS _cv, v.f AS commit_time, c.commit_number, \
             c.user_name, c.application_name, c.actor, c.reason, c.function_id \
             FROM (SELECT {key} AS key, t._ov AS o, t._cv AS n, t._system_from AS f \
             FROM {current} t) v LEFT JOIN (SELECT k._system_from AS f, k._cv AS commit_number, \
             k.user_name, k.application_name, k.actor, k.reason, k.function_id \
             FROM {commits} k WHERE k.table_oid = {oid}) c ON c.f = v.f"
        );
        query_of(&text, &[])
    }
}

fn has_parameter(expr: &Expr) -> bool {
    datafusion::sql::sqlparser::ast::visit_expressions(expr, |e| match e {
        Expr::Value(v) if matches!(v.value, Value::Placeholder(_)) => ControlFlow::Break(()),
        Expr::Function(Function { .. }) => ControlFlow::Continue(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}
