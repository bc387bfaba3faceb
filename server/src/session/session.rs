//! One connection's session: carries out statements, one at a time.
//!
//! Invariants:
//! - A transaction is open in [`Shared::transaction`] exactly while a block is open or a
//!   statement runs.
//! - After an error in a block nothing runs until the block ends or goes back to a savepoint.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chronos_catalog::SqlType;
use chronos_sql_ext::{Extension, Statement, StatementKind};
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::common::ScalarValue;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::sql::sqlparser::ast;
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use super::activity::{Live, State};
use super::api::{Description, Executor, Response, TextSettings, TransactionStatus};
use super::backends::{Backend, Backends};
use super::cursor::Cursor;
use super::facts::Facts;
use super::fast::{Basis, Described, Kept, Shapes, Slot, Texts};
use super::plan::StateCache;
use super::settings::Settings;
use super::shared::{Identity, Scope, Shared};
use super::transaction::{Block, SavepointEntry};
use super::write::Unknown;
use crate::engine::{Committed, Engine};
use crate::error::{PgError, PgResult};

/// How often a statement is run again after losing a race. It waits for the winner each time, so
/// this ends only what could never end.
const RETRIES: usize = 1000;

/// A parsed statement.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) statement: Arc<Statement>,
    /// The types of its parameters as they were described.
    pub(super) types: Arc<std::sync::OnceLock<Vec<SqlType>>>,
    /// What was told of it.
    described: Arc<Described>,
    /// What is compiled of it.
    slot: Arc<Slot>,
    /// Its parameters and the text that they were taken from, where they are no client's.
    numbers: Option<Arc<(Vec<ScalarValue>, Arc<str>)>>,
}

impl Prepared {
    fn new(statement: Statement) -> Self {
        Prepared {
            statement: Arc::new(statement),
            types: Arc::default(),
            described: Arc::default(),
            slot: Arc::default(),
            numbers: None,
        }
    }

    /// The same statement with values for its parameters, taken from a text.
    pub(super) fn with(&self, values: Vec<ScalarValue>, types: Vec<SqlType>, text: &str) -> Self {
        let numbers = Some(Arc::new((values, Arc::from(text))));
        Prepared { types: Arc::new(types.into()), numbers, ..self.clone() }
    }

    /// Whether no key answers it.
    pub(super) fn is_refused(&self) -> bool {
        self.slot.is_refused()
    }

    /// Whether a key answers it without the planner.
    #[cfg(test)]
    pub(super) fn is_compiled(&self) -> bool {
        self.slot.is_compiled()
    }

    /// The same statement sent again, whose parameters may have other types.
    pub(super) fn again(&self) -> Self {
        Prepared { types: Arc::default(), ..self.clone() }
    }
}

/// A connection's session.
pub struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) runtime: Arc<RuntimeEnv>,
    pub(super) block: Block,
    /// A statement of the block has read.
    pub(super) block_has_read: bool,
    /// The block had an error.
    pub(super) failed: bool,
    pub(super) savepoints: Vec<SavepointEntry>,
    /// The settings as they were when the block began.
    pub(super) settings_before: Option<Settings>,
    pub(super) notices: Vec<PgError>,
    pub(super) states: StateCache,
    /// Statements by their text.
    pub(super) texts: Texts,
    /// Statements by their text without its numbers.
    pub(super) shapes: Shapes,
    /// What is kept of the statement that is to run.
    pub(super) kept: Option<Kept>,
    /// Statements of PREPARE.
    pub(super) prepared: HashMap<String, super::prepared::SqlPrepared>,
    pub(super) cursors: HashMap<String, Cursor>,
    pub(super) deallocated: Vec<Option<String>>,
    pub(super) cancel: CancellationToken,
    /// What the statement has done to tables with foreign keys.
    pub(super) touched: Vec<super::foreign::Touched>,
    /// The WITH around the write that runs: its RETURNING and DO UPDATE may use it too.
    pub(super) statement_with: Option<ast::With>,
    /// How many results of writes within WITH were given names.
    pub(super) results: u64,
    /// Columns of the answer that are known only after the commit, and the table's.
    pub(super) unknown: Option<(chronos_catalog::Oid, Vec<(usize, Unknown)>)>,
    /// What the client was last told of the settings.
    reported: Arc<Facts>,
    /// The place among the node's sessions; a companion has none of its own.
    backend: Option<Backend>,
}

impl Session {
    pub(super) fn new(
        engine: Arc<Engine>,
        runtime: Arc<RuntimeEnv>,
        backends: &Arc<Backends>,
        identity: Identity,
        settings: Settings,
    ) -> Self {
        let mut first = Facts::of(&settings);
        // What the protocol tells of it unless it hears otherwise.
        first.reported.insert("is_superuser", "on".to_owned());
        let reported = Arc::new(first);
        let live = Live { started: engine.now_micros(), ..Live::default() };
        let backend = backends.join(identity.process_id, &identity.user);
        let shared = Arc::new(Shared {
            engine,
            identity,
            settings: parking_lot::RwLock::new(settings),
            backends: Arc::clone(backends),
            pending: parking_lot::Mutex::default(),
            transaction: tokio::sync::RwLock::new(None),
            scope: parking_lot::Mutex::new(Scope::default()),
            live: parking_lot::Mutex::new(live),
            last_commit: parking_lot::Mutex::new(None),
            prepared: parking_lot::Mutex::default(),
            sequences: parking_lot::Mutex::default(),
            committing: AtomicBool::new(false),
            upserting: AtomicBool::new(false),
            temporary: AtomicBool::new(false),
            deferred: parking_lot::Mutex::default(),
            constraint_modes: parking_lot::Mutex::default(),
            parents: parking_lot::Mutex::default(),
        });
        shared.tell_superuser();
        backends.introduce(&shared);
        Session {
            shared,
            runtime,
            block: Block::None,
            block_has_read: false,
            failed: false,
            savepoints: Vec::new(),
            settings_before: None,
            notices: Vec::new(),
            states: StateCache::default(),
            texts: Texts::default(),
            shapes: Shapes::default(),
            kept: None,
            prepared: HashMap::new(),
            cursors: HashMap::new(),
            deallocated: Vec::new(),
            cancel: CancellationToken::new(),
            touched: Vec::new(),
            statement_with: None,
            results: 0,
            unknown: None,
            reported,
            backend: Some(backend),
        }
    }

    /// A session that works in the same transaction, on behalf of a statement that goes on
    /// after `execute` returned.
    pub(super) fn companion(&self) -> Session {
        let settings = self.shared.settings.read().facts();
        Session {
            shared: Arc::clone(&self.shared),
            runtime: Arc::clone(&self.runtime),
            // Its statements neither begin nor end a transaction.
            block: Block::Implicit,
            block_has_read: true,
            failed: false,
            savepoints: Vec::new(),
            settings_before: None,
            notices: Vec::new(),
            states: StateCache::default(),
            texts: Texts::default(),
            shapes: Shapes::default(),
            kept: None,
            prepared: HashMap::new(),
            cursors: HashMap::new(),
            deallocated: Vec::new(),
            cancel: self.cancel.clone(),
            touched: Vec::new(),
            statement_with: None,
            results: 0,
            unknown: None,
            reported: settings,
            backend: None,
        }
    }

    /// Whether it works for another session.
    pub(super) fn is_companion(&self) -> bool {
        self.backend.is_none()
    }

    /// Tells the client something beside the answer.
    pub(super) fn notice(&mut self, notice: PgError) {
        self.notices.push(notice);
    }

    async fn run(
        &mut self,
        statement: &Statement,
        parameters: Vec<ScalarValue>,
        types: &[SqlType],
        kept: Kept,
    ) -> PgResult<Response> {
        if self.failed && !ends_block(&statement.kind) {
            return Err(aborted());
        }
        if let StatementKind::Sql(sql) = &statement.kind
            && statement.parameter_count > parameters.len()
            && !matches!(sql.as_ref(), ast::Statement::Prepare { .. })
        {
            return Err(super::parameters::missing(sql, parameters.len()));
        }
        self.begin_statement(Some(parameters))?;
        self.kept = Some(kept);
        if let StatementKind::Sql(sql) = &statement.kind
            && let ast::Statement::Prepare { name, data_types, statement: inner } = sql.as_ref()
        {
            let tag = self.prepare(name, data_types, inner, &statement.text)?;
            return Ok(Response::Complete(tag));
        }
        self.shared.scope.lock().parameter_types = types.iter().cloned().map(Some).collect();
        match &statement.kind {
            StatementKind::Sql(sql) => self.run_sql(sql).await,
            StatementKind::Extension(extension) => self.run_extension(extension).await,
        }
    }

    /// Sets what holds for one statement.
    fn begin_statement(&mut self, parameters: Option<Vec<ScalarValue>>) -> PgResult<()> {
        let now = self.shared.engine.now_micros();
        let in_block = self.block != Block::None;
        let mut scope = self.shared.scope.lock();
        scope.statement_start = now;
        if !in_block {
            scope.transaction_start = now;
        }
        scope.parameters = parameters;
        scope.parameter_types.clear();
        scope.running = self.cancel.clone();
        scope.deadline = self.statement_timeout().map(|t| tokio::time::Instant::now() + t);
        scope.latest_instant = None;
        scope.overrides.clear();
        scope.acting.clear();
        scope.restricted.clear();
        drop(scope);
        self.statement_with = None;
        self.unknown = None;
        Ok(())
    }

    /// Carries out a statement of the standard grammar, also one inside EXECUTE.
    pub(super) async fn run_sql(&mut self, sql: &ast::Statement) -> PgResult<Response> {
        match self.run_control(sql).await? {
            Some(response) => Ok(response),
            None => self.run_in_transaction(sql).await,
        }
    }

    /// Statements that control the session itself and need no transaction.
    async fn run_control(&mut self, sql: &ast::Statement) -> PgResult<Option<Response>> {
        use ast::Statement as S;
        let tag = match sql {
            S::StartTransaction { modes, begin, statements, .. } if statements.is_empty() => {
                let modes = super::transaction::modes(modes)?;
                self.begin_block(!*begin, &modes).await?
            }
            S::Commit { chain, .. } => self.commit_block(*chain).await?,
            S::Rollback { chain, savepoint: None } => self.rollback_block(*chain).await?,
            S::Rollback { savepoint: Some(name), .. } => self.rollback_to(name).await?,
            S::Savepoint { name } => self.savepoint(name).await?,
            S::ReleaseSavepoint { name } => self.release_savepoint(name)?,
            S::Set(set) => self.set(set).await?,
            S::Reset(reset) => self.reset(reset)?,
            S::ShowVariable { variable } => return self.show(variable).map(Some),
            S::Discard { object_type } => self.discard(object_type).await?,
            S::Prepare { name, data_types, statement } => {
                self.prepare(name, data_types, statement, &sql.to_string())?
            }
            S::Deallocate { name, .. } => self.deallocate(name)?,
            S::Execute { .. } => return Box::pin(self.execute_prepared(sql)).await.map(Some),
            S::Declare { stmts } => self.declare(stmts).await?,
            S::Call(call) => self.call(call).await?,
            S::Close { cursor } => self.close_cursor(cursor)?,
            S::LISTEN { channel } => self.listen(channel),
            S::UNLISTEN { channel } => self.unlisten(channel),
            S::NOTIFY { channel, payload } => self.notify(channel, payload.as_deref())?,
            _ => return Ok(None),
        };
        Ok(Some(Response::Complete(tag)))
    }

    async fn run_in_transaction(&mut self, sql: &ast::Statement) -> PgResult<Response> {
        let kept = self.kept.take();
        let mut attempt = 0;
        let in_block = self.block != Block::None;
        let may_restart = in_block && self.may_read_anew();
        loop {
            if attempt > 0 && in_block {
                self.block_has_read = false;
            }
            self.open_transaction().await?;
            let before = match may_restart {
                true => self.shared.transaction.read().await.as_ref().map(|t| t.savepoint()),
                false => None,
            };
            self.touched.clear();
            let result = match Box::pin(self.run_statement(sql, kept.as_ref())).await {
                Ok(response) => Box::pin(self.finish_foreign_keys()).await.map(|()| response),
                Err(error) => Err(error),
            };
            if in_block {
                match (result, before) {
                    // Others were faster; what they committed is seen the next time.
                    (Err(error), Some(before)) if error.code == "40001" && attempt < RETRIES => {
                        attempt += 1;
                        let mut guard = self.shared.transaction.write().await;
                        let transaction = guard.as_mut().ok_or_else(aborted)?;
                        transaction.rollback_to(&before);
                    }
                    (result, _) => return result,
                }
                continue;
            }
            let result = match result {
                // The data is still to come; it commits when all of it is there.
                Ok(Response::CopyIn(copy)) => return Ok(Response::CopyIn(copy)),
                Ok(response) => match (self.commit_statement().await, self.unknown.take()) {
                    (Ok(Some(commit)), Some((table, columns))) => {
                        return fill(response, &commit, table, &columns).await;
                    }
                    (Ok(_), _) => Ok(response),
                    (Err(error), _) => Err(error),
                },
                Err(error) => {
                    self.shared.rollback().await;
                    Err(error)
                }
            };
            match result {
                Err(error) if error.code == "40001" && attempt < RETRIES => attempt += 1,
                result => return result,
            }
        }
    }

    /// Commits a statement that is a transaction of its own.
    async fn commit_statement(&mut self) -> PgResult<Option<Committed>> {
        if let Err(error) = Box::pin(self.settle_temporary()).await {
            self.shared.rollback().await;
            return Err(error);
        }
        self.shared.commit().await
    }

    async fn run_statement(
        &mut self,
        sql: &ast::Statement,
        kept: Option<&Kept>,
    ) -> PgResult<Response> {
        use ast::Statement as S;
        if let Some(original) = kept.and_then(|k| k.original.as_ref())
            && self.compiled(kept, sql).await?.is_none()
        {
            return Box::pin(self.run_original(original)).await;
        }
        if is_write(sql) {
            self.check_writable(sql)?;
            super::locking::refuse_nested(sql, super::locking::changed_table(sql))?;
        }
        match sql {
            S::Query(query) if super::query::is_read(query) => {
                match self.query_by_key(kept, sql).await? {
                    Some(response) => Ok(response),
                    None => self.query(sql).await,
                }
            }
            S::Insert(insert) => Box::pin(self.insert(insert)).await,
            S::Update(update) => Box::pin(self.update(sql, update, kept)).await,
            S::Delete(delete) => Box::pin(self.delete(sql, delete, kept)).await,
            S::Merge(merge) => Box::pin(self.merge(merge)).await,
            S::Copy { .. } => self.copy(sql).await,
            S::Explain { .. } => self.explain(sql).await,
            S::Query(query) => match super::ddl::select_into(query) {
                Some(create) => Box::pin(self.define(&create)).await.map(Response::Complete),
                None => Box::pin(self.query_with_writes(query)).await,
            },
            _ => Box::pin(self.define(sql)).await.map(Response::Complete),
        }
    }

    /// Runs the one statement of a text as it stands.
    async fn run_original(&mut self, text: &str) -> PgResult<Response> {
        let statement = chronos_sql_ext::parse(text)?.pop();
        let Some(Statement { kind: StatementKind::Sql(sql), .. }) = &statement else {
            return Err(PgError::internal("a statement that was another before"));
        };
        {
            let mut scope = self.shared.scope.lock();
            scope.parameters = Some(Vec::new());
            scope.parameter_types.clear();
        }
        let result = self.run_statement(sql, None).await;
        result.map_err(|mut error| {
            if let Some(statement) = &statement {
                super::position::locate(&mut error, statement);
            }
            error
        })
    }

    async fn run_extension(&mut self, extension: &Extension) -> PgResult<Response> {
        let tag = match extension {
            Extension::Begin { start, modes } => self.begin_block(*start, modes).await?,
            Extension::SetTransaction { session, modes } => {
                self.set_transaction(*session, modes).await?
            }
            Extension::Fetch { name, count, only_move } => {
                return self.fetch(name, *count, *only_move).await;
            }
            Extension::Vacuum { tables, .. } => self.vacuum(tables).await?,
            Extension::Analyze { .. } => "ANALYZE".to_owned(),
            Extension::Reorganize { tag, .. } => (*tag).to_owned(),
            Extension::Access(_)
            | Extension::Restore(_)
            | Extension::UndropTable { .. }
            | Extension::Revert { .. }
            | Extension::AlterRelation { .. } => {
                return self.run_history(extension).await;
            }
            Extension::Backup { database, url } => {
                return self.backup(database.as_ref(), url).await;
            }
            Extension::VerifyBackup { url } => return self.verify_backup(url).await,
            Extension::Erase { table, selection } => self.erase(table, selection.as_ref()).await?,
            Extension::AlterSequence(_)
            | Extension::AlterColumn { .. }
            | Extension::AlterStorage { .. }
            | Extension::CommentOnConstraint { .. } => {
                return self.run_history(extension).await;
            }
            Extension::SetConstraints { names, deferred } => {
                self.set_constraints(names, *deferred).await?
            }
            Extension::DeleteHistory { table, before } => {
                self.delete_history(table, before).await?
            }
            Extension::Refused { what } => return Err(PgError::unsupported(what)),
        };
        Ok(Response::Complete(tag))
    }

    /// What a description of the statement depends on, if it may be kept.
    fn description_basis(&self, statement: &Statement) -> PgResult<Option<Basis>> {
        use ast::Statement as S;
        let StatementKind::Sql(sql) = &statement.kind else { return Ok(None) };
        if !matches!(
            sql.as_ref(),
            S::Query(_) | S::Insert(_) | S::Update(_) | S::Delete(_) | S::Merge(_)
        ) {
            return Ok(None);
        }
        if self.block != Block::None {
            return self.basis().map(Some);
        }
        // The transaction that the description would be made in.
        let at = self.shared.engine.last_commit();
        let objects = Arc::clone(&self.shared.engine.state().read().objects);
        Ok(Some(Basis::new(objects, at, self.shared.settings.read().facts())))
    }

    /// Refuses writing where only reading is allowed (25006).
    fn check_writable(&self, sql: &ast::Statement) -> PgResult<()> {
        let what = super::ddl::verb(sql);
        if self.shared.settings.read().is_on("transaction_read_only") {
            let message = format!("cannot execute {what} in a read-only transaction");
            return Err(PgError::new("25006", message));
        }
        if self.shared.as_of().is_some() {
            let message = format!("cannot execute {what} while reading as of an instant");
            return Err(PgError::new("25006", message).hint(
                "RESET chronos.as_of, or end the transaction that reads AS OF SYSTEM TIME.",
            ));
        }
        Ok(())
    }
}

/// Sets the columns of an answer that only the commit tells. NULL is what was not known.
async fn fill(
    response: Response,
    commit: &Committed,
    table: chronos_catalog::Oid,
    columns: &[(usize, Unknown)],
) -> PgResult<Response> {
    let Response::Rows { fields, rows, tag } = response else { return Ok(response) };
    let batches: Vec<RecordBatch> = rows.try_collect().await?;
    let number = commit.number(table);
    let mut filled = Vec::with_capacity(batches.len());
    for batch in batches {
        let mut arrays = batch.columns().to_vec();
        for (place, unknown) in columns {
            let Some(array) = arrays.get_mut(*place) else { continue };
            let value = match unknown {
                Unknown::From => ScalarValue::TimestampMicrosecond(
                    Some(commit.ts.micros()),
                    Some(Arc::from("UTC")),
                ),
                Unknown::Cv => ScalarValue::Int64(number),
            };
            let value = value.to_array_of_size(batch.num_rows())?;
            *array = datafusion::arrow::compute::cast(&value, array.data_type())?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        filled.push(RecordBatch::try_new_with_options(batch.schema(), arrays, &options)?);
    }
    let rows = futures::stream::iter(filled.into_iter().map(Ok)).boxed();
    Ok(Response::Rows { fields, rows, tag })
}

/// 25P02.
pub(super) fn aborted() -> PgError {
    PgError::new(
        "25P02",
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

/// What may run in a failed block.
fn ends_block(kind: &StatementKind) -> bool {
    matches!(
        kind,
        StatementKind::Sql(sql)
            if matches!(**sql, ast::Statement::Commit { .. } | ast::Statement::Rollback { .. })
    )
}

fn is_write(sql: &ast::Statement) -> bool {
    use ast::Statement as S;
    match sql {
        S::Query(query) => !super::query::is_read(query),
        S::Copy { to, .. } => !*to,
        S::Explain { .. } => false,
        _ => true,
    }
}

#[async_trait]
impl Executor for Session {
    type Statement = Prepared;

    fn parse(&mut self, sql: &str) -> PgResult<Vec<Prepared>> {
        if let Some(statements) = self.texts.find(sql) {
            return Ok(statements);
        }
        let statements = chronos_sql_ext::parse(sql)?;
        let statements: Vec<_> = statements.into_iter().map(Prepared::new).collect();
        self.texts.note(sql, &statements);
        Ok(statements)
    }

    fn parse_simple(&mut self, sql: &str) -> PgResult<Vec<Prepared>> {
        if let Some(statements) = self.texts.find(sql) {
            return Ok(statements);
        }
        let parse = |text: &str| {
            let mut statements = chronos_sql_ext::parse(text).ok()?;
            let only = statements.pop().filter(|_| statements.is_empty())?;
            Some(Prepared::new(only))
        };
        match self.shapes.find(sql, parse) {
            Some(statement) => Ok(vec![statement]),
            None => self.parse(sql),
        }
    }

    async fn describe(
        &mut self,
        statement: &Prepared,
        types: &[Option<SqlType>],
    ) -> PgResult<Description> {
        if self.failed && !ends_block(&statement.statement.kind) {
            return Err(aborted());
        }
        let basis = self.description_basis(&statement.statement)?;
        if let Some(basis) = &basis
            && let Some(description) = statement.described.find(basis, types)
        {
            let _ = statement.types.set(description.parameters.clone());
            return Ok(description);
        }
        self.begin_statement(None)?;
        let has_read = self.block_has_read;
        let result = self.describe_statement(&statement.statement, types).await;
        // A description is no reason to keep to the instant at which it was made.
        self.block_has_read = has_read;
        if let Ok(description) = &result {
            // A statement is described once; the types then hold for all its executions.
            let _ = statement.types.set(description.parameters.clone());
            if let Some(basis) = basis.filter(Basis::is_whole) {
                statement.described.keep(basis, types, description);
            }
        }
        if self.block == Block::None {
            self.shared.rollback().await;
        } else if result.is_err() {
            self.failed = true;
        }
        result.map_err(|mut error| {
            super::position::locate(&mut error, &statement.statement);
            error
        })
    }

    async fn execute(
        &mut self,
        statement: &Prepared,
        parameters: Vec<ScalarValue>,
    ) -> PgResult<Response> {
        let cancel = self.cancel.clone();
        let timeout = self.statement_timeout();
        let types = statement.types.get().map_or(&[][..], Vec::as_slice);
        let (parameters, original) = match statement.numbers.as_deref() {
            Some((numbers, text)) => (numbers.clone(), Some(Arc::clone(text))),
            None => (parameters, None),
        };
        let located = original.is_some();
        let kept = Kept { slot: Arc::clone(&statement.slot), original };
        let shared = Arc::clone(&self.shared);
        {
            let now = shared.engine.now_micros();
            let mut live = shared.live.lock();
            live.transaction.get_or_insert(now);
            live.statement = Some((Arc::clone(&statement.statement), now));
            live.state = State::Active;
        }
        let result = {
            let mut run = std::pin::pin!(self.run(&statement.statement, parameters, types, kept));
            let stopped = tokio::select! {
                biased;
                result = &mut run => Ok(result),
                () = cancel.cancelled() => Err("user request"),
                () = super::transaction::elapsed(timeout) => Err("statement timeout"),
            };
            match stopped {
                Ok(result) => result,
                // A commit that is on its way cannot be called back; its answer is the truth.
                Err(_) if shared.committing.load(Ordering::Relaxed) => run.await,
                Err(why) => Err(super::transaction::stopped(why)),
            }
        };
        let result = result.map_err(|mut error| {
            if !located {
                super::position::locate(&mut error, &statement.statement);
            }
            error
        });
        let result = result.map(|response| match response {
            Response::Rows { fields, rows, tag } => {
                let deadline = self.shared.scope.lock().deadline;
                let rows = super::transaction::until(rows, deadline);
                Response::Rows { fields, rows, tag }
            }
            other => other,
        });
        if result.is_err() {
            self.failed();
        }
        result
    }

    async fn begin_implicit(&mut self) -> PgResult<()> {
        if self.block == Block::None {
            self.begin_statement(None)?;
            self.enter_block(Block::Implicit).await?;
        }
        Ok(())
    }

    async fn end_implicit(&mut self, failed: bool) -> PgResult<()> {
        match self.block {
            Block::Implicit if failed || self.failed => {
                self.leave_block(false).await?;
                Ok(())
            }
            Block::Implicit => self.leave_block(true).await,
            Block::None | Block::Explicit => Ok(()),
        }
    }

    fn watch(&mut self, token: CancellationToken) {
        self.shared.backends.watch(self.shared.identity.process_id, token.clone());
        self.cancel = token;
    }

    fn prepared(&mut self, name: &str, statement: Option<&Prepared>) {
        let Some(statement) = statement else {
            self.shared.prepared.lock().remove(name);
            return;
        };
        let types = statement.types.get().map_or(&[][..], Vec::as_slice);
        let types = types.iter().map(crate::pgwire::types::oid).collect();
        self.note_prepared(name, &statement.statement.text, types, false);
    }

    fn take_deallocated(&mut self) -> Vec<Option<String>> {
        std::mem::take(&mut self.deallocated)
    }

    fn failed(&mut self) {
        if self.block == Block::None {
            self.shared.abandon();
        } else {
            self.failed = true;
        }
    }

    fn status(&self) -> TransactionStatus {
        match self.block {
            Block::None | Block::Implicit => TransactionStatus::Idle,
            Block::Explicit if self.failed => TransactionStatus::Failed,
            Block::Explicit => TransactionStatus::InBlock,
        }
    }

    fn text_settings(&self) -> TextSettings {
        self.shared.text_settings()
    }

    fn take_notices(&mut self) -> Vec<PgError> {
        if self.notices.is_empty() {
            return Vec::new();
        }
        let least = self.shared.settings.read().known("client_min_messages");
        let mut notices = std::mem::take(&mut self.notices);
        notices.retain(|notice| super::settings::is_told(notice, &least));
        notices
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        let now = self.shared.settings.read().facts();
        if Arc::ptr_eq(&now, &self.reported) {
            return Vec::new();
        }
        let changed = now
            .reported
            .iter()
            .filter(|(name, value)| self.reported.reported.get(*name) != Some(*value))
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        self.reported = now;
        changed
    }

    async fn next_notification(&mut self) -> (i32, String, String) {
        // A transaction that is open sees nothing new.
        match &self.backend {
            Some(backend) if self.block == Block::None => backend.mailbox.next().await,
            _ => std::future::pending().await,
        }
    }

    fn take_notifications(&mut self) -> Vec<(i32, String, String)> {
        match &self.backend {
            Some(backend) if self.block == Block::None => backend.mailbox.take(),
            _ => Vec::new(),
        }
    }

    fn attach(&mut self, connection: CancellationToken) {
        self.shared.backends.attach(self.shared.identity.process_id, connection);
    }

    fn may_use_reserve(&self) -> bool {
        let (objects, at) = self.shared.objects_or_committed();
        self.shared.rights(&objects, at).superuser()
    }

    fn idle_limit(&self) -> Option<(std::time::Duration, PgError)> {
        let settings = self.shared.settings.read();
        let (name, code, what) = match self.block {
            Block::None => ("idle_session_timeout", "57P05", "idle-session"),
            Block::Explicit | Block::Implicit => {
                ("idle_in_transaction_session_timeout", "25P03", "idle-in-transaction")
            }
        };
        let limit = settings.timeout(name)?;
        let message = format!("terminating connection due to {what} timeout");
        Some((limit, PgError::fatal(code, message)))
    }

    fn rest(&mut self) {
        {
            let mut live = self.shared.live.lock();
            live.state = match self.block {
                Block::None | Block::Implicit => State::Idle,
                Block::Explicit if self.failed => State::Failed,
                Block::Explicit => State::InTransaction,
            };
            if live.state == State::Idle {
                live.transaction = None;
            }
        }
        if self.block == Block::None {
            self.shared.backends.locks.end_transaction(self.shared.identity.process_id);
        }
    }

    fn cursor_fields(&self, name: &str) -> Option<Arc<[super::api::FieldDescription]>> {
        self.cursor_described(name)
    }
}
