//! Sessions: statements, transactions and settings. Knows no bytes.
//!
//! - [`api`]: the seam to the protocol.
//! - [`Session`]: one connection's; [`Sessions`] makes them.
//! - `plan`, `query`, `insert`, `conflict`, `dml`, `merge`, `joined`, `returning`, `locking`, `copy`, `ddl`, `explain`: what statements do.
//! - `fast`: statements that a key answers, without the planner, and statements by their text.
//! - `history`: functions and statements about the past.
//! - `transaction`, `settings`, `facts`, `show`, `prepared`, `cursor`: the session's own state.
//! - `backends`, `locks`, `coordination`: what sessions do to one another.
//! - `views`, `row_security`: writing through views, and which rows a role sees and writes.
//! - `infer`, `parameters`: the types of parameters.
//! - `shared`: what planning and functions see of it.

mod activity;
pub mod api;
mod assign;
mod backends;
mod backup;
mod build;
mod conflict;
mod coordination;
mod copy;
mod cursor;
mod ddl;
mod describe_write;
mod dml;
mod expand;
mod explain;
mod factory;
mod facts;
mod fast;
mod foreign;
mod functions;
mod generated;
mod history;
mod infer;
mod insert;
mod joined;
mod locking;
mod locks;
mod login;
mod maintenance;
mod memory;
mod merge;
mod names;
mod origin;
mod parameters;
mod periods;
mod plan;
mod position;
mod prepared;
mod privileges;
mod query;
mod returning;
mod row_security;
mod scalar_relations;
#[expect(clippy::module_inception, reason = "the session is what the module is named after")]
mod session;
mod settings;
mod shared;
mod show;
mod temporary;
#[cfg(test)]
mod tests;
mod transaction;
mod views;
mod write;

pub use factory::{DATABASE, Sessions};
pub use session::{Prepared, Session};
pub use settings::{SERVER_VERSION, VERSION_TEXT};
pub(crate) use transaction::elapsed;
