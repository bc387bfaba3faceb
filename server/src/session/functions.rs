//! Functions that look at the session.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast;

use super::shared::Shared;
use crate::error::{PgError, PgResult};

/// The functions.
pub(super) fn functions(_shared: &Arc<Shared>) -> Vec<ScalarUDF> {
    Vec::new()
}

/// Rewrites before planning.
pub(super) fn rewrite(_statement: &mut ast::Statement) {}

impl Shared {
    /// `nextval`, by the sequence's name as SQL text.
    pub async fn next_value(&self, name: &str) -> PgResult<i64> {
        let (oid, relation) = self.sequence(name)?;
        let value = self.engine.next_value(oid, &relation).await?;
        let mut sequences = self.sequences.lock();
        sequences.0.insert(oid, value);
        sequences.1 = Some(oid);
        Ok(value)
    }

    /// The sequence of that name.
    pub fn sequence(
        &self,
        name: &str,
    ) -> PgResult<(chronos_catalog::Oid, chronos_catalog::Relation)> {
        use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
        use datafusion::sql::sqlparser::parser::Parser;
        let parsed = Parser::new(&PostgreSqlDialect {})
            .try_with_sql(name)
            .and_then(|mut p| p.parse_object_name(false))
            .map_err(|_| PgError::new("42602", format!("invalid name syntax: \"{name}\"")))?;
        let name = super::names::relation(&parsed, &self.identity.database)?;
        let (objects, at) = self.objects()?;
        let path = self.search_path();
        let lookup = super::names::Lookup { objects: &objects, at, path: &path };
        let (oid, object) =
            lookup.relation(&name).ok_or_else(|| super::names::no_relation(&name))?;
        match &object.relation {
            relation @ chronos_catalog::Relation::Sequence { .. } => Ok((oid, relation.clone())),
            _ => Err(PgError::new("42809", format!("\"{name}\" is not a sequence"))),
        }
    }
}
