//! ALTER TABLE … ADD COLUMN.
//!
//! A default that is the same for every row is kept with the column, and rows written before show
//! it. What differs from row to row (a sequence, a generated column) is written into every row.

use std::sync::Arc;

use chronos_catalog::{Object, Relation, TableDef};
use datafusion::sql::sqlparser::ast::{ColumnDef, Expr, visit_expressions};

use super::columns::{self, NewColumn};
use crate::error::{PgError, PgResult};
use crate::session::build;
use crate::session::dml::{Write, target_query};
use crate::session::session::Session;
use crate::session::write::{WriteTarget, parse_expr};

/// Functions that give another value for every row.
const VOLATILE: [&str; 5] =
    ["clock_timestamp", "timeofday", "random", "gen_random_uuid", "nextval"];

impl Session {
    pub(super) async fn add_column(
        &mut self,
        target: &WriteTarget,
        object: Object,
        mut def: TableDef,
        column_def: &ColumnDef,
        if_not_exists: bool,
    ) -> PgResult<()> {
        let new = columns::column(column_def, def.next_column, &target.name)?;
        let NewColumn { mut column, default, generated, serial, constraints } = new;
        let name = column.name.clone();
        if def.column_named(&name).is_some() {
            let message =
                format!("column \"{name}\" of relation \"{}\" already exists", target.name);
            if !if_not_exists {
                return Err(PgError::new("42701", message));
            }
            self.notice(PgError::notice(format!("{message}, skipping")));
            return Ok(());
        }
        let rows = self.has_rows_now(target).await?;
        let fills = rows
            && (serial.is_some() || generated.is_some() || default.as_ref().is_some_and(volatile));
        if let Some(default) = &default {
            self.check_default(&column, default).await?;
            column.default = Some(default.to_string());
            if !fills {
                column.missing = self.missing_value(&column).await?;
            }
        }
        if column.not_null && column.missing.is_none() && rows && !fills {
            let message =
                format!("column \"{name}\" of relation \"{}\" contains null values", target.name);
            let mut error = PgError::new("23502", message);
            error.schema = Some(target.schema.clone());
            error.table = Some(target.name.clone());
            error.column = Some(name);
            return Err(error);
        }
        let not_null = column.not_null;
        // Empty until it is filled.
        column.not_null &= !fills;
        def.next_column += 1;
        def.columns.push(column.clone());
        let place = def.columns.len() - 1;
        if let Some(expr) = &generated {
            self.check_generated(&target.name, &def, &column, expr).await?;
            def.columns[place].generated = Some(expr.to_string());
        }
        if let Some(serial) = &serial {
            let Some(namespace) = object.namespace else {
                return Err(PgError::internal("a table without a schema"));
            };
            let own = (target.oid, target.name.as_str());
            let default = self.serve(own, namespace, &column, serial).await?;
            def.columns[place].default = Some(default);
        }
        let mut filled = self.shaped(target, object, def.clone()).await?;
        if fills {
            self.fill(&filled, place).await?;
            if not_null {
                def.columns[place].not_null = true;
                def.schema_version += 1;
                let object = self.table_object(&filled)?;
                self.refuse_nulls(&filled, &column.name).await?;
                filled = self.shaped(&filled, object, def.clone()).await?;
            }
        }
        for constraint in constraints {
            let object = self.table_object(&filled)?;
            def.schema_version += 1;
            Box::pin(self.add_new_constraint(&filled, &object, &mut def, constraint)).await?;
            filled = self.shaped(&filled, object, def.clone()).await?;
        }
        Ok(())
    }

    /// Gives a table another definition, and gives the table with it.
    async fn shaped(
        &mut self,
        target: &WriteTarget,
        mut object: Object,
        def: TableDef,
    ) -> PgResult<WriteTarget> {
        let def = Arc::new(def);
        object.relation = Relation::Table(Arc::clone(&def));
        self.change(target.oid, Some(object)).await?;
        Ok(WriteTarget { def, ..target.clone() })
    }

    /// Writes the value of a new column into every row.
    async fn fill(&mut self, target: &WriteTarget, place: usize) -> PgResult<()> {
        let alias = target.name.clone();
        let column = &target.def.columns[place];
        let mut assigned = vec![false; target.def.columns.len()];
        let mut items = Vec::with_capacity(assigned.len());
        for (i, c) in target.def.columns.iter().enumerate() {
            let value = match &column.default {
                Some(text) if i == place => {
                    assigned[i] = true;
                    parse_expr(text)?
                }
                _ => build::qualified(&alias, &c.name),
            };
            items.push(build::aliased(value, &format!("c{i}")));
        }
        self.install_target(target)?;
        let query = target_query(target, &alias, &items, Vec::new(), None, None);
        let write = Write {
            target: target.clone(),
            alias,
            query,
            assigned,
            returning: None,
            others: Vec::new(),
            deletes: false,
            portion: None,
            by_key: None,
            through: None,
            secured: None,
        };
        Box::pin(self.run_update(&write)).await.map(|_| ())
    }
}

fn volatile(expr: &Expr) -> bool {
    visit_expressions(expr, |e| match e {
        Expr::Function(call) => {
            let name = call.name.to_string().to_lowercase();
            let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
            match VOLATILE.contains(&name) {
                true => std::ops::ControlFlow::Break(()),
                false => std::ops::ControlFlow::Continue(()),
            }
        }
        _ => std::ops::ControlFlow::Continue(()),
    })
    .is_break()
}
