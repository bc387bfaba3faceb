//! Transaction blocks, savepoints and commits.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chronos_catalog::CommitMeta;
use chronos_sql_ext::TransactionModes;
use datafusion::sql::sqlparser::ast::{
    Ident, TransactionAccessMode, TransactionIsolationLevel, TransactionMode,
};
use futures::StreamExt;

use super::api::RowStream;
use super::names::fold;
use super::session::Session;
use super::settings::{Scope, Settings};
use super::shared::Shared;
use crate::engine::{Committed, Error, Savepoint};
use crate::error::{PgError, PgResult};

/// Which kind of transaction block is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// None: each statement is a transaction of its own.
    None,
    /// The one around several statements of one query string.
    Implicit,
    /// BEGIN.
    Explicit,
}

/// A savepoint and the settings at it.
pub(super) struct SavepointEntry {
    name: String,
    savepoint: Savepoint,
    settings: Settings,
    pending: super::backends::Pending,
}

/// 57014.
pub(super) fn stopped(why: &str) -> PgError {
    PgError::new("57014", format!("canceling statement due to {why}"))
}

/// Waits until then; for ever without an instant.
pub(super) async fn reached(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The rows, so far as they come before the deadline.
pub(super) fn until(rows: RowStream, deadline: Option<tokio::time::Instant>) -> RowStream {
    if deadline.is_none() {
        return rows;
    }
    futures::stream::unfold(Some(rows), move |rows| async move {
        let mut rows = rows?;
        tokio::select! {
            biased;
            () = reached(deadline) => Some((Err(stopped("statement timeout")), None)),
            row = rows.next() => row.map(|row| (row, Some(rows))),
        }
    })
    .boxed()
}

/// Waits for that long; for ever without a limit.
pub(crate) async fn elapsed(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// The modes of BEGIN as the standard grammar has them.
pub(super) fn modes(modes: &[TransactionMode]) -> PgResult<TransactionModes> {
    let mut result = TransactionModes::default();
    for mode in modes {
        match mode {
            TransactionMode::AccessMode(mode) => {
                result.read_only = Some(matches!(mode, TransactionAccessMode::ReadOnly));
            }
            TransactionMode::IsolationLevel(level) => {
                result.isolation = Some(match level {
                    TransactionIsolationLevel::ReadUncommitted => "read uncommitted",
                    TransactionIsolationLevel::ReadCommitted => "read committed",
                    TransactionIsolationLevel::RepeatableRead
                    | TransactionIsolationLevel::Snapshot => "repeatable read",
                    TransactionIsolationLevel::Serializable => "serializable",
                });
            }
        }
    }
    Ok(result)
}

impl Shared {
    /// Commits the open transaction, if any.
    pub async fn commit(&self) -> PgResult<Option<Committed>> {
        let upserting = self.upserting.swap(false, Ordering::Relaxed);
        let Some(transaction) = self.transaction.write().await.take() else { return Ok(None) };
        if !transaction.has_writes() {
            transaction.rollback();
            self.settle();
            return Ok(None);
        }
        self.committing.store(true, Ordering::Relaxed);
        let result = transaction.commit_numbered(self.commit_meta()).await;
        self.committing.store(false, Ordering::Relaxed);
        let commit = match result {
            Ok(commit) => commit,
            Err(error) => {
                self.forget_pending();
                return Err(match error {
                    Error::UniqueViolation { detail, .. } if upserting => {
                        Error::Conflict { detail }.into()
                    }
                    error => error.into(),
                });
            }
        };
        self.settle();
        if let Some(commit) = &commit {
            *self.last_commit.lock() = Some(commit.ts);
        }
        Ok(commit)
    }

    /// Rolls the open transaction back, if any.
    pub async fn rollback(&self) {
        self.upserting.store(false, Ordering::Relaxed);
        self.forget_pending();
        if let Some(transaction) = self.transaction.write().await.take() {
            transaction.rollback();
        }
    }

    /// The same from where nothing can be waited for. Nothing else holds the transaction then.
    pub fn abandon(&self) {
        self.upserting.store(false, Ordering::Relaxed);
        self.forget_pending();
        match self.transaction.try_write() {
            Ok(mut guard) => {
                if let Some(transaction) = guard.take() {
                    transaction.rollback();
                }
            }
            Err(_) => tracing::error!("a transaction was in use when its statement ended"),
        }
    }

    fn forget_pending(&self) {
        *self.pending.lock() = super::backends::Pending::default();
    }

    fn commit_meta(&self) -> CommitMeta {
        let settings = self.settings.read();
        let optional = |name| Some(settings.known(name)).filter(|v| !v.is_empty());
        CommitMeta {
            user: self.identity.user.clone(),
            application_name: settings.known("application_name"),
            actor: optional("chronos.actor"),
            reason: optional("chronos.reason"),
            function_id: optional("chronos.function_id"),
        }
    }
}

impl Session {
    /// Makes sure that a transaction is open for the statement that comes.
    pub(super) async fn open_transaction(&mut self) -> PgResult<()> {
        let as_of = self.session_as_of()?;
        if let Some(t) = as_of {
            self.shared.engine.close_instant(t).await?;
        }
        let serializable = self.isolation() == "serializable";
        let anew = self.may_read_anew();
        self.block_has_read = true;
        let mut guard = self.shared.transaction.write().await;
        match guard.as_mut() {
            None if self.block != Block::None => return Err(super::session::aborted()),
            None => {
                let mut transaction = self.shared.engine.begin();
                transaction.set_serializable(serializable);
                *guard = Some(transaction);
            }
            Some(transaction) => {
                transaction.unpin();
                transaction.set_serializable(serializable);
                // A block sees what was committed before its first statement.
                if anew {
                    transaction.refresh();
                }
            }
        }
        self.shared.scope.lock().as_of = as_of;
        Ok(())
    }

    /// BEGIN and START TRANSACTION.
    pub(super) async fn begin_block(
        &mut self,
        start: bool,
        modes: &TransactionModes,
    ) -> PgResult<String> {
        let tag = if start { "START TRANSACTION" } else { "BEGIN" };
        match self.block {
            Block::Explicit => {
                self.notice(PgError::warning(
                    "25001",
                    "there is already a transaction in progress",
                ));
            }
            Block::Implicit => self.block = Block::Explicit,
            Block::None => self.enter_block(Block::Explicit).await?,
        }
        self.apply_modes(modes).await?;
        Ok(tag.to_owned())
    }

    pub(super) async fn enter_block(&mut self, block: Block) -> PgResult<()> {
        *self.shared.transaction.write().await = Some(self.shared.engine.begin());
        let mut settings = self.shared.settings.write();
        self.settings_before = Some(settings.clone());
        for name in ["isolation", "read_only", "deferrable"] {
            let default = settings.known(&format!("default_transaction_{name}"));
            settings.set(&format!("transaction_{name}"), Some(&default), Scope::Local)?;
        }
        drop(settings);
        self.block = block;
        self.block_has_read = false;
        self.failed = false;
        Ok(())
    }

    async fn apply_modes(&mut self, modes: &TransactionModes) -> PgResult<()> {
        {
            let mut settings = self.shared.settings.write();
            if let Some(level) = modes.isolation {
                settings.set("transaction_isolation", Some(level), Scope::Local)?;
            }
            let on_off = |b: bool| Some(if b { "on" } else { "off" });
            if let Some(read_only) = modes.read_only {
                settings.set("transaction_read_only", on_off(read_only), Scope::Local)?;
            }
            if let Some(deferrable) = modes.deferrable {
                settings.set("transaction_deferrable", on_off(deferrable), Scope::Local)?;
            }
        }
        if let Some(instant) = &modes.as_of {
            let t = self.evaluate_instant(instant).await?;
            let text = chronos_sql_ext::instant::display(t);
            self.shared.settings.write().set("chronos.as_of", Some(&text), Scope::Local)?;
        }
        Ok(())
    }

    /// SET TRANSACTION and SET SESSION CHARACTERISTICS.
    pub(super) async fn set_transaction(
        &mut self,
        session: bool,
        modes: &TransactionModes,
    ) -> PgResult<String> {
        if session {
            let mut settings = self.shared.settings.write();
            if let Some(level) = modes.isolation {
                settings.set("default_transaction_isolation", Some(level), Scope::Session)?;
            }
            let on_off = |b: bool| Some(if b { "on" } else { "off" });
            if let Some(read_only) = modes.read_only {
                let value = on_off(read_only);
                settings.set("default_transaction_read_only", value, Scope::Session)?;
            }
            if let Some(deferrable) = modes.deferrable {
                let value = on_off(deferrable);
                settings.set("default_transaction_deferrable", value, Scope::Session)?;
            }
        } else if self.block == Block::None {
            let text = "SET TRANSACTION can only be used in transaction blocks";
            self.notice(PgError::warning("25P01", text));
        } else {
            self.apply_modes(modes).await?;
        }
        Ok("SET".to_owned())
    }

    /// COMMIT and END.
    pub(super) async fn commit_block(&mut self, chain: bool) -> PgResult<String> {
        let tag = if self.failed { "ROLLBACK" } else { "COMMIT" };
        self.end_block(!self.failed, chain).await?;
        Ok(tag.to_owned())
    }

    /// ROLLBACK and ABORT.
    pub(super) async fn rollback_block(&mut self, chain: bool) -> PgResult<String> {
        self.end_block(false, chain).await?;
        Ok("ROLLBACK".to_owned())
    }

    async fn end_block(&mut self, commit: bool, chain: bool) -> PgResult<()> {
        let block = self.block;
        if block != Block::Explicit {
            if chain {
                let what = if commit { "COMMIT" } else { "ROLLBACK" };
                let message = format!("{what} AND CHAIN can only be used in transaction blocks");
                return Err(PgError::new("25P01", message));
            }
            self.notice(PgError::warning("25P01", "there is no transaction in progress"));
        }
        let modes = {
            let settings = self.shared.settings.read();
            ["transaction_isolation", "transaction_read_only", "transaction_deferrable"]
                .map(|name| (name, settings.known(name)))
        };
        self.leave_block(commit).await?;
        match block {
            Block::Explicit if chain => {
                self.enter_block(Block::Explicit).await?;
                let mut settings = self.shared.settings.write();
                for (name, value) in modes {
                    settings.set(name, Some(&value), Scope::Local)?;
                }
            }
            // What follows in the query string is the next implicit block.
            Block::Implicit => self.enter_block(Block::Implicit).await?,
            Block::Explicit | Block::None => {}
        }
        Ok(())
    }

    /// Ends the block; whatever comes of it, no block is open afterwards.
    pub(super) async fn leave_block(&mut self, commit: bool) -> PgResult<()> {
        self.block = Block::None;
        self.failed = false;
        self.savepoints.clear();
        // A cursor WITH HOLD has its rows already chosen.
        self.cursors.retain(|_, cursor| commit && cursor.hold);
        let before = self.settings_before.take();
        let checked = match commit {
            true => match Box::pin(self.finish_deferred(true)).await {
                Ok(()) => Box::pin(self.settle_temporary()).await,
                Err(error) => Err(error),
            },
            false => Ok(()),
        };
        self.forget_deferred();
        let result = match checked {
            Ok(()) if commit => self.shared.commit().await.map(|_| ()),
            checked => {
                self.shared.rollback().await;
                checked
            }
        };
        self.shared.backends.locks.end_transaction(self.shared.identity.process_id);
        let mut settings = self.shared.settings.write();
        if let Some(before) = before
            && (!commit || result.is_err())
        {
            *settings = before;
        }
        settings.end_transaction();
        result
    }

    /// SAVEPOINT.
    pub(super) async fn savepoint(&mut self, name: &Ident) -> PgResult<String> {
        self.need_block("SAVEPOINT")?;
        let guard = self.shared.transaction.read().await;
        let transaction = guard.as_ref().ok_or_else(super::session::aborted)?;
        let entry = SavepointEntry {
            name: fold(name),
            savepoint: transaction.savepoint(),
            settings: self.shared.settings.read().clone(),
            pending: self.shared.pending.lock().clone(),
        };
        drop(guard);
        self.savepoints.push(entry);
        Ok("SAVEPOINT".to_owned())
    }

    /// RELEASE SAVEPOINT.
    pub(super) fn release_savepoint(&mut self, name: &Ident) -> PgResult<String> {
        self.need_block("RELEASE SAVEPOINT")?;
        let index = self.find_savepoint(name)?;
        self.savepoints.truncate(index);
        Ok("RELEASE".to_owned())
    }

    /// ROLLBACK TO SAVEPOINT.
    pub(super) async fn rollback_to(&mut self, name: &Ident) -> PgResult<String> {
        self.need_block("ROLLBACK TO SAVEPOINT")?;
        let index = self.find_savepoint(name)?;
        self.savepoints.truncate(index + 1);
        let entry = &self.savepoints[index];
        let mut guard = self.shared.transaction.write().await;
        let transaction = guard.as_mut().ok_or_else(super::session::aborted)?;
        transaction.rollback_to(&entry.savepoint);
        *self.shared.settings.write() = entry.settings.clone();
        *self.shared.pending.lock() = entry.pending.clone();
        self.failed = false;
        Ok("ROLLBACK".to_owned())
    }

    fn find_savepoint(&self, name: &Ident) -> PgResult<usize> {
        let name = fold(name);
        self.savepoints
            .iter()
            .rposition(|s| s.name == name)
            .ok_or_else(|| PgError::new("3B001", format!("savepoint \"{name}\" does not exist")))
    }

    fn need_block(&self, what: &str) -> PgResult<()> {
        if self.block == Block::Explicit {
            return Ok(());
        }
        Err(PgError::new("25P01", format!("{what} can only be used in transaction blocks")))
    }

    /// The limit of `statement_timeout`.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        self.limit("statement_timeout")
    }

    /// The limit of `lock_timeout`.
    pub(super) fn lock_timeout(&self) -> Option<Duration> {
        self.limit("lock_timeout")
    }

    fn limit(&self, setting: &str) -> Option<Duration> {
        self.shared.settings.read().milliseconds(setting)
    }

    /// The isolation level of the open block, or of a statement outside one.
    pub(super) fn isolation(&self) -> String {
        let settings = self.shared.settings.read();
        match self.block {
            Block::None => settings.known("default_transaction_isolation"),
            Block::Implicit | Block::Explicit => settings.known("transaction_isolation"),
        }
    }

    /// Whether a statement of the open block that met a conflict may see later commits than it
    /// did: where it is the block's first, or each sees its own.
    pub(super) fn may_read_anew(&self) -> bool {
        let level = self.isolation();
        !self.block_has_read || level == "read committed" || level == "read uncommitted"
    }
}
