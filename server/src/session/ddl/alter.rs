//! ALTER TABLE.

use datafusion::sql::sqlparser::ast::AlterTable;

use crate::error::{PgError, PgResult};
use crate::session::session::Session;

impl Session {
    pub(super) async fn alter_table(&mut self, _alter: &AlterTable) -> PgResult<String> {
        Err(PgError::unsupported("ALTER TABLE"))
    }
}
