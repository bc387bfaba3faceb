//! COPY: its data from and to the client.
//!
//! - `input`, `output`: the course of a COPY on a connection.
//! - `decoder`: data into batches; `text`, `csv`, `binary` find the rows and their values.
//! - `columns`: builds the columns of a batch from values.

mod binary;
mod columns;
mod csv;
mod decoder;
mod input;
mod lines;
mod output;
mod text;
