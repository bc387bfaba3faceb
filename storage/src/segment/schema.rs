//! The columns of a segment file.
