//! CREATE TABLE and CREATE TABLE AS.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronos_catalog::{
    Column, ColumnId, Constraint, ConstraintKind, NameKind, Oid, Relation, TableDef,
};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{
    CreateTable, CreateTableOptions, Expr, SqlOption, Statement,
};
use futures::StreamExt;

use super::columns::{NewColumn, NewConstraint, NewKind};
use super::{NameScope, columns, object, options};
use crate::error::{PgError, PgResult};
use crate::session::build;
use crate::session::names::fold;
use crate::session::session::Session;
use crate::session::temporary::on_commit;

impl Session {
    pub(super) async fn create_table(&mut self, create: &CreateTable) -> PgResult<String> {
        refuse(create)?;
        let name = self.relation_name(&create.name)?;
        let (scope, namespace) = self.creation_namespace(&name, create.temporary).await?;
        if !self.name_is_free(&scope, namespace, &name.name, create.if_not_exists)? {
            return Ok("CREATE TABLE".to_owned());
        }
        let table = self.allocate_oid().await?;
        let mut news: Vec<NewColumn> = Vec::with_capacity(create.columns.len());
        let mut likes = Vec::new();
        for def in &create.columns {
            match self.like(def)? {
                Some(mut like) => {
                    news.append(&mut like.columns);
                    likes.push(like);
                }
                None => news.push(columns::column(def, 0, &name.name)?),
            }
        }
        for i in 0..news.len() {
            let column = news[i].column.name.clone();
            if news[..i].iter().any(|n| n.column.name == column) {
                let message = format!("column \"{column}\" specified more than once");
                return Err(PgError::new("42701", message));
            }
            news[i].column.id = ColumnId(u32::try_from(i + 1).map_err(|_| too_many_columns())?);
        }
        if news.len() > 1600 {
            return Err(too_many_columns());
        }
        let mut constraints: Vec<NewConstraint> = Vec::new();
        for new in &mut news {
            constraints.append(&mut new.constraints);
        }
        for like in &mut likes {
            constraints.append(&mut like.constraints);
        }
        for constraint in &create.constraints {
            constraints.push(columns::table_constraint(constraint)?);
        }
        let mut def = TableDef {
            schema_version: 1,
            next_column: u32::try_from(news.len() + 1).map_err(|_| too_many_columns())?,
            columns: news.iter().map(|n| n.column.clone()).collect(),
            constraints: Vec::new(),
            options: table_options(create, &columns_of(&news))?,
            periods: Vec::new(),
        };
        for (i, new) in news.iter().enumerate() {
            if let Some(default) = &new.default {
                self.check_default(&def.columns[i], default).await?;
                def.columns[i].default = Some(default.to_string());
            }
            if let Some(expr) = &new.generated {
                def.columns[i].generated = Some(expr.to_string());
            }
        }
        for (i, new) in news.iter().enumerate() {
            if let Some(expr) = &new.generated {
                self.check_generated(&name.name, &def, &def.columns[i], expr).await?;
            }
        }
        // Periods first, for keys have them; foreign keys last: one may refer to own keys.
        constraints.sort_by_key(|c| match c.kind {
            NewKind::Period(..) => 0,
            NewKind::ForeignKey(_) => 2,
            _ => 1,
        });
        let own = (table, name.name.as_str());
        for constraint in constraints {
            self.add_constraint(&scope, namespace, own, &mut def, constraint).await?;
        }
        // The sequences of serial columns stand beside the table.
        for (i, new) in news.iter().enumerate() {
            let Some(serial) = &new.serial else { continue };
            let column = def.columns[i].clone();
            def.columns[i].default = Some(self.serve(own, namespace, &column, serial).await?);
        }
        let owner = self.owner(&scope);
        let mut made = object(&name.name, Some(namespace), owner, Relation::Schema);
        for (column, text) in likes.iter().flat_map(|l| &l.comments) {
            if let Some(column) = def.column_named(column) {
                made.comments.insert(column.id.0, text.clone());
            }
        }
        let ids = |names: &[String]| columns::column_ids(&def.columns, names);
        let mut indexes = Vec::new();
        for (names, unique, method) in likes.into_iter().flat_map(|l| l.indexes) {
            indexes.push((ids(&names)?, names, unique, method));
        }
        made.relation = Relation::Table(Arc::new(def));
        self.change(table, Some(made)).await?;
        for (columns, names, unique, method) in indexes {
            let scope = self.scope()?;
            let base = format!("{}_{}_idx", name.name, names.join("_"));
            let index = free_name(&scope, namespace, &base);
            let oid = self.allocate_oid().await?;
            let relation = Relation::Index { table, columns, unique, method };
            self.change(oid, Some(object(&index, Some(namespace), owner, relation))).await?;
        }
        Ok("CREATE TABLE".to_owned())
    }

    /// CREATE TABLE AS: the table of the query's columns, then its rows.
    pub(super) async fn create_table_as(&mut self, create: &CreateTable) -> PgResult<String> {
        refuse(create)?;
        let Some(query) = &create.query else {
            return Err(PgError::internal("CREATE TABLE AS without a query"));
        };
        let name = self.relation_name(&create.name)?;
        let (scope, namespace) = self.creation_namespace(&name, create.temporary).await?;
        if !self.name_is_free(&scope, namespace, &name.name, create.if_not_exists)? {
            return Ok("CREATE TABLE AS".to_owned());
        }
        let planned = self.plan(&Statement::Query(query.clone())).await?;
        let mut columns: Vec<Column> = Vec::with_capacity(planned.fields.len());
        for (i, field) in planned.fields.iter().enumerate() {
            let given = create.columns.get(i).map(|c| fold(&c.name));
            let column = Column {
                id: ColumnId(u32::try_from(i + 1).map_err(|_| too_many_columns())?),
                name: given.unwrap_or_else(|| field.name.clone()),
                ty: field.ty.clone(),
                not_null: false,
                default: None,
                generated: None,
                identity_always: None,
                missing: None,
            };
            if columns.iter().any(|c| c.name == column.name) {
                let message = format!("column \"{}\" specified more than once", column.name);
                return Err(PgError::new("42701", message));
            }
            columns.push(column);
        }
        if create.columns.len() > columns.len() {
            return Err(PgError::new("42601", "too many column names were specified"));
        }
        let options = table_options(create, &columns)?;
        let def = Arc::new(TableDef {
            schema_version: 1,
            next_column: u32::try_from(columns.len() + 1).map_err(|_| too_many_columns())?,
            columns,
            constraints: Vec::new(),
            options,
            periods: Vec::new(),
        });
        let oid = self.allocate_oid().await?;
        let owner = self.owner(&scope);
        let relation = Relation::Table(Arc::clone(&def));
        let fields = Arc::clone(&planned.fields);
        let empty = no_data(create);
        let mut stream = self.stream(planned).await?;
        self.change(oid, Some(object(&name.name, Some(namespace), owner, relation))).await?;
        let target = crate::session::write::WriteTarget {
            oid,
            schema: scope.lookup().schema_name(Some(namespace)),
            name: name.name.clone(),
            def: Arc::clone(&def),
        };
        if empty {
            return Ok("CREATE TABLE AS".to_owned());
        }
        let schema = Arc::new(Schema::new(def.arrow_fields()));
        let mut count = 0;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            count += batch.num_rows();
            let mut arrays = Vec::with_capacity(def.columns.len());
            for (i, column) in def.columns.iter().enumerate() {
                let ty = Some(&fields[i].ty);
                arrays.push(self.assign_column(batch.column(i), ty, false, column)?);
            }
            let rows = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
            self.insert_rows(&target, rows).await?;
        }
        Ok(format!("SELECT {count}"))
    }

    /// Checks that a default has a value that the column takes, and names no column.
    pub(super) async fn check_default(&mut self, column: &Column, default: &Expr) -> PgResult<()> {
        if crate::session::write::nextval_argument(default).is_some() {
            return Ok(());
        }
        let mut names_column = false;
        let _ = datafusion::sql::sqlparser::ast::visit_expressions(default, |e| {
            names_column |= matches!(e, Expr::CompoundIdentifier(_))
                || matches!(e, Expr::Identifier(i)
                    if !i.value.to_ascii_lowercase().starts_with("current_")
                        && !i.value.eq_ignore_ascii_case("session_user")
                        && !i.value.eq_ignore_ascii_case("user"));
            std::ops::ControlFlow::<()>::Continue(())
        });
        if names_column {
            return Err(PgError::new("0A000", "cannot use column reference in DEFAULT expression"));
        }
        let column = Column { default: Some(default.to_string()), ..column.clone() };
        self.defaults(&column, 1).await.map(|_| ())
    }

    /// Adds a constraint to a definition, with a name of its own.
    pub(super) async fn add_constraint(
        &mut self,
        scope: &NameScope,
        namespace: Oid,
        (own, table): (Oid, &str),
        def: &mut TableDef,
        mut constraint: NewConstraint,
    ) -> PgResult<()> {
        if let NewKind::Period(name, start, end) = &constraint.kind {
            let check = self.define_period(table, def, (name, start, end))?;
            let given = Some(columns::default_name(table, &constraint.kind));
            constraint = NewConstraint::new(given, NewKind::Check(check, None));
        }
        let kind = match &constraint.kind {
            NewKind::ForeignKey(key) => {
                let default = || columns::default_name(table, &constraint.kind);
                let name = constraint.name.clone().unwrap_or_else(default);
                let kind = self.resolve_foreign_key(key, (own, table), def, &name)?;
                self.refuse_mixed_persistence(scope, namespace, &kind, own)?;
                kind
            }
            other => columns::resolve_kind(other, &def.columns)?,
        };
        match &constraint.kind {
            NewKind::PrimaryKey(_) | NewKind::WithoutOverlaps(true, ..)
                if def.primary_key().is_some()
                    || def.constraints.iter().any(|c| {
                        matches!(c.kind, ConstraintKind::WithoutOverlaps { primary: true, .. })
                    }) =>
            {
                let message =
                    format!("multiple primary keys for table \"{table}\" are not allowed");
                return Err(PgError::new("42P16", message));
            }
            NewKind::PrimaryKey(names) => {
                for column in &mut def.columns {
                    column.not_null |= names.contains(&column.name);
                }
            }
            NewKind::WithoutOverlaps(primary, names, period) => {
                if def.period(period).is_none() {
                    let message = match def.column_named(period) {
                        Some(_) => {
                            format!("column \"{period}\" in WITHOUT OVERLAPS is not a period")
                        }
                        None => format!("period \"{period}\" named in key does not exist"),
                    };
                    return Err(PgError::new("42703", message));
                }
                for column in &mut def.columns {
                    column.not_null |= *primary && names.contains(&column.name);
                }
            }
            NewKind::Unique(_) | NewKind::Period(..) => {}
            NewKind::ForeignKey(_) => self.touch_parent(&kind, own).await?,
            NewKind::Check(expr, _) => self.check_expression(table, def, expr).await?,
        }
        let taken = |name: &str, def: &TableDef| {
            def.constraints.iter().any(|c| c.name == name)
                || (!matches!(constraint.kind, NewKind::Check(..) | NewKind::ForeignKey(_))
                    && scope
                        .objects
                        .lookup(NameKind::Relation, Some(namespace), name, scope.at)
                        .is_some())
        };
        let name = match &constraint.name {
            Some(name) if def.constraints.iter().any(|c| c.name == *name) => {
                let message =
                    format!("constraint \"{name}\" for relation \"{table}\" already exists");
                return Err(PgError::new("42710", message));
            }
            Some(name) if taken(name, def) => {
                let message = format!("relation \"{name}\" already exists");
                return Err(PgError::new("42P07", message));
            }
            Some(name) => name.clone(),
            None => {
                let base = columns::default_name(table, &constraint.kind);
                let mut name = base.clone();
                let mut n = 0;
                while taken(&name, def) {
                    n += 1;
                    name = format!("{base}{n}");
                }
                name
            }
        };
        let oid = self.allocate_oid().await?;
        def.constraints.push(Constraint { oid, name, kind, not_valid: constraint.not_valid });
        Ok(())
    }

    /// Plans a CHECK expression over the table's columns.
    async fn check_expression(&mut self, table: &str, def: &TableDef, expr: &Expr) -> PgResult<()> {
        let schema = Arc::new(Schema::new(def.arrow_fields()));
        let rows = RecordBatch::new_empty(schema);
        let items = vec![build::aliased(expr.clone(), "check")];
        let (planned, _) = self.project(&rows, table, items).await?;
        match planned.fields.first() {
            Some(field) if field.ty == chronos_catalog::SqlType::Bool => Ok(()),
            _ => Err(PgError::new("42804", "argument of CHECK must be type boolean")),
        }
    }
}

fn columns_of(news: &[NewColumn]) -> Vec<Column> {
    news.iter().map(|n| n.column.clone()).collect()
}

/// `WITH (…)`.
fn table_options(create: &CreateTable, columns: &[Column]) -> PgResult<BTreeMap<String, String>> {
    let mut result = BTreeMap::new();
    result.extend(on_commit(create.on_commit.as_ref(), create.temporary)?);
    match &create.table_options {
        CreateTableOptions::None => {}
        CreateTableOptions::With(options) => options::set(&mut result, options, columns)?,
        other => return Err(PgError::unsupported(format!("the table option {other}"))),
    }
    Ok(result)
}

fn too_many_columns() -> PgError {
    PgError::new("54011", "tables can have at most 1600 columns")
}

/// Whether WITH NO DATA was said.
fn no_data(create: &CreateTable) -> bool {
    match &create.table_options {
        CreateTableOptions::With(options) => options.iter().any(|option| {
            matches!(option, SqlOption::KeyValue { key, .. } if key.value == chronos_sql_ext::NO_DATA)
        }),
        _ => false,
    }
}

/// What CREATE TABLE cannot do yet is refused.
fn refuse(create: &CreateTable) -> PgResult<()> {
    let refused = [
        (create.or_replace, "CREATE OR REPLACE TABLE"),
        (create.external, "CREATE EXTERNAL TABLE"),
        (create.partition_by.is_some(), "PARTITION BY"),
        (create.partition_of.is_some(), "PARTITION OF"),
        (create.inherits.is_some(), "INHERITS"),
        (create.clone.is_some(), "CLONE"),
    ];
    match refused.iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(PgError::unsupported(what)),
        None => Ok(()),
    }
}

/// A name that no relation of the schema has, made from `base`.
pub(super) fn free_name(scope: &NameScope, namespace: Oid, base: &str) -> String {
    let mut name = base.to_owned();
    let mut n = 0;
    while scope.objects.lookup(NameKind::Relation, Some(namespace), &name, scope.at).is_some() {
        n += 1;
        name = format!("{base}{n}");
    }
    name
}
