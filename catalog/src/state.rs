//! The replicated state, and the one function that moves it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::{Command, Commit, Erasure, Maintenance, ObjectChange, Outcome, Placement};
use crate::commits::{CommitRow, commits_object};
use crate::error::{Error, Result};
use crate::ids::{Oid, SegmentId};
use crate::manifest::Manifest;
use crate::schema::{Object, Relation, TableDef};
use crate::time::{CommitTs, ReadTs, SystemPeriod};

/// Everything that all nodes agree on but the rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The last commit applied.
    pub last_commit: CommitTs,
    /// Named objects and their history. Changes only with DDL; readers share it.
    #[serde(with = "crate::serde_with::arc")]
    pub objects: Arc<Objects>,
    /// Manifests by table; a dropped table keeps its own.
    pub manifests: BTreeMap<Oid, Manifest>,
    /// The next identifier of an object.
    pub next_oid: u32,
    /// The next identifier of a segment.
    pub next_segment: u64,
    /// The last value that each sequence may have handed out.
    pub sequences: BTreeMap<Oid, i64>,
    /// Receipts of ERASE, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub erasures: Vec<Erasure>,
}

impl Default for State {
    fn default() -> Self {
        State {
            last_commit: CommitTs::ZERO,
            objects: Arc::new(Objects::bootstrap()),
            manifests: BTreeMap::from([(Oid::COMMITS, Manifest::default())]),
            next_oid: Oid::FIRST_USER.0,
            next_segment: 1,
            sequences: BTreeMap::new(),
            erasures: Vec::new(),
        }
    }
}

/// Objects that share a name space among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NameKind {
    /// Schemas.
    Schema,
    /// Tables, views, sequences and indexes, within a schema.
    Relation,
    /// Roles.
    Role,
}

impl Relation {
    /// The name space that it lives in.
    pub fn name_kind(&self) -> NameKind {
        match self {
            Relation::Schema => NameKind::Schema,
            Relation::Role { .. } => NameKind::Role,
            Relation::Table(_)
            | Relation::View { .. }
            | Relation::Sequence { .. }
            | Relation::Index { .. } => NameKind::Relation,
        }
    }
}

/// What the names of the schemas of temporary relations begin with.
pub const TEMPORARY_PREFIX: &str = "pg_temp_";

/// One definition of an object, and when it held.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectVersion {
    /// When it held.
    pub period: SystemPeriod,
    /// The definition.
    #[serde(with = "crate::serde_with::arc")]
    pub object: Arc<Object>,
}

/// Named objects with their history: every definition that each has had, and when.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Objects {
    histories: BTreeMap<Oid, Vec<ObjectVersion>>,
    /// Every object that ever bore a name.
    names: BTreeMap<(NameKind, Option<Oid>, String), Vec<Oid>>,
}

impl Objects {
    fn bootstrap() -> Objects {
        let mut objects = Objects::default();
        let schema = |name: &str| Object {
            name: name.to_owned(),
            namespace: None,
            owner: Oid::SUPERUSER,
            comments: BTreeMap::new(),
            acl: Vec::new(),
            column_acl: BTreeMap::new(),
            row_security: crate::schema::RowSecurity::default(),
            relation: Relation::Schema,
        };
        objects.put(Oid::PUBLIC, schema("public"), CommitTs::ZERO);
        objects.put(Oid::COMMITS, commits_object(), CommitTs::ZERO);
        objects.put(
            Oid::SUPERUSER,
            Object {
                relation: Relation::Role {
                    login: true,
                    superuser: true,
                    attributes: BTreeMap::new(),
                    verifier: None,
                    member_of: Vec::new(),
                    admin_of: Vec::new(),
                    default_acls: BTreeMap::new(),
                },
                ..schema("chronos")
            },
            CommitTs::ZERO,
        );
        objects.add_predefined_roles();
        objects
    }

    /// Adds the roles that every database has and this one lacks, since always. The same on all
    /// nodes of a release.
    pub fn add_predefined_roles(&mut self) {
        for (oid, name, groups) in crate::roles::PREDEFINED {
            if !self.histories.contains_key(oid) {
                self.put(*oid, crate::roles::predefined(name, groups), CommitTs::ZERO);
            }
        }
    }

    /// The definition of an object at an instant.
    pub fn get(&self, oid: Oid, at: ReadTs) -> Option<&Arc<Object>> {
        let history = self.histories.get(&oid)?;
        history.iter().rev().find(|v| v.period.contains(at)).map(|v| &v.object)
    }

    /// The object that bears a name at an instant.
    pub fn lookup(
        &self,
        kind: NameKind,
        namespace: Option<Oid>,
        name: &str,
        at: ReadTs,
    ) -> Option<(Oid, &Arc<Object>)> {
        // A name may have belonged to several objects over time; at one instant to at most one.
        let oids = self.names.get(&(kind, namespace, name.to_owned()))?;
        oids.iter().rev().find_map(|&oid| {
            let object = self.get(oid, at)?;
            (object.name == name && object.namespace == namespace).then_some((oid, object))
        })
    }

    /// All objects at an instant, in the order of their identifiers.
    pub fn iter(&self, at: ReadTs) -> impl Iterator<Item = (Oid, &Arc<Object>)> {
        self.histories.keys().filter_map(move |&oid| Some((oid, self.get(oid, at)?)))
    }

    /// Every definition that an object has had, oldest first.
    pub fn history(&self, oid: Oid) -> &[ObjectVersion] {
        self.histories.get(&oid).map_or(&[], Vec::as_slice)
    }

    /// The identifiers of all objects that ever were.
    pub fn oids(&self) -> impl Iterator<Item = Oid> {
        self.histories.keys().copied()
    }

    /// The shape of a table that its segments of that schema version are in.
    pub fn table_shape(&self, table: Oid, schema_version: u32) -> Option<&Arc<TableDef>> {
        self.history(table).iter().rev().find_map(|v| match &v.object.relation {
            Relation::Table(def) if def.schema_version == schema_version => Some(def),
            _ => None,
        })
    }

    /// Gives an object a new definition from an instant on. Outside of [`State::apply`] only for
    /// a transaction's private copy.
    pub fn put(&mut self, oid: Oid, object: Object, from: CommitTs) {
        let key = (object.relation.name_kind(), object.namespace, object.name.clone());
        let oids = self.names.entry(key).or_default();
        if !oids.contains(&oid) {
            oids.push(oid);
        }
        self.end(oid, from);
        let period = SystemPeriod { from, to: None };
        let version = ObjectVersion { period, object: Arc::new(object) };
        self.histories.entry(oid).or_default().push(version);
    }

    /// Forgets every definition after an instant.
    fn cut_off(&mut self, at: CommitTs) {
        for history in self.histories.values_mut() {
            history.retain(|v| v.period.from <= at);
            if let Some(last) = history.last_mut() {
                last.period.to = last.period.to.filter(|to| *to <= at);
            }
        }
        self.histories.retain(|_, history| !history.is_empty());
        for oids in self.names.values_mut() {
            oids.retain(|oid| self.histories.contains_key(oid));
        }
        self.names.retain(|_, oids| !oids.is_empty());
    }

    /// Ends an object at an instant; likewise.
    pub fn end(&mut self, oid: Oid, at: CommitTs) {
        if let Some(version) = self.histories.get_mut(&oid).and_then(|h| h.last_mut())
            && version.period.to.is_none()
        {
            version.period.to = Some(at);
        }
    }
}

impl State {
    /// Forgets every definition after an instant, and the manifests of tables that came later.
    /// The other manifests are the storage's to cut.
    ///
    /// Identifiers and the values of sequences stay used up.
    pub fn cut_off(&mut self, at: CommitTs) {
        self.last_commit = self.last_commit.min(at);
        let objects = Arc::make_mut(&mut self.objects);
        objects.cut_off(at);
        self.manifests.retain(|oid, _| !objects.history(*oid).is_empty());
    }

    /// Applies one command. Deterministic: the same commands in the same order give the same
    /// state and the same outcomes on every node.
    ///
    /// # Errors
    /// Only for a command that no correct leader proposes; the node must then stop.
    pub fn apply(&mut self, command: &Command) -> Result<Outcome> {
        match command {
            Command::Commit(commit) => self.apply_commit(commit),
            Command::Maintain(maintenance) => {
                self.apply_maintenance(maintenance)?;
                Ok(Outcome::default())
            }
            Command::AdvanceSequences(values) => {
                self.sequences.extend(values.iter().map(|(&oid, &value)| (oid, value)));
                Ok(Outcome::default())
            }
        }
    }

    fn apply_commit(&mut self, commit: &Commit) -> Result<Outcome> {
        if commit.ts <= self.last_commit {
            return Err(Error::Corrupt {
                what: "log".to_owned(),
                reason: format!("commit {} does not follow commit {}", commit.ts, self.last_commit),
            });
        }
        self.last_commit = commit.ts;
        for change in &commit.changes {
            self.apply_change(change, commit.ts);
        }
        let mut placements = Vec::with_capacity(commit.writes.len());
        let mut logged = Vec::with_capacity(commit.writes.len().max(1));
        for write in &commit.writes {
            let manifest =
                self.manifests.get_mut(&write.table).ok_or(Error::NoSuchObject(write.table))?;
            let commit_number = manifest.commit_number;
            manifest.commit_number += 1;
            manifest.last_commit = commit.ts;
            let (segment, first_position) =
                Self::place(manifest, &mut self.next_segment, write.row_count);
            for meta in &write.segments {
                let mut meta = meta.clone();
                meta.from_min = commit.ts;
                meta.from_max = commit.ts;
                meta.commit_number = Some(commit_number);
                manifest.rows_written += u64::from(meta.rows);
                manifest.segments.insert(meta.id, Arc::new(meta));
            }
            manifest.rows_written += u64::from(write.row_count);
            let ended = write.ends.iter().map(|e| e.positions.len()).sum::<u64>();
            manifest.rows_ended += ended;
            manifest.rows_updated += write.updated;
            placements.push(Placement {
                table: write.table,
                commit_number,
                segment,
                first_position,
                row_count: write.row_count,
            });
            let written = u64::from(write.row_count)
                + write.segments.iter().map(|s| u64::from(s.rows)).sum::<u64>();
            logged.push(CommitRow {
                table: Some(write.table),
                table_name: self.qualified_name(write.table),
                table_version: Some(commit_number),
                inserted: written.saturating_sub(write.updated),
                updated: write.updated,
                deleted: ended.saturating_sub(write.updated),
                definitions: 0,
            });
        }
        let logged = self.log_commit(commit, logged);
        Ok(Outcome { ts: Some(commit.ts), placements, logged })
    }

    /// The schema and name of a table as they are now, or were last.
    fn qualified_name(&self, table: Oid) -> Option<(String, String)> {
        let object = &self.objects.history(table).last()?.object;
        let schema = object
            .namespace
            .and_then(|oid| self.objects.history(oid).last())
            .map_or_else(String::new, |v| v.object.name.clone());
        Some((schema, object.name.clone()))
    }

    /// Gives the rows that a commit leaves in the log of commits their place.
    fn log_commit(
        &mut self,
        commit: &Commit,
        mut rows: Vec<CommitRow>,
    ) -> Option<(Placement, Vec<CommitRow>)> {
        if rows.is_empty() {
            rows.push(CommitRow::default());
        }
        if let Some(first) = rows.first_mut() {
            first.definitions = commit.changes.len() as u64;
        }
        let manifest = self.manifests.get_mut(&Oid::COMMITS)?;
        let commit_number = manifest.commit_number;
        manifest.commit_number += 1;
        manifest.last_commit = commit.ts;
        let row_count = rows.len() as u32;
        manifest.rows_written += u64::from(row_count);
        let (segment, first_position) = Self::place(manifest, &mut self.next_segment, row_count);
        let table = Oid::COMMITS;
        Some((Placement { table, commit_number, segment, first_position, row_count }, rows))
    }

    /// Where so many new rows of a table go.
    fn place(manifest: &mut Manifest, next_segment: &mut u64, rows: u32) -> (SegmentId, u32) {
        // Positions are 32 bits wide.
        if manifest.open.is_some_and(|(_, open)| open.checked_add(rows).is_none()) {
            Self::seal(manifest);
        }
        let (segment, first) = match manifest.open {
            Some(open) => open,
            None if rows > 0 => {
                let segment = SegmentId(*next_segment);
                *next_segment += 1;
                (segment, 0)
            }
            // Nothing is placed; the identifier stands for no row.
            None => (SegmentId::LOCAL, 0),
        };
        if rows > 0 {
            manifest.open = Some((segment, first + rows));
        }
        (segment, first)
    }

    fn apply_change(&mut self, change: &ObjectChange, ts: CommitTs) {
        self.next_oid = self.next_oid.max(change.oid.0 + 1);
        let objects = Arc::make_mut(&mut self.objects);
        match &change.object {
            Some(object) => {
                if let Relation::Table(def) = &object.relation {
                    self.manifests.entry(change.oid).or_default();
                    for constraint in &def.constraints {
                        self.next_oid = self.next_oid.max(constraint.oid.0 + 1);
                    }
                    // A hot segment's rows are all in one shape.
                    let before = objects.get(change.oid, ts);
                    let same_shape = before.is_some_and(|o| {
                        matches!(&o.relation, Relation::Table(b)
                            if b.schema_version == def.schema_version)
                    });
                    if !same_shape {
                        Self::seal(self.manifests.entry(change.oid).or_default());
                    }
                }
                objects.put(change.oid, object.clone(), ts);
            }
            None => objects.end(change.oid, ts),
        }
    }

    fn seal(manifest: &mut Manifest) {
        if let Some((segment, rows)) = manifest.open.take() {
            manifest.sealed.insert(segment, rows);
        }
    }

    fn apply_maintenance(&mut self, maintenance: &Maintenance) -> Result<()> {
        let table = match maintenance {
            Maintenance::Seal { table }
            | Maintenance::Flush { table, .. }
            | Maintenance::Compact { table, .. }
            | Maintenance::Horizon { table, .. } => *table,
            Maintenance::Erased(erasure) => erasure.table,
        };
        let manifest = self.manifests.get_mut(&table).ok_or(Error::NoSuchObject(table))?;
        match maintenance {
            Maintenance::Seal { .. } => Self::seal(manifest),
            Maintenance::Flush { segments, row_ends, .. } => {
                for meta in segments {
                    manifest.sealed.remove(&meta.id);
                    manifest.segments.insert(meta.id, Arc::new(meta.clone()));
                }
                if let Some(meta) = row_ends {
                    manifest.row_ends.push(Arc::new(meta.clone()));
                }
            }
            Maintenance::Compact { removed, added, row_ends_removed, row_ends_added, .. } => {
                for id in removed {
                    if manifest.segments.remove(id).is_none() {
                        return Err(Error::Corrupt {
                            what: "log".to_owned(),
                            reason: format!(
                                "compaction of table {table} removes segment {id}, which is not \
                                 there"
                            ),
                        });
                    }
                }
                for meta in added {
                    manifest.segments.insert(meta.id, Arc::new(meta.clone()));
                }
                manifest.row_ends.retain(|m| !row_ends_removed.contains(&m.file.path));
                manifest.row_ends.extend(row_ends_added.iter().cloned().map(Arc::new));
            }
            Maintenance::Erased(erasure) => self.erasures.push(erasure.clone()),
            Maintenance::Horizon { horizon, .. } => {
                manifest.horizon = manifest.horizon.max(Some(*horizon));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
