//! Windowed aggregates as ordinary ones: `AVG_1H(x)` becomes
//! `avg(x) FILTER (WHERE _chronos_window(3600000000, x))`.
//!
//! What the window is compared with needs the plan: [`crate::window`] does that.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Value,
};

use super::normal;
use crate::error::Error;

/// The scalar function that stands for a window: microseconds, then the argument of the
/// aggregate, then the time column if it was given.
pub(crate) const WINDOW_FUNCTION: &str = "_chronos_window";

/// The aggregate and the microseconds of a windowed aggregate's name; `None` for another name.
pub(crate) fn of_name(name: &str) -> Option<(&'static str, i64)> {
    let (aggregate, window) = name.split_once('_')?;
    let aggregate = ["avg", "sum", "min", "max", "count"]
        .into_iter()
        .find(|known| aggregate.eq_ignore_ascii_case(known))?;
    let unit = match window.chars().last()?.to_ascii_lowercase() {
        'm' => 60_000_000i64,
        'h' => 3_600_000_000,
        'd' => 86_400_000_000,
        _ => return None,
    };
    let digits = &window[..window.len() - 1];
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((aggregate, digits.parse::<i64>().ok()?.checked_mul(unit)?))
}

/// The same, of a call.
pub(crate) fn of_function(function: &Function) -> Option<(&'static str, i64)> {
    match function.name.0.as_slice() {
        [part] => of_name(&normal(part.as_ident()?)),
        _ => None,
    }
}

/// Rewrites the expression if it is the call of a windowed aggregate, and tells whether it was.
pub(super) fn rewrite(expr: &mut Expr) -> Result<bool, Error> {
    let Expr::Function(function) = expr else { return Ok(false) };
    let Some((aggregate, micros)) = of_function(function) else { return Ok(false) };
    let name = function.name.to_string();
    if function.over.is_some() {
        return Err(Error::Unsupported(format!("{name} with OVER")));
    }
    let wrong = || {
        Error::postgres(
            "42883",
            format!("{name} takes the aggregated expression and, if needed, a time column"),
        )
    };
    let FunctionArguments::List(list) = &mut function.args else { return Err(wrong()) };
    if list.args.is_empty() || list.args.len() > 2 {
        return Err(wrong());
    }
    let time = if list.args.len() == 2 { list.args.pop() } else { None };
    let mut window = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::value(Value::Number(
        micros.to_string(),
        false,
    ))))];
    match &list.args[0] {
        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if aggregate == "count" => {
            window.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::value(Value::Null))));
        }
        FunctionArg::Unnamed(argument @ FunctionArgExpr::Expr(_)) => {
            window.push(FunctionArg::Unnamed(argument.clone()));
        }
        _ => return Err(wrong()),
    }
    match time {
        None => {}
        Some(time @ FunctionArg::Unnamed(FunctionArgExpr::Expr(_))) => window.push(time),
        Some(_) => return Err(wrong()),
    }
    let marker = Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(WINDOW_FUNCTION)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: window,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    });
    function.filter = Some(Box::new(match function.filter.take() {
        None => marker,
        Some(own) => Expr::BinaryOp {
            left: Box::new(Expr::Nested(own)),
            op: BinaryOperator::And,
            right: Box::new(marker),
        },
    }));
    function.name = ObjectName::from(vec![Ident::new(aggregate)]);
    Ok(true)
}
