//! Rows of Arrow batches as the protocol carries them: a writer per column, chosen once per
//! batch, appends values to one buffer row by row.

mod binary;

pub(super) use binary::{EPOCH_DAYS, EPOCH_MICROS};

use bytes::{BufMut, BytesMut};
use chronos_catalog::SqlType;
use chronos_sql_ext::text::write::Writer;
use chronos_sql_ext::text::{normalize, write};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::buffer::NullBuffer;

use super::backend;
use crate::error::{PgError, PgResult};
use crate::session::api::{FieldDescription, TextSettings};

/// What writes one column.
pub(super) struct ColumnWriter {
    nulls: Option<NullBuffer>,
    write: Writer,
}

impl ColumnWriter {
    /// A writer of the column in the format of this code.
    ///
    /// # Errors
    /// 0A000 for a value that has no such form, 22003 for one that its type cannot hold.
    pub(super) fn new(
        array: &ArrayRef,
        ty: &SqlType,
        format: i16,
        settings: &TextSettings,
    ) -> PgResult<Self> {
        let array = normalize::to_sql_type(array, ty)?;
        let write = match format {
            1 => binary::writer(&array, ty)?,
            _ => write::writer(&array, ty, settings)?,
        };
        Ok(ColumnWriter { nulls: array.logical_nulls(), write })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the row's value, which is not NULL.
    pub(super) fn write(&mut self, row: usize, out: &mut BytesMut) {
        (self.write)(row, out);
    }
}

/// A value as text, for messages; `None` for NULL.
///
/// # Errors
/// Those of [`ColumnWriter::new`].
pub(crate) fn text_of(
    array: &ArrayRef,
    ty: &SqlType,
    row: usize,
    settings: &TextSettings,
) -> PgResult<Option<String>> {
    let mut writer = ColumnWriter::new(&array.slice(row, 1), ty, 0, settings)?;
    if writer.is_null(0) {
        return Ok(None);
    }
    let mut out = BytesMut::new();
    writer.write(0, &mut out);
    Ok(Some(String::from_utf8_lossy(&out).into_owned()))
}

/// Appends the binary form of an array's first value, which is not NULL.
///
/// # Errors
/// Those of [`ColumnWriter::new`].
pub(super) fn binary_of(array: &ArrayRef, ty: &SqlType, out: &mut BytesMut) -> PgResult<()> {
    ColumnWriter::new(array, ty, 1, &TextSettings::default())?.write(0, out);
    Ok(())
}

/// Writes the rows of a batch.
pub(super) struct RowEncoder {
    columns: Vec<ColumnWriter>,
    rows: usize,
}

impl RowEncoder {
    /// `formats`: a code for each column, or none for text throughout.
    pub(super) fn new(
        fields: &[FieldDescription],
        formats: &[i16],
        batch: &RecordBatch,
        settings: &TextSettings,
    ) -> PgResult<Self> {
        if fields.len() != batch.num_columns() {
            return Err(PgError::internal(format_args!(
                "a result of {} columns came with {}",
                fields.len(),
                batch.num_columns()
            )));
        }
        let columns = fields
            .iter()
            .zip(batch.columns())
            .enumerate()
            .map(|(i, (field, array))| {
                let format = formats.get(i).copied().unwrap_or(0);
                ColumnWriter::new(array, &field.ty, format, settings)
            })
            .collect::<PgResult<_>>()?;
        Ok(RowEncoder { columns, rows: batch.num_rows() })
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&mut self) -> &mut [ColumnWriter] {
        &mut self.columns
    }

    /// Appends a DataRow message.
    pub(super) fn data_row(&mut self, row: usize, out: &mut BytesMut) -> PgResult<()> {
        out.put_u8(b'D');
        let at = out.len();
        out.put_i32(0);
        self.values(row, out);
        if i32::try_from(out.len() - at).is_err() {
            out.truncate(at - 1);
            return Err(PgError::new("54000", "a row is too long for the protocol"));
        }
        backend::end(out, at);
        Ok(())
    }

    /// Appends the number of columns and each value with its length, as DataRow and COPY's
    /// binary format have them.
    pub(super) fn values(&mut self, row: usize, out: &mut BytesMut) {
        out.put_u16(self.columns.len() as u16);
        for column in &mut self.columns {
            if column.is_null(row) {
                out.put_i32(-1);
                continue;
            }
            sized(out, |out| (column.write)(row, out));
        }
    }
}

/// Appends a value with its length before it.
fn sized(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_i32(0);
    write(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}
