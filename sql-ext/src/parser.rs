use crate::error::Result;
use crate::statement::Statement;
pub(crate) fn parse(_sql: &str) -> Result<Vec<Statement>> {
    Ok(vec![])
}
