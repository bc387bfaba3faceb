//! ALTER TABLE … DROP COLUMN: keys, indexes and sequences of the column go with it; views and
//! generated columns that read it refuse, or go with CASCADE.

use std::ops::ControlFlow;
use std::sync::Arc;

use chronos_catalog::{ColumnId, ConstraintKind, Object, Oid, Relation, TableDef};
use chronos_sql_ext::StatementKind;
use datafusion::sql::sqlparser::ast::{Expr, Ident, visit_expressions};

use super::relations::view_reads;
use crate::error::{PgError, PgResult};
use crate::session::names::fold;
use crate::session::session::Session;
use crate::session::write::{WriteTarget, parse_expr};

impl Session {
    pub(super) async fn drop_column(
        &mut self,
        target: &WriteTarget,
        name: &Ident,
        if_exists: bool,
        cascade: bool,
    ) -> PgResult<()> {
        let name = fold(name);
        let mut def = TableDef::clone(&target.def);
        let Some(place) = def.columns.iter().position(|c| c.name == name) else {
            let message =
                format!("column \"{name}\" of relation \"{}\" does not exist", target.name);
            if !if_exists {
                return Err(PgError::new("42703", message));
            }
            self.notice(PgError::notice(format!("{message}, skipping")));
            return Ok(());
        };
        let what = format!("column {name} of table {}", target.name);
        let mut object = self.table_object(target)?;
        let policies = super::policy::policies_of_column(&object, &name);
        let named = policies.iter().map(|p| format!("policy {p} on table {}", target.name));
        self.dependents(&what, named.collect(), cascade)?;
        object.row_security.policies.retain(|p| !policies.contains(&p.name));
        let mut dropped = vec![def.columns[place].id];
        let generated: Vec<(ColumnId, String)> = def
            .columns
            .iter()
            .filter(|c| c.generated.as_ref().is_some_and(|text| names_column(text, &name)))
            .map(|c| (c.id, format!("column {} of table {}", c.name, target.name)))
            .collect();
        self.dependents(&what, generated.iter().map(|(_, what)| what.clone()).collect(), cascade)?;
        dropped.extend(generated.into_iter().map(|(id, _)| id));
        let periods = crate::session::periods::of_column(&def, dropped[0]);
        let named = periods.iter().map(|p| format!("period {p} on table {}", target.name));
        self.dependents(&what, named.collect(), cascade)?;
        for period in &periods {
            self.drop_period(target, &mut def, period, (false, true))?;
        }
        for id in &dropped {
            remove(target.oid, &mut def, &mut object, *id);
        }
        def.schema_version += 1;
        super::options::check_column(&def, &target.name)?;
        self.release_keys(target, &mut def, &what, cascade).await?;
        object.relation = Relation::Table(Arc::new(def));
        for other in self.belonging(target.oid, &dropped)? {
            self.change(other, None).await?;
        }
        self.change(target.oid, Some(object)).await?;
        let broken = self.broken_views(target.oid).await?;
        let named = broken.iter().map(|(_, name)| format!("view {name}")).collect();
        self.dependents(&what, named, cascade)?;
        for (view, _) in broken {
            self.drop_one(view, &[], true).await?;
        }
        Ok(())
    }

    /// Refuses to drop what others depend on; with CASCADE tells that they go too.
    pub(in crate::session) fn dependents(
        &mut self,
        what: &str,
        others: Vec<String>,
        cascade: bool,
    ) -> PgResult<()> {
        if others.is_empty() {
            return Ok(());
        }
        if !cascade {
            let detail: Vec<String> =
                others.iter().map(|other| format!("{other} depends on {what}")).collect();
            let message = format!("cannot drop {what} because other objects depend on it");
            return Err(PgError::new("2BP01", message)
                .detail(detail.join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        for other in others {
            self.notice(PgError::notice(format!("drop cascades to {other}")));
        }
        Ok(())
    }

    /// The indexes and sequences of columns.
    fn belonging(&self, table: Oid, columns: &[ColumnId]) -> PgResult<Vec<Oid>> {
        let scope = self.scope()?;
        let belongs = |relation: &Relation| match relation {
            Relation::Index { table: of, columns: indexed, .. } => {
                *of == table && indexed.iter().any(|c| columns.contains(c))
            }
            Relation::Sequence { owned_by: Some((of, column)), .. } => {
                *of == table && columns.contains(column)
            }
            _ => false,
        };
        let all = scope.objects.iter(scope.at);
        Ok(all.filter(|(_, o)| belongs(&o.relation)).map(|(oid, _)| oid).collect())
    }

    /// The views over a table that do not give what they gave before its definition changed.
    async fn broken_views(&mut self, table: Oid) -> PgResult<Vec<(Oid, String)>> {
        let scope = self.scope()?;
        let database = self.shared.identity.database.clone();
        let mut broken = Vec::new();
        for (oid, object) in scope.objects.iter(scope.at) {
            let Relation::View { query, columns, .. } = &object.relation else { continue };
            if !view_reads(query, &scope, &database, table) {
                continue;
            }
            let parsed = chronos_sql_ext::parse(query)?.pop().map(|s| s.kind);
            let Some(StatementKind::Sql(statement)) = parsed else {
                return Err(PgError::internal("the query of a view does not parse"));
            };
            let same = match self.plan(&statement).await {
                Ok(planned) => {
                    planned.fields.len() == columns.len()
                        && planned.fields.iter().zip(columns).all(|(f, (_, ty))| f.ty == *ty)
                }
                Err(_) => false,
            };
            if !same {
                broken.push((oid, object.name.clone()));
            }
        }
        Ok(broken)
    }
}

/// Takes a column out of a table, with the constraints that name it.
fn remove(table: Oid, def: &mut TableDef, object: &mut Object, id: ColumnId) {
    let Some(place) = def.columns.iter().position(|c| c.id == id) else { return };
    let column = def.columns.remove(place);
    def.constraints.retain(|c| {
        let refers = matches!(&c.kind, ConstraintKind::ForeignKey { table: to, referenced, .. }
            if *to == table && referenced.contains(&id));
        !refers && !concerns(&c.kind, id, &column.name)
    });
    object.comments.remove(&id.0);
    if def.options.get("time_column") == Some(&column.name) {
        def.options.remove("time_column");
    }
}

/// Whether a constraint goes with a column.
fn concerns(kind: &ConstraintKind, id: ColumnId, name: &str) -> bool {
    match kind {
        ConstraintKind::PrimaryKey(ids)
        | ConstraintKind::Unique(ids)
        | ConstraintKind::WithoutOverlaps { columns: ids, .. } => ids.contains(&id),
        ConstraintKind::ForeignKey { columns, .. } => columns.contains(&id),
        ConstraintKind::Check(sql) => names_column(sql, name),
    }
}

/// Whether an expression names a column.
pub(super) fn names_column(text: &str, name: &str) -> bool {
    let Ok(expr) = parse_expr(text) else { return false };
    visit_expressions(&expr, |e| {
        let named = match e {
            Expr::Identifier(i) => fold(i) == name,
            Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|i| fold(i) == name),
            _ => false,
        };
        if named { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .is_break()
}
