//! CREATE TABLE and CREATE TABLE AS.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronos_catalog::{Column, ColumnId, Constraint, NameKind, Oid, Relation, TableDef};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{
    CreateTable, CreateTableOptions, Expr, SqlOption, Statement, Value,
};
use futures::StreamExt;

use super::columns::{NewColumn, NewConstraint, NewKind};
use super::{NameScope, columns, object};
use crate::error::{PgError, PgResult};
use crate::session::build;
use crate::session::names::{fold, quote};
use crate::session::session::Session;

/// Storage parameters of PostgreSQL that change no answer.
const IGNORED_OPTIONS: [&str; 4] =
    ["fillfactor", "autovacuum_enabled", "toast_tuple_target", "parallel_workers"];

impl Session {
    pub(super) async fn create_table(&mut self, create: &CreateTable) -> PgResult<String> {
        refuse(create)?;
        let name = self.relation_name(&create.name)?;
        let scope = self.scope()?;
        let (namespace, schema) = scope.lookup().creation_schema(&name)?;
        if !self.name_is_free(&scope, namespace, &name.name, create.if_not_exists)? {
            return Ok("CREATE TABLE".to_owned());
        }
        let table = self.allocate_oid().await?;
        let mut news: Vec<NewColumn> = Vec::with_capacity(create.columns.len());
        for (i, def) in create.columns.iter().enumerate() {
            let id = u32::try_from(i + 1).map_err(|_| too_many_columns())?;
            let new = columns::column(def, id)?;
            if news.iter().any(|n| n.column.name == new.column.name) {
                let message = format!("column \"{}\" specified more than once", new.column.name);
                return Err(PgError::new("42701", message));
            }
            news.push(new);
        }
        if news.len() > 1600 {
            return Err(too_many_columns());
        }
        let mut constraints: Vec<NewConstraint> = Vec::new();
        for new in &mut news {
            constraints.append(&mut new.constraints);
        }
        for constraint in &create.constraints {
            constraints.push(columns::table_constraint(constraint)?);
        }
        let mut def = TableDef {
            schema_version: 1,
            next_column: u32::try_from(news.len() + 1).map_err(|_| too_many_columns())?,
            columns: news.iter().map(|n| n.column.clone()).collect(),
            constraints: Vec::new(),
            options: self.table_options(create, &news)?,
        };
        for (i, new) in news.iter().enumerate() {
            if let Some(default) = &new.default {
                self.check_default(&def.columns[i], default).await?;
                def.columns[i].default = Some(default.to_string());
            }
        }
        for constraint in constraints {
            self.add_constraint(&scope, namespace, &name.name, &mut def, constraint).await?;
        }
        // The sequences of serial columns stand beside the table.
        for (i, new) in news.iter().enumerate() {
            let Some(serial) = &new.serial else { continue };
            let column = &def.columns[i];
            let sequence =
                free_name(&scope, namespace, &format!("{}_{}_seq", name.name, column.name));
            let oid = self.allocate_oid().await?;
            let owned_by = Some((table, column.id));
            let relation = super::sequence::relation(&serial.options, serial.ty.clone(), owned_by)?;
            let owner = self.owner(&scope);
            self.change(oid, Some(object(&sequence, Some(namespace), owner, relation))).await?;
            let full = format!("{}.{}", quote(&schema), quote(&sequence));
            def.columns[i].default =
                Some(format!("nextval('{}'::regclass)", full.replace('\'', "''")));
        }
        let owner = self.owner(&scope);
        let relation = Relation::Table(Arc::new(def));
        self.change(table, Some(object(&name.name, Some(namespace), owner, relation))).await?;
        Ok("CREATE TABLE".to_owned())
    }

    /// CREATE TABLE AS: the table of the query's columns, then its rows.
    pub(super) async fn create_table_as(&mut self, create: &CreateTable) -> PgResult<String> {
        refuse(create)?;
        let Some(query) = &create.query else {
            return Err(PgError::internal("CREATE TABLE AS without a query"));
        };
        let name = self.relation_name(&create.name)?;
        let scope = self.scope()?;
        let (namespace, _) = scope.lookup().creation_schema(&name)?;
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
        let def = Arc::new(TableDef {
            schema_version: 1,
            next_column: u32::try_from(columns.len() + 1).map_err(|_| too_many_columns())?,
            columns,
            constraints: Vec::new(),
            options: self.table_options(create, &[])?,
        });
        let oid = self.allocate_oid().await?;
        let owner = self.owner(&scope);
        let relation = Relation::Table(Arc::clone(&def));
        let fields = Arc::clone(&planned.fields);
        let mut stream = self.stream(planned).await?;
        self.change(oid, Some(object(&name.name, Some(namespace), owner, relation))).await?;
        let target = crate::session::write::WriteTarget {
            oid,
            schema: scope.lookup().schema_name(Some(namespace)),
            name: name.name.clone(),
            def: Arc::clone(&def),
        };
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
        table: &str,
        def: &mut TableDef,
        constraint: NewConstraint,
    ) -> PgResult<()> {
        let kind = columns::resolve_kind(&constraint.kind, &def.columns)?;
        match &constraint.kind {
            NewKind::PrimaryKey(_) if def.primary_key().is_some() => {
                let message =
                    format!("multiple primary keys for table \"{table}\" are not allowed");
                return Err(PgError::new("42P16", message));
            }
            NewKind::PrimaryKey(names) => {
                for column in &mut def.columns {
                    column.not_null |= names.contains(&column.name);
                }
            }
            NewKind::Unique(_) => {}
            NewKind::Check(expr, _) => self.check_expression(table, def, expr).await?,
        }
        let taken = |name: &str, def: &TableDef| {
            def.constraints.iter().any(|c| c.name == name)
                || (!matches!(constraint.kind, NewKind::Check(..))
                    && scope
                        .objects
                        .lookup(NameKind::Relation, Some(namespace), name, scope.at)
                        .is_some())
        };
        let name = match &constraint.name {
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
        def.constraints.push(Constraint { oid, name, kind });
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

    /// `WITH (…)`.
    fn table_options(
        &mut self,
        create: &CreateTable,
        news: &[NewColumn],
    ) -> PgResult<BTreeMap<String, String>> {
        let options = match &create.table_options {
            CreateTableOptions::None => return Ok(BTreeMap::new()),
            CreateTableOptions::With(options) => options,
            other => return Err(PgError::unsupported(format!("the table option {other}"))),
        };
        let mut result = BTreeMap::new();
        for option in options {
            let SqlOption::KeyValue { key, value } = option else {
                return Err(PgError::new("22023", format!("unrecognized parameter \"{option}\"")));
            };
            let key = fold(key);
            let text = match value {
                Expr::Value(v) => match &v.value {
                    Value::SingleQuotedString(s) => s.clone(),
                    other => other.to_string(),
                },
                Expr::Identifier(ident) => fold(ident),
                other => other.to_string(),
            };
            match key.as_str() {
                "time_column" => {
                    let column = news.iter().find(|n| n.column.name == text);
                    if column.is_none() {
                        let message = format!("column \"{text}\" of time_column does not exist");
                        return Err(PgError::new("42703", message));
                    }
                }
                "history_retention" => {
                    if crate::engine::parse_age(&text).is_none() {
                        let message = format!("invalid value for history_retention: \"{text}\"");
                        return Err(PgError::new("22023", message)
                            .hint("A number with s, min, h, d, w or y, such as '90 days'."));
                    }
                }
                "ttl" | "ttl_column" => {
                    return Err(PgError::unsupported(format!("the table option {key}")));
                }
                key if IGNORED_OPTIONS.contains(&key) => {}
                key => {
                    return Err(PgError::new("22023", format!("unrecognized parameter \"{key}\"")));
                }
            }
            result.insert(key, text);
        }
        Ok(result)
    }
}

fn too_many_columns() -> PgError {
    PgError::new("54011", "tables can have at most 1600 columns")
}

/// What CREATE TABLE cannot do yet is refused.
fn refuse(create: &CreateTable) -> PgResult<()> {
    let refused = [
        (create.temporary, "CREATE TEMPORARY TABLE"),
        (create.or_replace, "CREATE OR REPLACE TABLE"),
        (create.external, "CREATE EXTERNAL TABLE"),
        (create.partition_by.is_some(), "PARTITION BY"),
        (create.partition_of.is_some(), "PARTITION OF"),
        (create.inherits.is_some(), "INHERITS"),
        (create.like.is_some(), "CREATE TABLE LIKE"),
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
