//! CREATE SEQUENCE.

use chronos_catalog::{ColumnId, Oid, Relation, SqlType};
use datafusion::sql::sqlparser::ast::{Expr, SequenceOptions, Statement, UnaryOperator, Value};

use super::object;
use crate::error::{PgError, PgResult};
use crate::session::session::Session;

fn integer(expr: &Expr) -> PgResult<i64> {
    let invalid = || PgError::new("22023", format!("invalid sequence option value \"{expr}\""));
    match expr {
        Expr::Value(v) => match &v.value {
            Value::Number(n, _) => n.to_string().parse().map_err(|_| invalid()),
            _ => Err(invalid()),
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Ok(-integer(expr)?),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } | Expr::Nested(expr) => integer(expr),
        _ => Err(invalid()),
    }
}

/// A number as the parser gives it.
pub(super) fn number(n: i64) -> Expr {
    Expr::value(Value::Number(n.to_string(), false))
}

/// The least and greatest value of a type.
pub(super) fn bounds(ty: &SqlType) -> (i64, i64) {
    match ty {
        SqlType::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        SqlType::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    }
}

/// A sequence's definition from its options.
///
/// # Errors
/// 22023 for options that contradict each other.
pub(super) fn relation(
    options: &[SequenceOptions],
    ty: SqlType,
    owned_by: Option<(Oid, ColumnId)>,
) -> PgResult<Relation> {
    if !matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8) {
        let message = "sequence type must be smallint, integer, or bigint";
        return Err(PgError::new("22023", message));
    }
    let (least, greatest) = bounds(&ty);
    let (mut increment, mut cycle) = (1, false);
    let (mut min, mut max, mut start) = (None, None, None);
    for option in options {
        match option {
            SequenceOptions::IncrementBy(expr, _) => increment = integer(expr)?,
            SequenceOptions::MinValue(expr) => min = expr.as_ref().map(integer).transpose()?,
            SequenceOptions::MaxValue(expr) => max = expr.as_ref().map(integer).transpose()?,
            SequenceOptions::StartWith(expr, _) => start = Some(integer(expr)?),
            SequenceOptions::Cache(_) => {}
            SequenceOptions::Cycle(no) => cycle = !*no,
        }
    }
    if increment == 0 {
        return Err(PgError::new("22023", "INCREMENT must not be zero"));
    }
    let ascending = increment > 0;
    let min = min.unwrap_or(if ascending { 1 } else { least });
    let max = max.unwrap_or(if ascending { greatest } else { -1 });
    if min >= max {
        let message = format!("MINVALUE ({min}) must be less than MAXVALUE ({max})");
        return Err(PgError::new("22023", message));
    }
    let start = start.unwrap_or(if ascending { min } else { max });
    if start < min || start > max {
        let message =
            format!("START value ({start}) must be between MINVALUE ({min}) and MAXVALUE ({max})");
        return Err(PgError::new("22023", message));
    }
    Ok(Relation::Sequence { start, increment, min, max, cycle, ty, owned_by })
}

impl Session {
    pub(super) async fn create_sequence(&mut self, sql: &Statement) -> PgResult<String> {
        let Statement::CreateSequence {
            temporary,
            if_not_exists,
            name,
            data_type,
            sequence_options,
            owned_by,
        } = sql
        else {
            return Err(PgError::internal("not CREATE SEQUENCE"));
        };
        let name = self.relation_name(name)?;
        let (scope, namespace) = self.creation_namespace(&name, *temporary).await?;
        if !self.name_is_free(&scope, namespace, &name.name, *if_not_exists)? {
            return Ok("CREATE SEQUENCE".to_owned());
        }
        let ty = match data_type {
            Some(ty) => chronos_sql_ext::sql_type(ty)?,
            None => SqlType::Int8,
        };
        let owned_by = match owned_by {
            None => None,
            Some(owner) if owner.to_string().eq_ignore_ascii_case("none") => None,
            Some(owner) => {
                let owning = self.owning_column(owner)?;
                self.require_owner(&scope, owning.0)?;
                Some(owning)
            }
        };
        let relation = relation(sequence_options, ty, owned_by)?;
        let oid = self.allocate_oid().await?;
        let owner = self.owner(&scope);
        self.change(oid, Some(object(&name.name, Some(namespace), owner, relation))).await?;
        Ok("CREATE SEQUENCE".to_owned())
    }
}
