//! Instants: from text and values to commit timestamps, and back to text.

use chrono::{DateTime, SecondsFormat};
use chronos_catalog::CommitTs;

/// An instant as text, in UTC.
pub fn display(instant: CommitTs) -> String {
    match DateTime::from_timestamp_micros(instant.micros()) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Micros, true),
        None => format!("{} µs", instant.micros()),
    }
}
