//! What a transaction relies on in other tables for its foreign keys.

use std::collections::HashSet;
use std::sync::Arc;

use chronos_catalog::{ColumnId, CommitTs, Oid, State, TableDef};
use chronos_storage::{KeySpec, Overlay, Store, find_keys_committed_after, find_live_keys};
use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
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
            RowsToRefer::MustNotStand { .. } => (
                "update or delete",
                format!("\"{}\"", self.parent),
                format!("Key {shown} is still referenced from table \"{}\".", self.child),
            ),
        };
        let suffix = match self.rows {
            RowsToRefer::MustStand => String::new(),
            RowsToRefer::MustNotStand { .. } => format!(" on table \"{}\"", self.child),
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
        let broken = match reference.rows {
            RowsToRefer::MustStand => {
                let at = CommitTs::MAX;
                let found = find_live_keys(&table, overlay, def, &spec, keys, at).await?;
                found.iter().position(Option::is_none)
            }
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
