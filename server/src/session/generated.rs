//! Columns GENERATED ALWAYS AS (…) STORED: computed whenever a row is written.

use std::ops::ControlFlow;
use std::sync::Arc;

use chronos_catalog::{Column, TableDef};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{Expr, visit_expressions};

use super::build;
use super::names::fold;
use super::session::Session;
use super::write::{WriteTarget, parse_expr};
use crate::error::{PgError, PgResult};

/// Functions whose results differ from one moment or session to the next.
const NOT_IMMUTABLE: [&str; 19] = [
    "now",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtime",
    "localtimestamp",
    "random",
    "gen_random_uuid",
    "nextval",
    "currval",
    "lastval",
    "current_setting",
    "current_user",
    "session_user",
    "age",
];

impl Session {
    /// Rows with their generated columns computed.
    pub(super) async fn generate(
        &mut self,
        target: &WriteTarget,
        rows: RecordBatch,
    ) -> PgResult<RecordBatch> {
        let mut places = Vec::new();
        let mut items = Vec::new();
        for (place, column) in target.def.columns.iter().enumerate() {
            if let Some(text) = &column.generated {
                items.push(build::aliased(parse_expr(text)?, &format!("g{place}")));
                places.push(place);
            }
        }
        if places.is_empty() || rows.num_rows() == 0 || rows.num_columns() == 0 {
            return Ok(rows);
        }
        let (planned, batches) = self.project(&rows, &target.name, items).await?;
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        for (i, place) in places.into_iter().enumerate() {
            let column = &target.def.columns[place];
            let parts: Vec<&dyn Array> = batches.iter().map(|b| b.column(i).as_ref()).collect();
            let array = datafusion::arrow::compute::concat(&parts)?;
            let ty = planned.fields.get(i).map(|f| &f.ty);
            columns[place] = self.assign_column(&array, ty, false, column)?;
        }
        Ok(RecordBatch::try_new(rows.schema(), columns)?)
    }

    /// Checks the expression of a generated column: what it names, and that it depends on nothing
    /// but the row.
    ///
    /// # Errors
    /// 42P17, 42703, 42804, 0A000
    pub(super) async fn check_generated(
        &mut self,
        table: &str,
        def: &TableDef,
        column: &Column,
        expr: &Expr,
    ) -> PgResult<()> {
        let found = visit_expressions(expr, |e| {
            let error = match e {
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                    PgError::new("0A000", "cannot use subquery in column generation expression")
                }
                Expr::Identifier(name) => match generated_named(def, &fold(name)) {
                    Some(error) => error,
                    None => return ControlFlow::Continue(()),
                },
                Expr::CompoundIdentifier(parts) => {
                    match parts.last().and_then(|name| generated_named(def, &fold(name))) {
                        Some(error) => error,
                        None => return ControlFlow::Continue(()),
                    }
                }
                Expr::Function(call) => {
                    let name = call.name.to_string().to_lowercase();
                    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
                    if !NOT_IMMUTABLE.contains(&name) {
                        return ControlFlow::Continue(());
                    }
                    PgError::new("42P17", "generation expression is not immutable")
                }
                _ => return ControlFlow::Continue(()),
            };
            ControlFlow::Break(error)
        });
        if let ControlFlow::Break(error) = found {
            return Err(error);
        }
        let schema = Arc::new(Schema::new(def.arrow_fields()));
        let rows = RecordBatch::new_empty(schema);
        let items = vec![build::aliased(expr.clone(), "generated")];
        let (planned, batches) = self.project(&rows, table, items).await?;
        let Some(field) = planned.fields.first() else {
            return Err(PgError::internal("a generated column without a value"));
        };
        let array = match batches.first() {
            Some(batch) => Arc::clone(batch.column(0)),
            None => datafusion::arrow::array::new_empty_array(&field.ty.arrow()),
        };
        self.assign_column(&array, Some(&field.ty), false, column).map_err(|error| {
            if error.code != "42804" {
                return error;
            }
            PgError::new(
                "42804",
                format!(
                    "column \"{}\" is of type {} but default expression is of type {}",
                    column.name,
                    crate::pgwire::types::name(&column.ty),
                    crate::pgwire::types::name(&field.ty)
                ),
            )
            .hint("You will need to rewrite or cast the expression.")
        })?;
        Ok(())
    }
}

fn generated_named(def: &TableDef, name: &str) -> Option<PgError> {
    def.column_named(name).filter(|c| c.generated.is_some()).map(|_| {
        PgError::new(
            "42P17",
            format!("cannot use generated column \"{name}\" in column generation expression"),
        )
        .detail("A generated column cannot reference another generated column.")
    })
}

/// 428C9 for a generated or identity column that gets a value.
pub(super) fn refuse_update(column: &Column) -> PgResult<()> {
    let detail = if column.generated.is_some() {
        format!("Column \"{}\" is a generated column.", column.name)
    } else if column.identity_always == Some(true) {
        format!("Column \"{}\" is an identity column defined as GENERATED ALWAYS.", column.name)
    } else {
        return Ok(());
    };
    let message = format!("column \"{}\" can only be updated to DEFAULT", column.name);
    Err(PgError::new("428C9", message).detail(detail))
}
