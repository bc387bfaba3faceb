//! Aggregates of one argument in several types.
//!
//! DataFusion names an expression without its casts, so `avg(x)` and `avg(x::float8)` are one
//! name, and a plan has no name twice. The second argument passes through a function that does
//! nothing but have a name of its own.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, SelectItem, Value,
};

use super::expressions::name_of;
use crate::system_tables::call;

const AGGREGATES: &[&str] = &[
    "array_agg",
    "avg",
    "count",
    "max",
    "min",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "string_agg",
    "var_pop",
    "var_samp",
    "variance",
];

/// Tells the aggregates of a select list apart that differ in casts only.
pub(super) fn tell_apart(items: &mut [SelectItem]) {
    // The full text of the first of each name.
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for item in items {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
            continue;
        };
        let _ = ast::visit_expressions_mut(expr, |expr| {
            rename(expr, &mut seen);
            ControlFlow::<()>::Continue(())
        });
    }
}

fn rename(expr: &mut Expr, seen: &mut BTreeMap<String, String>) {
    let Expr::Function(function) = expr else { return };
    if !name_of(function).is_some_and(|name| AGGREGATES.contains(&name.as_str())) {
        return;
    }
    let full = function.to_string();
    let mut bare = function.clone();
    let FunctionArguments::List(list) = &mut bare.args else { return };
    let mut casts = false;
    for arg in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg {
            casts |= strip(arg);
        }
    }
    let name = bare.to_string().to_lowercase();
    match seen.get(&name) {
        None => {
            seen.insert(name, full);
        }
        Some(first) if *first == full || !casts => {}
        Some(_) => {
            if let FunctionArguments::List(list) = &mut function.args
                && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))) =
                    list.args.first_mut()
            {
                let tag = Expr::value(Value::SingleQuotedString(full));
                *arg = call("_as_written", vec![arg.clone(), tag]);
            }
        }
    }
}

/// Takes away casts; whether there were any.
fn strip(expr: &mut Expr) -> bool {
    let mut found = false;
    let _ = ast::visit_expressions_mut(expr, |e| {
        while let Expr::Cast { expr: inner, .. } = e {
            let inner = inner.as_ref().clone();
            *e = inner;
            found = true;
        }
        ControlFlow::<()>::Continue(())
    });
    found
}
