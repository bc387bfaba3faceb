//! COPY.

use datafusion::sql::sqlparser::ast::Statement;

use super::api::Response;
use super::session::Session;
use crate::error::{PgError, PgResult};

impl Session {
    pub(super) async fn copy(&mut self, _sql: &Statement) -> PgResult<Response> {
        Err(PgError::unsupported("COPY"))
    }
}
