//! Queries by key AS OF an instant that is a parameter or text.

use chronos_sql_ext::{TemporalCatalog, take_as_of};
use chronos_storage::PointRead;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, SetExpr, Statement, Value};

use crate::error::{PgError, PgResult};
use crate::session::names::{Lookup, RelationName};
use crate::session::session::Session;
use crate::session::shared::SessionCatalog;

/// An instant that is not evaluated yet.
#[derive(Clone, Debug)]
pub(in crate::session) enum Instant {
    /// The number of a parameter, from 0.
    Parameter(usize),
    Text(String),
}

impl Instant {
    /// Takes the instant off the one table of a query: the query about now, and the instant.
    pub(super) fn take(sql: &Statement) -> Option<(Statement, Instant)> {
        let mut sql = sql.clone();
        let Statement::Query(query) = &mut sql else { return None };
        let SetExpr::Select(select) = query.body.as_mut() else { return None };
        let [from] = select.from.as_mut_slice() else { return None };
        let Expr::Value(value) = take_as_of(&mut from.relation)? else { return None };
        let instant = match value.value {
            Value::Placeholder(name) => {
                Instant::Parameter(crate::session::parameters::index(&name)?)
            }
            Value::SingleQuotedString(text) => Instant::Text(text),
            _ => return None,
        };
        Some((sql, instant))
    }
}

impl Session {
    /// The rows that a key may find AS OF an instant; `None` where the table, its shape or its
    /// name was another then.
    pub(super) async fn read_as_of(
        &mut self,
        read: &PointRead,
        keys: &[ArrayRef],
        name: &RelationName,
        instant: &Instant,
    ) -> PgResult<Option<Vec<RecordBatch>>> {
        let value = {
            let scope = self.shared.scope.lock();
            match instant {
                Instant::Text(text) => Some(ScalarValue::Utf8(Some(text.clone()))),
                Instant::Parameter(i) => scope.parameters.as_ref().and_then(|p| p.get(*i)).cloned(),
            }
        };
        let Some(value) = value else { return Ok(None) };
        let t = self.instant_of(&value)?;
        // As planning does: nothing may commit at or before it any more, and all of it is seen.
        let catalog = SessionCatalog(std::sync::Arc::clone(&self.shared));
        catalog.check_instant(t).map_err(PgError::from)?;
        self.shared.scope.lock().latest_instant = None;
        self.shared.engine.close_instant(t).await?;
        self.catch_up(t).await;
        let (objects, _) = self.shared.objects()?;
        let path = self.shared.search_path();
        let then = Lookup { objects: &objects, at: t, path: &path };
        if then.relation(name).is_none_or(|(oid, _)| oid != read.table_oid()) {
            return Ok(None);
        }
        let guard = self.shared.transaction.read().await;
        let transaction = guard.as_ref().ok_or_else(crate::session::session::aborted)?;
        Ok(transaction.read_by_key_at(read, t, keys).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_parameter_or_text_is_taken() {
        let take = |sql: &str| {
            let statement = chronos_sql_ext::parse(sql).unwrap().pop().unwrap();
            let chronos_sql_ext::StatementKind::Sql(sql) = statement.kind else { return None };
            Instant::take(&sql).map(|(sql, instant)| (sql.to_string(), format!("{instant:?}")))
        };
        let taken = Some(("SELECT a FROM t WHERE id = 1".to_owned(), "Parameter(0)".to_owned()));
        assert_eq!(take("SELECT a FROM t FOR SYSTEM_TIME AS OF $1 WHERE id = 1"), taken);
        assert!(take("SELECT a FROM t AS OF SYSTEM TIME '-10s' WHERE id = 1").is_some());
        assert_eq!(take("SELECT a FROM t FOR SYSTEM_TIME AS OF now() WHERE id = 1"), None);
        assert_eq!(take("SELECT a FROM t FOR SYSTEM_TIME ALL WHERE id = 1"), None);
        assert_eq!(take("SELECT a FROM t WHERE id = 1"), None);
    }
}
