//! UPDATE and DELETE … FOR PORTION OF: the part of a row's period within the bounds changes or
//! goes; what is left of it on either side stays as rows of their own.
//!
//! ```text
//! row        |-------------------------|
//! portion          from      to
//! left over  |-----|         |---------|      inserted
//! changed          |---------|                updated or deleted
//! ```

use chronos_catalog::{RowRef, SqlType};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::compute::kernels::cmp::{gt, lt};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};

use crate::error::{PgError, PgResult};
use crate::session::build;
use crate::session::session::Session;
use crate::session::write::{WriteTarget, nullable};

/// The portion of a period that a statement is about.
pub(in crate::session) struct Portion {
    /// The places of the period's columns.
    start: usize,
    end: usize,
    /// Its bounds, each an array of one value of the columns' type.
    from: ArrayRef,
    to: ArrayRef,
}

impl Session {
    /// The portion that a clause means, its bounds evaluated once. While only describing there
    /// may be no value; the bounds are NULL then.
    ///
    /// # Errors
    /// 42704, 22004 for NULL, 22007 for bounds that are not in order.
    pub(in crate::session) async fn portion(
        &mut self,
        target: &WriteTarget,
        clause: &chronos_sql_ext::Portion,
    ) -> PgResult<Portion> {
        let Some(period) = target.def.period(&clause.period) else {
            let message = format!(
                "period \"{}\" for table \"{}\" does not exist",
                clause.period, target.name
            );
            return Err(PgError::new("42704", message));
        };
        let place = |id| {
            target
                .def
                .columns
                .iter()
                .position(|c| c.id == id)
                .ok_or_else(|| PgError::internal("a period without its column"))
        };
        let (start, end) = (place(period.start)?, place(period.end)?);
        let from = self.portion_bound(target, start, &clause.from).await?;
        let to = self.portion_bound(target, end, &clause.to).await?;
        let described = self.shared.scope.lock().parameters.is_none();
        if !described && (from.is_null(0) || to.is_null(0)) {
            return Err(PgError::new("22004", "the bounds of FOR PORTION OF must not be null"));
        }
        if !described && !lt(&from, &to)?.value(0) {
            let message = "the lower bound of FOR PORTION OF must be before the upper bound";
            return Err(PgError::new("22007", message));
        }
        Ok(Portion { start, end, from, to })
    }

    /// The value of a bound, in the type of its column.
    async fn portion_bound(
        &mut self,
        target: &WriteTarget,
        place: usize,
        expr: &Expr,
    ) -> PgResult<ArrayRef> {
        let column = &target.def.columns[place];
        let names_column = datafusion::sql::sqlparser::ast::visit_expressions(expr, |e| match e {
            Expr::CompoundIdentifier(_) => std::ops::ControlFlow::Break(()),
            Expr::Identifier(name) if target.def.column_named(&name.value).is_some() => {
                std::ops::ControlFlow::Break(())
            }
            _ => std::ops::ControlFlow::Continue(()),
        });
        if names_column.is_break() {
            return Err(PgError::new("0A000", "the bounds of FOR PORTION OF cannot have columns"));
        }
        let parameters = self.shared.scope.lock().parameters.clone();
        let placeholder = crate::session::parameters::placeholder(expr).is_some();
        if parameters.is_none() && placeholder {
            return Ok(datafusion::arrow::array::new_null_array(&column.ty.arrow(), 1));
        }
        let (value, ty, unknown) =
            match crate::session::insert::literal(expr, parameters.as_deref())? {
                Some(cell) => {
                    let (value, unknown) = cell.into_value()?;
                    (value, None, unknown)
                }
                None => {
                    let mut values = self.typed_constants(vec![expr.clone()]).await?;
                    let Some((value, ty)) = values.pop() else {
                        return Err(PgError::internal("a bound without a value"));
                    };
                    (value, Some(ty), false)
                }
            };
        if value.is_null() {
            return Ok(datafusion::arrow::array::new_null_array(&column.ty.arrow(), 1));
        }
        self.assign_column(&value.to_array()?, ty.as_ref(), unknown, column)
    }

    /// What is left of rows beside the portion, as rows to insert.
    pub(in crate::session) async fn left_over(
        &mut self,
        target: &WriteTarget,
        portion: &Portion,
        rows: &[RowRef],
    ) -> PgResult<Vec<RecordBatch>> {
        let old = {
            let guard = self.shared.transaction.read().await;
            let transaction = guard.as_ref().ok_or_else(crate::session::session::aborted)?;
            transaction.fetch_versions(target.oid, rows).await?
        };
        let columns: Vec<usize> = (0..target.def.columns.len()).collect();
        let old =
            RecordBatch::try_new(nullable(target), old.project(&columns)?.columns().to_vec())?;
        let n = old.num_rows();
        let from = ScalarValue::try_from_array(&portion.from, 0)?;
        let to = ScalarValue::try_from_array(&portion.to, 0)?;
        let starts_before: BooleanArray =
            lt(old.column(portion.start), &from.to_array_of_size(n)?)?;
        let ends_after: BooleanArray = gt(old.column(portion.end), &to.to_array_of_size(n)?)?;
        let mut left = Vec::new();
        for (keep, place, value) in
            [(starts_before, portion.end, from), (ends_after, portion.start, to)]
        {
            let rows = filter_record_batch(&old, &keep)?;
            if rows.num_rows() == 0 {
                continue;
            }
            let mut arrays = rows.columns().to_vec();
            arrays[place] = value.to_array_of_size(rows.num_rows())?;
            left.push(RecordBatch::try_new(rows.schema(), arrays)?);
        }
        Ok(left)
    }

    /// Writes what was left over.
    pub(in crate::session) async fn insert_left_over(
        &mut self,
        target: &WriteTarget,
        left: Vec<RecordBatch>,
    ) -> PgResult<()> {
        for rows in left {
            let rows = self.generate(target, rows).await?;
            self.check(target, &rows).await?;
            self.insert_rows(target, rows).await?;
        }
        Ok(())
    }
}

impl Portion {
    /// Which rows it touches, and the given condition.
    pub(in crate::session) fn selection(
        &self,
        target: &WriteTarget,
        alias: &str,
        selection: Option<Expr>,
    ) -> PgResult<Option<Expr>> {
        let column = |place: usize| build::qualified(alias, &target.def.columns[place].name);
        let ty = &target.def.columns[self.start].ty;
        let binary = |left: Expr, op: BinaryOperator, right: Expr| Expr::BinaryOp {
            left: Box::new(left),
            op,
            right: Box::new(right),
        };
        let value = |array: &ArrayRef| -> PgResult<Expr> {
            Ok(literal(array, ty)?.unwrap_or_else(|| Expr::value(Value::Null)))
        };
        let before = binary(column(self.start), BinaryOperator::Lt, value(&self.to)?);
        let after = binary(column(self.end), BinaryOperator::Gt, value(&self.from)?);
        let touched = binary(before, BinaryOperator::And, after);
        Ok(Some(match selection {
            None => touched,
            Some(given) => binary(touched, BinaryOperator::And, Expr::Nested(Box::new(given))),
        }))
    }

    /// The period of a changed row: what is within the bounds.
    ///
    /// # Errors
    /// 42601 where the statement assigns the columns itself.
    pub(in crate::session) fn assign(
        &self,
        target: &WriteTarget,
        alias: &str,
        values: &mut [Option<Expr>],
    ) -> PgResult<()> {
        let ty = &target.def.columns[self.start].ty;
        for (place, bound, function) in
            [(self.start, &self.from, "greatest"), (self.end, &self.to, "least")]
        {
            let column = &target.def.columns[place].name;
            if values[place].is_some() {
                let message = format!(
                    "cannot update column \"{column}\" because it is used in FOR PORTION OF"
                );
                return Err(PgError::new("42601", message));
            }
            let bound = literal(bound, ty)?.unwrap_or_else(|| Expr::value(Value::Null));
            let column = build::qualified(alias, column);
            let op = if function == "greatest" { BinaryOperator::Lt } else { BinaryOperator::Gt };
            values[place] = Some(Expr::Case {
                case_token:
                    datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
                end_token:
                    datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
                operand: None,
                conditions: vec![datafusion::sql::sqlparser::ast::CaseWhen {
                    condition: Expr::BinaryOp {
                        left: Box::new(column.clone()),
                        op,
                        right: Box::new(bound.clone()),
                    },
                    result: bound,
                }],
                else_result: Some(Box::new(column)),
            });
        }
        Ok(())
    }
}

/// The first value of an array as a literal of the column's type; `None` for NULL.
pub(super) fn literal(array: &ArrayRef, ty: &SqlType) -> PgResult<Option<Expr>> {
    if array.is_empty() || array.is_null(0) {
        return Ok(None);
    }
    let Some(data_type) = crate::session::parameters::data_type(ty) else { return Ok(None) };
    let settings = crate::session::api::TextSettings {
        time_zone: chrono_tz::UTC,
        interval_style: "postgres".to_owned(),
        bytea_escape: false,
        extra_float_digits: 1,
        date_style: "ISO, MDY".to_owned(),
        now: None,
    };
    let text = crate::pgwire::text_of(array, ty, 0, &settings)
        .map_err(|_| PgError::internal("a value without a text"))?;
    let Some(text) = text else { return Ok(None) };
    let text = Expr::value(Value::SingleQuotedString(text));
    Ok(Some(crate::session::parameters::cast(text, data_type)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::Date32Array;

    use super::*;

    #[test]
    fn a_bound_is_a_literal_of_its_columns_type() {
        let array: ArrayRef = Arc::new(Date32Array::from(vec![Some(20_000)]));
        let literal = literal(&array, &SqlType::Date).unwrap().unwrap();
        assert_eq!(literal.to_string().to_lowercase(), "cast('2024-10-04' as date)");
    }
}
