//! INSERT … ON CONFLICT.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chronos_catalog::{ColumnId, Oid, RowRef};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{Int64Type, Schema};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::sql::sqlparser::ast::{ConflictTarget, Expr, OnConflict, OnConflictAction};

use super::build;
use super::joined::Joined;
use super::names::{fold, single};
use super::session::Session;
use super::write::{WriteTarget, nullable, shown};
use crate::error::{PgError, PgResult};

/// What ON CONFLICT says.
pub(super) struct Conflict {
    /// The unique keys whose conflicts it covers: identifier and columns' places.
    keys: Vec<(Oid, Vec<usize>)>,
    /// Key values that this statement has inserted or updated, by key.
    seen: Vec<HashSet<Vec<u8>>>,
    /// DO UPDATE.
    update: Option<DoUpdate>,
}

struct DoUpdate {
    /// The value that each column gets, if any.
    values: Vec<Option<Expr>>,
    selection: Option<Expr>,
}

/// The columns of a key in rows, in a form that equal keys share.
fn encode(rows: &RecordBatch, places: &[usize]) -> PgResult<Rows> {
    let columns: Vec<ArrayRef> = places.iter().map(|&p| Arc::clone(rows.column(p))).collect();
    let sort = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    Ok(RowConverter::new(sort)?.convert_columns(&columns)?)
}

fn places(target: &WriteTarget, columns: &[ColumnId]) -> Vec<usize> {
    columns.iter().filter_map(|id| target.def.columns.iter().position(|c| c.id == *id)).collect()
}

impl Conflict {
    /// # Errors
    /// 42P10 where no unique key has the columns, 42704 for an unknown constraint, 42601 for a
    /// DO UPDATE that names no key.
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
        let update = match &on.action {
            OnConflictAction::DoNothing => None,
            OnConflictAction::DoUpdate(_) if on.conflict_target.is_none() => {
                return Err(PgError::new(
                    "42601",
                    "ON CONFLICT DO UPDATE requires inference specification or constraint name",
                ));
            }
            OnConflictAction::DoUpdate(update) => Some(DoUpdate {
                values: super::dml::assigned_values(target, &update.assignments)?,
                selection: update.selection.clone(),
            }),
        };
        let seen = vec![HashSet::new(); keys.len()];
        Ok(Conflict { keys, seen, update })
    }

    /// Refuses what the session's role may not do.
    pub fn require(&self, session: &Session, target: &WriteTarget, alias: &str) -> PgResult<()> {
        for (_, places) in &self.keys {
            session.require(target, 'r', Some(places))?;
        }
        let Some(update) = &self.update else { return Ok(()) };
        let assigned: Vec<usize> =
            (0..update.values.len()).filter(|&i| update.values[i].is_some()).collect();
        session.require(target, 'w', Some(&assigned))?;
        for expr in update.values.iter().flatten().chain(&update.selection) {
            session.require_named(target, alias, expr)?;
        }
        Ok(())
    }

    /// Inserts the rows that meet no conflict and, with DO UPDATE, updates those that the others
    /// meet. Gives the rows that were written, as RETURNING shows them, in the order of the rows
    /// proposed.
    pub async fn insert(
        &mut self,
        session: &mut Session,
        target: &WriteTarget,
        alias: Option<&str>,
        rows: RecordBatch,
    ) -> PgResult<RecordBatch> {
        // Who commits the same key first makes this statement one to be run again.
        session.shared.upserting.store(true, Ordering::Relaxed);
        let n = rows.num_rows();
        let mut met = Vec::with_capacity(self.keys.len());
        for (oid, places) in &self.keys {
            let fields: Vec<_> = places.iter().map(|&p| rows.schema().field(p).clone()).collect();
            let columns: Vec<_> = places.iter().map(|&p| Arc::clone(rows.column(p))).collect();
            let encoded = encode(&rows, places)?;
            let keys = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.clone())?;
            let guard = session.shared.transaction.read().await;
            let transaction = guard.as_ref().ok_or_else(super::session::aborted)?;
            let existing = transaction.find_keys(target.oid, *oid, &keys).await?;
            // NULL conflicts with nothing.
            let null: Vec<bool> = (0..n).map(|i| columns.iter().any(|c| c.is_null(i))).collect();
            met.push((encoded, existing, null));
        }
        let mut fresh: Vec<u32> = Vec::new();
        let mut taken: Vec<u32> = Vec::new();
        let mut versions: Vec<RowRef> = Vec::new();
        for i in 0..n {
            let mut existing = None;
            let mut again = false;
            for ((encoded, found, null), seen) in met.iter().zip(&self.seen) {
                if !null[i] {
                    again |= seen.contains(encoded.row(i).as_ref());
                    existing = existing.or(found[i]);
                }
            }
            if again && self.update.is_some() {
                return Err(affected_twice());
            }
            if again || (existing.is_some() && self.update.is_none()) {
                continue;
            }
            for ((encoded, _, null), seen) in met.iter().zip(&mut self.seen) {
                if !null[i] {
                    seen.insert(encoded.row(i).as_ref().to_vec());
                }
            }
            match existing {
                None => fresh.push(i as u32),
                Some(version) => {
                    taken.push(i as u32);
                    versions.push(version);
                }
            }
        }
        let inserted = take_record_batch(&rows, &UInt32Array::from(fresh.clone()))?;
        session.insert_rows(target, inserted.clone()).await?;
        let inserted = shown(target, &inserted, None)?;
        if taken.is_empty() {
            return Ok(inserted);
        }
        let proposed = take_record_batch(&rows, &UInt32Array::from(taken.clone()))?;
        let (kept, updated) = self.update(session, target, alias, versions, proposed).await?;
        // In the order in which they were proposed.
        let mut order: Vec<(u32, u32)> =
            fresh.iter().enumerate().map(|(at, &i)| (i, at as u32)).collect();
        order.extend(
            kept.iter().enumerate().map(|(at, &k)| (taken[k as usize], (fresh.len() + at) as u32)),
        );
        order.sort_unstable();
        let both = concat_batches(&inserted.schema(), [&inserted, &updated])?;
        let order: UInt32Array = order.into_iter().map(|(_, at)| at).collect::<Vec<_>>().into();
        Ok(take_record_batch(&both, &order)?)
    }

    /// Updates the versions that the proposed rows met. Gives which of them, and their new
    /// versions.
    async fn update(
        &mut self,
        session: &mut Session,
        target: &WriteTarget,
        alias: Option<&str>,
        versions: Vec<RowRef>,
        proposed: RecordBatch,
    ) -> PgResult<(Vec<u32>, RecordBatch)> {
        let Some(update) = &self.update else {
            return Err(PgError::internal("no DO UPDATE"));
        };
        // Locked before they are looked at, also where WHERE then leaves them alone.
        session.lock_rows(target, &versions).await?;
        let existing = {
            let guard = session.shared.transaction.read().await;
            let transaction = guard.as_ref().ok_or_else(super::session::aborted)?;
            transaction.fetch_versions(target.oid, &versions).await?
        };
        let alias = alias.unwrap_or(&target.name);
        let mut joined = Joined::one(alias, existing).and("excluded", proposed);
        let keep = match &update.selection {
            None => BooleanArray::from(vec![true; versions.len()]),
            Some(selection) => session.condition(&joined, selection, "WHERE").await?,
        };
        let kept: Vec<u32> = (0..keep.len()).filter(|&i| keep.value(i)).map(|i| i as u32).collect();
        if kept.len() < keep.len() {
            joined = joined.filter(&keep)?;
        }
        if kept.is_empty() {
            return Ok((kept, shown(target, &RecordBatch::new_empty(nullable(target)), None)?));
        }
        let rows = session.updated_rows(target, &joined, &update.values).await?;
        let old = &joined.sides[0].rows;
        let ov = old.column_by_name("_ov").and_then(|c| c.as_primitive_opt::<Int64Type>());
        let ov = ov.ok_or_else(|| PgError::internal("rows without their versions"))?;
        let ended: Vec<RowRef> = kept.iter().map(|&k| versions[k as usize]).collect();
        let next = session.next_versions(target, ov, &ended)?;
        session.check(target, &rows).await?;
        session.end_rows(target, &ended, Some(&rows)).await?;
        session.insert_versions(target, rows.clone(), next.clone()).await?;
        for ((_, places), seen) in self.keys.iter().zip(&mut self.seen) {
            let encoded = encode(&rows, places)?;
            seen.extend(encoded.iter().map(|row| row.as_ref().to_vec()));
        }
        Ok((kept, shown(target, &rows, Some(next))?))
    }
}

fn affected_twice() -> PgError {
    PgError::new("21000", "ON CONFLICT DO UPDATE command cannot affect row a second time").hint(
        "Ensure that no rows proposed for insertion within the same command have duplicate \
         constrained values.",
    )
}

impl Session {
    /// The rows of the first side, which begin with the target's columns, with new values.
    pub(super) async fn updated_rows(
        &mut self,
        target: &WriteTarget,
        joined: &Joined,
        values: &[Option<Expr>],
    ) -> PgResult<RecordBatch> {
        let items: Vec<_> = values
            .iter()
            .enumerate()
            .filter_map(|(i, v)| Some(build::aliased(v.clone()?, &format!("c{i}"))))
            .collect();
        let old = &joined.sides[0].rows;
        let mut columns: Vec<ArrayRef> = old.columns()[..target.def.columns.len()].to_vec();
        if !items.is_empty() {
            let (fields, results) = self.evaluate(joined, items).await?;
            let assigned = values.iter().enumerate().filter(|(_, v)| v.is_some());
            for (k, (place, _)) in assigned.enumerate() {
                let column = &target.def.columns[place];
                let ty = Some(&fields[k].ty);
                columns[place] = self.assign_column(results.column(k), ty, false, column)?;
            }
        }
        let rows = RecordBatch::try_new(nullable(target), columns)?;
        self.generate(target, rows).await
    }
}
