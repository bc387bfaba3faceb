//! Reads a cold segment.
