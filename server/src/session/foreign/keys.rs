//! The keys of foreign keys: out of rows, and in the types of the other side.

use std::sync::Arc;

use chronos_catalog::{ColumnId, Constraint, Oid, TableDef};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::kernels::cmp::not_distinct;
use datafusion::arrow::compute::{cast, filter_record_batch, nullif};
use datafusion::arrow::datatypes::{DataType, Schema};

use crate::error::{PgError, PgResult};
use crate::session::write::WriteTarget;

/// Where columns stand in a table.
pub(super) fn places(def: &TableDef, ids: &[ColumnId]) -> Vec<usize> {
    ids.iter().filter_map(|id| def.columns.iter().position(|c| c.id == *id)).collect()
}

/// The keys that are all there: NULL refers to nothing.
pub(super) fn complete_keys(rows: &RecordBatch, places: &[usize]) -> PgResult<RecordBatch> {
    let keys = rows.project(places)?;
    let whole: BooleanArray =
        (0..keys.num_rows()).map(|i| Some(keys.columns().iter().all(|c| c.is_valid(i)))).collect();
    Ok(filter_record_batch(&keys, &whole)?)
}

/// 23503 for a key of MATCH FULL with NULL in some of its columns.
pub(super) fn refuse_mixed(
    child: &WriteTarget,
    constraint: &Constraint,
    keys: &RecordBatch,
) -> PgResult<()> {
    let mixed = (0..keys.num_rows()).any(|i| {
        let nulls = keys.columns().iter().filter(|c| c.is_null(i)).count();
        nulls > 0 && nulls < keys.num_columns()
    });
    if !mixed {
        return Ok(());
    }
    let message = format!(
        "insert or update on table \"{}\" violates foreign key constraint \"{}\"",
        child.name, constraint.name
    );
    let mut error = PgError::new("23503", message)
        .detail("MATCH FULL does not allow mixing of null and nonnull key values.");
    error.schema = Some(child.schema.clone());
    error.table = Some(child.name.clone());
    error.constraint = Some(constraint.name.clone());
    Err(error)
}

/// The keys in the types of the columns that they are compared with, and under their names. A
/// value that the other type does not have becomes NULL, which equals nothing.
pub(super) fn renamed(
    keys: &RecordBatch,
    def: &TableDef,
    ids: &[ColumnId],
) -> PgResult<RecordBatch> {
    let mut fields = Vec::with_capacity(ids.len());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(ids.len());
    for (place, array) in places(def, ids).into_iter().zip(keys.columns()) {
        let column = &def.columns[place];
        fields.push(column.ty.field(&column.name, true));
        let ty = column.ty.arrow();
        let mut converted = cast(array, &ty)?;
        if matches!(array.data_type(), DataType::Decimal128(..) | DataType::Decimal256(..))
            && *array.data_type() != ty
        {
            // Digits may have been rounded away.
            let back = cast(&converted, array.data_type())?;
            let same = not_distinct(&back, array)?;
            let differs: BooleanArray = same.values().iter().map(|b| Some(!b)).collect();
            converted = nullif(&converted, &differs)?;
        }
        arrays.push(converted);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// The unique key that has those columns.
pub(super) fn unique_key<'a>(
    def: &'a TableDef,
    columns: &[ColumnId],
) -> Option<(Oid, &'a [ColumnId])> {
    def.unique_keys()
        .find(|(_, _, ids)| ids.len() == columns.len() && columns.iter().all(|c| ids.contains(c)))
        .map(|(oid, _, ids)| (oid, ids))
}

pub(super) fn referred_key<'a>(
    def: &'a TableDef,
    columns: &[ColumnId],
) -> PgResult<(Oid, &'a [ColumnId])> {
    unique_key(def, columns)
        .ok_or_else(|| PgError::internal("a foreign key refers to no unique key"))
}

/// Where each column of a unique key stands among the columns of a reference.
pub(super) fn order(unique: &[ColumnId], referenced: &[ColumnId]) -> Vec<usize> {
    unique.iter().filter_map(|id| referenced.iter().position(|r| r == id)).collect()
}
