//! A statement's way to its rows: by a key, then through expressions that were made once.

use std::sync::Arc;

use chronos_storage::PointRead;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_empty_array,
};
use datafusion::arrow::compute::{concat, filter_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{PgError, PgResult};

/// Where the values of a key's column come from: expressions over the parameters.
#[derive(Debug)]
pub(in crate::session) enum KeySource {
    /// A value each.
    Values(Vec<Arc<dyn PhysicalExpr>>),
    /// An array of values.
    List(Arc<dyn PhysicalExpr>),
}

/// How a statement finds its rows and what it makes of them.
#[derive(Debug)]
pub(in crate::session) struct KeyPlan {
    pub(super) read: PointRead,
    /// For each column of the key. Only a key of one column has more values than one.
    pub(super) keys: Vec<KeySource>,
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(super) outputs: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns of the answer.
    pub(super) schema: SchemaRef,
    /// The parameters as columns.
    pub(super) parameters: SchemaRef,
    /// The columns that are read, then the parameters.
    pub(super) row: SchemaRef,
}

impl KeyPlan {
    /// The reads.
    pub fn read(&self) -> &PointRead {
        &self.read
    }

    /// The parameters of an execution as a row; `None` where one has another type than the plan
    /// was made for.
    pub fn bind(&self, values: &[ScalarValue]) -> PgResult<Option<RecordBatch>> {
        let fields = self.parameters.fields();
        if values.len() < fields.len() {
            return Ok(None);
        }
        let mut arrays = Vec::with_capacity(fields.len());
        for (value, field) in values.iter().zip(fields) {
            let array = value.to_array()?;
            if array.data_type() != field.data_type() {
                return Ok(None);
            }
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let schema = Arc::clone(&self.parameters);
        Ok(Some(RecordBatch::try_new_with_options(schema, arrays, &options)?))
    }

    /// The keys that are looked for, an array a column.
    pub fn keys(&self, parameters: &RecordBatch) -> PgResult<Vec<ArrayRef>> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for source in &self.keys {
            keys.push(match source {
                KeySource::Values(values) => match values.as_slice() {
                    [value] => value.evaluate(parameters)?.into_array(1)?,
                    values => {
                        let arrays = values
                            .iter()
                            .map(|v| Ok(v.evaluate(parameters)?.into_array(1)?))
                            .collect::<PgResult<Vec<_>>>()?;
                        concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>())?
                    }
                },
                KeySource::List(list) => {
                    let list = list.evaluate(parameters)?.into_array(1)?;
                    let Some(lists) = list.as_list_opt::<i32>() else {
                        return Err(PgError::internal("a list of keys that is no list"));
                    };
                    match lists.is_null(0) {
                        true => new_empty_array(&lists.value_type()),
                        false => lists.value(0),
                    }
                }
            });
        }
        Ok(keys)
    }

    /// The answer, made of rows that the key found.
    pub fn evaluate(
        &self,
        found: &[RecordBatch],
        parameters: &RecordBatch,
    ) -> PgResult<Vec<RecordBatch>> {
        let mut answer = Vec::with_capacity(found.len());
        for batch in found {
            let n = batch.num_rows();
            let mut columns = batch.columns().to_vec();
            for parameter in parameters.columns() {
                columns.push(if n == 1 {
                    Arc::clone(parameter)
                } else {
                    ScalarValue::try_from_array(parameter, 0)?.to_array_of_size(n)?
                });
            }
            let options = RecordBatchOptions::new().with_row_count(Some(n));
            let row = Arc::clone(&self.row);
            let mut rows = RecordBatch::try_new_with_options(row, columns, &options)?;
            if let Some(filter) = &self.filter {
                let kept = filter.evaluate(&rows)?.into_array(n)?;
                let Some(kept) = kept.as_boolean_opt() else {
                    return Err(PgError::internal("a condition that is not boolean"));
                };
                match kept.true_count() {
                    0 => continue,
                    all if all == n => {}
                    _ => rows = filter_record_batch(&rows, kept)?,
                }
            }
            let n = rows.num_rows();
            let outputs = self
                .outputs
                .iter()
                .map(|expr| Ok(expr.evaluate(&rows)?.into_array(n)?))
                .collect::<PgResult<Vec<_>>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(n));
            let schema = Arc::clone(&self.schema);
            answer.push(RecordBatch::try_new_with_options(schema, outputs, &options)?);
        }
        Ok(answer)
    }
}
