//! The objects of an instant, as the makers of system rows want to walk them.

use std::collections::HashMap;
use std::sync::Arc;

use chronos_catalog::{
    ColumnId, ConstraintKind, NameKind, Object, Oid, Relation, SqlType, TEMPORARY_PREFIX, TableDef,
};

use super::catalog::SystemCatalog;
use super::quote::{qualified, quote_ident};
use super::shape::{Shape, shapes};
use super::static_rows::namespace_oid;

/// A table, view, sequence or index of a user.
#[derive(Clone, Debug)]
pub(crate) struct Rel {
    pub oid: Oid,
    pub namespace: Oid,
    pub schema: String,
    pub object: Arc<Object>,
}

/// An index: one of CREATE INDEX, or the one that carries a unique key.
#[derive(Clone, Debug)]
pub(crate) struct IndexInfo {
    pub oid: Oid,
    pub name: String,
    pub table: Rel,
    pub columns: Vec<ColumnId>,
    pub unique: bool,
    pub primary: bool,
    pub method: String,
}

impl Rel {
    /// `r`, `v`, `S` or `i`.
    pub fn kind(&self) -> char {
        match &self.object.relation {
            Relation::View { .. } => 'v',
            Relation::Sequence { .. } => 'S',
            Relation::Index { .. } => 'i',
            Relation::Table(_) | Relation::Schema | Relation::Role { .. } => 'r',
        }
    }

    /// The definition, if it is a table.
    pub fn table(&self) -> Option<&Arc<TableDef>> {
        match &self.object.relation {
            Relation::Table(def) => Some(def),
            _ => None,
        }
    }

    /// Its columns by number, name and type, if it is a table or view.
    pub fn columns(&self) -> Vec<(u32, &str, &SqlType)> {
        match &self.object.relation {
            Relation::Table(def) => {
                def.columns.iter().map(|c| (c.id.0, c.name.as_str(), &c.ty)).collect()
            }
            Relation::View { columns, .. } => {
                (1..).zip(columns).map(|(i, (name, ty))| (i, name.as_str(), ty)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// `schema.name`, quoted as needed.
    pub fn qualified(&self) -> String {
        qualified(&self.schema, &self.object.name)
    }
}

impl SystemCatalog {
    /// All relations of users in the order of their identifiers.
    pub(crate) fn relations(&self) -> Vec<Rel> {
        self.objects
            .iter(self.at)
            .filter(|(_, o)| o.relation.name_kind() == NameKind::Relation)
            .filter_map(|(oid, object)| self.rel(oid, object))
            .collect()
    }

    /// All tables of users.
    pub(crate) fn tables(&self) -> Vec<(Rel, Arc<TableDef>)> {
        self.relations()
            .into_iter()
            .filter_map(|rel| {
                let def = Arc::clone(rel.table()?);
                Some((rel, def))
            })
            .collect()
    }

    /// A user's relation.
    pub(crate) fn relation(&self, oid: u32) -> Option<Rel> {
        self.rel(Oid(oid), self.objects.get(Oid(oid), self.at)?)
    }

    fn rel(&self, oid: Oid, object: &Arc<Object>) -> Option<Rel> {
        // The system's own tables are shown by the views over them.
        let namespace = object.namespace.filter(|n| *n != Oid::CHRONOS)?;
        let schema = self.schema_name(namespace);
        Some(Rel { oid, namespace, schema, object: Arc::clone(object) })
    }

    /// The name of a schema, a system schema's too.
    pub(crate) fn schema_name(&self, oid: Oid) -> String {
        for name in ["pg_catalog", "information_schema", "chronos", "pg_toast"] {
            if namespace_oid(name) == oid.0 {
                return name.to_owned();
            }
        }
        self.objects.get(oid, self.at).map_or_else(String::new, |o| o.name.clone())
    }

    /// The identifier of a schema, a system schema's too.
    pub(crate) fn schema_oid(&self, name: &str) -> Option<u32> {
        if ["pg_catalog", "information_schema", "chronos", "pg_toast"].contains(&name) {
            return Some(namespace_oid(name));
        }
        if name == "pg_temp" {
            return self.temporary_schema();
        }
        Some(self.objects.lookup(NameKind::Schema, None, name, self.at)?.0.0)
    }

    /// The identifier of the session's schema of temporary relations, if it has one.
    pub(crate) fn temporary_schema(&self) -> Option<u32> {
        let path = self.session.search_path();
        self.schema_oid(path.iter().find(|s| s.starts_with(TEMPORARY_PREFIX))?)
    }

    /// All indexes, those of unique keys among them.
    pub(crate) fn indexes(&self) -> Vec<IndexInfo> {
        let mut indexes = Vec::new();
        for rel in self.relations() {
            match &rel.object.relation {
                Relation::Table(def) => {
                    for constraint in &def.constraints {
                        let (columns, primary) = match &constraint.kind {
                            ConstraintKind::PrimaryKey(columns) => (columns, true),
                            ConstraintKind::Unique(columns) => (columns, false),
                            _ => continue,
                        };
                        indexes.push(IndexInfo {
                            oid: constraint.oid,
                            name: constraint.name.clone(),
                            table: rel.clone(),
                            columns: columns.clone(),
                            unique: true,
                            primary,
                            method: "btree".to_owned(),
                        });
                    }
                }
                Relation::Index { table, columns, unique, method } => {
                    let Some(table) = self.relation(table.0) else { continue };
                    indexes.push(IndexInfo {
                        oid: rel.oid,
                        name: rel.object.name.clone(),
                        table,
                        columns: columns.clone(),
                        unique: *unique,
                        primary: false,
                        method: method.clone(),
                    });
                }
                _ => {}
            }
        }
        indexes.sort_by_key(|i| i.oid);
        indexes
    }

    /// The index of that identifier.
    pub(crate) fn index(&self, oid: u32) -> Option<IndexInfo> {
        self.indexes().into_iter().find(|i| i.oid.0 == oid)
    }

    /// A role's name; PostgreSQL's stand-in for one that does not exist.
    pub(crate) fn role_name(&self, oid: u32) -> String {
        match self.objects.get(Oid(oid), self.at) {
            Some(o) if matches!(o.relation, Relation::Role { .. }) => o.name.clone(),
            _ => format!("unknown (OID={oid})"),
        }
    }

    /// A role's identifier.
    pub(crate) fn role_oid(&self, name: &str) -> Option<u32> {
        Some(self.objects.lookup(NameKind::Role, None, name, self.at)?.0.0)
    }

    /// The schemas that unqualified names are looked up in, `pg_catalog` included.
    pub(crate) fn effective_path(&self) -> Vec<String> {
        let mut path = self.session.search_path();
        path.retain(|s| self.schema_oid(s).is_some());
        if !path.iter().any(|s| s == "pg_catalog") {
            path.insert(0, "pg_catalog".to_owned());
        }
        path
    }

    /// The identifier of a relation by its schema and name; indexes of keys among them.
    pub(crate) fn relation_oid(&self, schema: &str, name: &str) -> Option<u32> {
        if let Some(shape) = system_shape(schema, name) {
            return Some(shape.oid);
        }
        let namespace = Oid(self.schema_oid(schema)?);
        if let Some((oid, _)) =
            self.objects.lookup(NameKind::Relation, Some(namespace), name, self.at)
        {
            return Some(oid.0);
        }
        self.indexes()
            .into_iter()
            .find(|i| i.table.namespace == namespace && i.name == name)
            .map(|i| i.oid.0)
    }

    /// The schema and name of a relation by its identifier; system tables too.
    pub(crate) fn relation_name(&self, oid: u32) -> Option<(String, String)> {
        if oid < Oid::FIRST_USER.0 {
            let shape = shapes().iter().find(|s| s.oid == oid)?;
            return Some((shape.namespace.to_owned(), shape.name.to_owned()));
        }
        if let Some(rel) = self.relation(oid) {
            let name = rel.object.name.clone();
            return Some((rel.schema, name));
        }
        let index = self.index(oid)?;
        Some((index.table.schema, index.name))
    }

    /// Whether a relation is found by its bare name.
    pub(crate) fn is_visible(&self, oid: u32) -> Option<bool> {
        let (schema, name) = self.relation_name(oid)?;
        let first = self.effective_path().into_iter().find_map(|s| {
            let found = self.relation_oid(&s, &name)?;
            Some((s, found))
        });
        Some(first == Some((schema, oid)))
    }

    /// A relation's name as `regclass` prints it: qualified where it must be.
    pub(crate) fn regclass_text(&self, oid: u32) -> Option<String> {
        let (schema, name) = self.relation_name(oid)?;
        Some(if self.is_visible(oid) == Some(true) {
            quote_ident(&name)
        } else {
            qualified(&schema, &name)
        })
    }

    /// The names of columns, quoted, joined by commas.
    pub(crate) fn column_list(&self, def: &TableDef, columns: &[ColumnId]) -> String {
        let names: Vec<String> =
            columns.iter().filter_map(|&id| def.column(id)).map(|c| quote_ident(&c.name)).collect();
        names.join(", ")
    }

    /// The tables' sizes by identifier.
    pub(crate) fn sizes(&self) -> HashMap<Oid, super::TableSize> {
        self.tables().iter().map(|(t, _)| (t.oid, self.session.table_size(t.oid))).collect()
    }
}

fn system_shape(schema: &str, name: &str) -> Option<&'static Shape> {
    super::shape::shape(schema, name)
}
