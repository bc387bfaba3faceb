//! One node of Chronos and its doors: configuration, the engine that commits, sessions that
//! execute statements, and the PostgreSQL protocol.

pub mod auth;
pub mod cli;
pub mod config;
pub mod engine;
pub mod error;
pub mod http;
pub mod node;
mod offline;
pub mod pgwire;
mod restore;
pub mod session;
mod sqlstate;
