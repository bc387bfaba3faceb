//! UPDATE and DELETE.

use chronos_catalog::SqlType;
use datafusion::sql::sqlparser::ast::{Delete, Statement, Update, With};

use super::api::{Description, Response};
use super::session::Session;
use super::write::WriteTarget;
use crate::error::{PgError, PgResult};

impl Session {
    pub(super) async fn update(&mut self, update: &Update) -> PgResult<Response> {
        self.update_with(update, None).await
    }
    pub(super) async fn update_with(
        &mut self,
        _update: &Update,
        _with: Option<&With>,
    ) -> PgResult<Response> {
        Err(PgError::unsupported("UPDATE"))
    }
    pub(super) async fn delete(&mut self, delete: &Delete) -> PgResult<Response> {
        self.delete_with(delete, None).await
    }
    pub(super) async fn delete_with(
        &mut self,
        _delete: &Delete,
        _with: Option<&With>,
    ) -> PgResult<Response> {
        Err(PgError::unsupported("DELETE"))
    }
    pub(super) async fn delete_all(&mut self, _target: &WriteTarget) -> PgResult<u64> {
        Err(PgError::unsupported("TRUNCATE"))
    }
    pub(super) async fn describe_write(
        &mut self,
        _sql: &Statement,
        given: Vec<Option<SqlType>>,
    ) -> PgResult<Description> {
        Ok(Description { parameters: super::plan::settle(given), fields: None })
    }
}
