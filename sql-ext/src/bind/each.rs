//! The instants of `AS OF EACH` in a statement's text.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
};

use super::{last_ident, normal};

/// What stands for instants: the items of a list, the bounds and the step of a series.
pub(super) fn instants(items: &[Expr]) -> Vec<&Expr> {
    items
        .iter()
        .map(listed)
        .flat_map(|item| match item {
            Expr::Function(function) => match series(function) {
                Some(bounds) => bounds.to_vec(),
                None => vec![item],
            },
            item => vec![item],
        })
        .collect()
}

/// A set as the list that it comes from: `unnest(list)`, which a series is written out to.
pub(crate) fn listed(item: &Expr) -> &Expr {
    match item {
        Expr::Nested(inner) => listed(inner),
        Expr::Function(Function { name, args: FunctionArguments::List(list), .. })
            if normal(&last_ident(name)) == "unnest" =>
        {
            match list.args.as_slice() {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))] => listed(inner),
                _ => item,
            }
        }
        _ => item,
    }
}

/// `generate_series(first, last, step)`
pub(crate) fn series(function: &Function) -> Option<[&Expr; 3]> {
    if normal(&last_ident(&function.name)) != "generate_series" {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else { return None };
    fn argument(argument: &FunctionArg) -> Option<&Expr> {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        }
    }
    let [first, last, step] = list.args.as_slice() else { return None };
    Some([argument(first)?, argument(last)?, argument(step)?])
}
