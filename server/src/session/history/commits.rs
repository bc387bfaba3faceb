//! The log of commits: `chronos.commits`, the counters made of it, and the instants of numbered
//! versions.

use std::sync::Arc;

use chronos_catalog::{CommitTs, Oid, Relation, SystemTime, commits_object};
use chronos_storage::{Overlay, VersionedTable};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::functions_aggregate::expr_fn::{max, min};
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::prelude::SessionContext;

use crate::engine::Engine;
use crate::error::{PgError, PgResult};

/// The system's own views: name, query, columns.
const VIEWS: [(&str, &str, &[&str]); 2] = [
    (
        "commits",
        "SELECT _system_from AS commit_time, _cv AS commit_number, max(user_name) AS user_name, \
         max(application_name) AS application_name, max(actor) AS actor, max(reason) AS reason, \
         max(function_id) AS function_id, \
         array_agg(table_schema || '.' || table_name ORDER BY table_oid) \
         FILTER (WHERE table_oid IS NOT NULL) AS tables, \
         CAST(sum(rows_inserted + rows_updated) AS bigint) AS rows_written, \
         CAST(sum(rows_updated + rows_deleted) AS bigint) AS rows_ended, \
         CAST(sum(definitions) AS bigint) AS definitions \
         FROM chronos._commits GROUP BY _system_from, _cv",
        &[
            "commit_time",
            "commit_number",
            "user_name",
            "application_name",
            "actor",
            "reason",
            "function_id",
            "tables",
            "rows_written",
            "rows_ended",
            "definitions",
        ],
    ),
    (
        "table_counters",
        "SELECT t.table_schema, t.table_name, t.table_oid, coalesce(c.created, 0) AS created, \
         coalesce(c.updated, 0) AS updated, coalesce(c.deleted, 0) AS deleted, c.last_at \
         FROM chronos.tables t LEFT JOIN (SELECT table_oid, \
         CAST(sum(rows_inserted) AS bigint) AS created, \
         CAST(sum(rows_updated) AS bigint) AS updated, \
         CAST(sum(rows_deleted) AS bigint) AS deleted, max(_system_from) AS last_at \
         FROM chronos._commits GROUP BY table_oid) c ON c.table_oid = t.table_oid",
        &["table_schema", "table_name", "table_oid", "created", "updated", "deleted", "last_at"],
    ),
];

/// One of the system's own views in the schema `chronos`: its query and columns.
pub(in crate::session) fn view(name: &str) -> Option<(String, Vec<String>)> {
    let (_, query, columns) = VIEWS.iter().find(|(n, ..)| *n == name)?;
    Some(((*query).to_owned(), columns.iter().map(|c| (*c).to_owned()).collect()))
}

/// The log of commits as of an instant.
fn log(engine: &Engine, at: CommitTs) -> PgResult<Arc<VersionedTable>> {
    let Relation::Table(def) = commits_object().relation else {
        return Err(PgError::internal("the log of commits is no table"));
    };
    let store = engine.store().table_or_empty(Oid::COMMITS, &def);
    let (time, overlay) = (SystemTime::AsOf(at), Overlay::default());
    Ok(Arc::new(VersionedTable::new(Oid::COMMITS, Some(store), def, time, at, overlay)))
}

/// The least instant and the greatest table version of the commits that meet a condition.
async fn find(
    engine: &Engine,
    at: CommitTs,
    condition: Expr,
) -> PgResult<(Option<CommitTs>, Option<i64>)> {
    let context = SessionContext::new();
    let found = context
        .read_table(log(engine, at)?)?
        .filter(condition)?
        .aggregate(Vec::new(), vec![min(col("_system_from")), max(col("table_version"))])?
        .collect()
        .await?;
    let mut result = (None, None);
    for batch in found.iter().filter(|b| b.num_rows() > 0) {
        let instants = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>();
        let versions = batch.column(1).as_primitive_opt::<Int64Type>();
        result.0 = instants.and_then(|a| a.iter().flatten().next()).map(CommitTs);
        result.1 = versions.and_then(|a| a.iter().flatten().next());
    }
    Ok(result)
}

/// The instant of a table's numbered commit; `None` where there is none.
pub(in crate::session) async fn version_instant(
    engine: &Engine,
    table: Oid,
    version: i64,
) -> PgResult<Option<CommitTs>> {
    let condition = col("table_oid").eq(lit(table.0)).and(col("table_version").eq(lit(version)));
    Ok(find(engine, engine.last_commit(), condition).await?.0)
}

/// A table's version at an instant; `None` before its first.
pub(in crate::session) async fn table_version(
    engine: &Engine,
    table: Oid,
    at: CommitTs,
) -> PgResult<Option<i64>> {
    let known = {
        let state = engine.state().read();
        state
            .manifests
            .get(&table)
            .filter(|m| m.last_commit <= at)
            .map(|m| m.commit_number.checked_sub(1).filter(|n| *n >= 0))
    };
    match known {
        Some(version) => Ok(version),
        None => Ok(find(engine, at, col("table_oid").eq(lit(table.0))).await?.1),
    }
}

/// The instant of a commit by its number.
pub(in crate::session) async fn commit_time(
    engine: &Engine,
    number: i64,
) -> PgResult<Option<CommitTs>> {
    Ok(find(engine, engine.last_commit(), col("_cv").eq(lit(number))).await?.0)
}
