//! Keys WITHOUT OVERLAPS: at the end of a statement no two rows with the same key have periods
//! that overlap. Against what others commit meanwhile the sequencer looks again.

use std::sync::Arc;

use chronos_catalog::{Constraint, ConstraintKind, Oid};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int64Type, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Statement};

use crate::engine::{Reference, RowsToRefer};
use crate::error::{PgError, PgResult};
use crate::session::build;
use crate::session::dml::TARGET;
use crate::session::foreign::Touched;
use crate::session::session::Session;
use crate::session::write::WriteTarget;

/// The name of the new keys in the query.
const KEYS: &str = "\u{1}keys";
/// What the table and the new keys are called in the query.
const ROWS: &str = "\u{1}rows";
const NEW: &str = "\u{1}new";

/// Where the columns of a key and of its period stand in the table, the period's last.
fn places(target: &WriteTarget, constraint: &Constraint) -> Option<Vec<usize>> {
    let ConstraintKind::WithoutOverlaps { columns, period, .. } = &constraint.kind else {
        return None;
    };
    let period = target.def.period(period)?;
    let place = |id| target.def.columns.iter().position(|c| c.id == id);
    columns.iter().copied().chain([period.start, period.end]).map(place).collect()
}

impl Session {
    /// Notes new rows of a table whose periods must not overlap.
    pub(in crate::session) fn note_periods(
        &mut self,
        target: &WriteTarget,
        rows: &RecordBatch,
    ) -> PgResult<()> {
        for constraint in &target.def.constraints {
            let Some(places) = places(target, constraint) else { continue };
            let keys = rows.project(&places)?;
            // A NULL equals no other.
            let whole: BooleanArray = (0..keys.num_rows())
                .map(|i| Some(keys.columns().iter().all(|c| c.is_valid(i))))
                .collect();
            let keys = filter_record_batch(&keys, &whole)?;
            if keys.num_rows() > 0 {
                let (table, constraint) = (target.oid, constraint.oid);
                self.touched.push(Touched::Periods { table, constraint, keys });
            }
        }
        Ok(())
    }

    /// No row has one of the keys and a period that overlaps.
    ///
    /// # Errors
    /// 23P01
    pub(in crate::session) async fn check_overlaps(
        &mut self,
        table: Oid,
        constraint: Oid,
        keys: RecordBatch,
    ) -> PgResult<()> {
        let target = self.target_of(table)?;
        let found = target.def.constraints.iter().find(|c| c.oid == constraint);
        let Some(constraint) = found.cloned() else { return Ok(()) };
        let Some(places) = places(&target, &constraint) else { return Ok(()) };
        let ConstraintKind::WithoutOverlaps { columns, period, .. } = &constraint.kind else {
            return Ok(());
        };
        let Some(period) = target.def.period(period) else { return Ok(()) };
        let reference = Reference {
            child: target.name.clone(),
            child_schema: target.schema.clone(),
            parent: target.name.clone(),
            constraint: constraint.name.clone(),
            constraint_oid: constraint.oid,
            rows: RowsToRefer::MustNotOverlap { start: period.start, end: period.end },
            table: target.oid,
            def: Arc::clone(&target.def),
            columns: columns.clone(),
            key: constraint.oid,
            keys: keys.project(&(0..columns.len()).collect::<Vec<_>>())?,
            shown: keys.clone(),
        };
        let pairs = self.overlapping(&target, &places, &keys).await?;
        let numbers = pairs.column(0).as_primitive_opt::<Int64Type>();
        let numbers = numbers.ok_or_else(|| PgError::internal("keys without their numbers"))?;
        let mut counts = vec![0usize; keys.num_rows()];
        for number in numbers.values() {
            if let Some(count) = counts.get_mut(*number as usize) {
                *count += 1;
            }
        }
        // Each new row meets itself.
        if let Some(row) = counts.iter().position(|count| *count > 1) {
            let met = (0..pairs.num_rows()).filter(|&i| numbers.value(i) as usize == row);
            let other = met.clone().find(|&i| !same(&pairs, i, &keys, row));
            let other = other.or_else(|| met.clone().next()).unwrap_or(0);
            let mut columns: Vec<ArrayRef> = keys.columns()[..columns.len()].to_vec();
            columns = columns.iter().map(|c| c.slice(row, 1)).collect();
            columns.extend(pairs.columns()[1..].iter().map(|c| c.slice(other, 1)));
            let columns = columns
                .iter()
                .zip(keys.schema_ref().fields())
                .map(|(c, f)| datafusion::arrow::compute::cast(c, f.data_type()))
                .collect::<Result<Vec<_>, _>>()?;
            let existing = RecordBatch::try_new(keys.schema(), columns)?;
            return Err(reference.overlap(row, &existing).into());
        }
        let mut guard = self.shared.transaction.write().await;
        let transaction = guard.as_mut().ok_or_else(crate::session::session::aborted)?;
        Ok(transaction.note_reference(reference)?)
    }

    /// The number of each new key with the period of each row that it meets.
    async fn overlapping(
        &mut self,
        target: &WriteTarget,
        places: &[usize],
        keys: &RecordBatch,
    ) -> PgResult<RecordBatch> {
        let mut fields: Vec<_> = Vec::with_capacity(places.len() + 1);
        for (i, place) in places.iter().enumerate() {
            fields.push(target.def.columns[*place].ty.field(&format!("k{i}"), true));
        }
        fields.push(chronos_catalog::SqlType::Int8.field("row", false));
        let mut arrays = keys.columns().to_vec();
        arrays.push(Arc::new(Int64Array::from_iter_values(0..keys.num_rows() as i64)));
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        let provider: Arc<dyn TableProvider> =
            Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?);
        self.shared.scope.lock().overrides.insert(KEYS.to_owned(), provider);
        self.install_target(target)?;
        let old = |i: usize| build::qualified(ROWS, &target.def.columns[places[i]].name);
        let new = |i: usize| build::qualified(NEW, &format!("k{i}"));
        let (start, end) = (places.len() - 2, places.len() - 1);
        let mut conditions: Vec<Expr> =
            (0..start).map(|i| binary(old(i), BinaryOperator::Eq, new(i))).collect();
        if keys.num_rows() == 1 {
            // The scan leaves out what has another key.
            for (i, place) in places[..start].iter().enumerate() {
                let column = &target.def.columns[*place];
                if let Some(literal) = super::portion::literal(keys.column(i), &column.ty)? {
                    conditions.push(binary(old(i), BinaryOperator::Eq, literal));
                }
            }
        }
        conditions.push(binary(old(start), BinaryOperator::Lt, new(end)));
        conditions.push(binary(new(start), BinaryOperator::Lt, old(end)));
        let condition = conditions.into_iter().reduce(|a, b| binary(a, BinaryOperator::And, b));
        let items = vec![
            build::aliased(build::qualified(NEW, "row"), "row"),
            build::aliased(old(start), "s"),
            build::aliased(old(end), "e"),
        ];
        let from = vec![
            build::table(TARGET, Some(build::alias(ROWS))),
            build::table(KEYS, Some(build::alias(NEW))),
        ];
        let query = build::select(items, from, condition);
        let planned = self.plan(&Statement::Query(Box::new(query))).await;
        {
            let mut scope = self.shared.scope.lock();
            scope.overrides.remove(TARGET);
            scope.overrides.remove(KEYS);
        }
        let planned = planned?;
        let schema = Arc::new(planned.plan.schema().as_arrow().clone());
        let batches = self.collect(planned).await?;
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        Ok(datafusion::arrow::compute::concat_batches(&schema, &batches)?)
    }

    /// The rows that stand in a table satisfy a new key.
    pub(in crate::session) async fn check_standing_periods(
        &mut self,
        target: &WriteTarget,
        constraint: &Constraint,
    ) -> PgResult<()> {
        let Some(places) = places(target, constraint) else { return Ok(()) };
        self.install_target(target)?;
        let items = places
            .iter()
            .map(|&p| {
                let name = &target.def.columns[p].name;
                build::aliased(build::column(name), name)
            })
            .collect();
        let from = vec![build::table(TARGET, None)];
        let query = build::select(items, from, None);
        let planned = self.plan(&Statement::Query(Box::new(query))).await;
        self.shared.scope.lock().overrides.remove(TARGET);
        let batches = self.collect(planned?).await?;
        for batch in batches {
            let mut arrays = Vec::with_capacity(places.len());
            let mut fields = Vec::with_capacity(places.len());
            for (array, &place) in batch.columns().iter().zip(&places) {
                let column = &target.def.columns[place];
                fields.push(column.ty.field(&column.name, true));
                arrays.push(datafusion::arrow::compute::cast(array, &column.ty.arrow())?);
            }
            let keys = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
            let (table, constraint) = (target.oid, constraint.oid);
            if keys.num_rows() > 0 {
                self.touched.push(Touched::Periods { table, constraint, keys });
            }
        }
        Ok(())
    }
}

/// Whether a pair has the very period of a new row.
fn same(pairs: &RecordBatch, pair: usize, keys: &RecordBatch, row: usize) -> bool {
    let n = keys.num_columns();
    (0..2).all(|i| {
        let old = datafusion::arrow::compute::cast(
            pairs.column(1 + i),
            keys.column(n - 2 + i).data_type(),
        );
        old.is_ok_and(|old| {
            old.slice(pair, 1).to_data() == keys.column(n - 2 + i).slice(row, 1).to_data()
        })
    })
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}
