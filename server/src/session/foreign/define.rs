//! Definitions of foreign keys, and what other definitions owe to them.

use std::sync::Arc;

use chronos_catalog::{
    ColumnId, Constraint, ConstraintKind, Object, Oid, Relation, SqlType, TableDef,
};
use datafusion::arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast::{
    ConstraintCharacteristics, ConstraintReferenceMatchKind, DeferrableInitial,
    ForeignKeyConstraint, Ident, ReferentialAction, SelectItem, Statement,
};
use futures::StreamExt;

use super::keys::unique_key;
use super::{Parts, Referring, parts};
use crate::error::{PgError, PgResult};
use crate::session::build;
use crate::session::dml::TARGET;
use crate::session::names::{fold, relation};
use crate::session::session::Session;
use crate::session::write::{WriteTarget, nullable};

impl Session {
    /// What a FOREIGN KEY clause of a table means. `own` is the table that is defined, and `name`
    /// the constraint's.
    ///
    /// # Errors
    /// 42P01, 42703, 42830 without a unique key to refer to, 42804 for types that are not alike.
    pub(in crate::session) fn resolve_foreign_key(
        &self,
        key: &ForeignKeyConstraint,
        (own, table): (Oid, &str),
        def: &TableDef,
        constraint: &str,
    ) -> PgResult<ConstraintKind> {
        if matches!(key.match_kind, Some(ConstraintReferenceMatchKind::Partial)) {
            return Err(PgError::new("0A000", "MATCH PARTIAL not yet implemented"));
        }
        let name = relation(&key.foreign_table, &self.shared.identity.database)?;
        let parent = match self.write_target_named(&name) {
            Ok(parent) if parent.oid != own => {
                self.require(&parent, 'x', None)?;
                parent
            }
            Err(error) if error.code == "42809" => {
                let message = format!("referenced relation \"{}\" is not a table", name.name);
                return Err(PgError::new("42809", message));
            }
            Err(error) if name.name != table => return Err(error),
            // Itself, which may not be there yet.
            _ => WriteTarget {
                oid: own,
                schema: String::new(),
                name: table.to_owned(),
                def: Arc::new(def.clone()),
            },
        };
        let column = |def: &TableDef, ident: &Ident| {
            let name = fold(ident);
            def.column_named(&name).map(|c| c.id).ok_or_else(|| {
                let message = format!(
                    "column \"{name}\" referenced in foreign key constraint does not exist"
                );
                PgError::new("42703", message)
            })
        };
        let columns: Vec<ColumnId> =
            key.columns.iter().map(|c| column(def, c)).collect::<PgResult<_>>()?;
        let referenced: Vec<ColumnId> = if key.referred_columns.is_empty() {
            parent.def.primary_key().map(<[_]>::to_vec).ok_or_else(|| {
                let message =
                    format!("there is no primary key for referenced table \"{}\"", parent.name);
                PgError::new("42704", message)
            })?
        } else {
            key.referred_columns.iter().map(|c| column(&parent.def, c)).collect::<PgResult<_>>()?
        };
        if columns.len() != referenced.len() {
            return Err(PgError::new(
                "42830",
                "number of referencing and referenced columns for foreign key disagree",
            ));
        }
        // Rows that expire end without what a foreign key asks of a DELETE.
        if chronos_storage::Expiry::of(&parent.def).is_some() {
            let what = format!("a foreign key to \"{}\", whose rows expire", parent.name);
            return Err(PgError::unsupported(what));
        }
        if unique_key(&parent.def, &referenced).is_none() {
            let message = format!(
                "there is no unique constraint matching given keys for referenced table \"{}\"",
                parent.name
            );
            return Err(PgError::new("42830", message));
        }
        for (a, b) in columns.iter().zip(&referenced) {
            let (Some(a), Some(b)) = (def.column(*a), parent.def.column(*b)) else { continue };
            if class(&a.ty) != class(&b.ty) {
                let message =
                    format!("foreign key constraint \"{constraint}\" cannot be implemented");
                return Err(PgError::new("42804", message).detail(format!(
                    "Key columns \"{}\" and \"{}\" are of incompatible types: {} and {}.",
                    a.name,
                    b.name,
                    crate::pgwire::types::name(&a.ty),
                    crate::pgwire::types::name(&b.ty)
                )));
            }
        }
        let action = |action: &Option<ReferentialAction>| {
            action.as_ref().map_or_else(|| "NO ACTION".to_owned(), ToString::to_string)
        };
        Ok(ConstraintKind::ForeignKey {
            columns,
            table: parent.oid,
            referenced,
            on_delete: action(&key.on_delete),
            on_update: action(&key.on_update),
            match_full: matches!(key.match_kind, Some(ConstraintReferenceMatchKind::Full)),
            deferrable: deferrable(key.characteristics.as_ref())?,
        })
    }

    /// Who writes to the parent while a foreign key is being made has to look again: its
    /// definition changes with it.
    pub(in crate::session) async fn touch_parent(
        &mut self,
        kind: &ConstraintKind,
        own: Oid,
    ) -> PgResult<()> {
        let ConstraintKind::ForeignKey { table, .. } = kind else { return Ok(()) };
        if *table == own {
            return Ok(());
        }
        let (objects, at) = self.shared.objects()?;
        match objects.get(*table, at) {
            Some(object) => {
                let object = Object::clone(object);
                self.change(*table, Some(object)).await
            }
            None => Ok(()),
        }
    }

    /// The rows that stand in a table satisfy a new foreign key.
    pub(in crate::session) async fn check_standing(
        &mut self,
        target: &WriteTarget,
        constraint: &Constraint,
    ) -> PgResult<()> {
        let items: Vec<SelectItem> = target
            .def
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| build::aliased(build::column(&c.name), &format!("c{i}")))
            .collect();
        self.install_target(target)?;
        let from = vec![build::table(TARGET, None)];
        let query = build::select(items, from, None);
        let planned = self.plan(&Statement::Query(Box::new(query))).await;
        self.shared.scope.lock().overrides.remove(TARGET);
        let mut stream = self.stream(planned?).await?;
        let Some(Parts { columns, match_full, .. }) = parts(constraint) else { return Ok(()) };
        let at = super::keys::places(&target.def, columns);
        let from = Referring { child: target.clone(), constraint: constraint.clone() };
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let arrays = batch
                .columns()
                .iter()
                .zip(&target.def.columns)
                .map(|(a, c)| datafusion::arrow::compute::cast(a, &c.ty.arrow()))
                .collect::<Result<Vec<_>, _>>()?;
            let rows = RecordBatch::try_new(nullable(target), arrays)?;
            if match_full {
                super::keys::refuse_mixed(target, constraint, &rows.project(&at)?)?;
            }
            let keys = super::keys::complete_keys(&rows, &at)?;
            if keys.num_rows() > 0 {
                self.check_references(&from, keys).await?;
            }
        }
        Ok(())
    }

    /// A definition takes away a unique key that foreign keys refer to: refuses it, or drops
    /// them with CASCADE. `what` is dropped: `constraint p_pkey on table p`.
    pub(in crate::session) async fn release_keys(
        &mut self,
        target: &WriteTarget,
        def: &mut TableDef,
        what: &str,
        cascade: bool,
    ) -> PgResult<()> {
        let mut dependents = Vec::new();
        for Referring { child, constraint } in self.referring(target.oid)? {
            let Some(Parts { referenced, .. }) = parts(&constraint) else { continue };
            let own = child.oid == target.oid;
            let gone = own && !def.constraints.iter().any(|c| c.oid == constraint.oid);
            if !gone && unique_key(def, referenced).is_none() {
                dependents.push(Referring { child, constraint });
            }
        }
        if dependents.is_empty() {
            return Ok(());
        }
        let named =
            |d: &Referring| format!("constraint {} on table {}", d.constraint.name, d.child.name);
        if !cascade {
            let detail: Vec<String> = dependents
                .iter()
                .map(|d| {
                    let key = parts(&d.constraint)
                        .and_then(|p| unique_key(&target.def, p.referenced))
                        .and_then(|(oid, _)| target.def.constraints.iter().find(|c| c.oid == oid));
                    let index = key.map_or("", |k| k.name.as_str());
                    match what.starts_with("column") {
                        true => format!("{} depends on {what}", named(d)),
                        false => format!("{} depends on index {index}", named(d)),
                    }
                })
                .collect();
            let message = format!("cannot drop {what} because other objects depend on it");
            return Err(PgError::new("2BP01", message)
                .detail(detail.join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        for dependent in &dependents {
            self.notice(PgError::notice(format!("drop cascades to {}", named(dependent))));
            if dependent.child.oid == target.oid {
                def.constraints.retain(|c| c.oid != dependent.constraint.oid);
            } else {
                self.drop_foreign_key(dependent).await?;
            }
        }
        Ok(())
    }

    async fn drop_foreign_key(&mut self, referring: &Referring) -> PgResult<()> {
        let (objects, at) = self.shared.objects()?;
        let child = referring.child.oid;
        let Some(object) = objects.get(child, at) else { return Ok(()) };
        let mut object = Object::clone(object);
        let Relation::Table(def) = &object.relation else { return Ok(()) };
        let mut def = TableDef::clone(def);
        def.constraints.retain(|c| c.oid != referring.constraint.oid);
        object.relation = Relation::Table(Arc::new(def));
        self.change(child, Some(object)).await
    }

    /// Sees to the foreign keys that refer to a table which is dropped.
    pub(in crate::session) async fn drop_references(
        &mut self,
        parent: Oid,
        name: &str,
        together: &[Oid],
        cascade: bool,
    ) -> PgResult<()> {
        let mut dependents = self.referring(parent)?;
        dependents.retain(|r| r.child.oid != parent && !together.contains(&r.child.oid));
        let named: Vec<String> = dependents
            .iter()
            .map(|r| format!("constraint {} on table {}", r.constraint.name, r.child.name))
            .collect();
        if !cascade && !named.is_empty() {
            let detail: Vec<String> =
                named.iter().map(|what| format!("{what} depends on table {name}")).collect();
            let message = format!("cannot drop table {name} because other objects depend on it");
            return Err(PgError::new("2BP01", message)
                .detail(detail.join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        match named.as_slice() {
            [] => {}
            [what] => self.notice(PgError::notice(format!("drop cascades to {what}"))),
            several => {
                let detail: Vec<String> =
                    several.iter().map(|what| format!("drop cascades to {what}")).collect();
                let text = format!("drop cascades to {} other objects", several.len());
                self.notice(PgError::notice(text).detail(detail.join("\n")));
            }
        }
        for referring in &dependents {
            self.drop_foreign_key(referring).await?;
        }
        Ok(())
    }
}

/// DEFERRABLE and INITIALLY: `Some(true)` waits for the end of the transaction from the start.
fn deferrable(given: Option<&ConstraintCharacteristics>) -> PgResult<Option<bool>> {
    let Some(given) = given else { return Ok(None) };
    if given.enforced == Some(false) {
        return Err(PgError::unsupported("NOT ENFORCED"));
    }
    let initially = given.initially.as_ref().map(|i| matches!(i, DeferrableInitial::Deferred));
    match (given.deferrable, initially) {
        (Some(false), Some(true)) => {
            Err(PgError::new("42601", "constraint declared INITIALLY DEFERRED must be DEFERRABLE"))
        }
        (Some(true), initially) => Ok(Some(initially.unwrap_or(false))),
        (None, Some(true)) => Ok(Some(true)),
        _ => Ok(None),
    }
}

/// Types whose values can be compared with each other have the same class.
fn class(ty: &SqlType) -> u32 {
    match ty {
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 => 1,
        SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name => 2,
        SqlType::Numeric(_) => 3,
        SqlType::Float4 | SqlType::Float8 => 4,
        SqlType::Bool => 5,
        SqlType::Date => 6,
        SqlType::Time => 7,
        SqlType::Timestamp => 8,
        SqlType::Timestamptz => 9,
        SqlType::Interval => 10,
        SqlType::Uuid => 11,
        SqlType::Bytea => 12,
        SqlType::Json => 13,
        SqlType::Jsonb => 14,
        SqlType::Oid => 15,
        SqlType::Array(_) => 16,
        SqlType::Bit(_) => 17,
        SqlType::Varbit(_) => 18,
        // Each but itself.
        SqlType::Other(other) => other.oids().0 + 100,
    }
}
