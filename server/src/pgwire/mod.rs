//! The PostgreSQL protocol, version 3: messages, sessions' connections, text and binary formats,
//! COPY data. It knows no SQL: statements are carried out by an
//! [`Executor`](crate::session::api::Executor).
//!
//! - [`listener`]: accepts connections and gives each a session.
//! - [`cancel`]: CancelRequest.
//! - [`types`]: SQL types as the protocol names them.

mod backend;
pub mod cancel;
mod connection;
mod frontend;
pub mod listener;
pub mod types;

/// The version that clients are told: they choose their catalog queries by it.
pub const SERVER_VERSION: &str = "15.8";
