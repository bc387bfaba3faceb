//! The SQL that Chronos adds to DataFusion: every spelling of time travel, windowed aggregates,
//! statements that the parser lacks, and PostgreSQL's meaning where DataFusion's differs.
//!
//! The way of a statement: [`parse`] gives [`Statement`]s; [`bind`] resolves names and clauses
//! that need the catalog; DataFusion plans the result in a session state made by [`configure`].
//!
//! This crate owns meaning, never bytes: it knows neither storage nor protocol.

pub mod access;
mod arithmetic;
mod bind;
pub mod casts;
mod each;
mod error;
mod functions;
pub mod instant;
mod kept;
mod lateral;
mod names;
mod now;
mod numeric;
mod operators;
mod parser;
pub mod privileges;
mod relation;
mod row_instants;
mod session;
mod spread;
mod statement;
pub mod system_tables;
mod temporal;
pub mod text;
mod totals;
mod types;
mod view;
mod window;

pub use bind::{Bound, bind};
pub use error::{Error, Result};
pub use names::{output_name, output_names};
pub use parser::{
    CURRENT_OF, MERGE_NOTHING, NO_DATA, OVERRIDING_SYSTEM, OVERRIDING_USER, PERIOD, Portion,
    SEQUENCE_NAME, TABLE_LIKE, WITHOUT_OVERLAPS, query_text, take_as_of, take_portion,
};
pub use row_instants::{Readable, Versions};
pub use session::configure;
pub use statement::{
    AlterSequence, ColumnChange, Extension, FetchCount, Moment, RelationChange, RelationKind,
    Restore, Statement, StatementKind, TransactionModes, parse,
};
pub use temporal::{HIDDEN_COLUMNS, Resolved, TemporalCatalog, TemporalInfo, is_hidden};
pub use types::{is_serial, sql_type};
pub use view::{SimpleView, is_aggregate};

/// The stack of a thread that binds, plans and drops statements: enough for the deepest that
/// [`parse`] lets pass, in a build without optimisation too.
pub const PLANNING_STACK_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests;
