//! Rows by key and by place.

use chronos_catalog::{CommitTs, ReadTs, RowRef, TableDef};
use datafusion::arrow::array::RecordBatch;

use crate::error::{Error, Result};
use crate::keys::KeySpec;
use crate::overlay::Overlay;
use crate::table::TableStore;

/// For each row of `keys` (the key's columns in order, in the table's types) the version that
/// has this key as of an instant, own rows laid over. A key with a NULL is never found.
///
/// # Errors
/// When an object cannot be read or the key's type cannot be looked up.
pub async fn find_live_keys(
    table: &TableStore,
    overlay: &Overlay,
    def: &TableDef,
    key: &KeySpec,
    keys: &RecordBatch,
    at: ReadTs,
) -> Result<Vec<Option<RowRef>>> {
    let _ = (table, overlay, def, key, keys, at);
    Err(Error::Unsupported("key look-up".to_owned()))
}

/// Likewise, committed versions only that began after an instant and are current now: for
/// validation at commit. Touches no object unless a segment with such rows was flushed.
///
/// # Errors
/// Likewise.
pub async fn find_keys_committed_after(
    table: &TableStore,
    def: &TableDef,
    key: &KeySpec,
    keys: &RecordBatch,
    after: CommitTs,
) -> Result<Vec<Option<RowRef>>> {
    let _ = (table, def, key, keys, after);
    Err(Error::Unsupported("key look-up".to_owned()))
}

/// The given versions' columns (indexes into the table's columns), in the order given.
///
/// # Errors
/// When an object cannot be read or a position is not in its segment.
pub async fn fetch_rows(
    table: &TableStore,
    overlay: &Overlay,
    def: &TableDef,
    rows: &[RowRef],
    columns: &[usize],
) -> Result<RecordBatch> {
    let _ = (table, overlay, def, rows, columns);
    Err(Error::Unsupported("row look-up".to_owned()))
}
