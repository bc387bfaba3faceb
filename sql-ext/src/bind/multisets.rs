//! EXCEPT ALL and INTERSECT ALL, which count how often a row occurs.
//!
//! `a EXCEPT ALL b` becomes `a' EXCEPT b'` where equal rows are numbered on both sides: DataFusion
//! would drop all of them for one.

use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, Query, SelectItem, SetExpr, SetOperator, SetQuantifier,
};

use super::Binder;
use super::expressions::derived;
use super::rows::query_columns;
use crate::error::Error;
use crate::system_tables::{call, query_of};

/// Rewrites the set operations of a query's body.
pub(super) fn number_rows(binder: &Binder<'_>, body: &mut SetExpr) -> Result<(), Error> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else { return Ok(()) };
    number_rows(binder, left)?;
    number_rows(binder, right)?;
    let counts = matches!(op, SetOperator::Except | SetOperator::Intersect)
        && matches!(set_quantifier, SetQuantifier::All);
    if !counts {
        return Ok(());
    }
    let side = |body: &SetExpr| Query { body: Box::new(body.clone()), ..query_of(vec![], vec![]) };
    let (first, second) = (side(left), side(right));
    let columns = query_columns(binder, &first, 0)
        .ok_or_else(|| Error::unsupported(format!("{op} ALL of columns that are not named")))?;
    let names: Vec<String> = (0..columns.len()).map(|i| format!("_c{i}")).collect();
    let numbered = |query: Query| {
        let mut number = call("row_number", vec![]);
        if let Expr::Function(function) = &mut number {
            function.over = Some(ast::WindowType::WindowSpec(ast::WindowSpec {
                window_name: None,
                partition_by: names.iter().map(|n| Expr::Identifier(Ident::new(n))).collect(),
                order_by: Vec::new(),
                window_frame: None,
            }));
        }
        let mut projection: Vec<SelectItem> = names
            .iter()
            .map(|n| SelectItem::UnnamedExpr(Expr::Identifier(Ident::new(n))))
            .collect();
        projection.push(SelectItem::ExprWithAlias { expr: number, alias: Ident::new("_number") });
        query_of(projection, vec![derived(query, "_rows", &names)]).body
    };
    let all = SetExpr::SetOperation {
        op: *op,
        set_quantifier: SetQuantifier::None,
        left: numbered(first),
        right: numbered(second),
    };
    let mut with_number = names.clone();
    with_number.push("_number".to_owned());
    let whole = Query { body: Box::new(all), ..query_of(vec![], vec![]) };
    let projection = names
        .iter()
        .zip(&columns)
        .map(|(name, column)| SelectItem::ExprWithAlias {
            expr: Expr::Identifier(Ident::new(name)),
            alias: Ident::with_quote('"', column),
        })
        .collect();
    *body = *query_of(projection, vec![derived(whole, "_rows", &with_number)]).body;
    Ok(())
}
