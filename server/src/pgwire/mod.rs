//! The PostgreSQL protocol, version 3: messages, sessions' connections, text and binary formats,
//! COPY data. It knows no SQL: statements are carried out by an
//! [`Executor`](crate::session::api::Executor).
//!
//! The parts:
//!
//! - [`listener`] accepts connections and gives each a session.
//! - `startup`, `authenticate`, `connection`, `simple`, `extended`, `copy`: the course of a
//!   connection.
//! - `tls` encrypts.
//! - `frontend`, `backend`, `io`: messages and the stream that they travel on.
//! - `encode`, [`decode`]: values in the text and binary formats, [`types`] their OIDs.
//! - [`text`] has values as text, both ways; free of the protocol.
//! - [`cancel`] knows what a CancelRequest may stop.

mod authenticate;
mod backend;
pub mod cancel;
mod connection;
mod copy;
mod cursor;
pub mod decode;
mod encode;
mod extended;
mod frontend;
#[cfg(test)]
mod golden;
mod io;
mod kept;
pub mod listener;
mod simple;
mod startup;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod types;

pub use chronos_sql_ext::text;
pub(crate) use encode::text_of;

/// The version that clients are told: they choose their catalog queries by it.
pub const SERVER_VERSION: &str = "15.8";
