//! Working with history: what changed, who did it, and bringing it back.
//!
//! - `calls`: `chronos.diff`, `chronos.history`, `chronos.blame` and others in FROM, each
//!   written out as the query that it stands for.
//! - `commits`: the log of commits, and the instants of versions.
//! - `restore`: RESTORE TABLE, RESTORE ROW, REVERT TRANSACTION.
//! - `undrop`: UNDROP TABLE.

mod calls;
mod commits;
mod restore;
mod undrop;

use std::ops::ControlFlow;
use std::sync::Arc;

use chronos_catalog::{ConstraintKind, TableDef};
use chronos_sql_ext::{Extension, StatementKind};
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{Expr, Query, Statement, visit_expressions_mut};
use futures::StreamExt;

pub(super) use calls::holds_call;
pub(super) use commits::{commit_time, table_version, version_instant, view};

use super::api::{FieldDescription, Response};
use super::session::Session;
use super::transaction::Block;
use crate::error::{PgError, PgResult};
use chronos_catalog::SqlType;

/// How often a single statement outside a block is run again after losing a race.
const RETRIES: usize = 20;

impl Session {
    /// Carries out a statement of this module, as a transaction of its own outside a block.
    pub(super) async fn run_history(&mut self, extension: &Extension) -> PgResult<Response> {
        let mut attempt = 0;
        loop {
            self.open_transaction().await?;
            self.touched.clear();
            let result = match Box::pin(self.run_history_once(extension)).await {
                Ok(response) => Box::pin(self.finish_foreign_keys()).await.map(|()| response),
                Err(error) => Err(error),
            };
            if self.block != Block::None {
                return result;
            }
            let result = match result {
                Ok(response) => self.shared.commit().await.map(|_| response),
                Err(error) => {
                    self.shared.rollback().await;
                    Err(error)
                }
            };
            match result {
                // A conflict with a later transaction stays one, however often it is tried.
                Err(error)
                    if error.code == "40001"
                        && attempt < RETRIES
                        && !matches!(extension, Extension::Revert { .. }) =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn run_history_once(&mut self, extension: &Extension) -> PgResult<Response> {
        let what = match extension {
            Extension::Restore(restore) if restore.selection.is_some() => "RESTORE ROW",
            Extension::Restore(_) => "RESTORE TABLE",
            Extension::UndropTable { .. } => "UNDROP TABLE",
            Extension::AlterRelation { .. } => "ALTER",
            Extension::AlterSequence(_) => "ALTER SEQUENCE",
            Extension::AlterColumn { .. } | Extension::AlterStorage { .. } => "ALTER TABLE",
            Extension::CommentOnConstraint { .. } => "COMMENT",
            Extension::Access(access) if access.changes_nothing() => "",
            Extension::Access(access) => access.tag(),
            _ => "REVERT TRANSACTION",
        };
        if !what.is_empty() {
            self.check_write_allowed(what)?;
        }
        match extension {
            Extension::Restore(restore) => self.restore(restore).await,
            Extension::UndropTable { table, instant, name } => {
                self.undrop(table, instant.as_ref(), name.as_ref()).await
            }
            Extension::Revert { transaction } => self.revert(transaction).await,
            Extension::AlterRelation { kind, if_exists, name, change } => {
                let tag = self.alter_relation(*kind, *if_exists, name, change).await?;
                Ok(Response::Complete(tag))
            }
            Extension::Access(access) => Ok(Response::Complete(self.run_access(access).await?)),
            other => Box::pin(self.define_extension(other)).await.map(Response::Complete),
        }
    }
}

/// The columns that a statement of ours answers.
pub(super) fn fields(extension: &Extension) -> Option<Arc<[FieldDescription]>> {
    let columns = match extension {
        Extension::Restore(restore) if restore.selection.is_some() => restore::ROW_COLUMNS,
        Extension::Restore(restore) if restore.name.is_none() => restore::TABLE_COLUMNS,
        Extension::Revert { .. } => restore::REVERT_COLUMNS,
        Extension::Backup { .. } => super::backup::BACKUP_COLUMNS,
        Extension::VerifyBackup { .. } => super::backup::VERIFY_COLUMNS,
        _ => return None,
    };
    Some(describe(columns))
}

fn describe(columns: &[(&str, SqlType)]) -> Arc<[FieldDescription]> {
    columns
        .iter()
        .map(|(name, ty)| FieldDescription {
            name: (*name).to_owned(),
            table_oid: 0,
            column: 0,
            ty: ty.clone(),
        })
        .collect()
}

/// An answer of given columns.
pub(super) fn answer(
    columns: &[(&str, SqlType)],
    arrays: Vec<ArrayRef>,
    tag: &str,
) -> PgResult<Response> {
    let schema: Vec<_> = columns.iter().map(|(name, ty)| ty.field(name, true)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(schema)), arrays)?;
    let rows = futures::stream::iter([Ok(batch)]).boxed();
    Ok(Response::Rows { fields: describe(columns), rows, tag: tag.to_owned() })
}

/// A name in quotes.
fn q(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `jsonb_build_object('a', alias."a", …)` of columns.
fn object(alias: &str, columns: &[String]) -> String {
    let members: Vec<String> =
        columns.iter().map(|c| format!("{}, {alias}.{}", literal(c), q(c))).collect();
    format!("jsonb_build_object({})", members.join(", "))
}

/// The names of all columns.
fn column_names(def: &TableDef) -> Vec<String> {
    def.columns.iter().map(|c| c.name.clone()).collect()
}

/// The names of the columns that tell rows apart: those of the primary key; empty without one.
fn key_names(def: &TableDef) -> Vec<String> {
    let ids = def.constraints.iter().find_map(|c| match &c.kind {
        ConstraintKind::PrimaryKey(ids) => Some(ids.as_slice()),
        _ => None,
    });
    ids.unwrap_or_default()
        .iter()
        .filter_map(|id| def.column(*id).map(|c| c.name.clone()))
        .collect()
}

/// `a.k = b.k AND …`
fn same_key(a: &str, b: &str, keys: &[String]) -> String {
    let pairs: Vec<String> = keys.iter().map(|k| format!("{a}.{0} = {b}.{0}", q(k))).collect();
    pairs.join(" AND ")
}

/// The query that a text of our own is, its named gaps filled with expressions of the user's.
fn query_of(text: &str, gaps: &[(String, Expr)]) -> PgResult<Query> {
    let parsed = chronos_sql_ext::parse(text)?.pop().map(|s| s.kind);
    let Some(StatementKind::Sql(statement)) = parsed else {
        return Err(PgError::internal("a query about history does not parse"));
    };
    let Statement::Query(mut query) = *statement else {
        return Err(PgError::internal("a query about history is none"));
    };
    if !gaps.is_empty() {
        let _ = visit_expressions_mut(query.as_mut(), |expr| {
            if let Expr::Identifier(ident) = expr
                && let Some((_, value)) = gaps.iter().find(|(name, _)| *name == ident.value)
            {
                *expr = Expr::Nested(Box::new(value.clone()));
            }
            ControlFlow::<()>::Continue(())
        });
    }
    Ok(*query)
}
