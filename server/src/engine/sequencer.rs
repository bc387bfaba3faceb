//! The order of commits: validates, gives each its instant and proposes it.
//!
//! ```text
//! queue:      A  B  C                 one task takes them in turn
//! in flight:  A(101) B(102)           proposed and not applied; C(103) does not wait for them
//! C clashes with B: C goes back into the queue when B is applied, and is looked at again
//! ```
//!
//! Invariants:
//! - Instants enter the log in rising order.
//! - Between the check of a commit and its instant nothing else gets one.
//! - A commit that changes definitions is alone in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chronos_catalog::clock::HybridClock;
use chronos_catalog::command::Placement;
use chronos_catalog::raft::RaftNode;
use chronos_catalog::{Command, Commit, CommitTs, Objects, Oid, Relation, RowRef, State, TableDef};
use chronos_storage::{KeySpec, Overlay, Store, find_keys_committed_after};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::error::{EngineResult, Error};
use crate::engine::keys;
use crate::engine::references::Noted;
use crate::engine::writes::{KeyCheck, TableCheck};

/// A commit that every later transaction sees.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its instant.
    pub ts: CommitTs,
    /// Where the log put its rows, by table.
    pub(super) placements: Vec<Placement>,
}

impl Committed {
    /// The table's commit number (`_cv`) of the commit, if it wrote to it.
    pub fn number(&self, table: Oid) -> Option<i64> {
        self.placements.iter().find(|p| p.table == table).map(|p| p.commit_number)
    }
}

/// A transaction that asks to be committed.
pub(super) struct Request {
    /// The commit; its instant is not set yet.
    pub(super) commit: Commit,
    /// What it writes to tables.
    pub(super) tables: Vec<TableCheck>,
    /// Its own row ends, which free the keys of the versions that they end.
    pub(super) overlay: Overlay,
    /// The instant at which its definitions were made.
    pub(super) definitions_at: CommitTs,
    /// What it relies on for foreign keys.
    pub(super) references: Vec<Noted>,
    /// The tables that a serializable transaction read; empty for others.
    pub(super) reads: BTreeSet<Oid>,
    /// The instant at which it read them.
    pub(super) read_ts: CommitTs,
    /// Where the answer goes.
    pub(super) reply: oneshot::Sender<EngineResult<Committed>>,
}

enum Message {
    Commit(Box<Request>),
    /// Take nothing until the other side is dropped.
    Pause(oneshot::Sender<Pause>),
    Stop(oneshot::Sender<()>),
}

/// While it lives no commit is in flight and none gets an instant.
#[derive(Debug)]
pub(super) struct Pause {
    /// Its end is what is waited for.
    _held: oneshot::Sender<()>,
}

/// A commit that is proposed and not applied yet.
struct InFlight {
    ts: CommitTs,
    definitions: bool,
    tables: Vec<TableCheck>,
}

/// Commits in flight, by instant.
struct Flights {
    by_ts: Mutex<BTreeMap<CommitTs, Arc<InFlight>>>,
    /// Counts landings.
    landed: watch::Sender<u64>,
}

impl Flights {
    fn land(&self, ts: CommitTs) {
        self.by_ts.lock().remove(&ts);
        self.landed.send_modify(|n| *n += 1);
    }

    /// Waits until `done` holds for the commits in flight.
    async fn wait(&self, mut done: impl FnMut(&BTreeMap<CommitTs, Arc<InFlight>>) -> bool) {
        let mut landed = self.landed.subscribe();
        loop {
            landed.mark_unchanged();
            if done(&self.by_ts.lock()) {
                return;
            }
            // The sender lives as long as `self`.
            if landed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A handle on the sequencer's task.
pub(super) struct Sequencer {
    queue: mpsc::UnboundedSender<Message>,
    flights: Arc<Flights>,
    clock: Arc<HybridClock>,
}

impl Sequencer {
    pub(super) fn start(raft: RaftNode, store: Arc<Store>, clock: Arc<HybridClock>) -> Sequencer {
        let (queue, messages) = mpsc::unbounded_channel();
        let flights =
            Arc::new(Flights { by_ts: Mutex::new(BTreeMap::new()), landed: watch::Sender::new(0) });
        let task = Task {
            state: raft.state(),
            raft,
            store,
            clock: Arc::clone(&clock),
            flights: Arc::clone(&flights),
            // Weak, so that the task ends with the engine.
            queue: queue.downgrade(),
        };
        tokio::spawn(task.run(messages));
        Sequencer { queue, flights, clock }
    }

    /// Commits. Dropping the future does not withdraw the commit.
    pub(super) async fn commit(
        &self,
        make: impl FnOnce(oneshot::Sender<EngineResult<Committed>>) -> Request,
    ) -> EngineResult<Committed> {
        let (reply, answer) = oneshot::channel();
        let request = Message::Commit(Box::new(make(reply)));
        self.queue.send(request).map_err(|_| Error::ShuttingDown)?;
        match answer.await {
            Ok(result) => result,
            Err(_) => Err(Error::OutcomeUnknown {
                reason: "the server stopped before it could tell".to_owned(),
            }),
        }
    }

    /// Waits until nothing at or before `t` is in flight, and sees to it that nothing will be.
    pub(super) async fn close(&self, t: CommitTs) -> EngineResult<()> {
        {
            // Instants are taken under the same lock, so none at or before `t` is missed.
            let _flights = self.flights.by_ts.lock();
            self.clock.observe(t);
        }
        self.flights.wait(|flights| flights.keys().next().is_none_or(|&ts| ts > t)).await;
        Ok(())
    }

    /// Waits until nothing is in flight, and keeps it so as long as the answer is held.
    pub(super) async fn pause(&self) -> EngineResult<Pause> {
        let (reply, paused) = oneshot::channel();
        self.queue.send(Message::Pause(reply)).map_err(|_| Error::ShuttingDown)?;
        paused.await.map_err(|_| Error::ShuttingDown)
    }

    /// Refuses later commits and waits until those in flight have landed.
    pub(super) async fn stop(&self) {
        let (stopped, wait) = oneshot::channel();
        if self.queue.send(Message::Stop(stopped)).is_ok() {
            // An error means that the task has ended, which is what was asked for.
            let _ended = wait.await;
        }
        self.flights.wait(BTreeMap::is_empty).await;
    }
}

struct Task {
    raft: RaftNode,
    state: Arc<RwLock<State>>,
    store: Arc<Store>,
    clock: Arc<HybridClock>,
    flights: Arc<Flights>,
    queue: mpsc::WeakUnboundedSender<Message>,
}

impl Task {
    async fn run(self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut stopping = false;
        while let Some(message) = messages.recv().await {
            match message {
                Message::Stop(stopped) => {
                    stopping = true;
                    // The receiver may have gone away; the stop holds all the same.
                    let _gone = stopped.send(());
                }
                Message::Commit(request) if stopping => {
                    let _gone = request.reply.send(Err(Error::ShuttingDown));
                }
                Message::Commit(request) => self.take(request).await,
                Message::Pause(paused) => {
                    self.flights.wait(BTreeMap::is_empty).await;
                    let (held, released) = oneshot::channel();
                    if paused.send(Pause { _held: held }).is_ok() {
                        // The other side sends nothing; it is dropped.
                        let _released = released.await;
                    }
                }
            }
        }
    }

    /// Proposes a commit, refuses it, or puts it back until what it clashes with has landed.
    async fn take(&self, mut request: Box<Request>) {
        if let Err(error) = self.relocate(&mut request) {
            let _gone = request.reply.send(Err(error));
            return;
        }
        let definitions = !request.commit.changes.is_empty();
        let alone = definitions || self.flights.by_ts.lock().values().any(|f| f.definitions);
        if alone {
            self.flights.wait(BTreeMap::is_empty).await;
        } else if let Some(other) = self.clash(&request) {
            self.requeue(request, other);
            return;
        }
        if let Err(error) = self.validate(&request).await {
            // A client that went away does not hear of it; nothing happened.
            let _gone = request.reply.send(Err(error));
            return;
        }
        self.propose(*request, definitions);
    }

    /// Row ends follow their rows where a compaction took them. No compaction is applied while a
    /// request is looked at.
    fn relocate(&self, request: &mut Request) -> EngineResult<()> {
        let moved = |error, name: &str| match error {
            chronos_storage::Error::Moved { .. } => Error::Conflict {
                detail: format!("A row of table \"{name}\" was changed by another transaction."),
            },
            other => other.into(),
        };
        for check in &mut request.tables {
            let Some(table) = self.store.table(check.table) else { continue };
            let ends = table.relocate_ends(&check.ends, &|_| false);
            let Some(ends) = ends.map_err(|e| moved(e, &check.name))? else { continue };
            check.ends = ends;
            for write in request.commit.writes.iter_mut().filter(|w| w.table == check.table) {
                let own = |id| write.segments.iter().any(|s| s.id == id);
                let ends = table.relocate_ends(&write.ends, &own);
                if let Some(ends) = ends.map_err(|e| moved(e, &check.name))? {
                    let places = ends.iter().map(|e| (e.segment, e.positions.clone()));
                    request.overlay = request.overlay.with_ends(write.table, places.collect());
                    write.ends = ends;
                }
            }
        }
        Ok(())
    }

    fn clash(&self, request: &Request) -> Option<CommitTs> {
        let flights = self.flights.by_ts.lock();
        flights
            .values()
            .rev()
            .find(|f| {
                f.tables.iter().any(|t| {
                    request.reads.contains(&t.table)
                        || request.references.iter().any(|r| r.reference.table == t.table)
                        || request.tables.iter().any(|own| own.clashes_with(t))
                })
            })
            .map(|f| f.ts)
    }

    fn requeue(&self, request: Box<Request>, other: CommitTs) {
        let flights = Arc::clone(&self.flights);
        let queue = self.queue.clone();
        tokio::spawn(async move {
            flights.wait(|flights| !flights.contains_key(&other)).await;
            let refused = match queue.upgrade() {
                Some(queue) => match queue.send(Message::Commit(request)) {
                    Ok(()) => return,
                    Err(mpsc::error::SendError(Message::Commit(request))) => request,
                    Err(mpsc::error::SendError(Message::Stop(_) | Message::Pause(_))) => return,
                },
                None => request,
            };
            let _gone = refused.reply.send(Err(Error::ShuttingDown));
        });
    }

    fn propose(&self, request: Request, definitions: bool) {
        let Request { mut commit, tables, reply, .. } = request;
        let ts = {
            let mut flights = self.flights.by_ts.lock();
            let ts = match self.clock.next() {
                Ok(ts) => ts,
                Err(error) => {
                    let _gone = reply.send(Err(error.into()));
                    return;
                }
            };
            flights.insert(ts, Arc::new(InFlight { ts, definitions, tables }));
            ts
        };
        commit.ts = ts;
        let applied = self.raft.propose(Command::Commit(commit));
        let flights = Arc::clone(&self.flights);
        tokio::spawn(async move {
            let result = match applied.await {
                Ok(outcome) => Ok(Committed { ts, placements: outcome.placements }),
                Err(chronos_catalog::Error::OutcomeUnknown { reason }) => {
                    Err(Error::OutcomeUnknown { reason })
                }
                Err(error) => Err(error.into()),
            };
            flights.land(ts);
            let _gone = reply.send(result);
        });
    }

    async fn validate(&self, request: &Request) -> EngineResult<()> {
        self.raft.healthy()?;
        // Tables that other commits wrote to since the keys were looked up.
        let mut keys_due = Vec::new();
        let references_due: Vec<&Noted>;
        {
            let state = self.state.read();
            check_definitions(&state, request)?;
            check_reads(&state, request)?;
            references_due = request.references.iter().filter(|r| r.is_due(&state)).collect();
            for check in &request.tables {
                check_table(&state.objects, request, check)?;
                let last = state.manifests.get(&check.table).map(|m| m.last_commit);
                keys_due.extend(
                    check
                        .keys
                        .iter()
                        .filter(|key| last.is_some_and(|ts| ts > key.writes.checked_at))
                        .map(|key| (check, key)),
                );
            }
        }
        for check in &request.tables {
            let Some(table) = self.store.table(check.table) else { continue };
            for ends in &check.ends {
                let ended = table.ended_among(ends.segment, &ends.positions).await?;
                if let Some(row) = ended.min() {
                    let row = RowRef { segment: ends.segment, position: row };
                    let detail = keys::changed_sentence(&table, &check.def, &check.name, row).await;
                    return Err(Error::Conflict { detail });
                }
            }
        }
        for reference in references_due {
            reference.check(&self.store, &request.overlay).await?;
        }
        for (check, key) in keys_due {
            self.check_key(request, check, key).await?;
        }
        Ok(())
    }

    /// Looks for the transaction's new keys among the rows that were committed since it looked.
    async fn check_key(
        &self,
        request: &Request,
        check: &TableCheck,
        key: &KeyCheck,
    ) -> EngineResult<()> {
        let Some(table) = self.store.table(check.table) else { return Ok(()) };
        let spec = KeySpec::of_constraint(check.table, &check.def, key.writes.constraint)?;
        let own_ends = request.overlay.table(check.table).map(|t| t.ends());
        for batch in &key.writes.batches {
            let after = key.writes.checked_at;
            let found = find_keys_committed_after(&table, &check.def, &spec, batch, after).await?;
            let taken = found.iter().position(|row| {
                row.is_some_and(|row| {
                    let ended = own_ends.and_then(|ends| ends.get(&row.segment));
                    !ended.is_some_and(|positions| positions.contains(row.position))
                })
            });
            if let Some(row) = taken {
                return Err(Error::UniqueViolation {
                    schema: check.schema.clone(),
                    table: check.name.clone(),
                    constraint: key.writes.name.clone(),
                    detail: keys::exists_sentence(batch, row),
                });
            }
        }
        Ok(())
    }
}

/// Nobody else changed what the transaction changes, and its names are free.
fn check_definitions(state: &State, request: &Request) -> EngineResult<()> {
    let objects = &state.objects;
    let base = request.definitions_at;
    let changed: BTreeSet<Oid> = request.commit.changes.iter().map(|c| c.oid).collect();
    // Only the last change of an object is what will stand.
    let finals: BTreeMap<Oid, _> =
        request.commit.changes.iter().map(|c| (c.oid, c.object.as_ref())).collect();
    for (&oid, object) in &finals {
        if changed_after(objects, oid, base) {
            return Err(definition_conflict(objects, oid));
        }
        let Some(object) = object else { continue };
        if let Some(namespace) = object.namespace
            && !finals.get(&namespace).is_some_and(Option::is_some)
            && objects.get(namespace, CommitTs::MAX).is_none()
        {
            return Err(definition_conflict(objects, namespace));
        }
        let kind = object.relation.name_kind();
        let taken = objects
            .lookup(kind, object.namespace, &object.name, CommitTs::MAX)
            .is_some_and(|(other, _)| !changed.contains(&other));
        if taken {
            let kind = match &object.relation {
                Relation::Schema => "schema",
                Relation::Role { .. } => "role",
                Relation::Table(_)
                | Relation::View { .. }
                | Relation::Sequence { .. }
                | Relation::Index { .. } => "relation",
            };
            return Err(Error::NameTaken { kind, name: object.name.clone() });
        }
        // A constraint or shape was checked against the rows of `base`.
        if let Relation::Table(def) = &object.relation
            && state.manifests.get(&oid).is_some_and(|m| m.last_commit > base)
            && table_at(objects, oid).is_some_and(|before| rules_differ(before, def))
        {
            return Err(Error::Conflict {
                detail: format!("Table \"{}\" was written to by another transaction.", object.name),
            });
        }
    }
    Ok(())
}

/// No table that a serializable transaction read has changed since.
fn check_reads(state: &State, request: &Request) -> EngineResult<()> {
    let changed =
        |table: &&Oid| state.manifests.get(table).is_some_and(|m| m.last_commit > request.read_ts);
    match request.reads.iter().find(changed) {
        None => Ok(()),
        Some(&table) => {
            let name = state.objects.history(table).last();
            let name = name.map_or_else(String::new, |v| v.object.name.clone());
            let detail = format!("Table \"{name}\" was read, and changed by another transaction.");
            Err(Error::ReadConflict { detail })
        }
    }
}

/// The table is still what the transaction wrote its rows for.
fn check_table(objects: &Objects, request: &Request, check: &TableCheck) -> EngineResult<()> {
    // Its own changes were looked at by `check_definitions`.
    let own = request.commit.changes.iter().any(|c| c.oid == check.table);
    if !own && changed_after(objects, check.table, check.seen_at) {
        return Err(definition_conflict(objects, check.table));
    }
    Ok(())
}

fn table_at(objects: &Objects, oid: Oid) -> Option<&Arc<TableDef>> {
    match &objects.get(oid, CommitTs::MAX)?.relation {
        Relation::Table(def) => Some(def),
        _ => None,
    }
}

/// Whether rows that are right under one definition may be wrong under the other.
fn rules_differ(a: &TableDef, b: &TableDef) -> bool {
    a.schema_version != b.schema_version || a.columns != b.columns || a.constraints != b.constraints
}

fn changed_after(objects: &Objects, oid: Oid, base: CommitTs) -> bool {
    objects
        .history(oid)
        .last()
        .is_some_and(|v| v.period.from > base || v.period.to.is_some_and(|to| to > base))
}

fn definition_conflict(objects: &Objects, oid: Oid) -> Error {
    let name = objects.history(oid).last().map_or_else(String::new, |v| v.object.name.clone());
    Error::Conflict {
        detail: format!("The definition of \"{name}\" was changed by another transaction."),
    }
}
