//! VACUUM, DELETE HISTORY, ERASE, and CALL of what an operator may want at once.

use std::sync::Arc;

use chronos_catalog::raft::Severity;
use chronos_catalog::{CommitTs, Oid, Relation, RowRef, SegmentId, SystemTime};
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{UInt32Type, UInt64Type};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, Function, FunctionArguments, ObjectName, Statement};

use super::build;
use super::names::parts;
use super::session::Session;
use super::transaction::Block;
use super::write::ROWS;
use crate::error::{PgError, PgResult};

/// What a procedure does.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    Flush,
    Compact,
    Expire,
    Check,
}

/// How often an ERASE looks for rows that came meanwhile.
const ERASE_ROUNDS: usize = 10;

impl Session {
    /// `VACUUM [t, …]`: what is below the horizon goes, and small segments are merged.
    pub(super) async fn vacuum(&mut self, tables: &[ObjectName]) -> PgResult<String> {
        self.refuse_in_block("VACUUM")?;
        let oids = self.tables_to_keep(tables).await?;
        for oid in oids {
            self.shared.engine.compact(oid).await?;
        }
        Ok("VACUUM".to_owned())
    }

    /// `DELETE HISTORY FROM t BEFORE SYSTEM_TIME …`
    pub(super) async fn delete_history(
        &mut self,
        table: &ObjectName,
        before: &Expr,
    ) -> PgResult<String> {
        self.refuse_in_block("DELETE HISTORY")?;
        let oid = self.table_to_keep(table).await?;
        let instant = self.evaluate_instant(before).await?;
        let now = self.shared.engine.now_micros().max(self.shared.engine.last_commit().micros());
        if instant.micros() > now {
            let instant = chronos_sql_ext::instant::display(instant);
            let message = format!("cannot delete history before {instant}: it is in the future");
            return Err(PgError::new("22023", message));
        }
        self.shared.engine.move_horizon(oid, instant).await?;
        // Clients read a count in every tag that begins with DELETE; no current row went.
        Ok("DELETE 0".to_owned())
    }

    /// `CALL chronos.flush([t])` and `CALL chronos.compact(t)`.
    pub(super) async fn call(&mut self, call: &Function) -> PgResult<String> {
        let name = parts(&call.name)?.join(".");
        let arguments = match &call.args {
            FunctionArguments::None => Vec::new(),
            FunctionArguments::List(list) => list
                .args
                .iter()
                .map(|arg| match arg {
                    datafusion::sql::sqlparser::ast::FunctionArg::Unnamed(
                        datafusion::sql::sqlparser::ast::FunctionArgExpr::Expr(expr),
                    ) => Ok(expr.clone()),
                    other => Err(PgError::unsupported(format!("the argument {other} of CALL"))),
                })
                .collect::<PgResult<Vec<Expr>>>()?,
            FunctionArguments::Subquery(_) => {
                return Err(PgError::unsupported("a subquery as the argument of CALL"));
            }
        };
        let work = match (name.as_str(), arguments.len()) {
            ("chronos.flush", 0 | 1) => Work::Flush,
            ("chronos.compact", 0 | 1) => Work::Compact,
            ("chronos.expire", 0 | 1) => Work::Expire,
            ("chronos.check", 0) => Work::Check,
            _ => {
                let message = format!("procedure {name} does not exist");
                return Err(PgError::new("42883", message).hint(
                    "There are chronos.flush([table]), chronos.compact([table]), \
                         chronos.expire([table]) and chronos.check().",
                ));
            }
        };
        self.refuse_in_block("CALL")?;
        let mut names = Vec::new();
        for value in self.constants(arguments).await? {
            let text = text_of(&value)
                .ok_or_else(|| PgError::new("22004", "the table's name must not be null"))?;
            names.push(table_name(&text)?);
        }
        if work == Work::Check {
            self.require_superuser("check the store")?;
            self.check_store().await?;
            return Ok("CALL".to_owned());
        }
        for oid in self.tables_to_keep(&names).await? {
            let engine = &self.shared.engine;
            match work {
                Work::Compact => engine.compact(oid).await?,
                Work::Expire => engine.expire(oid).await.map(drop)?,
                Work::Flush | Work::Check => engine.flush(oid).await?,
            }
        }
        Ok("CALL".to_owned())
    }

    /// `CALL chronos.check()`: a notice for each finding; damage is XX001.
    async fn check_store(&mut self) -> PgResult<()> {
        let findings = self.shared.engine.check().await;
        let damaged: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Damaged).collect();
        if let Some(first) = damaged.first() {
            let all: Vec<&str> = damaged.iter().map(|f| f.message.as_str()).collect();
            return Err(PgError::new("XX001", first.message.clone()).detail(all.join("\n")));
        }
        for finding in findings {
            self.notice(PgError::notice(finding.message));
        }
        Ok(())
    }

    /// `ERASE FROM t [WHERE …]`: the rows are gone from every instant and every file.
    pub(super) async fn erase(
        &mut self,
        table: &ObjectName,
        selection: Option<&Expr>,
    ) -> PgResult<String> {
        self.refuse_in_block("ERASE")?;
        let oid = self.table_to_keep(table).await?;
        let erasure = self.shared.engine.begin_erasure(oid).await?;
        let mut erased = 0;
        // Rows that are written while this runs are looked for again, until there are none.
        for _ in 0..ERASE_ROUNDS {
            let rows = self.rows_ever(oid, table, selection).await?;
            if rows.is_empty() {
                erasure.finish(&self.shared.identity.user, erased).await?;
                return Ok(format!("ERASE {erased}"));
            }
            erased += erasure.erase(&rows).await?;
        }
        let message = "rows to erase are written faster than they are erased";
        Err(PgError::new("55000", message).hint("Stop what writes them and try again."))
    }

    /// Where the versions of all instants stand that a condition holds for.
    async fn rows_ever(
        &mut self,
        oid: Oid,
        name: &ObjectName,
        selection: Option<&Expr>,
    ) -> PgResult<Vec<RowRef>> {
        self.open_transaction().await?;
        let result = self.find_rows_ever(oid, name, selection).await;
        self.shared.scope.lock().overrides.remove(ROWS);
        self.shared.rollback().await;
        let mut rows = Vec::new();
        for batch in result? {
            let segments = batch.column(0).as_primitive::<UInt64Type>();
            let positions = batch.column(1).as_primitive::<UInt32Type>();
            let both = segments.values().iter().zip(positions.values());
            rows.extend(both.map(|(&s, &position)| RowRef { segment: SegmentId(s), position }));
        }
        Ok(rows)
    }

    async fn find_rows_ever(
        &mut self,
        oid: Oid,
        name: &ObjectName,
        selection: Option<&Expr>,
    ) -> PgResult<Vec<RecordBatch>> {
        let table = self.shared.table(oid, Some(SystemTime::All))?;
        let table: Arc<dyn TableProvider> =
            Arc::new(table.as_ref().clone().with_internal_columns());
        self.shared.scope.lock().overrides.insert(ROWS.to_owned(), table);
        let alias = parts(name)?.pop().unwrap_or_default();
        let items = ["_segment", "_position"]
            .map(|c| datafusion::sql::sqlparser::ast::SelectItem::UnnamedExpr(build::column(c)))
            .to_vec();
        let from = vec![build::table(ROWS, Some(build::alias(&alias)))];
        let query = build::select(items, from, selection.cloned());
        let planned = self.plan(&Statement::Query(Box::new(query))).await?;
        self.collect(planned).await
    }

    pub(super) fn refuse_in_block(&self, what: &str) -> PgResult<()> {
        if self.shared.settings.read().is_on("transaction_read_only") {
            let message = format!("cannot execute {what} in a read-only transaction");
            return Err(PgError::new("25006", message));
        }
        match self.block {
            Block::None => Ok(()),
            Block::Implicit | Block::Explicit => {
                let message = format!("{what} cannot run inside a transaction block");
                Err(PgError::new("25001", message))
            }
        }
    }

    /// The tables of those names; all where none is given.
    async fn tables_to_keep(&mut self, names: &[ObjectName]) -> PgResult<Vec<Oid>> {
        let mut oids = Vec::with_capacity(names.len());
        for name in names {
            oids.push(self.table_to_keep(name).await?);
        }
        if names.is_empty() {
            let state = self.shared.engine.state().read();
            let rights = self.shared.rights(&state.objects, CommitTs::MAX);
            let is_table = |oid: &Oid| {
                let object = state.objects.get(*oid, CommitTs::MAX);
                // Of all tables, those of others are left out.
                object.is_some_and(|o| matches!(o.relation, Relation::Table(_)) && rights.owns(o))
            };
            oids.extend(state.manifests.keys().copied().filter(is_table));
        }
        Ok(oids)
    }

    async fn table_to_keep(&mut self, name: &ObjectName) -> PgResult<Oid> {
        self.open_transaction().await?;
        let target = self.write_target(name).and_then(|target| {
            self.require_owner(&self.scope()?, target.oid)?;
            Ok(target)
        });
        self.shared.rollback().await;
        Ok(target?.oid)
    }
}

/// A name as `CALL` gets it in a string.
fn table_name(text: &str) -> PgResult<ObjectName> {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;
    let malformed = |_| PgError::new("42602", format!("invalid name syntax: \"{text}\""));
    let mut parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).map_err(malformed)?;
    parser.parse_object_name(false).map_err(malformed)
}

pub(super) fn text_of(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
            text.clone()
        }
        _ => None,
    }
}
