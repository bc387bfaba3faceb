//! INSERT … ON CONFLICT.

use std::collections::HashSet;
use std::sync::Arc;

use chronos_catalog::{ColumnId, Oid};
use datafusion::arrow::array::{Array, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::sql::sqlparser::ast::{ConflictTarget, OnConflict, OnConflictAction};

use super::names::{fold, single};
use super::session::Session;
use super::write::WriteTarget;
use crate::error::{PgError, PgResult};

/// What ON CONFLICT says.
pub(super) struct Conflict {
    /// The unique keys whose conflicts it covers: identifier and columns' places.
    keys: Vec<(Oid, Vec<usize>)>,
    /// Key values that this statement has inserted, by key.
    seen: Vec<HashSet<Vec<u8>>>,
}

fn places(target: &WriteTarget, columns: &[ColumnId]) -> Vec<usize> {
    columns.iter().filter_map(|id| target.def.columns.iter().position(|c| c.id == *id)).collect()
}

impl Conflict {
    /// # Errors
    /// 42P10 where no unique key has the columns, 42704 for an unknown constraint, 0A000 for
    /// DO UPDATE.
    pub fn new(target: &WriteTarget, on: &OnConflict) -> PgResult<Self> {
        let unique = || target.def.unique_keys();
        let keys: Vec<(Oid, Vec<usize>)> = match &on.conflict_target {
            None => unique().map(|(oid, _, columns)| (oid, places(target, columns))).collect(),
            Some(ConflictTarget::Columns(names)) => {
                let mut wanted =
                    names.iter().map(|n| target.column(&fold(n))).collect::<PgResult<Vec<_>>>()?;
                wanted.sort_unstable();
                let found = unique().map(|(oid, _, columns)| (oid, places(target, columns))).find(
                    |(_, places)| {
                        let mut places = places.clone();
                        places.sort_unstable();
                        places == wanted
                    },
                );
                vec![found.ok_or_else(|| {
                    PgError::new(
                        "42P10",
                        "there is no unique or exclusion constraint matching the ON CONFLICT specification",
                    )
                })?]
            }
            Some(ConflictTarget::OnConstraint(name)) => {
                let name = single(name)?;
                let found = unique()
                    .find(|(_, n, _)| *n == name)
                    .map(|(oid, _, columns)| (oid, places(target, columns)));
                vec![found.ok_or_else(|| {
                    let message = format!(
                        "constraint \"{name}\" for table \"{}\" does not exist",
                        target.name
                    );
                    PgError::new("42704", message)
                })?]
            }
        };
        match &on.action {
            OnConflictAction::DoNothing => {}
            OnConflictAction::DoUpdate(_) if on.conflict_target.is_none() => {
                return Err(PgError::new(
                    "42601",
                    "ON CONFLICT DO UPDATE requires inference specification or constraint name",
                ));
            }
            OnConflictAction::DoUpdate(_) => {
                return Err(PgError::unsupported("ON CONFLICT DO UPDATE"));
            }
        }
        let seen = vec![HashSet::new(); keys.len()];
        Ok(Conflict { keys, seen })
    }

    /// Inserts the rows that meet no conflict, and gives those.
    pub async fn insert(
        &mut self,
        session: &mut Session,
        target: &WriteTarget,
        _alias: Option<&str>,
        rows: RecordBatch,
    ) -> PgResult<RecordBatch> {
        let n = rows.num_rows();
        let mut met = Vec::with_capacity(self.keys.len());
        for (oid, places) in &self.keys {
            let fields: Vec<_> = places.iter().map(|&p| rows.schema().field(p).clone()).collect();
            let columns: Vec<_> = places.iter().map(|&p| Arc::clone(rows.column(p))).collect();
            let sort = fields.iter().map(|f| SortField::new(f.data_type().clone())).collect();
            let encoded = RowConverter::new(sort)?.convert_columns(&columns)?;
            let keys = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.clone())?;
            let guard = session.shared.transaction.read().await;
            let transaction = guard.as_ref().ok_or_else(super::session::aborted)?;
            let existing = transaction.find_keys(target.oid, *oid, &keys).await?;
            // NULL conflicts with nothing.
            let null: Vec<bool> = (0..n).map(|i| columns.iter().any(|c| c.is_null(i))).collect();
            met.push((encoded, existing, null));
        }
        let mut keep = vec![true; n];
        for (i, keep) in keep.iter_mut().enumerate() {
            let taken = met.iter().zip(&self.seen).any(|((encoded, existing, null), seen)| {
                !null[i] && (existing[i].is_some() || seen.contains(encoded.row(i).as_ref()))
            });
            if taken {
                *keep = false;
                continue;
            }
            for ((encoded, _, null), seen) in met.iter().zip(&mut self.seen) {
                if !null[i] {
                    seen.insert(encoded.row(i).as_ref().to_vec());
                }
            }
        }
        let rows = filter_record_batch(&rows, &BooleanArray::from(keep))?;
        session.insert_rows(target, rows.clone()).await?;
        Ok(rows)
    }
}
