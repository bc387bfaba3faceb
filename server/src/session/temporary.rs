//! Temporary tables, views and sequences: relations in the session's own schema, `pg_temp`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chronos_catalog::{ConstraintKind, Oid, Relation, TEMPORARY_PREFIX};
use datafusion::sql::sqlparser::ast::OnCommit;

use super::ddl::{NameScope, object};
use super::names::RelationName;
use super::session::Session;
use super::shared::Shared;
use crate::engine::drop_temporary;
use crate::error::{PgError, PgResult};

/// The option of a table that says what COMMIT does to it.
const ON_COMMIT: &str = "on_commit";

impl Shared {
    /// The name of the schema of the session's temporary relations.
    pub fn temporary_schema(&self) -> String {
        format!("{TEMPORARY_PREFIX}{}", self.identity.process_id)
    }
}

impl Session {
    /// The schema in which a relation of that name is made.
    pub(super) async fn creation_namespace(
        &mut self,
        name: &RelationName,
        temporary: bool,
    ) -> PgResult<(NameScope, Oid)> {
        let named = name.schema.as_deref();
        let own = self.shared.temporary_schema();
        let in_own = named.is_some_and(|s| s == "pg_temp" || s == own);
        if !temporary && !in_own {
            let scope = self.scope()?;
            let (namespace, _) = scope.lookup().creation_schema(name)?;
            return Ok((scope, namespace));
        }
        if named.is_some() && !in_own {
            let message = "cannot create temporary relation in non-temporary schema";
            return Err(PgError::new("42P16", message));
        }
        let scope = self.scope()?;
        if let Some(namespace) = scope.lookup().schema(&own) {
            return Ok((scope, namespace));
        }
        let oid = self.allocate_oid().await?;
        let owner = self.owner(&scope);
        self.change(oid, Some(object(&own, None, owner, Relation::Schema))).await?;
        self.shared.temporary.store(true, Ordering::Relaxed);
        Ok((self.scope()?, oid))
    }

    /// Carries out ON COMMIT of the session's temporary tables.
    pub(super) async fn settle_temporary(&mut self) -> PgResult<()> {
        if !self.shared.temporary.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.shared.transaction.read().await.is_none() {
            return Ok(());
        }
        let scope = self.scope()?;
        let Some(namespace) = scope.lookup().schema(&self.shared.temporary_schema()) else {
            return Ok(());
        };
        let mut ends = Vec::new();
        for (oid, object) in scope.objects.iter(scope.at) {
            if let Relation::Table(def) = &object.relation
                && object.namespace == Some(namespace)
                && let Some(end) = def.options.get(ON_COMMIT)
            {
                ends.push((oid, end.clone()));
            }
        }
        for (oid, end) in ends {
            match end.as_str() {
                "drop" => self.drop_one(oid, &[], true).await?,
                _ => {
                    let target = self.target_of(oid)?;
                    self.delete_all(&target).await?;
                    self.touched.clear();
                }
            }
        }
        Ok(())
    }

    /// A permanent table refers to no temporary one, nor the other way round: one would be gone
    /// before the other.
    ///
    /// # Errors
    /// 42P16
    pub(super) fn refuse_mixed_persistence(
        &self,
        scope: &NameScope,
        namespace: Oid,
        kind: &ConstraintKind,
        own: Oid,
    ) -> PgResult<()> {
        let ConstraintKind::ForeignKey { table, .. } = kind else { return Ok(()) };
        if *table == own {
            return Ok(());
        }
        let is_temporary = |schema: &str| schema.starts_with(TEMPORARY_PREFIX);
        let own = is_temporary(&scope.lookup().schema_name(Some(namespace)));
        let message = match (own, is_temporary(&self.target_of(*table)?.schema)) {
            (true, false) => "constraints on temporary tables may reference only temporary tables",
            (false, true) => "constraints on permanent tables may reference only permanent tables",
            _ => return Ok(()),
        };
        Err(PgError::new("42P16", message))
    }

    /// DISCARD TEMP.
    pub(super) async fn discard_temporary(&mut self) -> PgResult<()> {
        if self.shared.temporary.load(Ordering::Relaxed) {
            let schema = self.shared.temporary_schema();
            drop_temporary(&self.shared.engine, Some(&schema)).await?;
        }
        Ok(())
    }
}

/// What ON COMMIT says, as an option of the table.
///
/// # Errors
/// 42P16 for a table that is not temporary.
pub(super) fn on_commit(
    given: Option<&OnCommit>,
    temporary: bool,
) -> PgResult<Option<(String, String)>> {
    let value = match given {
        None => return Ok(None),
        Some(_) if !temporary => {
            let message = "ON COMMIT can only be used on temporary tables";
            return Err(PgError::new("42P16", message));
        }
        Some(OnCommit::PreserveRows) => return Ok(None),
        Some(OnCommit::DeleteRows) => "delete rows",
        Some(OnCommit::Drop) => "drop",
    };
    Ok(Some((ON_COMMIT.to_owned(), value.to_owned())))
}

impl Drop for Session {
    fn drop(&mut self) {
        // A companion has no place of its own, and ends before its session.
        if !self.is_companion() && self.shared.temporary.load(Ordering::Relaxed) {
            let (engine, schema) =
                (Arc::clone(&self.shared.engine), self.shared.temporary_schema());
            let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
            runtime.spawn(async move {
                if let Err(error) = drop_temporary(&engine, Some(&schema)).await {
                    // The next start drops them.
                    tracing::debug!(%error, schema, "could not drop temporary relations");
                }
            });
        }
    }
}
