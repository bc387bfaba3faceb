//! What a transaction relies on in other tables for its foreign keys.

use std::collections::HashSet;
use std::sync::Arc;

use chronos_catalog::{ColumnId, CommitTs, Oid, RowRef, State, TableDef};
use chronos_storage::{
    KeySpec, Overlay, Store, TableStore, fetch_rows, find_all_committed_after,
    find_keys_committed_after, find_live_keys,
};
use datafusion::arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::kernels::cmp::lt;
use datafusion::arrow::compute::{and, filter_record_batch, take_record_batch};
use datafusion::arrow::error::ArrowError;

use crate::engine::error::{EngineResult, Error};
use crate::engine::keys;

/// What is expected of the rows that have the keys of a [`Reference`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsToRefer {
    /// They stand in the parent: rows that refer to them were written.
    MustStand,
    /// No new one stands in the child: the keys are gone.
    MustNotStand {
        /// Whether such a row is refused (23503). Otherwise an action should have changed it, and
        /// the transaction is to be run again (40001).
        refused: bool,
    },
    /// No row with the keys has a period that overlaps: rows with periods were written. The
    /// periods are the last two columns of what is shown.
    MustNotOverlap {
        /// The period's first column.
        start: ColumnId,
        /// Its last.
        end: ColumnId,
    },
}

/// Keys that a foreign key makes a transaction rely on.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The table that refers.
    pub child: String,
    /// Its schema.
    pub child_schema: String,
    /// The table that is referred to.
    pub parent: String,
    /// The foreign key.
    pub constraint: String,
    /// Its identifier.
    pub constraint_oid: Oid,
    /// What is expected.
    pub rows: RowsToRefer,
    /// Where the keys are looked for.
    pub table: Oid,
    /// Its definition.
    pub def: Arc<TableDef>,
    /// The columns that have the keys.
    pub columns: Vec<ColumnId>,
    /// The constraint that they belong to.
    pub key: Oid,
    /// The keys.
    pub keys: RecordBatch,
    /// The same as the message shows them.
    pub shown: RecordBatch,
}

impl Reference {
    /// 23503 for one of the keys.
    pub fn violation(&self, row: usize) -> Error {
        let shown = keys::equation(&self.shown, row);
        let (action, on, detail) = match self.rows {
            RowsToRefer::MustStand => (
                "insert or update",
                format!("\"{}\"", self.child),
                format!("Key {shown} is not present in table \"{}\".", self.parent),
            ),
            RowsToRefer::MustNotOverlap { .. } | RowsToRefer::MustNotStand { .. } => (
                "update or delete",
                format!("\"{}\"", self.parent),
                format!("Key {shown} is still referenced from table \"{}\".", self.child),
            ),
        };
        let suffix = match self.rows {
            RowsToRefer::MustStand => String::new(),
            RowsToRefer::MustNotOverlap { .. } | RowsToRefer::MustNotStand { .. } => {
                format!(" on table \"{}\"", self.child)
            }
        };
        Error::ForeignKeyViolation {
            message: format!(
                "{action} on table {on} violates foreign key constraint \"{}\"{suffix}",
                self.constraint
            ),
            schema: self.child_schema.clone(),
            table: self.child.clone(),
            constraint: self.constraint.clone(),
            detail,
        }
    }
}

impl Reference {
    /// 23P01 for a new row and one that is there.
    pub fn overlap(&self, row: usize, existing: &RecordBatch) -> Error {
        let (new, old) = (keys::equation(&self.shown, row), keys::equation(existing, 0));
        Error::ExclusionViolation {
            schema: self.child_schema.clone(),
            table: self.child.clone(),
            constraint: self.constraint.clone(),
            detail: format!("Key {new} conflicts with existing key {old}."),
        }
    }

    /// The first of the new rows that overlaps with one that was committed after an instant and
    /// that the transaction did not end itself.
    async fn first_overlap(
        &self,
        table: &TableStore,
        overlay: &Overlay,
        after: CommitTs,
        (start, end): (ColumnId, ColumnId),
    ) -> EngineResult<Option<Error>> {
        let spec = KeySpec { oid: self.key, columns: self.columns.clone() };
        let found = find_all_committed_after(table, &self.def, &spec, &self.keys, after).await?;
        let found: Vec<(u32, RowRef)> =
            found.into_iter().filter(|(_, row)| !overlay.is_ended(self.table, *row)).collect();
        if found.is_empty() {
            return Ok(None);
        }
        let place = |id: &ColumnId| self.def.columns.iter().position(|c| c.id == *id);
        let places: Option<Vec<usize>> =
            self.columns.iter().chain([&start, &end]).map(place).collect();
        let places = places.unwrap_or_default();
        let rows: Vec<RowRef> = found.iter().map(|(_, row)| *row).collect();
        let old = fetch_rows(table, &Overlay::default(), &self.def, &rows, &places).await?;
        let taken = UInt32Array::from_iter_values(found.iter().map(|(i, _)| *i));
        let new = take_record_batch(&self.shown, &taken)?;
        let n = new.num_columns();
        if old.num_columns() != n {
            return Ok(None);
        }
        let (old_start, old_end) = (old.column(n - 2), old.column(n - 1));
        let (new_start, new_end) = (new.column(n - 2), new.column(n - 1));
        let overlaps = and(&lt(old_start, new_end)?, &lt(new_start, old_end)?)?;
        Ok((0..overlaps.len())
            .find(|&i| overlaps.value(i))
            .map(|i| self.overlap(found[i].0 as usize, &old.slice(i, 1))))
    }
}

/// A reference and the instant at which it was looked at.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub(super) reference: Arc<Reference>,
    pub(super) checked_at: CommitTs,
}

impl Noted {
    /// Forgets the keys of which a later statement of the same transaction made the opposite:
    /// what it relies on now is in the later note.
    pub(super) fn give_way(&mut self, later: &Reference) -> Result<(), ArrowError> {
        let stands = |r: &Reference| r.rows == RowsToRefer::MustStand;
        if matches!(later.rows, RowsToRefer::MustNotOverlap { .. }) {
            return Ok(());
        }
        if self.reference.constraint_oid != later.constraint_oid
            || stands(&self.reference) == stands(later)
        {
            return Ok(());
        }
        let gone: HashSet<String> =
            (0..later.shown.num_rows()).map(|i| keys::values(&later.shown, i)).collect();
        let shown = &self.reference.shown;
        let kept: BooleanArray =
            (0..shown.num_rows()).map(|i| Some(!gone.contains(&keys::values(shown, i)))).collect();
        if kept.false_count() > 0 {
            let mut reference = Reference::clone(&self.reference);
            reference.keys = filter_record_batch(&reference.keys, &kept)?;
            reference.shown = filter_record_batch(&reference.shown, &kept)?;
            self.reference = Arc::new(reference);
        }
        Ok(())
    }

    /// Whether commits since may have broken it.
    pub(super) fn is_due(&self, state: &State) -> bool {
        let manifest = state.manifests.get(&self.reference.table);
        manifest.is_some_and(|m| m.last_commit > self.checked_at)
    }

    /// Looks at it again, with all that is committed now and the transaction's own rows.
    pub(super) async fn check(&self, store: &Store, overlay: &Overlay) -> EngineResult<()> {
        let reference = &self.reference;
        if reference.keys.num_rows() == 0 {
            return Ok(());
        }
        let Some(table) = store.table(reference.table) else { return Ok(()) };
        let spec = KeySpec { oid: reference.key, columns: reference.columns.clone() };
        let (def, keys) = (&reference.def, &reference.keys);
        if let RowsToRefer::MustNotOverlap { start, end } = reference.rows {
            let after = self.checked_at;
            let found = reference.first_overlap(&table, overlay, after, (start, end)).await?;
            return found.map_or(Ok(()), Err);
        }
        let broken = match reference.rows {
            RowsToRefer::MustStand => {
                let at = CommitTs::MAX;
                let found = find_live_keys(&table, overlay, def, &spec, keys, at).await?;
                found.iter().position(Option::is_none)
            }
            RowsToRefer::MustNotOverlap { .. } => None,
            RowsToRefer::MustNotStand { .. } => {
                let after = self.checked_at;
                let found = find_keys_committed_after(&table, def, &spec, keys, after).await?;
                found
                    .iter()
                    .position(|row| row.is_some_and(|row| !overlay.is_ended(reference.table, row)))
            }
        };
        match (broken, reference.rows) {
            (None, _) => Ok(()),
            (Some(row), RowsToRefer::MustNotStand { refused: false }) => Err(Error::Conflict {
                detail: format!(
                    "Key {} of table \"{}\" was referred to by another transaction.",
                    keys::equation(&reference.shown, row),
                    reference.parent
                ),
            }),
            (Some(row), _) => Err(reference.violation(row)),
        }
    }
}
