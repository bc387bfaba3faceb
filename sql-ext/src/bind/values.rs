//! VALUES lists whose literals take the type that another row's value has.

use datafusion::sql::sqlparser::ast::{
    self, CastKind, DataType, ExactNumberInfo, Expr, Select, SelectItem, SetExpr, Value,
};

/// Lists of more rows are data rather than a query's own values.
const ROWS_MAX: usize = 64;

/// `numeric`, if a column has numbers with different digits after the point: each shows its own.
fn mixed_scales(values: &ast::Values, column: usize) -> Option<DataType> {
    if values.rows.len() > ROWS_MAX {
        return None;
    }
    let numbers = values.rows.iter().filter_map(|row| row.get(column));
    differ(numbers).then_some(DataType::Numeric(ExactNumberInfo::None))
}

/// Whether the numbers among some literals have different digits after the point.
fn differ<'a>(exprs: impl Iterator<Item = &'a Expr>) -> bool {
    let mut scales = Vec::new();
    for expr in exprs {
        if let Expr::Value(value) = expr
            && let Value::Number(text, _) = &value.value
        {
            if text.contains(['e', 'E']) {
                return false;
            }
            scales.push(text.split_once('.').map_or(0, |(_, fraction)| fraction.len()));
        }
    }
    match (scales.iter().min(), scales.iter().max()) {
        (Some(least), Some(most)) => least != most && *most <= 16,
        _ => false,
    }
}

fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Number(..)))
}

/// Lets literals that meet in one column, of CASE or of a set operation, each show its own
/// digits.
pub(super) fn each_its_own(exprs: Vec<&mut Expr>) {
    if exprs.len() < 2 || !exprs.iter().all(|e| is_number(e)) || !differ(exprs.iter().map(|e| &**e))
    {
        return;
    }
    for expr in exprs {
        *expr = Expr::Cast {
            kind: CastKind::Cast,
            // In brackets a number does not keep the scale that it is written with.
            expr: Box::new(Expr::Nested(Box::new(expr.clone()))),
            data_type: DataType::Numeric(ExactNumberInfo::None),
            array: false,
            format: None,
        };
    }
}

/// The same for the columns of a set operation.
pub(super) fn of_set(body: &mut SetExpr) {
    let mut selects = Vec::new();
    leaves(body, &mut selects);
    let width = selects.iter().map(|s| s.projection.len()).min().unwrap_or(0);
    if selects.len() < 2 {
        return;
    }
    for column in 0..width {
        let items = selects.iter_mut().filter_map(|s| match &mut s.projection[column] {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
            _ => None,
        });
        each_its_own(items.collect());
    }
}

fn leaves<'a>(body: &'a mut SetExpr, selects: &mut Vec<&'a mut Select>) {
    match body {
        SetExpr::Select(select) => selects.push(select),
        SetExpr::SetOperation { left, right, .. } => {
            leaves(left, selects);
            leaves(right, selects);
        }
        SetExpr::Query(query) => leaves(&mut query.body, selects),
        _ => {}
    }
}

/// Casts the literals without a type of a column in which another row has a cast.
pub(super) fn like_the_others(values: &mut ast::Values) {
    let width = values.rows.first().map_or(0, |row| row.len());
    for column in 0..width {
        let typed = values.rows.iter().find_map(|row| match row.get(column) {
            Some(Expr::Cast {
                data_type, kind: CastKind::Cast | CastKind::DoubleColon, ..
            }) => Some(data_type.clone()),
            Some(Expr::TypedString(typed)) => Some(typed.data_type.clone()),
            _ => None,
        });
        let Some(data_type) = typed.or_else(|| mixed_scales(values, column)) else { continue };
        let free = matches!(data_type, DataType::Numeric(ExactNumberInfo::None));
        let float = matches!(
            crate::types::sql_type(&data_type),
            Ok(chronos_catalog::SqlType::Float4 | chronos_catalog::SqlType::Float8)
        );
        for row in &mut values.rows {
            let Some(expr) = row.get_mut(column) else { continue };
            if let (true, Expr::Cast { expr: inner, .. }) = (free, &mut *expr)
                && matches!(inner.as_ref(), Expr::Value(_))
            {
                **inner = Expr::Nested(inner.clone());
            }
            let open = matches!(expr, Expr::Value(value)
                if matches!(value.value, Value::SingleQuotedString(_) | Value::Null)
                    || (float || free) && matches!(value.value, Value::Number(..)));
            if open {
                // In brackets a number does not keep the scale that it is written with.
                if free {
                    *expr = Expr::Nested(Box::new(expr.clone()));
                }
                *expr = Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(expr.clone()),
                    data_type: data_type.clone(),
                    array: false,
                    format: None,
                };
            }
        }
    }
}
