//! New names and other schemas for what is there. The past keeps the old ones: a read AS OF an
//! instant goes by the names of that instant.
//!
//! Views name what they read by its text, so their text is written anew in the same commit.

use std::ops::ControlFlow;

use chronos_catalog::{NameKind, Object, Oid, Relation};
use chronos_sql_ext::access::RoleName;
use chronos_sql_ext::{RelationChange, RelationKind, StatementKind};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, SelectItem, TableFactor, VisitMut, VisitorMut,
    visit_expressions_mut,
};

use super::NameScope;
use super::relations::view_reads;
use crate::error::{PgError, PgResult};
use crate::session::build;
use crate::session::names::{SYSTEM_SCHEMAS, fold, no_relation, quote, relation, single};
use crate::session::session::Session;
use crate::session::write::{WriteTarget, nextval_argument, parse_expr};

/// What the text of a view says of a table from now on.
enum Retarget {
    /// Another name.
    Name { schema: String, name: String },
    /// One column by another name; the view keeps the old one.
    Column { old: String, new: String, columns: Vec<String> },
}

struct Rewriter<'a> {
    scope: &'a NameScope,
    database: &'a str,
    table: Oid,
    retarget: &'a Retarget,
}

impl VisitorMut for Rewriter<'_> {
    type Break = PgError;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<PgError> {
        let TableFactor::Table { name, alias, args, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let Ok(found) = relation(name, self.database) else { return ControlFlow::Continue(()) };
        // A bare name is a common table expression's: views qualify all others.
        let ours = found.schema.is_some()
            && self.scope.lookup().relation(&found).is_some_and(|(oid, _)| oid == self.table);
        if !ours {
            return ControlFlow::Continue(());
        }
        if args.is_some() {
            let what = "renaming what a view reads as of an instant";
            return ControlFlow::Break(PgError::unsupported(what));
        }
        let shown = alias.take().unwrap_or_else(|| build::alias(&found.name));
        match self.retarget {
            Retarget::Name { schema, name: new } => {
                *name = ObjectName(vec![
                    ObjectNamePart::Identifier(Ident::with_quote('"', schema.clone())),
                    ObjectNamePart::Identifier(Ident::with_quote('"', new.clone())),
                ]);
                *alias = Some(shown);
            }
            Retarget::Column { old, new, columns } => {
                let items: Vec<SelectItem> = columns
                    .iter()
                    .map(|c| match c == old {
                        true => build::aliased(build::column(new), old),
                        false => SelectItem::UnnamedExpr(build::column(c)),
                    })
                    .collect();
                let query = build::select(items, vec![build::table_named(name.clone())], None);
                *factor = TableFactor::Derived {
                    lateral: false,
                    subquery: Box::new(query),
                    alias: Some(shown),
                    sample: None,
                };
            }
        }
        ControlFlow::Continue(())
    }
}

impl Session {
    /// The new texts of the views that read a relation.
    fn rewritten_views(&self, table: Oid, retarget: &Retarget) -> PgResult<Vec<(Oid, Object)>> {
        let scope = self.scope()?;
        let database = self.shared.identity.database.clone();
        let mut changed = Vec::new();
        for (oid, object) in scope.objects.iter(scope.at) {
            let Relation::View { query, columns, search_path, options } = &object.relation else {
                continue;
            };
            if !view_reads(query, &scope, &database, table) {
                continue;
            }
            let parsed = chronos_sql_ext::parse(query)?.pop().map(|s| s.kind);
            let Some(StatementKind::Sql(mut statement)) = parsed else {
                return Err(PgError::internal("the query of a view does not parse"));
            };
            let mut rewriter = Rewriter { scope: &scope, database: &database, table, retarget };
            if let ControlFlow::Break(error) = VisitMut::visit(statement.as_mut(), &mut rewriter) {
                return Err(error);
            }
            let mut object = Object::clone(object);
            object.relation = Relation::View {
                query: statement.to_string(),
                columns: columns.clone(),
                search_path: search_path.clone(),
                options: options.clone(),
            };
            changed.push((oid, object));
        }
        Ok(changed)
    }

    /// Writes the views anew; each must still mean something.
    async fn change_views(&mut self, views: Vec<(Oid, Object)>) -> PgResult<()> {
        for (oid, object) in views {
            let Relation::View { query, .. } = &object.relation else { continue };
            let parsed = chronos_sql_ext::parse(query)?.pop().map(|s| s.kind);
            let Some(StatementKind::Sql(statement)) = parsed else {
                return Err(PgError::internal("the query of a view does not parse"));
            };
            let (name, owner) = (object.name.clone(), object.owner);
            // Somebody else's views change with what they read.
            self.change_unchecked(oid, Some(object)).await?;
            self.shared.scope.lock().acting.push(owner);
            let planned = self.plan(&statement).await;
            self.shared.scope.lock().acting.pop();
            if let Err(error) = planned {
                let what = format!("this change of what the view \"{name}\" reads");
                return Err(PgError::unsupported(what).detail(error.message));
            }
        }
        Ok(())
    }

    /// Gives a relation another name, or another schema.
    pub(super) async fn move_relation(
        &mut self,
        oid: Oid,
        schema: Option<&str>,
        name: Option<&str>,
    ) -> PgResult<()> {
        let scope = self.scope()?;
        let Some(object) = scope.objects.get(oid, scope.at).map(|o| Object::clone(o)) else {
            return Err(PgError::internal("the altered relation is gone"));
        };
        let namespace = match schema {
            Some(schema) => scope.lookup().schema(schema).ok_or_else(|| {
                PgError::new("3F000", format!("schema \"{schema}\" does not exist"))
            })?,
            None => {
                object.namespace.ok_or_else(|| PgError::internal("a relation without a schema"))?
            }
        };
        let new = name.unwrap_or(&object.name).to_owned();
        self.name_is_free(&scope, namespace, &new, false)?;
        let retarget = Retarget::Name {
            schema: scope.lookup().schema_name(Some(namespace)),
            name: new.clone(),
        };
        let views = self.rewritten_views(oid, &retarget)?;
        let defaults = match &object.relation {
            Relation::Sequence { .. } => self.retargeted_defaults(oid, namespace, &new)?,
            _ => Vec::new(),
        };
        // What belongs to a table stands in its schema.
        let mut owned = Vec::new();
        if schema.is_some() && matches!(object.relation, Relation::Table(_)) {
            for (other, o) in scope.objects.iter(scope.at) {
                match &o.relation {
                    Relation::Index { table, .. } if *table == oid => owned.push(other),
                    Relation::Sequence { owned_by: Some((table, _)), .. } if *table == oid => {
                        owned.push(other);
                    }
                    _ => {}
                }
            }
        }
        let moved = Object { namespace: Some(namespace), name: new, ..object };
        self.change(oid, Some(moved)).await?;
        for (table, changed) in defaults {
            self.change_unchecked(table, Some(changed)).await?;
        }
        self.change_views(views).await?;
        for other in owned {
            Box::pin(self.move_relation(other, schema, None)).await?;
        }
        Ok(())
    }

    /// The tables whose defaults draw from a sequence, under its new name.
    fn retargeted_defaults(
        &self,
        sequence: Oid,
        namespace: Oid,
        name: &str,
    ) -> PgResult<Vec<(Oid, Object)>> {
        let scope = self.scope()?;
        let full =
            format!("{}.{}", quote(&scope.lookup().schema_name(Some(namespace))), quote(name));
        let mut changed = Vec::new();
        for (oid, object) in scope.objects.iter(scope.at) {
            let Relation::Table(def) = &object.relation else { continue };
            let mut new = chronos_catalog::TableDef::clone(def);
            for column in &mut new.columns {
                let Some(default) = &column.default else { continue };
                let Some(argument) = nextval_argument(&parse_expr(default)?) else { continue };
                if self.shared.sequence(&argument).is_ok_and(|(found, _)| found == sequence) {
                    column.default =
                        Some(format!("nextval('{}'::regclass)", full.replace('\'', "''")));
                }
            }
            if new != **def {
                let relation = Relation::Table(std::sync::Arc::new(new));
                changed.push((oid, Object { relation, ..Object::clone(object) }));
            }
        }
        Ok(changed)
    }

    /// The views over a table whose column gets another name, which keep theirs.
    pub(super) fn views_of_renamed_column(
        &self,
        target: &WriteTarget,
        old: &str,
        new: &str,
    ) -> PgResult<Vec<(Oid, Object)>> {
        let columns = target.def.columns.iter().map(|c| c.name.clone()).collect();
        let retarget = Retarget::Column { old: old.to_owned(), new: new.to_owned(), columns };
        self.rewritten_views(target.oid, &retarget)
    }

    pub(super) async fn change_views_after(&mut self, views: Vec<(Oid, Object)>) -> PgResult<()> {
        self.change_views(views).await
    }

    /// `ALTER VIEW … RENAME TO`, `ALTER TABLE … SET SCHEMA` and their like.
    pub(in crate::session) async fn alter_relation(
        &mut self,
        kind: RelationKind,
        if_exists: bool,
        name: &ObjectName,
        change: &RelationChange,
    ) -> PgResult<String> {
        let tag = format!("ALTER {kind}");
        let scope = self.scope()?;
        let named = self.relation_name(name)?;
        if let Some(schema) = &named.schema
            && SYSTEM_SCHEMAS.contains(&schema.as_str())
        {
            return Err(PgError::new("42501", format!("permission denied for schema {schema}")));
        }
        let Some((oid, object)) = scope.lookup().relation(&named).map(|(oid, o)| (oid, o.clone()))
        else {
            return match if_exists {
                true => {
                    let text = format!("relation \"{named}\" does not exist, skipping");
                    self.notice(PgError::notice(text));
                    Ok(tag)
                }
                false => self.alter_constraint_index(kind, &named.name, change, &tag).await,
            }
            .map_err(|error| if error.code == "42P01" { no_relation(&named) } else { error });
        };
        let fits = matches!(
            (&object.relation, kind),
            (Relation::View { .. }, RelationKind::View | RelationKind::Table)
                | (Relation::Sequence { .. }, RelationKind::Sequence | RelationKind::Table)
                | (Relation::Index { .. }, RelationKind::Index | RelationKind::Table)
                | (Relation::Table(_), RelationKind::Table)
        );
        if !fits {
            let what = kind.to_string().to_lowercase();
            return Err(PgError::new("42809", format!("\"{}\" is not a {what}", object.name)));
        }
        match change {
            RelationChange::Rename(new) => {
                self.move_relation(oid, None, Some(&fold(new))).await?;
            }
            RelationChange::Schema(schema) => {
                let owned = matches!(&object.relation, Relation::Index { .. })
                    || matches!(&object.relation, Relation::Sequence { owned_by: Some(_), .. });
                if owned {
                    let message = format!("cannot move \"{}\" into another schema", object.name);
                    return Err(PgError::new("0A000", message).detail("It belongs to a table."));
                }
                if scope.lookup().schema_name(object.namespace) != fold(schema) {
                    self.move_relation(oid, Some(&fold(schema)), None).await?;
                }
            }
            RelationChange::Owner(owner) => {
                let owner = match fold(owner).as_str() {
                    "current_user" | "current_role" => RoleName::Current,
                    "session_user" => RoleName::Session,
                    _ => RoleName::Named(owner.clone()),
                };
                self.change_owner(oid, &owner).await?;
            }
        }
        Ok(tag)
    }

    /// The index of a key bears the name of the key.
    async fn alter_constraint_index(
        &mut self,
        kind: RelationKind,
        name: &str,
        change: &RelationChange,
        tag: &str,
    ) -> PgResult<String> {
        let scope = self.scope()?;
        let found = scope.objects.iter(scope.at).find_map(|(oid, o)| match &o.relation {
            Relation::Table(def) if def.constraints.iter().any(|c| c.name == name) => {
                Some((oid, Object::clone(o), chronos_catalog::TableDef::clone(def)))
            }
            _ => None,
        });
        let (RelationKind::Index, RelationChange::Rename(new), Some((oid, object, mut def))) =
            (kind, change, found)
        else {
            return Err(PgError::new("42P01", format!("relation \"{name}\" does not exist")));
        };
        let new = fold(new);
        let Some(namespace) = object.namespace else {
            return Err(PgError::internal("a table without a schema"));
        };
        self.name_is_free(&scope, namespace, &new, false)?;
        rename_constraint(&mut def, name, &new, &object.name)?;
        let relation = Relation::Table(std::sync::Arc::new(def));
        self.change(oid, Some(Object { relation, ..object })).await?;
        Ok(tag.to_owned())
    }

    /// `ALTER SCHEMA … RENAME TO`.
    pub(super) async fn rename_schema(
        &mut self,
        old: &ObjectName,
        new: &ObjectName,
    ) -> PgResult<()> {
        let (old, new) = (single(old)?, single(new)?);
        let scope = self.scope()?;
        let Some(oid) = scope.lookup().schema(&old) else {
            return Err(PgError::new("3F000", format!("schema \"{old}\" does not exist")));
        };
        if scope.lookup().schema(&new).is_some() || SYSTEM_SCHEMAS.contains(&new.as_str()) {
            return Err(PgError::new("42P06", format!("schema \"{new}\" already exists")));
        }
        if new.starts_with("pg_") {
            return Err(PgError::new("42939", format!("unacceptable schema name \"{new}\"")));
        }
        // Views and defaults name it in their texts.
        let database = self.shared.identity.database.clone();
        for (other, object) in scope.objects.iter(scope.at) {
            if object.namespace != Some(oid) {
                continue;
            }
            let named = match &object.relation {
                Relation::Sequence { .. } => {
                    !self.retargeted_defaults(other, oid, "\u{1}")?.is_empty()
                }
                _ => scope.objects.iter(scope.at).any(|(_, o)| {
                    matches!(&o.relation, Relation::View { query, .. }
                        if view_reads(query, &scope, &database, other))
                }),
            };
            if named {
                return Err(PgError::unsupported("renaming a schema that views or defaults name"));
            }
        }
        let Some(object) = scope.objects.get(oid, scope.at).map(|o| Object::clone(o)) else {
            return Err(PgError::internal("the altered schema is gone"));
        };
        debug_assert_eq!(object.relation.name_kind(), NameKind::Schema);
        self.change(oid, Some(Object { name: new, ..object })).await
    }
}

/// Gives a constraint another name.
///
/// # Errors
/// 42704 without one of that name, 42710 where the new one is taken.
pub(super) fn rename_constraint(
    def: &mut chronos_catalog::TableDef,
    old: &str,
    new: &str,
    table: &str,
) -> PgResult<()> {
    if def.constraints.iter().any(|c| c.name == new) {
        let message = format!("constraint \"{new}\" for relation \"{table}\" already exists");
        return Err(PgError::new("42710", message));
    }
    let Some(constraint) = def.constraints.iter_mut().find(|c| c.name == old) else {
        let message = format!("constraint \"{old}\" for table \"{table}\" does not exist");
        return Err(PgError::new("42704", message));
    };
    constraint.name = new.to_owned();
    Ok(())
}

/// An expression's text with a column under another name.
pub(super) fn rename_in(text: &str, old: &str, new: &str) -> PgResult<String> {
    let mut expr = parse_expr(text)?;
    let _ = visit_expressions_mut(&mut expr, |e| {
        match e {
            Expr::Identifier(ident) if fold(ident) == old => *ident = build::ident(new),
            Expr::CompoundIdentifier(parts) => {
                if let Some(last) = parts.last_mut()
                    && fold(last) == old
                {
                    *last = build::ident(new);
                }
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(expr.to_string())
}
