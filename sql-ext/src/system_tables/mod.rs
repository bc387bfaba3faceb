//! `pg_catalog`, `information_schema` and `chronos`: tables computed from the catalog as it is at
//! an instant, so that tools see our objects as PostgreSQL would show them, at any time.

mod catalog;
mod chronos_tables;
mod cluster;
mod correlate;
mod definitions;
mod functions;
mod information_schema;
mod names;
mod provider;
pub(crate) mod quote;
mod relations;
mod rewrite;
mod rows;
mod session;
mod shape;
mod snapshot;
mod static_rows;
#[cfg(test)]
mod tests;
mod types;
mod views;

pub use catalog::{SystemCatalog, analyzer_rules};
pub(crate) use correlate::{equalities_only, rows_of};
pub use rewrite::rewrite;
pub(crate) use rewrite::{call, query_of, record_of};
pub use session::{
    AccessRule, Activity, CompactionInfo, PreparedInfo, SegmentInfo, Setting, SystemSession,
    TableSize, UploadInfo,
};
