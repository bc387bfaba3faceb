//! The operator that reads segments.
