//! Definitions: CREATE, ALTER, DROP, COMMENT. Each is part of its transaction, and history keeps
//! what it replaces.

mod add_column;
mod alter;
mod columns;
mod drop;
mod drop_column;
mod grant;
mod identity;
mod index;
mod like;
mod options;
mod policy;
mod relations;
mod rename;
mod roles;
mod sequence;
mod table;

use std::sync::Arc;

use chronos_catalog::{NameKind, Object, Objects, Oid, ReadTs, Relation};
use chronos_sql_ext::Extension;
use datafusion::sql::sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use datafusion::sql::sqlparser::ast::{self, Statement};

use super::names::{Lookup, RelationName, relation};
use super::session::Session;
use crate::error::{PgError, PgResult};

/// The command that a statement is, as error messages name it.
pub(super) fn verb(sql: &Statement) -> String {
    let text = match sql {
        Statement::Query(_) => "SELECT",
        Statement::Insert(_) => "INSERT",
        Statement::Update(_) => "UPDATE",
        Statement::Delete(_) => "DELETE",
        Statement::Copy { .. } => "COPY FROM",
        Statement::CreateTable(t) if t.query.is_some() => "CREATE TABLE AS",
        Statement::CreateTable(_) => "CREATE TABLE",
        Statement::CreateView(_) => "CREATE VIEW",
        Statement::CreateIndex(_) => "CREATE INDEX",
        Statement::CreateSchema { .. } => "CREATE SCHEMA",
        Statement::CreateSequence { .. } => "CREATE SEQUENCE",
        Statement::AlterTable(_) => "ALTER TABLE",
        Statement::Truncate(_) => "TRUNCATE TABLE",
        Statement::Comment { .. } => "COMMENT",
        Statement::Drop { object_type, .. } => return format!("DROP {object_type}"),
        other => {
            let text = other.to_string();
            let words: Vec<&str> = text.split_whitespace().take(2).collect();
            return words.join(" ").to_uppercase();
        }
    };
    text.to_owned()
}

impl Session {
    /// Carries out a definition and gives its tag.
    pub(super) async fn define(&mut self, sql: &Statement) -> PgResult<String> {
        if let Some(tag) = self.define_access(sql).await? {
            return Ok(tag);
        }
        match sql {
            Statement::CreateTable(create) if create.query.is_some() => {
                Box::pin(self.create_table_as(create)).await
            }
            Statement::CreateTable(create) => Box::pin(self.create_table(create)).await,
            Statement::CreateView(create) => self.create_view(create).await,
            Statement::CreateIndex(create) => self.create_index(create).await,
            Statement::CreateSchema { schema_name, if_not_exists, .. } => {
                self.create_schema(schema_name, *if_not_exists).await
            }
            Statement::CreateSequence { .. } => self.create_sequence(sql).await,
            Statement::Drop { .. } => self.drop_objects(sql).await,
            Statement::AlterTable(alter) => Box::pin(self.alter_table(alter)).await,
            Statement::CreatePolicy(create) => Box::pin(self.create_policy(create)).await,
            Statement::AlterPolicy(alter) => Box::pin(self.alter_policy(alter)).await,
            Statement::DropPolicy(drop) => self.drop_policy(drop).await,
            Statement::Lock(lock) => self.lock_table(lock),
            Statement::Truncate(truncate) => Box::pin(self.truncate(truncate)).await,
            Statement::Comment { .. } => self.comment(sql).await,
            // PostgreSQL's own background work has nothing to do here.
            Statement::Analyze(_) => Ok("ANALYZE".to_owned()),
            Statement::Vacuum(_) => Ok("VACUUM".to_owned()),
            Statement::CreateDomain(_) => Err(PgError::unsupported("CREATE DOMAIN")
                .hint("Use the base type, with a CHECK constraint in each table.")),
            Statement::CreateType { .. } => Err(PgError::unsupported("CREATE TYPE")
                .hint("For an enum, use text with a CHECK constraint.")),
            other => Err(PgError::unsupported(verb(other))),
        }
    }

    /// Definitions in forms that the parser lacks.
    pub(super) async fn define_extension(&mut self, extension: &Extension) -> PgResult<String> {
        match extension {
            Extension::AlterSequence(alter) => self.alter_sequence(alter).await,
            Extension::AlterColumn { table, if_exists, column, change } => {
                self.alter_identity(table, *if_exists, column, change).await
            }
            Extension::AlterStorage { table, if_exists } => self.alter_storage(table, *if_exists),
            Extension::CommentOnConstraint { table, constraint, text } => {
                self.comment_on_constraint(table, constraint, text.as_deref()).await
            }
            _ => Err(PgError::internal("not a definition")),
        }
    }

    /// The objects as the transaction sees them, and the way to look names up.
    pub(in crate::session) fn scope(&self) -> PgResult<NameScope> {
        let (objects, at) = self.shared.objects()?;
        Ok(NameScope { objects, at, path: self.shared.search_path() })
    }

    /// The relation that a name means.
    pub(in crate::session) fn relation_name(
        &self,
        name: &ast::ObjectName,
    ) -> PgResult<RelationName> {
        relation(name, &self.shared.identity.database)
    }

    /// Makes, changes or drops an object in the transaction, if the session's role may. A new one
    /// gets the privileges that its owner gives by default.
    pub(super) async fn change(&mut self, oid: Oid, object: Option<Object>) -> PgResult<()> {
        let scope = self.scope()?;
        self.check_change(&scope, oid, object.as_ref())?;
        let object = object.map(|mut object| {
            if scope.objects.history(oid).is_empty() {
                let (owner, namespace) = (object.owner, object.namespace);
                object.acl = grant::acl_of_new(&scope, owner, namespace, &object.relation);
            }
            object
        });
        self.change_unchecked(oid, object).await
    }

    /// [`Session::change`] of what the statement may change whoever owns it.
    pub(super) async fn change_unchecked(
        &mut self,
        oid: Oid,
        object: Option<Object>,
    ) -> PgResult<()> {
        let mut guard = self.shared.transaction.write().await;
        let transaction = guard.as_mut().ok_or_else(super::session::aborted)?;
        Ok(transaction.change(oid, object)?)
    }

    /// An identifier for something new.
    pub(super) async fn allocate_oid(&mut self) -> PgResult<Oid> {
        let mut guard = self.shared.transaction.write().await;
        let transaction = guard.as_mut().ok_or_else(super::session::aborted)?;
        Ok(transaction.allocate_oid())
    }

    /// The role that owns what this session makes.
    pub(super) fn owner(&self, scope: &NameScope) -> Oid {
        scope
            .objects
            .lookup(NameKind::Role, None, &self.shared.user(), scope.at)
            .map_or(Oid::SUPERUSER, |(oid, _)| oid)
    }

    /// Refuses a name that is taken: 42P07, or a notice where IF NOT EXISTS was said. Gives
    /// whether there is anything to do.
    pub(super) fn name_is_free(
        &mut self,
        scope: &NameScope,
        namespace: Oid,
        name: &str,
        if_not_exists: bool,
    ) -> PgResult<bool> {
        if scope.objects.lookup(NameKind::Relation, Some(namespace), name, scope.at).is_none() {
            return Ok(true);
        }
        let message = format!("relation \"{name}\" already exists");
        if if_not_exists {
            let mut notice = PgError::notice(format!("{message}, skipping"));
            notice.code = "42P07";
            self.notice(notice);
            return Ok(false);
        }
        Err(PgError::new("42P07", message))
    }
}

/// `SELECT … INTO t` as the CREATE TABLE AS that it is.
pub(super) fn select_into(query: &ast::Query) -> Option<Statement> {
    let mut query = query.clone();
    let mut body = query.body.as_mut();
    // The first SELECT of a set operation has the clause.
    while let ast::SetExpr::SetOperation { left, .. } = body {
        body = left.as_mut();
    }
    let ast::SetExpr::Select(select) = body else { return None };
    let into = select.into.take()?;
    let name = into.name;
    let create = CreateTableBuilder::new(name)
        .temporary(into.temporary)
        .query(Some(Box::new(query)))
        .build();
    Some(Statement::CreateTable(create))
}

/// Objects at an instant with the search path.
pub(in crate::session) struct NameScope {
    pub objects: Arc<Objects>,
    pub at: ReadTs,
    pub path: Vec<String>,
}

impl NameScope {
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup { objects: &self.objects, at: self.at, path: &self.path }
    }
}

/// A new object.
pub(in crate::session) fn object(
    name: &str,
    namespace: Option<Oid>,
    owner: Oid,
    relation: Relation,
) -> Object {
    Object {
        name: name.to_owned(),
        namespace,
        owner,
        comments: std::collections::BTreeMap::new(),
        acl: Vec::new(),
        column_acl: std::collections::BTreeMap::new(),
        row_security: chronos_catalog::RowSecurity::default(),
        relation,
    }
}
