//! Expressions that PostgreSQL has and DataFusion lacks, as such that it has.
//!
//! | spelling | becomes |
//! |---|---|
//! | `~x`, `\|/x`, `@x` | a function |
//! | `int4(x)` | `CAST(x AS int4)` |
//! | `percentile_cont(f) WITHIN GROUP (ORDER BY x)` | `_percentile_cont(array_agg(x …), f)` |
//! | `x = ANY (query)`, `x <> ALL (query)` | `x IN (query)`, `x NOT IN (query)` |
//! | `x < ANY (query)` and its like | a comparison with the query's extremes |
//! | `(a, b) IN (query)` | `EXISTS` |
//! | `(a, b) IS NULL` | `a IS NULL AND b IS NULL` |
//! | `(a, b) OVERLAPS (c, d)` | `overlaps(a, b, c, d)` |
//! | `timestamp(2) '…'` | rounded after the cast |

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgOperator, FunctionArguments, Ident, ObjectName, Query, SelectItem,
    Subscript, TableAlias, TableFactor, UnaryOperator, Value,
};

use super::normal;
use crate::error::Error;
use crate::system_tables::{call, query_of};

/// Rewrites one expression; its parts are visited afterwards.
pub(super) fn rewrite(expr: &mut Expr) -> Result<(), Error> {
    match expr {
        Expr::UnaryOp { op, expr: inner } => {
            let float = |e: Expr| cast(e, DataType::Float8);
            let function = match op {
                UnaryOperator::BitwiseNot => call("_bit_not", vec![take(inner)]),
                UnaryOperator::PGSquareRoot => call("sqrt", vec![float(take(inner))]),
                UnaryOperator::PGCubeRoot => call("cbrt", vec![float(take(inner))]),
                UnaryOperator::PGAbs => call("abs", vec![take(inner)]),
                _ => return Ok(()),
            };
            *expr = function;
        }
        Expr::Function(function) => {
            if let Some(other) = function_call(function)? {
                *expr = other;
            }
        }
        Expr::AnyOp { left, compare_op, right, .. } => {
            if let Expr::Subquery(query) = right.as_ref() {
                *expr = compared(left, compare_op, query, true)?;
            } else if !is_placeholder(left)
                && (*compare_op != BinaryOperator::Eq
                    || matches!(left.as_ref(), Expr::Value(_)) && !is_placeholder(right))
                && let Some(op) = comparison(compare_op)
            {
                // Of `=` DataFusion makes `array_has`, by which rows are found.
                *expr = call("_any", vec![take(left), text(op), take(right)]);
            }
        }
        Expr::AllOp { left, compare_op, right } => {
            if let Expr::Subquery(query) = right.as_ref() {
                *expr = compared(left, compare_op, query, false)?;
            } else if let Some(op) = comparison(compare_op) {
                *expr = call("_all", vec![take(left), text(op), take(right)]);
            }
        }
        Expr::InSubquery { expr: left, subquery, negated: false } => {
            if let Expr::Tuple(items) = left.as_ref() {
                *expr = row_in(items, subquery);
            }
        }
        Expr::Between { expr: value, negated, low, high } => {
            if let Expr::Function(bound) = low.as_ref()
                && normal(&super::last_ident(&bound.name)) == crate::parser::SYMMETRIC
                && let FunctionArguments::List(list) = &bound.args
                && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(low))] = list.args.as_slice()
            {
                let between = |low: &Expr, high: &Expr| Expr::Between {
                    expr: value.clone(),
                    negated: *negated,
                    low: Box::new(low.clone()),
                    high: Box::new(high.clone()),
                };
                let op = if *negated { BinaryOperator::And } else { BinaryOperator::Or };
                *expr = Expr::Nested(Box::new(Expr::BinaryOp {
                    left: Box::new(between(low, high)),
                    op,
                    right: Box::new(between(high, low)),
                }));
            }
        }
        Expr::IsNull(inner) => {
            if let Some(items) = row_items(inner) {
                *expr = all(items, |e| Expr::IsNull(Box::new(e)));
            }
        }
        Expr::IsNotNull(inner) => {
            if let Some(items) = row_items(inner) {
                *expr = all(items, |e| Expr::IsNotNull(Box::new(e)));
            }
        }
        Expr::BinaryOp { left, op, right } => match op {
            BinaryOperator::Overlaps => {
                if let (Some(mut a), Some(b)) = (row_items(left), row_items(right)) {
                    a.extend(b);
                    *expr = call("overlaps", a);
                }
            }
            op if comparison(op).is_some() => {
                if let (Some(a), Some(b)) = (row_items(left), row_items(right)) {
                    *expr = rows_compared(a, op, b)?;
                }
            }
            BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch => any_character(right),
            BinaryOperator::PGStartsWith => {
                *expr = call("starts_with", vec![take(left), take(right)]);
            }
            _ => {}
        },
        Expr::SimilarTo { negated, expr: inner, pattern, escape_char } => {
            let mut args = vec![take(inner), take(pattern)];
            if let Some(escape) = escape_char.take() {
                args.push(Expr::Value(escape));
            }
            let similar = call("_similar_to", args);
            *expr = if *negated {
                Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(similar) }
            } else {
                similar
            };
        }
        Expr::Substring { expr: inner, substring_from: Some(from), substring_for, .. }
            if is_string(from) =>
        {
            let mut args = vec![take(inner), take(from)];
            let name = match substring_for.take() {
                Some(escape) => {
                    args.push(*escape);
                    "_substring_similar"
                }
                None => "_substring_regex",
            };
            *expr = call(name, args);
        }
        Expr::Case { conditions, else_result, .. } => {
            let results = conditions.iter_mut().map(|when| &mut when.result);
            super::values::each_its_own(results.chain(else_result.as_deref_mut()).collect());
        }
        Expr::CompoundFieldAccess { access_chain, .. } => {
            for access in access_chain {
                if let AccessExpr::Subscript(Subscript::Slice {
                    lower_bound, upper_bound, ..
                }) = access
                {
                    lower_bound.get_or_insert_with(|| number("-2147483648"));
                    upper_bound.get_or_insert_with(|| number("2147483647"));
                }
            }
        }
        Expr::Value(value) => {
            if let Value::UnicodeStringLiteral(text) = &value.value {
                value.value = Value::SingleQuotedString(text.clone());
            }
            let bits = match &value.value {
                Value::SingleQuotedByteStringLiteral(bits) => format!("b{bits}"),
                Value::HexStringLiteral(bits) => format!("x{bits}"),
                _ => return Ok(()),
            };
            let any_length = vec![crate::types::ANY_LENGTH.to_owned()];
            let bit = DataType::Custom(ObjectName::from(vec![Ident::new("bit")]), any_length);
            *expr = cast(text(&bits), bit);
        }
        Expr::Cast { data_type, expr: inner, .. } => {
            own_scale(inner, data_type);
            if let Some(digits) = precision(data_type) {
                let cast = take(expr);
                *expr = call("_round_time", vec![cast, number(&digits.to_string())]);
            }
        }
        Expr::TypedString(typed) => {
            if let Some(digits) = precision(&mut typed.data_type) {
                let typed = take(expr);
                *expr = call("_round_time", vec![typed, number(&digits.to_string())]);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Gives an expression whose parts are rewritten the type that PostgreSQL gives it.
pub(super) fn settle(expr: &mut Expr) {
    if let Expr::Function(function) = &*expr
        && function.over.is_some()
        && name_of(function).as_deref() == Some("ntile")
    {
        *expr = cast(take(expr), DataType::Int4(None));
    }
}

/// An array of columns as a call: DataFusion looks for the columns of an array literal in the
/// innermost query only.
pub(super) fn array_as_call(expr: &mut Expr) {
    let named = |e: &Expr| {
        let found = ast::visit_expressions(e, |e| match e {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        found.is_break()
    };
    if let Expr::Array(array) = expr
        && array.elem.iter().any(named)
    {
        *expr = call("make_array", std::mem::take(&mut array.elem));
    }
}

fn null() -> Expr {
    Expr::value(Value::Null)
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, null())
}

fn number(text: &str) -> Expr {
    Expr::value(Value::Number(text.to_owned(), false))
}

fn text(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn is_string(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value,
        Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_)))
}

/// A literal cast to `numeric` keeps the digits that it is written with.
fn own_scale(inner: &Expr, data_type: &mut DataType) {
    use ast::ExactNumberInfo as Info;
    let (DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info)) = data_type
    else {
        return;
    };
    let Expr::Value(value) = inner else { return };
    let (Value::SingleQuotedString(text) | Value::Number(text, _)) = &value.value else { return };
    if *info == Info::None
        && let Some(chronos_catalog::SqlType::Numeric(Some((precision, scale)))) =
            crate::operators::literal_numeric(text)
    {
        // More digits than are kept where nothing declares them make a type of their own.
        *info = Info::PrecisionAndScale(precision.into(), scale.into());
    }
}

fn is_placeholder(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

/// The sign of a comparison.
fn comparison(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "<>",
        BinaryOperator::Lt => "<",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Gt => ">",
        BinaryOperator::GtEq => ">=",
        _ => return None,
    })
}

/// A comparison of rows: the first items that differ, or of which one is NULL, decide.
fn rows_compared(left: Vec<Expr>, op: &BinaryOperator, right: Vec<Expr>) -> Result<Expr, Error> {
    use BinaryOperator::{And, Eq, Gt, Lt, LtEq, NotEq, Or};
    if left.len() != right.len() {
        return Err(Error::postgres("42601", "unequal number of entries in row expressions"));
    }
    if left.is_empty() {
        return Err(Error::unsupported("comparing rows of no columns"));
    }
    let nested = |expr: Expr| Expr::Nested(Box::new(expr));
    let pairs = left.into_iter().zip(right).map(|(a, b)| (nested(a), nested(b)));
    let joined = match op {
        Eq => pairs.map(|(a, b)| binary(a, Eq, b)).reduce(|a, b| binary(a, And, b)),
        NotEq => pairs.map(|(a, b)| binary(a, NotEq, b)).reduce(|a, b| binary(a, Or, b)),
        _ => {
            let strict = if matches!(op, Lt | LtEq) { Lt } else { Gt };
            let mut pairs: Vec<_> = pairs.collect();
            let last = pairs.pop().map(|(a, b)| binary(a, op.clone(), b));
            pairs.into_iter().rev().fold(last, |rest, (a, b)| {
                let decided = binary(a.clone(), strict.clone(), b.clone());
                let open = binary(binary(a, Eq, b), And, nested(rest?));
                Some(nested(binary(decided, Or, open)))
            })
        }
    };
    Ok(nested(joined.unwrap_or_else(null)))
}

/// The precision of a type of times, taken away, if it leaves out digits.
fn precision(data_type: &mut DataType) -> Option<u64> {
    match data_type {
        DataType::Timestamp(digits, _) | DataType::Time(digits, _) => {
            digits.take().filter(|digits| *digits < 6)
        }
        DataType::Custom(name, arguments)
            if name.0.last().and_then(|p| p.as_ident()).is_some_and(|ident| {
                matches!(ident.value.to_lowercase().as_str(), "timestamptz" | "timestamp" | "time")
            }) =>
        {
            let digits = arguments.first().and_then(|a| a.parse::<u64>().ok());
            arguments.clear();
            digits.filter(|digits| *digits < 6)
        }
        _ => None,
    }
}

/// A dot stands for any character, a new line too.
fn any_character(pattern: &mut Expr) {
    if let Expr::Value(value) = pattern
        && let Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) =
            &mut value.value
        && text.contains('.')
        && !text.starts_with("(?")
        && !text.starts_with("***")
    {
        text.insert_str(0, "(?s)");
    }
}

/// The items of a row constructor.
pub(super) fn row_items(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(items) => Some(items.clone()),
        Expr::Nested(inner) => match inner.as_ref() {
            Expr::Tuple(items) => Some(items.clone()),
            _ => None,
        },
        Expr::Function(function) if name_of(function).as_deref() == Some("row") => {
            arguments(function)
        }
        _ => None,
    }
}

fn all(items: Vec<Expr>, test: impl Fn(Expr) -> Expr) -> Expr {
    let joined = items.into_iter().map(test).reduce(|a, b| binary(a, BinaryOperator::And, b));
    Expr::Nested(Box::new(joined.unwrap_or_else(|| Expr::value(Value::Boolean(true)))))
}

/// A function's bare name.
pub(super) fn name_of(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [name] => name.as_ident().map(normal),
        [schema, name] if schema.as_ident().is_some_and(|s| normal(s) == "pg_catalog") => {
            name.as_ident().map(normal)
        }
        _ => None,
    }
}

/// The arguments of a call that has nothing but them.
pub(super) fn arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    list.args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect()
}

/// The type of a cast that is spelled as a call.
fn cast_type(name: &str) -> Option<DataType> {
    Some(match name {
        "int2" => DataType::Int2(None),
        "int4" => DataType::Int4(None),
        "int8" => DataType::Int8(None),
        "float4" => DataType::Float4,
        "float8" => DataType::Float8,
        "bool" => DataType::Bool,
        "text" => DataType::Text,
        "varchar" => DataType::Varchar(None),
        "date" => DataType::Date,
        "timestamptz" => {
            DataType::Custom(ObjectName::from(vec![Ident::new("timestamptz")]), vec![])
        }
        "jsonb" => DataType::JSONB,
        _ => return None,
    })
}

const INTERVAL_PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

fn function_call(function: &mut Function) -> Result<Option<Expr>, Error> {
    let Some(name) = name_of(function) else { return Ok(None) };
    if !function.within_group.is_empty() {
        return ordered_set(&name, function).map(Some);
    }
    match name.as_str() {
        "variance" => function.name = ObjectName::from(vec![Ident::new("var_samp")]),
        "every" => function.name = ObjectName::from(vec![Ident::new("bool_and")]),
        "make_interval" => positional(function, &INTERVAL_PARTS),
        _ => {}
    }
    if function.over.is_some() || function.filter.is_some() {
        return Ok(None);
    }
    let Some(args) = arguments(function) else { return Ok(None) };
    if let (Some(data_type), [arg]) = (cast_type(&name), args.as_slice()) {
        return Ok(Some(cast(arg.clone(), data_type)));
    }
    if name == "age"
        && let [since] = args.as_slice()
    {
        let today = cast(call("now", vec![]), DataType::Date);
        let midnight = cast(today, DataType::Timestamp(None, ast::TimezoneInfo::None));
        return Ok(Some(call("age", vec![midnight, since.clone()])));
    }
    if name == "gen_random_uuid" && args.is_empty() {
        return Ok(Some(cast(call("uuid", vec![]), DataType::Uuid)));
    }
    if matches!(name.as_str(), "to_json" | "to_jsonb" | "row_to_json")
        && let [arg] = args.as_slice()
        && let Some(items) = row_items(arg)
    {
        let named = (1..).map(|i: i32| format!("f{i}")).zip(items);
        return Ok(Some(row_json(named, name == "to_jsonb")));
    }
    if !matches!(name.as_str(), "row" | "struct" | "_record" | "coalesce" | "array")
        && args.iter().any(|a| matches!(a, Expr::Tuple(_)))
        && let FunctionArguments::List(list) = &mut function.args
    {
        for arg in &mut list.args {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg {
                as_record(arg);
            }
        }
    }
    Ok(None)
}

/// A row as `json` or `jsonb`.
pub(super) fn row_json(members: impl Iterator<Item = (String, Expr)>, binary: bool) -> Expr {
    let args = members.flat_map(|(name, value)| [text(&name), value]).collect();
    call(if binary { "jsonb_build_object" } else { "_row_json" }, args)
}

/// A row constructor as a record.
pub(super) fn as_record(expr: &mut Expr) {
    if let Some(items) = row_items(expr) {
        *expr = call("_record", items);
    }
}

/// Puts `name => value` at its place; what is left out between is 0.
fn positional(function: &mut Function, names: &[&str]) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    let mut places: Vec<Option<Expr>> = vec![None; names.len()];
    for (at, arg) in list.args.iter().enumerate() {
        let (place, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (Some(at), value),
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                operator: FunctionArgOperator::RightArrow | FunctionArgOperator::Assignment,
            } => (names.iter().position(|n| *n == normal(name)), value),
            _ => return,
        };
        let Some(place) = place.filter(|p| *p < names.len()) else { return };
        places[place] = Some(value.clone());
    }
    let last = places.iter().rposition(Option::is_some).map_or(0, |at| at + 1);
    list.args = places
        .into_iter()
        .take(last)
        .map(|value| {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value.unwrap_or_else(|| number("0"))))
        })
        .collect();
}

/// An ordered-set aggregate as a function of the ordered array of its inputs.
fn ordered_set(name: &str, function: &mut Function) -> Result<Expr, Error> {
    let known = matches!(
        name,
        "percentile_cont"
            | "percentile_disc"
            | "mode"
            | "rank"
            | "dense_rank"
            | "percent_rank"
            | "cume_dist"
    );
    if !known {
        return Err(Error::postgres(
            "42809",
            format!("{name} is not an ordered-set aggregate, so it cannot have WITHIN GROUP"),
        ));
    }
    let ([order], Some(direct)) = (function.within_group.as_slice(), arguments(function)) else {
        return Err(Error::unsupported(format!("{name} of several columns")));
    };
    let mut order = order.clone();
    let value = order.expr.clone();
    let descending = order.options.asc == Some(false);
    order.options.nulls_first = Some(false);
    let mut array = call("array_agg", vec![value]);
    if let Expr::Function(aggregate) = &mut array
        && let FunctionArguments::List(list) = &mut aggregate.args
    {
        aggregate.filter = function.filter.take();
        list.clauses.push(ast::FunctionArgumentClause::OrderBy(vec![order]));
    }
    let mut args = vec![array];
    args.extend(direct);
    if matches!(name, "rank" | "dense_rank" | "percent_rank" | "cume_dist") {
        args.push(Expr::value(Value::Boolean(descending)));
    }
    Ok(call(&format!("_{name}"), args))
}

/// `x op ANY (query)` or `x op ALL (query)`.
fn compared(left: &Expr, op: &BinaryOperator, query: &Query, any: bool) -> Result<Expr, Error> {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let in_query = |negated| Expr::InSubquery {
        expr: Box::new(left.clone()),
        subquery: Box::new(query.clone()),
        negated,
    };
    let extreme = match (op, any) {
        (Eq, true) => return Ok(in_query(false)),
        (NotEq, false) => return Ok(in_query(true)),
        (Gt | GtEq, true) | (Lt | LtEq, false) => "min",
        (Gt | GtEq, false) | (Lt | LtEq, true) => "max",
        _ => {
            let word = if any { "ANY" } else { "ALL" };
            return Err(Error::unsupported(format!("{op} {word} (subquery)")));
        }
    };
    let column = || Expr::Identifier(Ident::new("_value"));
    let of = |expr: Expr| Expr::Subquery(Box::new(over(query.clone(), expr)));
    let count = |arg: Expr| call("count", vec![arg]);
    let decides = binary(left.clone(), op.clone(), of(call(extreme, vec![column()])));
    let empty = binary(of(count(number("1"))), Eq, number("0"));
    let nulls = binary(of(count(column())), Lt, of(count(number("1"))));
    let boolean = |b| Expr::value(Value::Boolean(b));
    // The extreme decides; if it does not, a NULL leaves the answer open.
    let decided = if any {
        decides.clone()
    } else {
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(Expr::Nested(Box::new(decides.clone()))),
        }
    };
    let when = |condition: Expr, result: Expr| ast::CaseWhen { condition, result };
    Ok(Expr::Case {
        case_token: ast::helpers::attached_token::AttachedToken::empty(),
        end_token: ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions: vec![
            when(empty, boolean(!any)),
            when(decided, boolean(any)),
            when(nulls, null()),
        ],
        else_result: Some(Box::new(decides)),
    })
}

/// `SELECT expr FROM (query) AS _compared (_value)`
fn over(query: Query, expr: Expr) -> Query {
    query_of(
        vec![SelectItem::UnnamedExpr(expr)],
        vec![derived(query, "_compared", &["_value".to_owned()])],
    )
}

/// The query as a table of those columns.
pub(super) fn derived(query: Query, alias: &str, columns: &[String]) -> TableFactor {
    TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query),
        alias: Some(TableAlias {
            explicit: true,
            name: Ident::new(alias),
            columns: columns
                .iter()
                .map(|c| ast::TableAliasColumnDef::from_name(c.as_str()))
                .collect(),
            at: None,
        }),
        sample: None,
    }
}

/// `(a, b) IN (query)`
fn row_in(items: &[Expr], query: &Query) -> Expr {
    let names: Vec<String> = (0..items.len()).map(|i| format!("_in{i}")).collect();
    let tests = items.iter().zip(&names).map(|(item, name)| {
        binary(Expr::Identifier(Ident::new(name)), BinaryOperator::Eq, item.clone())
    });
    let selection = tests.reduce(|a, b| binary(a, BinaryOperator::And, b));
    let mut inner = query_of(
        vec![SelectItem::UnnamedExpr(number("1"))],
        vec![derived(query.clone(), "_rows", &names)],
    );
    if let ast::SetExpr::Select(select) = inner.body.as_mut() {
        select.selection = selection;
    }
    Expr::Exists { subquery: Box::new(inner), negated: false }
}
