//! Foreign keys: checked at the end of each statement (or of the transaction, where deferred), and
//! by the sequencer against what others commit meanwhile.
//!
//! ```text
//! child (p_id)  ── new rows: their keys must stand in ──►  parent (id)
//!               ◄── ended rows: their keys, if gone, must not be referred to, or the action
//!                   (CASCADE, SET NULL, SET DEFAULT) changes the child, and so on
//! ```
//!
//! As in PostgreSQL, what an action changes is looked at after all that the statement itself did:
//! NO ACTION does not wait for the actions that an action leads to.

mod actions;
mod deferred;
mod define;
mod keys;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chronos_catalog::{
    ColumnId, Constraint, ConstraintKind, Objects, Oid, ReadTs, Relation, RowRef,
};
use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};

use super::session::Session;
use super::write::WriteTarget;
use crate::engine::{Reference, RowsToRefer};
use crate::error::{PgError, PgResult};

pub(super) use deferred::{ConstraintModes, Deferred};
use keys::{complete_keys, places, referred_key, renamed};

/// How often actions may lead to further ones.
const ROUNDS: usize = 1000;

/// What a statement has done to a table with foreign keys on either side.
pub(super) enum Touched {
    /// Keys of new rows of a table that refers to another, in the order of its constraint.
    New { child: Oid, constraint: Oid, keys: RecordBatch },
    /// Keys of new rows whose periods must not overlap, the period's columns last.
    Periods { table: Oid, constraint: Oid, keys: RecordBatch },
    /// Ended rows of a table that is referred to, and what became of each if it was updated.
    Ended { parent: WriteTarget, old: RecordBatch, updated: Option<RecordBatch> },
}

/// A foreign key of another table (or the same) that refers to a table.
#[derive(Clone)]
pub(in crate::session) struct Referring {
    child: WriteTarget,
    constraint: Constraint,
}

/// A foreign key taken apart.
#[derive(Clone, Copy)]
struct Parts<'a> {
    columns: &'a [ColumnId],
    parent: Oid,
    referenced: &'a [ColumnId],
    on_delete: &'a str,
    on_update: &'a str,
    match_full: bool,
    deferrable: Option<bool>,
}

fn parts(constraint: &Constraint) -> Option<Parts<'_>> {
    match &constraint.kind {
        ConstraintKind::ForeignKey {
            columns,
            table,
            referenced,
            on_delete,
            on_update,
            match_full,
            deferrable,
        } => Some(Parts {
            columns,
            parent: *table,
            referenced,
            on_delete,
            on_update,
            match_full: *match_full,
            deferrable: *deferrable,
        }),
        _ => None,
    }
}

/// The tables that a relation's foreign keys refer to.
fn referred_tables(relation: &Relation) -> Vec<Oid> {
    match relation {
        Relation::Table(def) => {
            def.constraints.iter().filter_map(parts).map(|p| p.parent).collect()
        }
        _ => Vec::new(),
    }
}

impl Session {
    /// Notes new rows, whose references are checked at the end of the statement.
    ///
    /// # Errors
    /// 23503 for a key of MATCH FULL that is only partly there.
    pub(super) fn note_new(&mut self, target: &WriteTarget, rows: &RecordBatch) -> PgResult<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if !target.def.periods.is_empty() {
            self.note_periods(target, rows)?;
        }
        for constraint in &target.def.constraints {
            let Some(Parts { columns, match_full, .. }) = parts(constraint) else { continue };
            let at = places(&target.def, columns);
            if match_full {
                keys::refuse_mixed(target, constraint, &rows.project(&at)?)?;
            }
            let keys = complete_keys(rows, &at)?;
            if keys.num_rows() > 0 {
                let (child, constraint) = (target.oid, constraint.oid);
                self.touched.push(Touched::New { child, constraint, keys });
            }
        }
        Ok(())
    }

    /// Notes rows that are about to be ended, if any table refers to them.
    pub(super) async fn note_ended(
        &mut self,
        target: &WriteTarget,
        versions: &[RowRef],
        updated: Option<&RecordBatch>,
    ) -> PgResult<()> {
        if versions.is_empty() || self.referring(target.oid)?.is_empty() {
            return Ok(());
        }
        let guard = self.shared.transaction.read().await;
        let transaction = guard.as_ref().ok_or_else(super::session::aborted)?;
        let old = transaction.fetch_versions(target.oid, versions).await?;
        drop(guard);
        let (parent, updated) = (target.clone(), updated.cloned());
        self.touched.push(Touched::Ended { parent, old, updated });
        Ok(())
    }

    /// The foreign keys that refer to a table.
    pub(in crate::session) fn referring(&self, parent: Oid) -> PgResult<Vec<Referring>> {
        let (objects, at) = self.shared.objects()?;
        let mut found = Vec::new();
        if !self.is_parent(&objects, at, parent) {
            return Ok(found);
        }
        for (oid, object) in objects.iter(at) {
            let Relation::Table(def) = &object.relation else { continue };
            for constraint in &def.constraints {
                if parts(constraint).is_some_and(|p| p.parent == parent) {
                    found.push(Referring {
                        child: self.target_of(oid)?,
                        constraint: constraint.clone(),
                    });
                }
            }
        }
        // In the order in which they were made, as PostgreSQL looks at them.
        found.sort_by_key(|r| r.constraint.oid);
        Ok(found)
    }

    /// Whether a foreign key may refer to a table. Every change of a row asks, so what the catalog
    /// says is kept as long as the catalog.
    fn is_parent(&self, objects: &Arc<Objects>, at: ReadTs, table: Oid) -> bool {
        let mut parents = self.shared.parents.lock();
        if let Some((known, parents)) = parents.as_ref()
            && Arc::ptr_eq(known, objects)
        {
            return parents.contains(&table);
        }
        let of = |at| objects.iter(at).flat_map(|(_, o)| referred_tables(&o.relation));
        let found: HashSet<Oid> = of(at).chain(of(ReadTs::MAX)).collect();
        let is_parent = found.contains(&table);
        *parents = Some((Arc::clone(objects), found));
        is_parent
    }

    /// A foreign key by its table and identifier, if it is still there.
    fn foreign_key(&self, child: Oid, constraint: Oid) -> PgResult<Option<Referring>> {
        let (objects, at) = self.shared.objects()?;
        if objects.get(child, at).is_none() {
            return Ok(None);
        }
        let child = self.target_of(child)?;
        let found = child.def.constraints.iter().find(|c| c.oid == constraint).cloned();
        Ok(found.map(|constraint| Referring { child, constraint }))
    }

    /// Checks the foreign keys of what a statement has written, and carries out their actions.
    ///
    /// # Errors
    /// 23503
    pub(super) async fn finish_foreign_keys(&mut self) -> PgResult<()> {
        let mut new: BTreeMap<(Oid, Oid), Vec<RecordBatch>> = BTreeMap::new();
        let mut periods: BTreeMap<(Oid, Oid), Vec<RecordBatch>> = BTreeMap::new();
        let mut rounds = 0;
        while !self.touched.is_empty() {
            rounds += 1;
            if rounds > ROUNDS {
                return Err(PgError::new("54001", "the actions of foreign keys go too deep"));
            }
            for touched in std::mem::take(&mut self.touched) {
                match touched {
                    Touched::Periods { table, constraint, keys } => {
                        periods.entry((table, constraint)).or_default().push(keys);
                    }
                    Touched::New { child, constraint, keys } => {
                        new.entry((child, constraint)).or_default().push(keys);
                    }
                    Touched::Ended { parent, old, updated } => {
                        for referring in self.referring(parent.oid)? {
                            let updated = updated.as_ref();
                            Box::pin(self.keys_gone(&parent, &referring, &old, updated)).await?;
                        }
                    }
                }
            }
        }
        for ((table, constraint), batches) in periods {
            let keys = concat_batches(&batches[0].schema(), &batches)?;
            Box::pin(self.check_overlaps(table, constraint, keys)).await?;
        }
        for ((child, constraint), batches) in new {
            let Some(referring) = self.foreign_key(child, constraint)? else { continue };
            let keys = concat_batches(&batches[0].schema(), &batches)?;
            if self.is_deferred(&referring.constraint) {
                self.shared.deferred.lock().push(Deferred { child, constraint, keys, gone: false });
            } else {
                // An action may have changed a row again since it was noted.
                self.check_still_standing(&referring, keys).await?;
            }
        }
        Ok(())
    }

    /// The keys of new rows stand in the table that they refer to.
    async fn check_references(&mut self, from: &Referring, keys: RecordBatch) -> PgResult<()> {
        let Some(Parts { parent, referenced, .. }) = parts(&from.constraint) else {
            return Ok(());
        };
        let parent = self.target_of(parent)?;
        let sought = renamed(&keys, &parent.def, referenced)?;
        let missing = self.missing_keys(&parent, referenced, &sought).await?;
        let unique = referred_key(&parent.def, referenced)?;
        let reference = Reference {
            child: from.child.name.clone(),
            child_schema: from.child.schema.clone(),
            parent: parent.name.clone(),
            constraint: from.constraint.name.clone(),
            constraint_oid: from.constraint.oid,
            rows: RowsToRefer::MustStand,
            table: parent.oid,
            def: Arc::clone(&parent.def),
            columns: unique.1.to_vec(),
            key: unique.0,
            keys: sought.project(&keys::order(unique.1, referenced))?,
            shown: keys,
        };
        if let Some(&row) = missing.first() {
            return Err(reference.violation(row).into());
        }
        self.note_reference(reference).await
    }

    async fn note_reference(&mut self, reference: Reference) -> PgResult<()> {
        let mut guard = self.shared.transaction.write().await;
        let transaction = guard.as_mut().ok_or_else(super::session::aborted)?;
        Ok(transaction.note_reference(reference)?)
    }

    /// The keys (in the order of `referenced`) that no row has.
    async fn missing_keys(
        &self,
        parent: &WriteTarget,
        referenced: &[ColumnId],
        keys: &RecordBatch,
    ) -> PgResult<Vec<usize>> {
        let (unique, columns) = referred_key(&parent.def, referenced)?;
        let keys = keys.project(&keys::order(columns, referenced))?;
        let guard = self.shared.transaction.read().await;
        let transaction = guard.as_ref().ok_or_else(super::session::aborted)?;
        let found = transaction.find_keys(parent.oid, unique, &keys).await?;
        Ok(found.iter().enumerate().filter(|(_, f)| f.is_none()).map(|(i, _)| i).collect())
    }

    /// Rows of a table have ended: acts on those that refer to keys that are gone, or refuses.
    async fn keys_gone(
        &mut self,
        parent: &WriteTarget,
        from: &Referring,
        old: &RecordBatch,
        updated: Option<&RecordBatch>,
    ) -> PgResult<()> {
        let Some(Parts { referenced, on_delete, on_update, .. }) = parts(&from.constraint) else {
            return Ok(());
        };
        let at = places(&parent.def, referenced);
        let keys = old.project(&at)?;
        let gone = self.gone(parent, referenced, &keys).await?;
        if gone.true_count() == 0 {
            return Ok(());
        }
        let shown = filter_record_batch(&keys, &gone)?;
        let action = if updated.is_some() { on_update } else { on_delete };
        match action {
            "CASCADE" | "SET NULL" | "SET DEFAULT" => {}
            "RESTRICT" => return self.check_not_referred(from, shown).await,
            _ if self.is_deferred(&from.constraint) => {
                let (child, constraint) = (from.child.oid, from.constraint.oid);
                self.shared.deferred.lock().push(Deferred {
                    child,
                    constraint,
                    keys: shown,
                    gone: true,
                });
                return Ok(());
            }
            _ => return self.check_not_referred(from, shown).await,
        }
        let new_keys = match updated {
            Some(rows) => Some(filter_record_batch(&rows.project(&at)?, &gone)?),
            None => None,
        };
        let reference = self.reference_to_gone(from, shown, false)?;
        self.act(from, action, &reference, new_keys).await?;
        self.note_reference(reference).await
    }

    /// Which keys, whole ones, no row of the parent has.
    async fn gone(
        &self,
        parent: &WriteTarget,
        referenced: &[ColumnId],
        keys: &RecordBatch,
    ) -> PgResult<BooleanArray> {
        let missing: HashSet<usize> =
            self.missing_keys(parent, referenced, keys).await?.into_iter().collect();
        let whole = |i: usize| keys.columns().iter().all(|c| c.is_valid(i));
        Ok((0..keys.num_rows()).map(|i| Some(whole(i) && missing.contains(&i))).collect())
    }

    /// No row of the child refers to keys that are gone. `keys` are those of the parent.
    async fn check_not_referred(&mut self, from: &Referring, keys: RecordBatch) -> PgResult<()> {
        let Some(Parts { parent, referenced, .. }) = parts(&from.constraint) else {
            return Ok(());
        };
        let parent = self.target_of(parent)?;
        // A key may have come back.
        let gone = self.gone(&parent, referenced, &keys).await?;
        let shown = filter_record_batch(&keys, &gone)?;
        if shown.num_rows() == 0 {
            return Ok(());
        }
        let reference = self.reference_to_gone(from, shown, true)?;
        if let Some(row) = self.referred_row(from, &reference).await? {
            return Err(reference.violation(row).into());
        }
        self.note_reference(reference).await
    }

    fn reference_to_gone(
        &self,
        from: &Referring,
        shown: RecordBatch,
        refused: bool,
    ) -> PgResult<Reference> {
        let Some(Parts { columns, parent, .. }) = parts(&from.constraint) else {
            return Err(PgError::internal("not a foreign key"));
        };
        let child = &from.child;
        Ok(Reference {
            child: child.name.clone(),
            child_schema: child.schema.clone(),
            parent: self.target_of(parent)?.name,
            constraint: from.constraint.name.clone(),
            constraint_oid: from.constraint.oid,
            rows: RowsToRefer::MustNotStand { refused },
            table: child.oid,
            def: Arc::clone(&child.def),
            columns: columns.to_vec(),
            key: from.constraint.oid,
            keys: renamed(&shown, &child.def, columns)?,
            shown,
        })
    }

    /// The tables, other than those given, that refer to one of them.
    pub(super) fn referring_tables(
        &self,
        tables: &[WriteTarget],
    ) -> PgResult<Vec<(WriteTarget, String)>> {
        let mut found: Vec<(WriteTarget, String)> = Vec::new();
        for table in tables {
            for Referring { child, .. } in self.referring(table.oid)? {
                let known = tables.iter().any(|t| t.oid == child.oid)
                    || found.iter().any(|(t, _)| t.oid == child.oid);
                if !known {
                    found.push((child, table.name.clone()));
                }
            }
        }
        Ok(found)
    }
}
