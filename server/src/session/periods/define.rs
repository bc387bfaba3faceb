//! PERIOD FOR and keys WITHOUT OVERLAPS, as definitions.

use chronos_catalog::{ColumnId, ConstraintKind, Period, SqlType, TableDef};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};

use crate::error::{PgError, PgResult};
use crate::session::build;
use crate::session::names::quote;
use crate::session::session::Session;
use crate::session::write::{WriteTarget, parse_expr};

/// Whether a period may have columns of that type.
fn of_type(ty: &SqlType) -> bool {
    matches!(ty, SqlType::Date | SqlType::Timestamp | SqlType::Timestamptz)
}

impl Session {
    /// Adds a period to a table. Gives the CHECK that its rows begin before they end.
    ///
    /// # Errors
    /// 42703, 42804, 42710
    pub(in crate::session) fn define_period(
        &self,
        table: &str,
        def: &mut TableDef,
        (name, start, end): (&str, &str, &str),
    ) -> PgResult<Expr> {
        if def.column_named(name).is_some() || def.period(name).is_some() {
            let kind = if def.period(name).is_some() { "period" } else { "column" };
            let message = format!("{kind} \"{name}\" of relation \"{table}\" already exists");
            return Err(PgError::new(if kind == "period" { "42710" } else { "42701" }, message));
        }
        let column = |name: &str| {
            def.column_named(name).ok_or_else(|| {
                PgError::new("42703", format!("column \"{name}\" named in period does not exist"))
            })
        };
        let (first, last) = (column(start)?, column(end)?);
        if first.id == last.id {
            let message = format!("column \"{start}\" appears twice in period");
            return Err(PgError::new("42701", message));
        }
        if first.ty != last.ty || !of_type(&first.ty) {
            let message = "columns of a period must be of the same type: date or timestamp";
            return Err(PgError::new("42804", message).detail(format!(
                "Columns \"{start}\" and \"{end}\" are of types {} and {}.",
                crate::pgwire::types::name(&first.ty),
                crate::pgwire::types::name(&last.ty)
            )));
        }
        let period = Period { name: name.to_owned(), start: first.id, end: last.id };
        for column in &mut def.columns {
            column.not_null |= column.id == period.start || column.id == period.end;
        }
        def.periods.push(period);
        parse_expr(&format!("{} < {}", quote(start), quote(end)))
    }

    /// The rows that stand may get a period.
    pub(in crate::session) async fn check_period_rows(
        &mut self,
        target: &WriteTarget,
        (name, start, end): (&str, &str, &str),
    ) -> PgResult<()> {
        self.refuse_nulls(target, start).await?;
        self.refuse_nulls(target, end).await?;
        let ordered = Expr::BinaryOp {
            left: Box::new(build::column(start)),
            op: BinaryOperator::Lt,
            right: Box::new(build::column(end)),
        };
        let check = format!("{}_{name}_check", target.name);
        self.check_rows(target, &check, ordered).await
    }

    /// DROP PERIOD FOR: its CHECK goes too, and with CASCADE the keys that need it.
    pub(in crate::session) fn drop_period(
        &mut self,
        target: &WriteTarget,
        def: &mut TableDef,
        name: &str,
        (if_exists, cascade): (bool, bool),
    ) -> PgResult<()> {
        let Some(period) = def.period(name).cloned() else {
            let message =
                format!("period \"{name}\" of relation \"{}\" does not exist", target.name);
            if !if_exists {
                return Err(PgError::new("42704", message));
            }
            self.notice(PgError::notice(format!("{message}, skipping")));
            return Ok(());
        };
        let keys: Vec<String> = def
            .constraints
            .iter()
            .filter(|c| needs_period(&c.kind, name))
            .map(|c| format!("constraint {} on table {}", c.name, target.name))
            .collect();
        let what = format!("period {name} on table {}", target.name);
        self.dependents(&what, keys, cascade)?;
        let check = format!("{}_{name}_check", target.name);
        def.constraints.retain(|c| !needs_period(&c.kind, name) && c.name != check);
        def.periods.retain(|p| *p != period);
        Ok(())
    }
}

fn needs_period(kind: &ConstraintKind, name: &str) -> bool {
    matches!(kind, ConstraintKind::WithoutOverlaps { period, .. } if period == name)
}

/// The periods that have a column, and the keys that need those.
pub(in crate::session) fn of_column(def: &TableDef, column: ColumnId) -> Vec<String> {
    let periods = def.periods.iter().filter(|p| p.start == column || p.end == column);
    periods.map(|p| p.name.clone()).collect()
}
