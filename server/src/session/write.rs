//! What INSERT, UPDATE, DELETE and COPY have in common: the target, defaults, checks, RETURNING.

use std::sync::Arc;

use chronos_catalog::{Column, ConstraintKind, Oid, Relation, SqlType, TableDef};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions,
};
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, SelectItem, Statement, TableAlias, TableFactor, Value,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use futures::StreamExt;

use super::api::Response;
use super::assign::{Target, assign};
use super::build;
use super::joined::Joined;
use super::names::{Lookup, RelationName, SYSTEM_SCHEMAS, fold, no_relation, relation};
use super::plan::Planned;
use super::session::Session;
use super::transaction::Block;
use crate::error::{PgError, PgResult};

/// The name under which given rows are planned. No user can write it: an identifier ends at NUL.
pub(super) const ROWS: &str = "\u{1}rows";

/// The table that a statement writes to.
#[derive(Clone, Debug)]
pub(super) struct WriteTarget {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub def: Arc<TableDef>,
}

impl WriteTarget {
    /// The place of a column.
    ///
    /// # Errors
    /// 42703
    pub fn column(&self, name: &str) -> PgResult<usize> {
        self.def.columns.iter().position(|c| c.name == name).ok_or_else(|| {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", self.name);
            PgError::new("42703", message)
        })
    }
}

/// An expression kept as SQL text.
pub(super) fn parse_expr(text: &str) -> PgResult<Expr> {
    Parser::new(&PostgreSqlDialect {})
        .try_with_sql(text)
        .and_then(|mut p| p.parse_expr())
        .map_err(|e| PgError::internal(format!("stored expression \"{text}\": {e}")))
}

/// The sequence of `nextval('…'::regclass)` or `nextval('…')`, if the expression is that.
pub(super) fn nextval_argument(expr: &Expr) -> Option<String> {
    let Expr::Function(function) = expr else { return None };
    let name = function.name.0.last()?.as_ident()?;
    if !name.value.eq_ignore_ascii_case("nextval") {
        return None;
    }
    let datafusion::sql::sqlparser::ast::FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let [
        datafusion::sql::sqlparser::ast::FunctionArg::Unnamed(
            datafusion::sql::sqlparser::ast::FunctionArgExpr::Expr(argument),
        ),
    ] = list.args.as_slice()
    else {
        return None;
    };
    let argument = match argument {
        Expr::Cast { expr, .. } => expr,
        other => other,
    };
    match argument {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(s) => Some(s.clone()),
            _ => None,
        },
        _ => None,
    }
}

impl Session {
    /// The table of that name, to be written to.
    ///
    /// # Errors
    /// 42P01; 42809 for what is no table, views among them; 42501 in a system schema.
    pub(super) fn write_target(&self, name: &ObjectName) -> PgResult<WriteTarget> {
        let name = relation(name, &self.shared.identity.database)?;
        self.write_target_named(&name)
    }

    pub(super) fn write_target_named(&self, name: &RelationName) -> PgResult<WriteTarget> {
        if let Some(schema) = &name.schema
            && SYSTEM_SCHEMAS.contains(&schema.as_str())
        {
            let message = format!("permission denied for relation \"{}\"", name.name);
            return Err(PgError::new("42501", message));
        }
        let (objects, at) = self.shared.objects()?;
        let rights = self.shared.rights(&objects, at);
        let path = self.shared.usable_path(&rights);
        let lookup = Lookup { objects: &objects, at, path: &path };
        let (oid, object) = lookup.relation(name).ok_or_else(|| no_relation(name))?;
        super::privileges::check_schema(&rights, name)?;
        match &object.relation {
            Relation::Table(def) => Ok(WriteTarget {
                oid,
                schema: lookup.schema_name(object.namespace),
                name: object.name.clone(),
                def: Arc::clone(def),
            }),
            _ => Err(PgError::new("42809", format!("\"{name}\" is not a table"))),
        }
    }

    /// The name and alias of the one table of a FROM item that is written to.
    pub(super) fn target_factor(
        factor: &TableFactor,
    ) -> PgResult<(&ObjectName, Option<&TableAlias>)> {
        match factor {
            TableFactor::Table { name, alias, version: None, args: None, .. } => {
                Ok((name, alias.as_ref()))
            }
            TableFactor::Table { .. } => {
                Err(PgError::new("25006", "cannot write to a table as of an instant"))
            }
            other => Err(PgError::new("42601", format!("cannot write to {other}"))),
        }
    }

    /// Plans expressions over given rows and gives the results, in the order of the rows.
    pub(super) async fn project(
        &mut self,
        rows: &RecordBatch,
        alias: &str,
        items: Vec<SelectItem>,
    ) -> PgResult<(Planned, Vec<RecordBatch>)> {
        self.project_where(rows, alias, items, None).await
    }

    pub(super) async fn project_where(
        &mut self,
        rows: &RecordBatch,
        alias: &str,
        items: Vec<SelectItem>,
        selection: Option<Expr>,
    ) -> PgResult<(Planned, Vec<RecordBatch>)> {
        let provider: Arc<dyn TableProvider> =
            Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows.clone()]])?);
        self.shared.scope.lock().overrides.insert(ROWS.to_owned(), provider);
        let from = vec![build::table(ROWS, Some(build::alias(alias)))];
        let query = build::select(items, from, selection);
        let result = async {
            let mut planned = self.plan(&Statement::Query(Box::new(query))).await?;
            // One partition keeps the order of the rows.
            planned.state.config_mut().options_mut().execution.target_partitions = 1;
            let copy = Planned {
                plan: planned.plan.clone(),
                fields: Arc::clone(&planned.fields),
                instants: planned.instants.clone(),
                holds_instants: planned.holds_instants,
                types: planned.types.clone(),
                state: planned.state.clone(),
            };
            let batches = self.collect(planned).await?;
            Ok((copy, batches))
        }
        .await;
        self.shared.scope.lock().overrides.remove(ROWS);
        result
    }

    /// The default values of a column for `count` new rows.
    pub(super) async fn defaults(&mut self, column: &Column, count: usize) -> PgResult<ArrayRef> {
        let null = || datafusion::arrow::array::new_null_array(&column.ty.arrow(), count);
        let Some(text) = &column.default else { return Ok(null()) };
        let expr = parse_expr(text)?;
        if let Some(sequence) = nextval_argument(&expr) {
            let mut values = Vec::with_capacity(count);
            let identity = column.identity_always.is_some();
            for _ in 0..count {
                values.push(self.shared.next_value(&sequence, identity).await?);
            }
            let values: ArrayRef = Arc::new(datafusion::arrow::array::Int64Array::from(values));
            return self.assign_column(&values, Some(&SqlType::Int8), false, column);
        }
        let cell = match super::insert::literal(&expr, None)? {
            None => self.transaction_start(&expr),
            cell => cell,
        };
        if let Some(cell) = cell {
            let ty = cell.sql_type().cloned();
            let (value, unknown) = cell.into_value()?;
            let array = value.to_array_of_size(count)?;
            return self.assign_column(&array, ty.as_ref(), unknown, column);
        }
        // One row for each, for functions that give another value every time.
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let field = SqlType::Int4.field("row", false);
        let numbers: ArrayRef =
            Arc::new(datafusion::arrow::array::Int32Array::from_value(0, count));
        let schema = Arc::new(Schema::new(vec![field]));
        let rows = RecordBatch::try_new_with_options(schema, vec![numbers], &options)?;
        let items = vec![build::aliased(expr.clone(), "value")];
        let (planned, batches) = self.project(&rows, ROWS, items).await?;
        let from = planned.fields.first().map(|f| f.ty.clone());
        let arrays: Vec<&dyn Array> = batches.iter().map(|b| b.column(0).as_ref()).collect();
        let array = datafusion::arrow::compute::concat(&arrays)?;
        self.assign_column(&array, from.as_ref(), false, column)
    }

    /// Values as a column takes them.
    pub(super) fn assign_column(
        &self,
        values: &ArrayRef,
        from: Option<&SqlType>,
        unknown: bool,
        column: &Column,
    ) -> PgResult<ArrayRef> {
        let settings = self.shared.text_settings();
        let target = Target { name: &column.name, ty: &column.ty };
        assign(values, from, unknown, target, &settings)
    }

    /// Whole rows from the columns that a statement gives; the others get their defaults.
    /// `given` holds each given column's place in the table.
    pub(super) async fn complete(
        &mut self,
        target: &WriteTarget,
        given: &[usize],
        arrays: Vec<ArrayRef>,
        rows: usize,
    ) -> PgResult<RecordBatch> {
        let mut columns: Vec<Option<ArrayRef>> = vec![None; target.def.columns.len()];
        for (place, array) in given.iter().zip(arrays) {
            columns[*place] = Some(array);
        }
        let mut complete = Vec::with_capacity(columns.len());
        for (column, array) in target.def.columns.iter().zip(columns) {
            complete.push(match array {
                Some(array) => array,
                None => self.defaults(column, rows).await?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let rows = RecordBatch::try_new_with_options(nullable(target), complete, &options)?;
        self.generate(target, rows).await
    }

    /// NOT NULL (with PostgreSQL's message) and CHECK constraints of new rows.
    pub(super) async fn check(&mut self, target: &WriteTarget, rows: &RecordBatch) -> PgResult<()> {
        for (column, array) in target.def.columns.iter().zip(rows.columns()) {
            if column.not_null && array.null_count() > 0 {
                let row = (0..array.len()).find(|&i| array.is_null(i)).unwrap_or(0);
                let message = format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    column.name, target.name
                );
                let mut error = PgError::new("23502", message).detail(failing_row(rows, row));
                error.schema = Some(target.schema.clone());
                error.table = Some(target.name.clone());
                error.column = Some(column.name.clone());
                return Err(error);
            }
        }
        let checks: Vec<(String, String)> = target
            .def
            .constraints
            .iter()
            .filter_map(|c| match &c.kind {
                ConstraintKind::Check(sql) => Some((c.name.clone(), sql.clone())),
                _ => None,
            })
            .collect();
        if checks.is_empty() || rows.num_rows() == 0 {
            return Ok(());
        }
        let mut items = Vec::with_capacity(checks.len());
        for (i, (_, sql)) in checks.iter().enumerate() {
            items.push(build::aliased(parse_expr(sql)?, &format!("c{i}")));
        }
        let (_, batches) = self.project(rows, &target.name, items).await?;
        let mut first = 0;
        for batch in &batches {
            for (i, (name, _)) in checks.iter().enumerate() {
                let Some(results) = batch.column(i).as_boolean_opt() else {
                    return Err(PgError::new("42804", "argument of CHECK must be type boolean"));
                };
                let failed = (0..results.len()).find(|&r| results.is_valid(r) && !results.value(r));
                if let Some(row) = failed {
                    let message = format!(
                        "new row for relation \"{}\" violates check constraint \"{name}\"",
                        target.name
                    );
                    let mut error =
                        PgError::new("23514", message).detail(failing_row(rows, first + row));
                    error.schema = Some(target.schema.clone());
                    error.table = Some(target.name.clone());
                    error.constraint = Some(name.clone());
                    return Err(error);
                }
            }
            first += batch.num_rows();
        }
        Ok(())
    }

    /// The answer of a statement that wrote: its count, or the rows of RETURNING. `empty` has the
    /// sides of `kept` and no rows.
    pub(super) async fn written(
        &mut self,
        target: &WriteTarget,
        returning: Option<&[SelectItem]>,
        empty: Joined,
        kept: Vec<Joined>,
        count: u64,
        tag: &str,
    ) -> PgResult<Response> {
        let Some(items) = returning else {
            return Ok(Response::Complete(format!("{tag} {count}")));
        };
        let joined = Joined::concat(&kept)?.unwrap_or(empty);
        let (fields, rows) = self.evaluate(&joined, items.to_vec()).await?;
        self.note_unknown(target, &joined, items, tag);
        let rows = futures::stream::iter([Ok(rows)]).boxed();
        Ok(Response::Rows { fields, rows, tag: tag.to_owned() })
    }

    /// Notes which results are known only when the statement's own transaction has committed.
    fn note_unknown(
        &mut self,
        target: &WriteTarget,
        joined: &Joined,
        items: &[SelectItem],
        tag: &str,
    ) {
        self.unknown = None;
        if self.block != Block::None || tag == "DELETE" || tag == "MERGE" {
            return;
        }
        let alias = &joined.sides[0].alias;
        let mut columns = Vec::new();
        let mut place = 0;
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    let name = match expr {
                        Expr::Identifier(name) => Some(fold(name)),
                        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                            [table, name] if fold(table) == *alias => Some(fold(name)),
                            _ => None,
                        },
                        _ => None,
                    };
                    match name.as_deref() {
                        Some("_system_from") => columns.push((place, Unknown::From)),
                        Some("_cv") => columns.push((place, Unknown::Cv)),
                        _ => {}
                    }
                    place += 1;
                }
                SelectItem::QualifiedWildcard(..) | SelectItem::Wildcard(_) => {
                    place += joined.width(item);
                }
                SelectItem::ExprWithAliases { .. } => return,
            }
        }
        if !columns.is_empty() {
            self.unknown = Some((target.oid, columns));
        }
    }
}

/// A hidden column that a commit sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    From,
    Cv,
}

/// The schema of rows as RETURNING shows them: the target's columns and the hidden ones.
fn shown_schema(target: &WriteTarget) -> Arc<Schema> {
    let mut fields: Vec<_> = target.def.columns.iter().map(|c| c.ty.field(&c.name, true)).collect();
    fields.push(SqlType::Timestamptz.field("_system_from", true));
    fields.push(SqlType::Timestamptz.field("_system_to", true));
    fields.push(SqlType::Int8.field("_ov", true));
    fields.push(SqlType::Int8.field("_cv", true));
    Arc::new(Schema::new(fields))
}

/// No rows, as RETURNING shows them.
pub(super) fn shown_empty(target: &WriteTarget) -> RecordBatch {
    RecordBatch::new_empty(shown_schema(target))
}

/// New rows as RETURNING shows them. `versions` are their `_ov`, 0 where not given. What only
/// the commit tells is NULL.
pub(super) fn shown(
    target: &WriteTarget,
    rows: &RecordBatch,
    versions: Option<Int64Array>,
) -> PgResult<RecordBatch> {
    let n = rows.num_rows();
    let versions = versions.unwrap_or_else(|| Int64Array::from_value(0, n));
    shown_with(target, rows.columns(), None, versions, None)
}

/// Rows as RETURNING shows them.
pub(super) fn shown_with(
    target: &WriteTarget,
    columns: &[ArrayRef],
    system_from: Option<ArrayRef>,
    versions: Int64Array,
    commit: Option<ArrayRef>,
) -> PgResult<RecordBatch> {
    let n = versions.len();
    let null = |ty: SqlType| datafusion::arrow::array::new_null_array(&ty.arrow(), n);
    let mut columns = columns.to_vec();
    columns.push(system_from.unwrap_or_else(|| null(SqlType::Timestamptz)));
    columns.push(null(SqlType::Timestamptz));
    columns.push(Arc::new(versions));
    columns.push(commit.unwrap_or_else(|| null(SqlType::Int8)));
    Ok(RecordBatch::try_new(shown_schema(target), columns)?)
}

/// The table's schema with every column nullable: for rows that are still to be checked.
pub(super) fn nullable(target: &WriteTarget) -> Arc<Schema> {
    let fields: Vec<_> = target.def.columns.iter().map(|c| c.ty.field(&c.name, true)).collect();
    Arc::new(Schema::new(fields))
}

/// PostgreSQL's "Failing row contains (…)."
pub(super) fn failing_row(rows: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::new().with_null("null");
    let values: Vec<String> = rows
        .columns()
        .iter()
        .map(|array| match ArrayFormatter::try_new(array.as_ref(), &options) {
            Ok(formatter) => formatter.value(row).to_string(),
            Err(_) => "?".to_owned(),
        })
        .collect();
    format!("Failing row contains ({}).", values.join(", "))
}
