//! `pg_catalog`, `information_schema` and `chronos`: tables computed from the catalog as it is at
//! an instant, so that tools see our objects as PostgreSQL would show them, at any time.

mod catalog;
mod session;

pub use catalog::{SystemCatalog, analyzer_rules, rewrite};
pub use session::{Activity, SegmentInfo, Setting, SystemSession, TableSize};
