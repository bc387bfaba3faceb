//! What a session shares with the planner and the functions that run in it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chronos_catalog::{
    CommitTs, Erasure, NameKind, Objects, Oid, ReadTs, Relation, SegmentId, SqlType, SystemTime,
    roles,
};
use chronos_sql_ext::system_tables::{
    AccessRule, Activity, CompactionInfo, PreparedInfo, SegmentInfo, Setting, SystemCatalog,
    SystemSession, TableSize, UploadInfo,
};
use chronos_sql_ext::text::TextSettings;
use chronos_sql_ext::{
    Error as SqlError, Readable, Resolved, TemporalCatalog, TemporalInfo, Versions,
};
use chronos_storage::{Expiry, HotUsage, VersionedTable};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue, TableReference};
use datafusion::logical_expr::Expr;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use super::activity::Live;
use super::backends::{Backends, Pending};
use super::names::{Lookup, RelationName, SYSTEM_SCHEMAS};
use super::privileges::{Restricted, check_read, check_schema, check_system_read};
use super::settings::{Settings, VERSION_TEXT};
use crate::auth::hba::Rule;
use crate::engine::{CompactionRecord, Engine, Transaction};
use crate::error::PgError;

/// Who a session belongs to.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub user: String,
    pub database: String,
    pub process_id: i32,
    /// Where its client is.
    pub peer: Option<std::net::SocketAddr>,
}

/// What holds while one statement is planned and executed.
#[derive(Default)]
pub(super) struct Scope {
    /// `statement_timestamp()`, in microseconds.
    pub statement_start: i64,
    /// `now()`: when the transaction began, in microseconds.
    pub transaction_start: i64,
    /// The values of `$1`, …; `None` while describing.
    pub parameters: Option<Vec<ScalarValue>>,
    /// The types of `$1`, … as the client was told them, so far as they are known.
    pub parameter_types: Vec<Option<SqlType>>,
    /// Cancelled when the statement is to stop.
    pub running: CancellationToken,
    /// When the statement has taken too long.
    pub deadline: Option<tokio::time::Instant>,
    /// The instant of `chronos.as_of` or of `BEGIN AS OF SYSTEM TIME`.
    pub as_of: Option<CommitTs>,
    /// The latest instant that the plan reads at.
    pub latest_instant: Option<CommitTs>,
    /// Names that stand for a given provider: the target of an UPDATE, the rows of RETURNING.
    pub overrides: HashMap<String, Arc<dyn TableProvider>>,
    /// The owners of the views around what is planned, the innermost last.
    pub acting: Vec<Oid>,
    /// What the statement does to the target that it offers, and whether it looks at its rows;
    /// `None` for what no policy holds of.
    pub target_event: Option<(super::views::Event, bool)>,
    /// A policy has filtered what is planned.
    pub row_filtered: bool,
    /// The tables of the plan that is made of which only some columns may be read.
    pub restricted: Vec<Restricted>,
}

/// The part of a session that planning sees.
pub(super) struct Shared {
    pub engine: Arc<Engine>,
    pub identity: Identity,
    pub settings: RwLock<Settings>,
    /// The sessions of the node.
    pub backends: Arc<Backends>,
    /// What the open transaction said with LISTEN and NOTIFY.
    pub pending: Mutex<Pending>,
    /// The transaction that is open, if any. Written only by the statement that runs.
    pub transaction: tokio::sync::RwLock<Option<Transaction>>,
    pub scope: Mutex<Scope>,
    /// What others see of it.
    pub live: Mutex<Live>,
    /// The session's last commit, for `chronos.last_commit_time()`.
    pub last_commit: Mutex<Option<CommitTs>>,
    /// A commit was handed to the engine and has not answered.
    pub committing: AtomicBool,
    /// The transaction looked for keys on behalf of ON CONFLICT: that another committed one of
    /// them first is a lost race, not a duplicate key.
    pub upserting: AtomicBool,
    /// The session has made temporary relations.
    pub temporary: AtomicBool,
    /// Foreign keys to look at when the transaction ends.
    pub deferred: Mutex<Vec<super::foreign::Deferred>>,
    /// What SET CONSTRAINTS said.
    pub constraint_modes: Mutex<super::foreign::ConstraintModes>,
    /// The tables that foreign keys refer to, in the catalog that stands beside.
    pub parents: Mutex<Option<(Arc<Objects>, HashSet<chronos_catalog::Oid>)>>,
    /// The prepared statements of both protocols, by name.
    pub prepared: Mutex<BTreeMap<String, PreparedInfo>>,
    /// The last value of each sequence in this session (`currval`), and which was last.
    pub sequences: Mutex<(HashMap<chronos_catalog::Oid, i64>, Option<chronos_catalog::Oid>)>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("identity", &self.identity).finish_non_exhaustive()
    }
}

fn external(error: PgError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl Shared {
    /// The objects that the open transaction sees, and the instant to look them up at.
    pub fn objects(&self) -> Result<(Arc<Objects>, ReadTs), PgError> {
        let guard = self
            .transaction
            .try_read()
            .map_err(|_| PgError::internal("planning while a statement writes"))?;
        match guard.as_ref() {
            Some(transaction) => Ok((transaction.objects(), transaction.objects_at())),
            None => Err(PgError::internal("planning without a transaction")),
        }
    }

    /// The schemas that unqualified names are looked up in.
    pub fn search_path(&self) -> Vec<String> {
        let user = self.user();
        let mut path = self.settings.read().search_path(&user);
        // Temporary relations hide others, unless the path itself says where they stand.
        if self.temporary.load(Ordering::Relaxed) {
            let own = self.temporary_schema();
            match path.iter_mut().find(|s| *s == "pg_temp") {
                Some(place) => *place = own,
                None => path.insert(0, own),
            }
        }
        path
    }

    /// The session's default instant, if it has one.
    pub fn as_of(&self) -> Option<CommitTs> {
        self.scope.lock().as_of
    }

    /// How values are read and written as text.
    pub fn text_settings(&self) -> TextSettings {
        let settings = self.settings.read();
        TextSettings {
            time_zone: settings.time_zone(),
            interval_style: settings.known("IntervalStyle"),
            bytea_escape: settings.known("bytea_output") == "escape",
            extra_float_digits: settings.known("extra_float_digits").parse().unwrap_or(1),
            date_style: settings.known("DateStyle"),
            now: Some(self.scope.lock().transaction_start),
        }
    }

    /// The provider of a table at a time.
    pub fn table(
        &self,
        oid: chronos_catalog::Oid,
        time: Option<SystemTime>,
    ) -> Result<Arc<VersionedTable>, PgError> {
        let guard = self
            .transaction
            .try_read()
            .map_err(|_| PgError::internal("planning while a statement writes"))?;
        let transaction =
            guard.as_ref().ok_or_else(|| PgError::internal("planning without a transaction"))?;
        Ok(match time {
            Some(time) if self.settings.read().known("chronos.as_of_schema") == "current" => {
                transaction.table_in_present_shape(oid, time)?
            }
            Some(time) => transaction.table(oid, time)?,
            None => transaction.current_table(oid)?,
        })
    }
}

/// The catalog that planning asks: names and instants as the running statement sees them.
#[derive(Debug)]
pub(super) struct SessionCatalog(pub Arc<Shared>);

impl SessionCatalog {
    fn resolve_checked(
        &self,
        reference: &TableReference,
        time: Option<SystemTime>,
    ) -> Result<Resolved, PgError> {
        let shared = &self.0;
        if let TableReference::Bare { table } = reference
            && let Some(provider) = shared.scope.lock().overrides.get(table.as_ref())
        {
            return Ok(Resolved::Table(Arc::clone(provider)));
        }
        if let Some(catalog) = reference.catalog()
            && catalog != shared.identity.database
        {
            let message = format!("cross-database references are not implemented: \"{reference}\"");
            return Err(PgError::new("0A000", message));
        }
        let time = time.or_else(|| shared.as_of().map(SystemTime::AsOf));
        let (objects, now) = shared.objects()?;
        let rights = shared.rights(&objects, now);
        let present = shared.settings.read().known("chronos.as_of_schema") == "current";
        let at = match time {
            Some(SystemTime::AsOf(t)) if !present => t,
            _ => now,
        };
        let name = RelationName {
            schema: reference.schema().map(str::to_owned),
            name: reference.table().to_owned(),
        };
        if name.schema.as_deref() == Some("chronos") {
            if name.name == chronos_catalog::COMMITS_TABLE {
                check_system_read(&rights, &name.name)?;
                return Ok(Resolved::Table(shared.table(Oid::COMMITS, time)?));
            }
            if let Some((query, columns)) = super::history::view(&name.name) {
                return Ok(Resolved::View { query, columns, owner: None });
            }
        }
        let path = shared.usable_path(&rights);
        let lookup = Lookup { objects: &objects, at, path: &path };
        let system_first = name.schema.is_none() && !path.iter().any(|s| s == "pg_catalog");
        if let Some(provider) = self.system_table(&objects, at, &name, system_first, &path) {
            check_system_read(&rights, &name.name)?;
            return Ok(Resolved::Table(provider));
        }
        let Some((oid, object)) = lookup.relation(&name) else {
            if let Some(schema) = &name.schema
                && lookup.schema(schema).is_none()
                && !SYSTEM_SCHEMAS.contains(&schema.as_str())
            {
                let message = format!("relation \"{name}\" does not exist");
                return Err(PgError::new("42P01", message)
                    .detail(format!("Schema \"{schema}\" does not exist.")));
            }
            return Err(absent(&objects, &path, &name, at, now));
        };
        check_schema(&rights, &name)?;
        match &object.relation {
            Relation::Table(_) => {
                let readable = check_read(&rights, &objects, now, oid)?;
                let table: Arc<dyn TableProvider> = shared.table(oid, time)?;
                if let Some(columns) = readable {
                    shared.restrict(&table, columns, object);
                }
                Ok(Resolved::Table(table))
            }
            Relation::View { query, columns, options, .. } => {
                check_read(&rights, &objects, now, oid)?;
                let invoker = options.get("security_invoker").is_some_and(|v| v == "true");
                Ok(Resolved::View {
                    query: query.clone(),
                    columns: columns.iter().map(|(name, _)| name.clone()).collect(),
                    owner: (!invoker).then_some(object.owner),
                })
            }
            Relation::Sequence { .. } => {
                Err(PgError::unsupported(format!("reading the sequence \"{name}\" as a table")))
            }
            Relation::Index { .. } => {
                Err(PgError::new("42809", format!("cannot open relation \"{name}\""))
                    .detail("This operation is not supported for indexes."))
            }
            Relation::Schema | Relation::Role { .. } => {
                Err(PgError::internal("a schema or role among the relations"))
            }
        }
    }

    /// The instant of a table's numbered commit.
    fn version_checked(
        &self,
        reference: &TableReference,
        version: i64,
    ) -> Result<CommitTs, PgError> {
        let shared = &self.0;
        let (objects, now) = shared.objects()?;
        let rights = shared.rights(&objects, now);
        let path = shared.usable_path(&rights);
        let lookup = Lookup { objects: &objects, at: now, path: &path };
        let name = RelationName {
            schema: reference.schema().map(str::to_owned),
            name: reference.table().to_owned(),
        };
        let (oid, object) =
            lookup.relation(&name).ok_or_else(|| absent(&objects, &path, &name, now, now))?;
        check_read(&rights, &objects, now, oid)?;
        if !matches!(object.relation, Relation::Table(_)) {
            return Err(PgError::unsupported(format!("VERSION AS OF for \"{name}\", no table")));
        }
        let found =
            super::functions::wait(super::history::version_instant(&shared.engine, oid, version))?;
        let instant = found.ok_or_else(|| {
            PgError::new("22023", format!("table \"{name}\" has no version {version}"))
        })?;
        let mut scope = shared.scope.lock();
        scope.latest_instant = scope.latest_instant.max(Some(instant));
        Ok(instant)
    }

    /// All versions of a table, for a read at the instants of other rows.
    fn versions_checked(&self, reference: &TableReference) -> Result<Versions, PgError> {
        let shared = &self.0;
        let refused = |what: &str| {
            let what = format!("an instant that is a column's for the {what} \"{reference}\"");
            Err(PgError::unsupported(what))
        };
        let found = match self.resolve_checked(reference, Some(SystemTime::All))? {
            Resolved::Table(found) => found,
            Resolved::View { .. } => return refused("view"),
        };
        let Some(table) = found.downcast_ref::<VersionedTable>() else {
            return refused("system table");
        };
        let oid = table.table_oid();
        let guard = shared
            .transaction
            .try_read()
            .map_err(|_| PgError::internal("planning while a statement writes"))?;
        let transaction =
            guard.as_ref().ok_or_else(|| PgError::internal("planning without a transaction"))?;
        let horizon = shared.engine.state().read().manifests.get(&oid).and_then(|m| m.horizon);
        let last = {
            let mut scope = shared.scope.lock();
            let now = CommitTs(scope.statement_start.max(scope.transaction_start));
            let last = now.max(transaction.read_ts());
            scope.latest_instant = scope.latest_instant.max(Some(last));
            last
        };
        // From the horizon on: the read fails where it has moved until then.
        let from = horizon.unwrap_or(CommitTs::ZERO);
        let versions = transaction.versions_between(oid, from, last)?;
        let made = transaction.objects().history(oid).first().map(|v| v.period.from);
        let made = made.filter(|made| *made <= last);
        let alive = Expiry::of(versions.def()).map(|expiry| {
            let alive = move |at| expiry.alive_at(at);
            Arc::new(alive) as Arc<dyn Fn(Expr) -> Expr + Send + Sync>
        });
        let time = versions.system_time();
        let provider: Arc<dyn TableProvider> = versions;
        shared.restrict_alike(&found, &provider);
        let name = reference.table().to_owned();
        let readable = Readable { name, made, horizon, last };
        Ok(Versions { provider, time, readable, alive })
    }

    fn system_table(
        &self,
        objects: &Arc<Objects>,
        at: ReadTs,
        name: &RelationName,
        implicit: bool,
        path: &[String],
    ) -> Option<Arc<dyn TableProvider>> {
        let system = || {
            let session: Arc<dyn SystemSession> = Arc::new(SystemView(Arc::clone(&self.0)));
            SystemCatalog::new(Arc::clone(objects), at, session)
        };
        match &name.schema {
            Some(schema) if SYSTEM_SCHEMAS.contains(&schema.as_str()) => {
                system().table(schema, &name.name)
            }
            Some(_) => None,
            // Only names of the system's own are worth asking for.
            None if implicit && name.name.starts_with("pg_") => {
                system().table("pg_catalog", &name.name)
            }
            None => path
                .iter()
                .filter(|s| SYSTEM_SCHEMAS.contains(&s.as_str()))
                .find_map(|s| system().table(s, &name.name)),
        }
    }
}

/// 42P01, with a hint where the relation exists at another time.
fn absent(
    objects: &Arc<Objects>,
    path: &[String],
    name: &RelationName,
    at: ReadTs,
    now: ReadTs,
) -> PgError {
    let error = super::names::no_relation(name);
    if at != now && (Lookup { objects, at: now, path }).relation(name).is_some() {
        let instant = chronos_sql_ext::instant::display(at);
        return error
            .detail(format!("It did not exist at {instant}."))
            .hint("It exists now; ask for a later instant.");
    }
    // A dropped one can still be read.
    let dropped = objects
        .oids()
        .filter_map(|oid| objects.history(oid).last())
        .filter(|v| {
            v.object.name == name.name
                && v.object.relation.name_kind() == chronos_catalog::NameKind::Relation
        })
        .filter_map(|v| v.period.to)
        .max();
    match dropped {
        Some(to) if at >= to => {
            let instant = chronos_sql_ext::instant::display(to);
            error.hint(format!(
                "It was dropped at {instant}; it can be read as of an earlier instant."
            ))
        }
        _ => error,
    }
}

impl TemporalCatalog for SessionCatalog {
    fn resolve(&self, name: &TableReference, time: Option<SystemTime>) -> DfResult<Resolved> {
        self.resolve_checked(name, time).map_err(external)
    }

    fn row_filter(
        &self,
        name: &TableReference,
        provider: &dyn TableProvider,
    ) -> DfResult<Option<(String, datafusion::sql::sqlparser::ast::Expr)>> {
        self.0.row_filter(name, provider).map_err(external)
    }

    fn enter(&self, owner: Oid) {
        self.0.scope.lock().acting.push(owner);
    }

    fn leave(&self) {
        self.0.scope.lock().acting.pop();
    }

    fn info(&self, provider: &dyn TableProvider) -> Option<TemporalInfo> {
        let table = provider.downcast_ref::<VersionedTable>()?;
        let now = self.0.transaction.try_read().ok()?.as_ref().map(Transaction::read_ts);
        let as_of = match table.system_time() {
            SystemTime::AsOf(t) if Some(t) != now => Some(t),
            _ => None,
        };
        let def = table.def();
        let name = |id| def.column(id).map(|c| c.name.clone());
        let periods = def
            .periods
            .iter()
            .filter_map(|p| Some((p.name.clone(), name(p.start)?, name(p.end)?)))
            .collect();
        Some(TemporalInfo { as_of, time_column: def.options.get("time_column").cloned(), periods })
    }

    fn check_instant(&self, instant: CommitTs) -> DfResult<()> {
        let mut scope = self.0.scope.lock();
        let now = self.0.engine.now_micros().max(scope.transaction_start);
        if instant.micros() > now {
            let instant = chronos_sql_ext::instant::display(instant);
            return Err(SqlError::FutureInstant(instant).into());
        }
        scope.latest_instant = scope.latest_instant.max(Some(instant));
        Ok(())
    }

    fn version(&self, name: &TableReference, version: i64) -> DfResult<CommitTs> {
        self.version_checked(name, version).map_err(external)
    }

    fn versions(&self, name: &TableReference) -> DfResult<Versions> {
        self.versions_checked(name).map_err(external)
    }

    fn parameters(&self) -> Option<Vec<ScalarValue>> {
        self.0.scope.lock().parameters.clone()
    }

    fn now(&self) -> CommitTs {
        CommitTs(self.0.scope.lock().transaction_start)
    }

    fn time_zone(&self) -> chrono_tz::Tz {
        self.0.settings.read().time_zone()
    }

    fn text_settings(&self) -> TextSettings {
        self.0.text_settings()
    }
}

/// The session as the system tables see it.
#[derive(Debug)]
pub(super) struct SystemView(pub Arc<Shared>);

impl SystemSession for SystemView {
    fn settings(&self) -> Vec<Setting> {
        self.0.settings.read().described()
    }

    fn user(&self) -> String {
        self.0.user()
    }

    fn session_user(&self) -> String {
        self.0.session_user()
    }

    fn database(&self) -> String {
        self.0.identity.database.clone()
    }

    fn search_path(&self) -> Vec<String> {
        self.0.search_path()
    }

    fn pid(&self) -> i32 {
        self.0.identity.process_id
    }

    fn version(&self) -> String {
        VERSION_TEXT.to_owned()
    }

    fn prepared_statements(&self) -> Vec<PreparedInfo> {
        self.0.prepared.lock().values().cloned().collect()
    }

    fn sequence_value(&self, sequence: chronos_catalog::Oid) -> Option<i64> {
        self.0.engine.last_value(sequence)
    }

    fn segments(&self, table: chronos_catalog::Oid) -> Vec<SegmentInfo> {
        let state = self.0.engine.state().read();
        let Some(manifest) = state.manifests.get(&table) else { return Vec::new() };
        let hot = |(id, rows): (SegmentId, u32), state| SegmentInfo {
            id: id.0,
            state,
            rows: u64::from(rows),
            bytes: 0,
            path: None,
            from_min: None,
            from_max: None,
        };
        let sealed = manifest.sealed.iter().map(|(&id, &rows)| hot((id, rows), "sealed"));
        let open = manifest.open.into_iter().map(|open| hot(open, "open"));
        let cold = manifest.segments.values().map(|meta| SegmentInfo {
            id: meta.id.0,
            state: if meta.ended_max.is_some() { "history" } else { "cold" },
            rows: u64::from(meta.rows),
            bytes: meta.file.size,
            path: Some(meta.file.path.clone()),
            from_min: Some(meta.from_min),
            from_max: Some(meta.from_max),
        });
        cold.chain(sealed).chain(open).collect()
    }

    fn compactions(&self) -> Vec<CompactionInfo> {
        let records = self.0.engine.compactions().into_iter();
        let info = |r: CompactionRecord| CompactionInfo {
            table: r.table,
            started: r.started,
            finished: r.finished,
            segments_removed: r.size.segments_removed,
            segments_added: r.size.segments_added,
            rows_read: r.size.rows_read,
            rows_written: r.size.rows_written,
        };
        records.map(info).collect()
    }

    fn uploads(&self) -> Vec<UploadInfo> {
        let failures = self.0.engine.maintenance_stats().failed_uploads();
        let usage = self.0.engine.store().hot_usage().into_iter();
        let info = |usage: HotUsage| {
            let failure = failures.get(&usage.table);
            UploadInfo {
                table: usage.table,
                state: if failure.is_some() { "failing" } else { "waiting" },
                rows: usage.rows,
                row_ends: usage.ends,
                bytes: usage.bytes as u64,
                oldest: usage.oldest,
                attempts: failure.map_or(0, |f| f.attempts),
                last_error: failure.map(|f| f.last_error.clone()),
                failing_since: failure.map(|f| f.since),
            }
        };
        usage.map(info).collect()
    }

    fn activity(&self) -> Vec<Activity> {
        let (objects, at) = self.0.objects_or_committed();
        let rights = self.0.rights(&objects, at);
        let all = rights.has_role(roles::READ_ALL_STATS);
        let sessions = self.0.backends.sessions();
        let told = sessions.iter().map(|session| {
            let role = objects.lookup(NameKind::Role, None, &session.session_user(), at);
            let own = role.is_some_and(|(oid, _)| rights.has_role(oid));
            session.activity(all || own)
        });
        told.collect()
    }

    fn access_rules(&self) -> Vec<AccessRule> {
        let rule = |rule: &Rule| {
            let (address, mask) = rule.network.address_and_mask();
            AccessRule {
                kind: rule.kind.as_str(),
                databases: rule.databases.clone(),
                users: rule.users.clone(),
                address,
                mask,
                method: rule.method.as_str(),
                options: rule
                    .client_certificate
                    .map(|c| c.as_str().to_owned())
                    .into_iter()
                    .collect(),
            }
        };
        self.0.engine.config().hba.iter().map(rule).collect()
    }

    fn erasures(&self) -> Vec<Erasure> {
        self.0.engine.state().read().erasures.clone()
    }

    fn table_size(&self, table: chronos_catalog::Oid) -> TableSize {
        let state = self.0.engine.state().read();
        let Some(manifest) = state.manifests.get(&table) else { return TableSize::default() };
        let files = manifest.segments.values();
        TableSize {
            live_rows: manifest.rows_written.saturating_sub(manifest.rows_ended),
            ended_rows: manifest.rows_ended,
            rows_written: manifest.rows_written,
            table_bytes: files.clone().map(|m| m.file.size).sum::<u64>()
                + manifest.row_ends.iter().map(|m| m.file.size).sum::<u64>(),
            index_bytes: files.flat_map(|m| m.key_files.values()).map(|f| f.size).sum(),
        }
    }

    fn horizon(&self, table: chronos_catalog::Oid) -> Option<CommitTs> {
        self.0.engine.state().read().manifests.get(&table)?.horizon
    }

    fn last_commit(&self, table: chronos_catalog::Oid) -> Option<CommitTs> {
        let last = self.0.engine.state().read().manifests.get(&table)?.last_commit;
        (last > CommitTs::ZERO).then_some(last)
    }
}
