//! BACKUP DATABASE and VERIFY BACKUP.

use std::sync::Arc;

use chronos_catalog::SqlType;
use chronos_catalog::raft::Severity;
use chronos_storage::BackupStore;
use datafusion::arrow::array::{ArrayRef, Int64Array, StringViewArray, TimestampMicrosecondArray};
use datafusion::sql::sqlparser::ast::{Expr, ObjectName};

use super::api::Response;
use super::history::answer;
use super::maintenance::text_of;
use super::names::single;
use super::session::Session;
use crate::engine;
use crate::error::{PgError, PgResult};

/// What BACKUP DATABASE answers.
pub(super) const BACKUP_COLUMNS: &[(&str, SqlType)] = &[
    ("commit_time", SqlType::Timestamptz),
    ("objects", SqlType::Int8),
    ("objects_copied", SqlType::Int8),
    ("bytes_copied", SqlType::Int8),
];
/// What VERIFY BACKUP answers.
pub(super) const VERIFY_COLUMNS: &[(&str, SqlType)] = &[("finding", SqlType::Text)];

impl Session {
    /// `BACKUP DATABASE [name] TO 'url'`
    pub(super) async fn backup(
        &mut self,
        database: Option<&ObjectName>,
        url: &Expr,
    ) -> PgResult<Response> {
        self.refuse_in_block("BACKUP")?;
        self.require_superuser("back up the database")?;
        if let Some(name) = database {
            let name = single(name)?;
            if name != self.shared.identity.database {
                let message = format!("database \"{name}\" is not the one connected to");
                return Err(PgError::unsupported("BACKUP of another database").detail(message));
            }
        }
        let url = self.url(url).await?;
        let (commit, size) = self.shared.engine.backup(&url).await?;
        let number = |n: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![n as i64])) };
        let time = TimestampMicrosecondArray::from(vec![commit.micros()]).with_timezone("UTC");
        let arrays =
            vec![Arc::new(time), number(size.objects), number(size.copied), number(size.bytes)];
        answer(BACKUP_COLUMNS, arrays, "BACKUP")
    }

    /// `VERIFY BACKUP 'url'`: a row for each backup; damage is XX001.
    pub(super) async fn verify_backup(&mut self, url: &Expr) -> PgResult<Response> {
        self.require_superuser("verify a backup")?;
        let url = self.url(url).await?;
        let backups = BackupStore::open(&url).map_err(engine::Error::from)?;
        let findings = backups.verify().await.map_err(engine::Error::from)?;
        let damaged: Vec<&str> = findings
            .iter()
            .filter(|f| f.severity == Severity::Damaged)
            .map(|f| f.message.as_str())
            .collect();
        if let Some(first) = damaged.first() {
            return Err(PgError::new("XX001", *first).detail(damaged.join("\n")));
        }
        let texts: StringViewArray = findings.iter().map(|f| Some(f.message.as_str())).collect();
        answer(VERIFY_COLUMNS, vec![Arc::new(texts)], "VERIFY")
    }

    async fn url(&mut self, url: &Expr) -> PgResult<String> {
        let values = self.constants(vec![url.clone()]).await?;
        let text = values.first().and_then(text_of);
        text.ok_or_else(|| PgError::new("22004", "the backup's URL must not be null"))
    }
}
