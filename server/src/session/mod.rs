//! Sessions: statements, transactions and settings. Knows no bytes.

pub mod api;
