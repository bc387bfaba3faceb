//! PREPARE, EXECUTE, DEALLOCATE and DISCARD.

use std::sync::Arc;

use chronos_catalog::SqlType;
use chronos_sql_ext::system_tables::PreparedInfo;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    DataType, DiscardObject, Expr, Ident, ObjectName, Statement,
};

use super::api::{FieldDescription, Response};
use super::fast::{Kept, Slot};
use super::names::{fold, single};
use super::session::Session;
use crate::error::{PgError, PgResult};

/// A statement of PREPARE.
#[derive(Clone, Debug)]
pub(super) struct SqlPrepared {
    types: Vec<DataType>,
    /// How many parameters the statement asks for.
    count: usize,
    statement: Arc<Statement>,
    slot: Arc<Slot>,
}

impl Session {
    pub(super) fn prepare(
        &mut self,
        name: &Ident,
        types: &[DataType],
        statement: &Statement,
        text: &str,
    ) -> PgResult<String> {
        let name = fold(name);
        if self.prepared.contains_key(&name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(PgError::new("42P05", message));
        }
        let prepared = SqlPrepared {
            types: types.to_vec(),
            count: super::parameters::count(statement),
            statement: Arc::new(statement.clone()),
            slot: Arc::default(),
        };
        let oids = types
            .iter()
            .filter_map(|ty| chronos_sql_ext::sql_type(ty).ok())
            .map(|ty| crate::pgwire::types::oid(&ty));
        self.note_prepared(&name, text, oids.collect(), true);
        self.prepared.insert(name, prepared);
        Ok("PREPARE".to_owned())
    }

    /// Notes a statement for `pg_prepared_statements`.
    pub(super) fn note_prepared(
        &self,
        name: &str,
        statement: &str,
        parameter_types: Vec<u32>,
        from_sql: bool,
    ) {
        let info = PreparedInfo {
            name: name.to_owned(),
            statement: statement.to_owned(),
            prepared_at: self.shared.engine.now_micros(),
            parameter_types,
            from_sql,
        };
        self.shared.prepared.lock().insert(name.to_owned(), info);
    }

    pub(super) async fn execute_prepared(&mut self, sql: &Statement) -> PgResult<Response> {
        let Statement::Execute { name: Some(name), parameters, .. } = sql else {
            return Err(PgError::new("42601", "EXECUTE needs the name of a prepared statement"));
        };
        let name = single(name)?;
        let prepared = self.prepared.get(&name).cloned().ok_or_else(|| missing(&name))?;
        let expected = prepared.types.len().max(prepared.count);
        if parameters.len() != expected {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let detail = format!("Expected {} parameters but got {}.", expected, parameters.len());
            return Err(PgError::new("42601", message).detail(detail));
        }
        let arguments =
            parameters.iter().enumerate().map(|(i, expr)| match prepared.types.get(i) {
                Some(ty) => super::parameters::cast(expr.clone(), ty.clone()),
                None => expr.clone(),
            });
        let values = self.constants(arguments.collect()).await?;
        self.shared.scope.lock().parameters = Some(values);
        self.kept = Some(Kept { slot: prepared.slot, original: None });
        self.run_sql(&prepared.statement).await
    }

    /// The values of expressions without columns.
    pub(super) async fn constants(&mut self, expressions: Vec<Expr>) -> PgResult<Vec<ScalarValue>> {
        let typed = self.typed_constants(expressions).await?;
        Ok(typed.into_iter().map(|(value, _)| value).collect())
    }

    /// The same with their types.
    pub(super) async fn typed_constants(
        &mut self,
        expressions: Vec<Expr>,
    ) -> PgResult<Vec<(ScalarValue, SqlType)>> {
        if expressions.is_empty() {
            return Ok(Vec::new());
        }
        let count = expressions.len();
        let query = super::build::select(
            expressions
                .into_iter()
                .enumerate()
                .map(|(i, e)| super::build::aliased(e, &format!("c{i}")))
                .collect(),
            Vec::new(),
            None,
        );
        let opened = self.shared.transaction.read().await.is_none();
        if opened {
            self.open_transaction().await?;
        }
        let result = async {
            let planned = self.plan(&Statement::Query(Box::new(query))).await?;
            let fields = Arc::clone(&planned.fields);
            Ok::<_, PgError>((fields, self.collect(planned).await?))
        }
        .await;
        if opened && self.block == super::transaction::Block::None {
            self.shared.rollback().await;
        }
        let (fields, batches) = result?;
        let batch = batches
            .into_iter()
            .find(|b| b.num_rows() == 1)
            .ok_or_else(|| PgError::internal("an expression without a value"))?;
        (0..count)
            .map(|i| {
                let value = ScalarValue::try_from_array(batch.column(i), 0)?;
                Ok((value, fields[i].ty.clone()))
            })
            .collect()
    }

    /// The columns that EXECUTE answers. That there is no such statement is told when it runs.
    pub(super) async fn describe_prepared(
        &mut self,
        name: &ObjectName,
    ) -> PgResult<Option<Arc<[FieldDescription]>>> {
        let Some(prepared) = self.prepared.get(&single(name)?).cloned() else { return Ok(None) };
        let types = prepared.types.iter().map(chronos_sql_ext::sql_type);
        let types = types.map(|ty| ty.map(Some)).collect::<Result<Vec<_>, _>>()?;
        let statement = chronos_sql_ext::Statement {
            kind: chronos_sql_ext::StatementKind::Sql(Box::new(
                prepared.statement.as_ref().clone(),
            )),
            text: String::new(),
            offset: 0,
            parameter_count: prepared.count,
        };
        Ok(self.describe_statement(&statement, &types).await?.fields)
    }

    pub(super) fn deallocate(&mut self, name: &Ident) -> PgResult<String> {
        if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all") {
            self.prepared.clear();
            self.shared.prepared.lock().clear();
            self.deallocated.push(None);
            return Ok("DEALLOCATE ALL".to_owned());
        }
        let name = fold(name);
        // A statement of the extended protocol has the same name space and is kept elsewhere.
        self.prepared.remove(&name);
        self.shared.prepared.lock().remove(&name);
        self.deallocated.push(Some(name));
        Ok("DEALLOCATE".to_owned())
    }

    pub(super) async fn discard(&mut self, what: &DiscardObject) -> PgResult<String> {
        match what {
            DiscardObject::ALL => {
                if self.block != super::transaction::Block::None {
                    let message = "DISCARD ALL cannot run inside a transaction block";
                    return Err(PgError::new("25001", message));
                }
                self.prepared.clear();
                self.shared.prepared.lock().clear();
                self.deallocated.push(None);
                self.cursors.clear();
                self.texts.clear();
                self.shapes.clear();
                {
                    let mut settings = self.shared.settings.write();
                    settings.reset_all();
                    for own in ["role", "session_authorization"] {
                        settings.set_identity(own, None, super::settings::Scope::Session);
                    }
                }
                self.shared.tell_superuser();
                *self.shared.sequences.lock() = Default::default();
                self.discard_temporary().await?;
                Ok("DISCARD ALL".to_owned())
            }
            DiscardObject::PLANS => {
                self.texts.clear();
                self.shapes.clear();
                Ok("DISCARD PLANS".to_owned())
            }
            DiscardObject::SEQUENCES => {
                *self.shared.sequences.lock() = Default::default();
                Ok("DISCARD SEQUENCES".to_owned())
            }
            DiscardObject::TEMP => {
                self.discard_temporary().await?;
                Ok("DISCARD TEMP".to_owned())
            }
        }
    }
}

fn missing(name: &str) -> PgError {
    PgError::new("26000", format!("prepared statement \"{name}\" does not exist"))
}

/// The instants of BEGIN AS OF SYSTEM TIME and of `chronos.as_of`.
impl Session {
    /// The instant that an expression without columns means.
    pub(super) async fn evaluate_instant(
        &mut self,
        expr: &Expr,
    ) -> PgResult<chronos_catalog::CommitTs> {
        let value = self.constants(vec![expr.clone()]).await?.pop().unwrap_or(ScalarValue::Null);
        self.instant_of(&value)
    }

    pub(super) fn instant_of(&self, value: &ScalarValue) -> PgResult<chronos_catalog::CommitTs> {
        let zone = self.shared.settings.read().time_zone();
        let now = chronos_catalog::CommitTs(self.shared.scope.lock().transaction_start);
        Ok(chronos_sql_ext::instant::of_value(value, zone, now)?)
    }

    /// The instant that the setting `chronos.as_of` names, if any.
    pub(super) fn session_as_of(&self) -> PgResult<Option<chronos_catalog::CommitTs>> {
        let text = self.shared.settings.read().known("chronos.as_of");
        if text.trim().is_empty() {
            return Ok(None);
        }
        let t = self.instant_of(&ScalarValue::Utf8(Some(text.clone())))?;
        if t.micros() > self.shared.engine.now_micros() {
            let message = format!("cannot read as of {text}: it is in the future");
            return Err(PgError::new("22023", message));
        }
        Ok(Some(t))
    }
}
