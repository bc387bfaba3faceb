//! Temporary relations: those in a schema `pg_temp_N`, which one session has.
//!
//! They are relations like others, so transactions, savepoints and constraints hold for them; what
//! is theirs alone is the end: they go when their session does, or at the next start.

use std::sync::Arc;

use chronos_catalog::{CommitMeta, CommitTs, NameKind, Oid, Relation, TEMPORARY_PREFIX};

use crate::engine::error::EngineResult;
use crate::engine::instance::Engine;

/// Drops the temporary relations of one session, or of all.
///
/// # Errors
/// The commit's.
pub async fn drop_temporary(engine: &Arc<Engine>, schema: Option<&str>) -> EngineResult<()> {
    let mut transaction = engine.begin();
    let objects = transaction.objects();
    let at = transaction.objects_at();
    let schemas: Vec<Oid> = match schema {
        Some(name) => objects
            .lookup(NameKind::Schema, None, name, at)
            .map(|(oid, _)| oid)
            .into_iter()
            .collect(),
        None => objects
            .iter(at)
            .filter(|(_, o)| {
                matches!(o.relation, Relation::Schema) && o.name.starts_with(TEMPORARY_PREFIX)
            })
            .map(|(oid, _)| oid)
            .collect(),
    };
    if schemas.is_empty() {
        transaction.rollback();
        return Ok(());
    }
    let inside: Vec<Oid> = objects
        .iter(at)
        .filter(|(_, o)| o.namespace.is_some_and(|n| schemas.contains(&n)))
        .map(|(oid, _)| oid)
        .collect();
    for oid in inside.into_iter().chain(schemas) {
        transaction.change(oid, None)?;
    }
    let meta = CommitMeta { user: "chronos".to_owned(), ..CommitMeta::default() };
    let _at: Option<CommitTs> = transaction.commit(meta).await?;
    Ok(())
}
