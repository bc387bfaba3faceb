//! One node of Chronos and its doors: configuration, the engine that commits, sessions that
//! execute statements, and the PostgreSQL protocol.

pub mod auth;
pub mod cli;
pub mod config;
pub mod engine;
pub mod error;
pub mod http;
pub mod node;
pub mod pgwire;
pub mod session;
mod sqlstate;
