//! RESTORE TABLE, RESTORE ROW and REVERT TRANSACTION: the past is written again as new versions,
//! and nothing of the history is lost.
//!
//! RESTORE brings back the content that rows had at an instant: what was made since is deleted,
//! what was deleted since comes back, what is as it was stays untouched. REVERT undoes what one
//! commit did to rows, and refuses where a later commit changed them again.

use std::sync::Arc;

use chronos_catalog::{CommitTs, Oid, RowRef, SegmentId, SqlType, SystemTime, TableDef};
use chronos_sql_ext::{Moment, Restore, TemporalCatalog};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{cast, concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{Int64Type, UInt32Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, Query, Statement, Value};

use super::{answer, column_names, key_names, object, q, query_of, same_key};
use crate::error::{PgError, PgResult};
use crate::session::api::Response;
use crate::session::session::Session;
use crate::session::shared::SessionCatalog;
use crate::session::write::{WriteTarget, nullable};

/// What RESTORE TABLE answers.
pub(super) const TABLE_COLUMNS: &[(&str, SqlType)] = &[
    ("table_name", SqlType::Text),
    ("resolved_version", SqlType::Int8),
    ("resolved_at", SqlType::Timestamptz),
    ("planned", SqlType::Int8),
    ("restored", SqlType::Int8),
];

/// What RESTORE ROW answers: the rows that it touched.
pub(super) const ROW_COLUMNS: &[(&str, SqlType)] = &[
    ("change", SqlType::Text),
    ("row", SqlType::Jsonb),
    ("_ov", SqlType::Int8),
    ("resolved_at", SqlType::Timestamptz),
];

/// What REVERT TRANSACTION answers.
pub(super) const REVERT_COLUMNS: &[(&str, SqlType)] = &[
    ("transaction", SqlType::Int8),
    ("committed_at", SqlType::Timestamptz),
    ("tables", SqlType::Int8),
    ("restored", SqlType::Int8),
    ("removed", SqlType::Int8),
];

/// The columns before the table's own in the queries of this module.
const LEADING: usize = 5;

/// Rows to end and rows to write.
#[derive(Default)]
struct Work {
    ends: Vec<RowRef>,
    rows: Vec<RecordBatch>,
    versions: Vec<i64>,
    /// What RESTORE ROW tells of each row: change, content, new version.
    told: Vec<(String, Option<String>, Option<i64>)>,
}

impl Session {
    /// 25006 where a statement cannot write.
    pub(super) fn check_write_allowed(&self, what: &str) -> PgResult<()> {
        if self.shared.settings.read().is_on("transaction_read_only") {
            let message = format!("cannot execute {what} in a read-only transaction");
            return Err(PgError::new("25006", message));
        }
        if self.shared.as_of().is_some() {
            let message = format!("cannot execute {what} while reading as of an instant");
            return Err(PgError::new("25006", message));
        }
        Ok(())
    }

    pub(super) async fn restore(&mut self, restore: &Restore) -> PgResult<Response> {
        let target = self.write_target(&restore.table)?;
        self.refuse_policies(&target, "RESTORE of")?;
        self.require_owner(&self.scope()?, target.oid)?;
        let at = self.moment(&target, &restore.to).await?;
        self.shared.engine.close_instant(at).await?;
        self.catch_up(at).await;
        if let Some(name) = &restore.name {
            return self.restore_as(&target, at, name, restore.dry_run).await;
        }
        let query = self.restore_query(&target, at, restore.selection.as_ref())?;
        let work = self.gather(&target, query).await?;
        let planned = work.told.len() as i64;
        let told = work.told.clone();
        if !restore.dry_run {
            self.carry_out(&target, work).await?;
        }
        let instant: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from_value(at.micros(), 1).with_timezone("UTC"));
        if restore.selection.is_some() {
            let n = told.len();
            let arrays: Vec<ArrayRef> = vec![
                Arc::new(StringViewArray::from_iter_values(told.iter().map(|t| &t.0))),
                Arc::new(told.iter().map(|t| t.1.clone()).collect::<StringViewArray>()),
                Arc::new(told.iter().map(|t| t.2).collect::<Int64Array>()),
                Arc::new(
                    TimestampMicrosecondArray::from_value(at.micros(), n).with_timezone("UTC"),
                ),
            ];
            return answer(ROW_COLUMNS, arrays, "RESTORE ROW");
        }
        let version = super::table_version(&self.shared.engine, target.oid, at).await?;
        let restored = if restore.dry_run { 0 } else { planned };
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values([&target.name])),
            Arc::new(Int64Array::from(vec![version])),
            instant,
            Arc::new(Int64Array::from(vec![planned])),
            Arc::new(Int64Array::from(vec![restored])),
        ];
        answer(TABLE_COLUMNS, arrays, "RESTORE TABLE")
    }

    /// The instant that a statement goes back to.
    async fn moment(&mut self, target: &WriteTarget, moment: &Moment) -> PgResult<CommitTs> {
        match moment {
            Moment::Instant(expr) => {
                let t = self.evaluate_instant(expr).await?;
                SessionCatalog(Arc::clone(&self.shared)).check_instant(t)?;
                // The plan that comes reads it through a provider of its own.
                self.shared.scope.lock().latest_instant = None;
                Ok(t)
            }
            Moment::Version(expr) => {
                let version = self.number(expr, "the version").await?;
                super::version_instant(&self.shared.engine, target.oid, version).await?.ok_or_else(
                    || {
                        let message = format!("table \"{}\" has no version {version}", target.name);
                        PgError::new("22023", message)
                    },
                )
            }
        }
    }

    async fn number(&mut self, expr: &Expr, what: &str) -> PgResult<i64> {
        let value = self.constants(vec![expr.clone()]).await?.pop().unwrap_or(ScalarValue::Null);
        match value.cast_to(&datafusion::arrow::datatypes::DataType::Int64) {
            Ok(ScalarValue::Int64(Some(n))) => Ok(n),
            _ => Err(PgError::new("22023", format!("{what} must be a whole number"))),
        }
    }

    /// A copy of a table as it was.
    async fn restore_as(
        &mut self,
        target: &WriteTarget,
        at: CommitTs,
        name: &datafusion::sql::sqlparser::ast::ObjectName,
        dry_run: bool,
    ) -> PgResult<Response> {
        if dry_run {
            return Err(PgError::unsupported("RESTORE TABLE … AS with DRY RUN"));
        }
        let (schema, table) = (q(&target.schema), q(&target.name));
        let instant = chronos_sql_ext::instant::display(at);
        let text = format!(
            "CREATE TABLE {name} AS SELECT * FROM {schema}.{table} \
             FOR SYSTEM_TIME AS OF TIMESTAMPTZ '{instant}'"
        );
        let parsed = chronos_sql_ext::parse(&text)?.pop().map(|s| s.kind);
        let Some(chronos_sql_ext::StatementKind::Sql(statement)) = parsed else {
            return Err(PgError::internal("the statement of a copy does not parse"));
        };
        self.define(&statement).await?;
        Ok(Response::Complete("RESTORE TABLE".to_owned()))
    }

    /// Gives place and version of the current row, whether there was a row then, the version
    /// that a row which comes back gets, and the content of then. Rows that are as they were are
    /// left out.
    fn restore_query(
        &self,
        target: &WriteTarget,
        at: CommitTs,
        selection: Option<&Expr>,
    ) -> PgResult<Query> {
        let (now, past, versions) = self.restore_tables(target.oid, at)?;
        let now = self.offer(0, "now", now);
        let past = self.offer(0, "past", past);
        let versions = self.offer(0, "versions", versions);
        let keys = key_names(&target.def);
        let columns = column_names(&target.def);
        let alias = q(&target.name);
        let names = |qualifier: &str| {
            let list: Vec<String> =
                columns.iter().map(|c| format!("{qualifier}.{}", q(c))).collect();
            list.join(", ")
        };
        let own = names(&alias);
        let row = object(&alias, &columns);
        let gap = "\u{1}selection".to_owned();
        let chosen = if selection.is_some() { q(&gap) } else { "true".to_owned() };
        let side = |table: &str| {
            format!(
                "(SELECT {own}, {row} AS \"\u{1}row\", {alias}._segment AS \"\u{1}s\", \
                 {alias}._position AS \"\u{1}p\", {alias}._ov AS \"\u{1}o\", \
                 {chosen} AS \"\u{1}chosen\" FROM {table} {alias})"
            )
        };
        let (condition, last, history) = if keys.is_empty() {
            let same_place = "n.\"\u{1}s\" = p.\"\u{1}s\" AND n.\"\u{1}p\" = p.\"\u{1}p\"";
            (same_place.to_owned(), "p.\"\u{1}o\"".to_owned(), String::new())
        } else {
            let list: Vec<String> = keys.iter().map(|k| format!("t.{}", q(k))).collect();
            let list = list.join(", ");
            let history = format!(
                " LEFT JOIN (SELECT {list}, max(t._ov) AS \"\u{1}last\" FROM {versions} t \
                 GROUP BY {list}) h ON {}",
                same_key("p", "h", &keys)
            );
            (same_key("n", "p", &keys), "h.\"\u{1}last\"".to_owned(), history)
        };
        let text = format!(
            "SELECT n.\"\u{1}s\" AS \"\u{1}1\", n.\"\u{1}p\" AS \"\u{1}2\", \
             n.\"\u{1}o\" AS \"\u{1}3\", p.\"\u{1}row\" AS \"\u{1}4\", \
             CASE WHEN n.\"\u{1}row\" IS NULL THEN {last} ELSE n.\"\u{1}o\" END AS \"\u{1}5\", \
             {}, n.\"\u{1}row\" AS \"\u{1}6\" FROM {} n FULL JOIN {} p ON {condition}{history} \
             WHERE (n.\"\u{1}row\" IS DISTINCT FROM p.\"\u{1}row\") \
             AND (coalesce(n.\"\u{1}chosen\", false) OR coalesce(p.\"\u{1}chosen\", false))",
            names("p"),
            side(&now),
            side(&past),
        );
        let gaps: Vec<(String, Expr)> = selection.map(|s| (gap, s.clone())).into_iter().collect();
        query_of(&text, &gaps)
    }

    /// The table now, then (in the shape of now), and in all its versions.
    fn restore_tables(
        &self,
        oid: Oid,
        at: CommitTs,
    ) -> PgResult<(
        Arc<chronos_storage::VersionedTable>,
        Arc<chronos_storage::VersionedTable>,
        Arc<chronos_storage::VersionedTable>,
    )> {
        let guard = self
            .shared
            .transaction
            .try_read()
            .map_err(|_| PgError::internal("planning while a statement writes"))?;
        let transaction = guard.as_ref().ok_or_else(crate::session::session::aborted)?;
        let now = transaction.current_table(oid)?;
        let then = transaction.table_in_present_shape(oid, SystemTime::AsOf(at))?;
        let versions = transaction.versions(oid, None)?;
        Ok((
            Arc::new(now.as_ref().clone().with_internal_columns()),
            Arc::new(then.as_ref().clone().with_internal_columns()),
            versions,
        ))
    }

    /// What the rows of a query of this module come to.
    async fn gather(&mut self, target: &WriteTarget, query: Query) -> PgResult<Work> {
        let planned = self.plan(&Statement::Query(Box::new(query))).await?;
        let batches = self.collect(planned).await?;
        let mut work = Work::default();
        let schema = nullable(target);
        let width = target.def.columns.len();
        let internal = || PgError::internal("a restored row without its place");
        for batch in batches.iter().filter(|b| b.num_rows() > 0) {
            let segments = batch.column(0).as_primitive_opt::<UInt64Type>().ok_or_else(internal)?;
            let positions =
                batch.column(1).as_primitive_opt::<UInt32Type>().ok_or_else(internal)?;
            let versions = batch.column(4).as_primitive_opt::<Int64Type>().ok_or_else(internal)?;
            let then = texts(batch.column(3))?;
            let now = match batch.columns().get(LEADING + width) {
                Some(column) => Some(texts(column)?),
                None => None,
            };
            let present: BooleanArray =
                (0..batch.num_rows()).map(|i| Some(then.is_valid(i))).collect();
            for i in 0..batch.num_rows() {
                let current = segments.is_valid(i);
                if current {
                    let segment = SegmentId(segments.value(i));
                    work.ends.push(RowRef { segment, position: positions.value(i) });
                }
                let next = versions.is_valid(i).then(|| versions.value(i) + 1);
                if then.is_valid(i) {
                    work.versions.push(next.unwrap_or(0));
                }
                let change = match (current, then.is_valid(i)) {
                    (true, true) => "update",
                    (true, false) => "delete",
                    _ => "insert",
                };
                let content = if then.is_valid(i) {
                    Some(then.value(i).to_owned())
                } else {
                    now.as_ref().filter(|n| n.is_valid(i)).map(|n| n.value(i).to_owned())
                };
                let version = if then.is_valid(i) { next } else { None };
                work.told.push((change.to_owned(), content, version));
            }
            let mut columns = Vec::with_capacity(width);
            for (column, array) in target.def.columns.iter().zip(&batch.columns()[LEADING..]) {
                columns.push(cast(array, &column.ty.arrow())?);
            }
            let rows = RecordBatch::try_new(Arc::clone(&schema), columns)?;
            let rows = filter_record_batch(&rows, &present)?;
            if rows.num_rows() > 0 {
                work.rows.push(rows);
            }
        }
        Ok(work)
    }

    /// Ends and writes; keys of ended rows are free by then.
    async fn carry_out(&mut self, target: &WriteTarget, work: Work) -> PgResult<()> {
        let rows = concat_batches(&nullable(target), &work.rows)?;
        self.check(target, &rows).await?;
        self.end_rows(target, &work.ends, None).await?;
        if rows.num_rows() > 0 {
            let versions = Int64Array::from(work.versions);
            self.insert_versions(target, rows, versions).await?;
        }
        Ok(())
    }

    pub(super) async fn revert(&mut self, transaction: &Expr) -> PgResult<Response> {
        let number = self.number(transaction, "the number of the transaction").await?;
        let engine = Arc::clone(&self.shared.engine);
        let Some(ts) = super::commit_time(&engine, number).await? else {
            let message = format!("transaction {number} does not exist");
            return Err(PgError::new("22023", message)
                .hint("chronos.commits has the numbers of transactions."));
        };
        let (tables, definitions) = self.tables_of_commit(number).await?;
        if definitions > 0 {
            return Err(PgError::unsupported("reverting a transaction that changed definitions"));
        }
        let (mut restored, mut removed) = (0, 0);
        let count = tables.len() as i64;
        for table in tables {
            let target = self.target_of(table)?;
            self.require_owner(&self.scope()?, target.oid)?;
            let (ends, work) = self.reverted(&target, ts).await?;
            removed += ends.saturating_sub(work.versions.len() as i64);
            restored += work.versions.len() as i64;
            let carried = self.carry_out(&target, work).await;
            carried.map_err(|error| match error.code {
                "23505" => conflict(&target, number)
                    .detail(error.detail.unwrap_or_else(|| "A key is in use again.".to_owned())),
                _ => error,
            })?;
        }
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![number])),
            Arc::new(TimestampMicrosecondArray::from_value(ts.micros(), 1).with_timezone("UTC")),
            Arc::new(Int64Array::from(vec![count])),
            Arc::new(Int64Array::from(vec![restored])),
            Arc::new(Int64Array::from(vec![removed])),
        ];
        answer(REVERT_COLUMNS, arrays, "REVERT TRANSACTION")
    }

    /// The tables that a commit wrote to, and how many definitions it changed.
    async fn tables_of_commit(&mut self, number: i64) -> PgResult<(Vec<Oid>, i64)> {
        let text = format!(
            "SELECT CAST(table_oid AS bigint), definitions FROM chronos._commits \
             WHERE _cv = {number}"
        );
        // The statement may know what it wrote to, whoever may read the log.
        self.shared.scope.lock().acting.push(Oid::SUPERUSER);
        let planned = self.plan(&Statement::Query(Box::new(query_of(&text, &[])?))).await;
        self.shared.scope.lock().acting.pop();
        let planned = planned?;
        let mut tables = Vec::new();
        let mut definitions = 0;
        for batch in self.collect(planned).await? {
            let oids = batch.column(0).as_primitive_opt::<Int64Type>();
            let counts = batch.column(1).as_primitive_opt::<Int64Type>();
            let (Some(oids), Some(counts)) = (oids, counts) else {
                return Err(PgError::internal("the log of commits has other columns"));
            };
            tables.extend(oids.iter().flatten().map(|oid| Oid(oid as u32)));
            definitions += counts.iter().flatten().sum::<i64>();
        }
        Ok((tables, definitions))
    }

    /// A table by its identifier.
    pub(in crate::session) fn target_of(&self, table: Oid) -> PgResult<WriteTarget> {
        let scope = self.scope()?;
        let object = scope.objects.get(table, scope.at);
        let found = object.and_then(|o| match &o.relation {
            chronos_catalog::Relation::Table(def) => Some((o, Arc::clone(def))),
            _ => None,
        });
        let Some((object, def)): Option<(_, Arc<TableDef>)> = found else {
            let message = "a table that the transaction wrote to does not exist any more";
            return Err(PgError::new("42P01", message).hint("UNDROP TABLE brings it back."));
        };
        Ok(WriteTarget {
            oid: table,
            schema: scope.lookup().schema_name(object.namespace),
            name: object.name.clone(),
            def,
        })
    }

    /// What undoing a commit in one table comes to, and how many versions it ends.
    async fn reverted(&mut self, target: &WriteTarget, ts: CommitTs) -> PgResult<(i64, Work)> {
        self.refuse_policies(target, "REVERT TRANSACTION in")?;
        let versions = {
            let guard = self.shared.transaction.read().await;
            let transaction = guard.as_ref().ok_or_else(crate::session::session::aborted)?;
            if transaction.has_rows(target.oid) {
                return Err(PgError::unsupported(
                    "REVERT TRANSACTION on a table that this transaction wrote to",
                ));
            }
            transaction.versions(target.oid, None)?
        };
        let internal = Arc::new(versions.as_ref().clone().with_internal_columns());
        let table = self.offer(0, "versions", internal);
        let instant = Expr::Cast {
            kind: datafusion::sql::sqlparser::ast::CastKind::Cast,
            expr: Box::new(Expr::value(Value::SingleQuotedString(
                chronos_sql_ext::instant::display(ts),
            ))),
            data_type: datafusion::sql::sqlparser::ast::DataType::Timestamp(
                None,
                datafusion::sql::sqlparser::ast::TimezoneInfo::Tz,
            ),
            array: false,
            format: None,
        };
        let gaps = [("\u{1}instant".to_owned(), instant)];
        let written = format!(
            "SELECT t._segment, t._position, t._system_to FROM {table} t \
             WHERE t._system_from = \"\u{1}instant\""
        );
        let planned = self.plan(&Statement::Query(Box::new(query_of(&written, &gaps)?))).await?;
        let mut ends = Vec::new();
        for batch in self.collect(planned).await? {
            let segments = batch.column(0).as_primitive_opt::<UInt64Type>();
            let positions = batch.column(1).as_primitive_opt::<UInt32Type>();
            let (Some(segments), Some(positions)) = (segments, positions) else {
                return Err(PgError::internal("versions without their places"));
            };
            if batch.column(2).null_count() < batch.num_rows() {
                return Err(conflict_later(target));
            }
            for i in 0..batch.num_rows() {
                let segment = SegmentId(segments.value(i));
                ends.push(RowRef { segment, position: positions.value(i) });
            }
        }
        let keys = key_names(&target.def);
        let columns = column_names(&target.def);
        let list: Vec<String> = columns.iter().map(|c| format!("t.{}", q(c))).collect();
        let row = object("t", &columns);
        let (last, history) = if keys.is_empty() {
            ("t._ov".to_owned(), String::new())
        } else {
            let own: Vec<String> = keys.iter().map(|k| format!("v.{}", q(k))).collect();
            let own = own.join(", ");
            let history = format!(
                " JOIN (SELECT {own}, max(v._ov) AS \"\u{1}last\" FROM {table} v \
                 GROUP BY {own}) h ON {}",
                same_key("t", "h", &keys)
            );
            ("h.\"\u{1}last\"".to_owned(), history)
        };
        let ended = format!(
            "SELECT 0 AS \"\u{1}1\", 0 AS \"\u{1}2\", t._ov AS \"\u{1}3\", \
             {row} AS \"\u{1}4\", {last} AS \"\u{1}5\", {} \
             FROM {table} t{history} WHERE t._system_to = \"\u{1}instant\"",
            list.join(", ")
        );
        let query = query_of(&ended, &gaps)?;
        let mut work = self.gather_ended(target, query).await?;
        let count = ends.len() as i64;
        work.ends = ends;
        Ok((count, work))
    }

    /// The same as `gather` for rows that only come back.
    async fn gather_ended(&mut self, target: &WriteTarget, query: Query) -> PgResult<Work> {
        let planned = self.plan(&Statement::Query(Box::new(query))).await?;
        let mut work = Work::default();
        let schema = nullable(target);
        for batch in self.collect(planned).await?.iter().filter(|b| b.num_rows() > 0) {
            let versions = batch
                .column(4)
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(|| PgError::internal("a reverted row without its version"))?;
            work.versions.extend(versions.values().iter().map(|v| v + 1));
            let mut columns = Vec::with_capacity(target.def.columns.len());
            for (column, array) in target.def.columns.iter().zip(&batch.columns()[LEADING..]) {
                columns.push(cast(array, &column.ty.arrow())?);
            }
            work.rows.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
        }
        Ok(work)
    }
}

fn texts(array: &ArrayRef) -> PgResult<StringViewArray> {
    let array = cast(array, &datafusion::arrow::datatypes::DataType::Utf8View)?;
    array
        .as_string_view_opt()
        .cloned()
        .ok_or_else(|| PgError::internal("the content of a row is no text"))
}

fn conflict(target: &WriteTarget, number: i64) -> PgError {
    let message = format!(
        "could not revert transaction {number}: table \"{}\" was changed by a later transaction",
        target.name
    );
    PgError::new("40001", message)
}

fn conflict_later(target: &WriteTarget) -> PgError {
    let message = format!(
        "could not revert the transaction: table \"{}\" was changed by a later transaction",
        target.name
    );
    PgError::new("40001", message).detail("A row that it wrote has a newer version, or is deleted.")
}
