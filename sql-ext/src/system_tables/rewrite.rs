//! Rewrites of parsed statements: spellings of PostgreSQL's catalog queries that DataFusion cannot
//! plan become such that it can, with the same meaning.
//!
//! | spelling | becomes |
//! |---|---|
//! | `OPERATOR(pg_catalog.~)` | `~` |
//! | `x COLLATE pg_catalog.default` | `x` |
//! | `pg_catalog.f(x)` | `f(x)` |
//! | `x::regclass` | `regclass(x)`, an identifier; its name where it is printed |
//! | `x::"char"` | `x::text` |
//! | `ARRAY(SELECT x … ORDER BY y)` | `coalesce((SELECT array_agg(x ORDER BY y) …), [])` |
//! | `(f(x)).n` | `get_field(f(x), 'n')` |
//! | a set-returning function that gives a list here | `unnest(f(x))` |
//! | `FROM f(x) WITH ORDINALITY AS a(v, n)` | `FROM (SELECT unnest(f(x)) AS v, … AS n) AS a` |

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, Array, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, GroupByExpr,
    Ident, ObjectName, Query, Select, SelectItem, SetExpr, Statement, Subscript, TableAlias,
    TableFactor, Value, VisitMut, VisitorMut,
};

use super::names::RegKind;

/// Functions that give a list here and rows in PostgreSQL.
const SETS: &[&str] = &[
    "_pg_expandarray",
    "aclexplode",
    "generate_series",
    "generate_subscripts",
    "json_array_elements",
    "json_array_elements_text",
    "json_object_keys",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_object_keys",
    "jsonb_path_query",
    "pg_partition_ancestors",
    "regexp_split_to_table",
    "string_to_table",
];

/// Functions whose arguments of reg-types are taken as text.
const OVER_TEXT: &[&str] = &[
    "array_agg",
    "concat",
    "concat_ws",
    "format",
    "json_build_object",
    "jsonb_build_object",
    "lower",
    "quote_ident",
    "quote_literal",
    "replace",
    "split_part",
    "string_agg",
    "upper",
];

/// Columns of system tables whose identifiers of functions are printed as names.
const PROCEDURES: &[&str] = &[
    "amhandler",
    "oprcode",
    "oprjoin",
    "oprrest",
    "typanalyze",
    "typinput",
    "typmodin",
    "typmodout",
    "typoutput",
    "typreceive",
    "typsend",
    "typsubscript",
];

/// Columns of system tables of types `int2vector` and `oidvector`, which print with blanks.
const VECTORS: &[&str] = &["indclass", "indcollation", "indkey", "indoption", "proargtypes"];

/// Columns of system tables that are arrays of identifiers or numbers, which queries compare with
/// literals such as `'{0}'`.
const OID_ARRAYS: &[&str] = &["polroles", "conkey", "confkey", "indkey"];

/// Turns SQL shapes that DataFusion cannot plan into such that it can.
pub fn rewrite(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Rewriter);
    if let Statement::Query(query) = statement {
        print_reg_types(query);
    }
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        rewrite_factor(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        name_duplicates(select);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        rewrite_expr(expr);
        ControlFlow::Continue(())
    }
}

/// The last part of a name that is bare or in `pg_catalog`.
fn system_name(name: &ObjectName) -> Option<&Ident> {
    let parts: Vec<&Ident> = name.0.iter().filter_map(|p| p.as_ident()).collect();
    match parts.as_slice() {
        [one] => Some(one),
        [schema, one] if schema.value.eq_ignore_ascii_case("pg_catalog") => Some(one),
        _ => None,
    }
}

fn is_system_schema(name: &ObjectName) -> bool {
    name.0.len() == 2
        && name.0[0].as_ident().is_some_and(|schema| {
            schema.value.eq_ignore_ascii_case("pg_catalog")
                || schema.value.eq_ignore_ascii_case("information_schema")
        })
}

fn placeholder() -> Expr {
    Expr::Value(Value::Null.into())
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, placeholder())
}

fn list(args: Vec<Expr>) -> FunctionArguments {
    let args = args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect();
    FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args,
        clauses: Vec::new(),
    })
}

/// A call of a function by its bare name.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: list(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The arguments that are plain expressions.
fn plain_args(args: &[FunctionArg]) -> Vec<Expr> {
    args.iter()
        .filter_map(|a| match a {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
            _ => None,
        })
        .collect()
}

/// The name and arguments of a plain call.
fn called(expr: &Expr) -> Option<(&str, &[FunctionArg])> {
    let Expr::Function(f) = expr else { return None };
    let name = f.name.0.last()?.as_ident()?;
    match &f.args {
        FunctionArguments::List(list) => Some((&name.value, &list.args)),
        _ => Some((&name.value, &[])),
    }
}

fn rewrite_expr(expr: &mut Expr) {
    match expr {
        Expr::Collate { expr: inner, collation } => {
            let known = system_name(collation).is_some_and(|c| {
                matches!(c.value.as_str(), "default" | "C" | "POSIX" | "ucs_basic")
            });
            if known {
                *expr = take(inner);
            }
        }
        Expr::BinaryOp { left, op, right } => {
            if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                && let [schema, symbol] = parts.as_slice()
                && schema == "pg_catalog"
            {
                match operator(symbol) {
                    Some(known) => *op = known,
                    None => {
                        if let Some(like) = like(symbol, left, right) {
                            *expr = like;
                            return;
                        }
                    }
                }
            }
            let Expr::BinaryOp { left, op, right } = expr else { return };
            if *op == BinaryOperator::StringConcat {
                reg_to_text(left);
                reg_to_text(right);
            }
            if matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq) {
                array_literal_beside(left, right);
                array_literal_beside(right, left);
            }
        }
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
            if let Some(items) = array_literal(right, None) {
                **right = items;
            }
        }
        Expr::Cast { .. } => rewrite_cast(expr),
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            if let Some(Value::SingleQuotedString(escape)) =
                escape_char.as_ref().map(|v| v.value.clone())
            {
                *escape_char = None;
                escape_by_backslash(pattern, &escape);
            }
        }
        Expr::Case { conditions, else_result, .. } => {
            let lists = conditions
                .iter()
                .any(|w| called(&w.result).is_some_and(|(name, _)| name == "acldefault"));
            if let Some(result) = else_result
                && lists
                && let Some(items) = array_literal(result, None)
            {
                **result = items;
            }
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            qualify(root, access_chain);
            from_one(root, access_chain);
            // `(f(x)).n` and `(t.c).n`: a field of a composite value.
            if let (Expr::Nested(inner), [AccessExpr::Dot(Expr::Identifier(field))]) =
                (root.as_mut(), access_chain.as_slice())
            {
                let name = Expr::Value(Value::SingleQuotedString(field.value.clone()).into());
                *expr = call("get_field", vec![take(inner), name]);
            } else if let (
                Expr::Identifier(column),
                [AccessExpr::Subscript(Subscript::Index { index })],
            ) = (root.as_ref(), access_chain.as_slice())
                && column.value == "typname"
            {
                // The bytes of a name count from 0.
                let one = || Expr::Value(Value::Number("1".into(), false).into());
                let start = Expr::BinaryOp {
                    left: Box::new(index.clone()),
                    op: BinaryOperator::Plus,
                    right: Box::new(one()),
                };
                let column = column.clone();
                *expr = call("substr", vec![Expr::Identifier(column), start, one()]);
            } else if let [AccessExpr::Subscript(Subscript::Index { .. })] = access_chain.as_slice()
                && let Expr::Nested(inner) = root.as_mut()
                && matches!(inner.as_ref(), Expr::Function(_))
            {
                let bare = take(inner);
                **root = bare;
            }
        }
        Expr::Function(f) => {
            if is_system_schema(&f.name) {
                f.name.0.remove(0);
            }
            let Some(name) =
                f.name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase())
            else {
                return;
            };
            if name == "array"
                && let FunctionArguments::Subquery(query) = &mut f.args
            {
                let query = std::mem::replace(query, Box::new(empty_query()));
                *expr = array_of(*query);
                return;
            }
            if name == "bpchar"
                && let FunctionArguments::List(list) = &f.args
                && let [arg] = plain_args(&list.args).as_slice()
            {
                let name = ObjectName::from(vec![Ident::new("bpchar")]);
                *expr = cast_to(arg.clone(), DataType::Custom(name, Vec::new()));
                return;
            }
            if name == "coalesce"
                && let FunctionArguments::List(list) = &mut f.args
                && let [
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(column)),
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(literal)),
                ] = list.args.as_mut_slice()
                && last_identifier(column).is_some_and(|c| matches!(c, "fnames" | "ftypes"))
                && let Some(items) = array_literal(literal, None)
            {
                *literal = items;
            }
            if OVER_TEXT.contains(&name.as_str())
                && let FunctionArguments::List(list) = &mut f.args
            {
                for arg in &mut list.args {
                    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) = arg {
                        reg_to_text(e);
                    }
                }
            }
            if f.name.0.len() == 1
                && name == "regexp_matches"
                && f.over.is_none()
                && let FunctionArguments::List(list) = &f.args
            {
                // Each row is an array, which a list of rows holds as text.
                let args = plain_args(&list.args);
                *expr = match_rows(args);
                return;
            }
            if f.name.0.len() == 1 && SETS.contains(&name.as_str()) && f.over.is_none() {
                let function = take(expr);
                *expr = documents(&name, call("unnest", vec![function]));
            }
        }
        _ => {}
    }
}

/// `t.c[1]`: what stands before the subscripts is the name of a column.
fn qualify(root: &mut Expr, chain: &mut Vec<AccessExpr>) {
    let Expr::Identifier(first) = &*root else { return };
    let mut name = vec![first.clone()];
    while let Some(AccessExpr::Dot(Expr::Identifier(part))) = chain.first() {
        name.push(part.clone());
        chain.remove(0);
    }
    if name.len() > 1 {
        *root = Expr::CompoundIdentifier(name);
    }
}

/// The vectors of the catalog (`indkey` and its like) count from 0, their lists from 1.
fn from_one(root: &Expr, chain: &mut [AccessExpr]) {
    const VECTORS: [&str; 4] = ["indkey", "indclass", "indoption", "indcollation"];
    if let [AccessExpr::Subscript(Subscript::Index { index })] = chain
        && last_identifier(root).is_some_and(|name| VECTORS.contains(&name))
    {
        *index = Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(take(index)))),
            op: BinaryOperator::Plus,
            right: Box::new(Expr::Value(Value::Number("1".into(), false).into())),
        };
    }
}

fn operator(symbol: &str) -> Option<BinaryOperator> {
    Some(match symbol {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        ">" => BinaryOperator::Gt,
        "<=" => BinaryOperator::LtEq,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "||" => BinaryOperator::StringConcat,
        _ => return None,
    })
}

/// `OPERATOR(pg_catalog.~~)` and its like.
fn like(symbol: &str, left: &mut Box<Expr>, right: &mut Box<Expr>) -> Option<Expr> {
    let (negated, insensitive) = match symbol {
        "~~" => (false, false),
        "!~~" => (true, false),
        "~~*" => (false, true),
        "!~~*" => (true, true),
        _ => return None,
    };
    let expr = Box::new(take(left));
    let pattern = Box::new(take(right));
    Some(if insensitive {
        Expr::ILike { negated, any: false, expr, pattern, escape_char: None }
    } else {
        Expr::Like { negated, any: false, expr, pattern, escape_char: None }
    })
}

/// The bare name of a type that is spelled as a name.
fn type_name(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Regclass => Some("regclass".to_owned()),
        DataType::Custom(name, _) => {
            let last = name.0.last()?.as_ident()?;
            // `"char"` is another type than `char`.
            Some(match last.quote_style {
                Some(_) if last.value == "char" => "\"char\"".to_owned(),
                Some(_) => last.value.clone(),
                None => last.value.to_lowercase(),
            })
        }
        _ => None,
    }
}

fn is_text_type(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_))
        || type_name(data_type).is_some_and(|n| matches!(n.as_str(), "text" | "varchar" | "name"))
}

fn rewrite_cast(expr: &mut Expr) {
    let Expr::Cast { expr: inner, data_type, kind, .. } = expr else { return };
    if !matches!(kind, CastKind::DoubleColon | CastKind::Cast) {
        return;
    }
    if is_text_type(data_type) {
        reg_to_text(inner);
        return;
    }
    if let DataType::Array(_) = data_type {
        let element = match data_type {
            DataType::Array(ast::ArrayElemTypeDef::SquareBracket(item, _)) => {
                Some((**item).clone())
            }
            _ => None,
        };
        if let Some(element) = element {
            let text_like = type_name(&element).is_some_and(|n| {
                matches!(n.as_str(), "\"char\"" | "aclitem" | "regtype" | "regclass")
            });
            let element = if text_like { DataType::Text } else { element };
            if let Some(items) = array_literal(inner, Some(&element)) {
                *expr = items;
            } else if text_like {
                *data_type =
                    DataType::Array(ast::ArrayElemTypeDef::SquareBracket(Box::new(element), None));
            }
        }
        return;
    }
    let Some(name) = type_name(data_type) else { return };
    if let Some(kind) = RegKind::of_type(&name) {
        *expr = call(kind.name(), vec![take(inner)]);
        return;
    }
    match name.as_str() {
        "cstring" | "pg_node_tree" | "sql_identifier" | "character_data" | "yes_or_no"
        | "aclitem" => *data_type = DataType::Text,
        "cardinal_number" => *data_type = DataType::Integer(None),
        _ => {}
    }
}

/// `regclass(x)` becomes `regclass_text(x)`.
fn reg_to_text(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) => reg_to_text(inner),
        Expr::Function(f) if f.name.0.len() == 1 => {
            let Some(name) = f.name.0[0].as_ident().map(|i| i.value.clone()) else { return };
            if RegKind::ALL.iter().any(|k| k.name() == name || format!("to_{}", k.name()) == name) {
                if name.starts_with("to_") {
                    let bare = name.trim_start_matches("to_").to_owned();
                    let inner = take(expr);
                    *expr = call(&format!("{bare}_text"), vec![inner]);
                } else {
                    f.name = ObjectName::from(vec![Ident::new(format!("{name}_text"))]);
                }
            }
        }
        Expr::Case { conditions, else_result, .. } => {
            for when in conditions {
                reg_to_text(&mut when.result);
            }
            if let Some(result) = else_result {
                reg_to_text(result);
            }
        }
        _ => {}
    }
}

/// `'{1,2}'` as an array of literals, cast to a type where one is given.
fn array_literal(expr: &Expr, element: Option<&DataType>) -> Option<Expr> {
    let Expr::Value(value) = expr else { return None };
    let Value::SingleQuotedString(text) = &value.value else { return None };
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    // Quoted and nested items are left to the cast of the whole text.
    if inner.contains(['"', '{', '\\']) {
        return None;
    }
    let items = inner.split(',').map(str::trim).filter(|i| !i.is_empty());
    let elem = items
        .map(|item| {
            let literal = if item.eq_ignore_ascii_case("null") {
                placeholder()
            } else {
                Expr::Value(Value::SingleQuotedString(item.to_owned()).into())
            };
            match element {
                None => literal,
                Some(data_type) => Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(literal),
                    data_type: data_type.clone(),
                    array: false,
                    format: None,
                },
            }
        })
        .collect::<Vec<_>>();
    if elem.is_empty() && element.is_some() {
        return None;
    }
    Some(Expr::Array(Array { elem, named: true }))
}

/// The column that an expression names.
fn last_identifier(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(name) => Some(&name.value),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.as_str()),
        _ => None,
    }
}

/// Makes a LIKE pattern of another escape character one of the backslash.
fn escape_by_backslash(pattern: &mut Box<Expr>, escape: &str) {
    const BACKSLASH: &str = "\\";
    // Stands for an escaped escape character meanwhile.
    const MARK: &str = "\u{1}";
    if escape == BACKSLASH {
        return;
    }
    let text = |t: &str| Expr::Value(Value::SingleQuotedString(t.to_owned()).into());
    let replace = |e: Expr, from: &str, to: &str| call("replace", vec![e, text(from), text(to)]);
    let mut escaped = replace(take(pattern), BACKSLASH, "\\\\");
    if !escape.is_empty() {
        escaped = replace(escaped, &escape.repeat(2), MARK);
        escaped = replace(escaped, escape, BACKSLASH);
        escaped = replace(escaped, MARK, escape);
    }
    **pattern = escaped;
}

/// Turns `'{0}'` beside an array column of the catalog into an array.
fn array_literal_beside(column: &Expr, literal: &mut Box<Expr>) {
    let name = match column {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(name) => name,
            None => return,
        },
        _ => return,
    };
    if OID_ARRAYS.contains(&name.value.as_str())
        && let Some(items) = array_literal(
            literal,
            Some(&DataType::Custom(ObjectName::from(vec![Ident::new("oid")]), vec![])),
        )
    {
        **literal = items;
    }
}

fn empty_query() -> Query {
    Query {
        with: None,
        body: Box::new(SetExpr::Values(ast::Values {
            explicit_row: false,
            value_keyword: false,
            rows: Vec::new(),
        })),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

/// `ARRAY(query)`: the query's only column as an array, in its order; empty without rows.
fn array_of(mut query: Query) -> Expr {
    let simple = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    if let SetExpr::Select(select) = query.body.as_mut()
        && simple
        && select.distinct.is_none()
        && select.having.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(e, m) if e.is_empty() && m.is_empty())
        && let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
            select.projection.as_mut_slice()
        && !contains_set_or_aggregate(item)
    {
        reg_to_text(item);
        let value = take(item);
        let mut ordering = match query.order_by.take().map(|o| o.kind) {
            Some(ast::OrderByKind::Expressions(exprs)) => exprs,
            _ => Vec::new(),
        };
        for order in &mut ordering {
            // ORDER BY 1 is by the value itself.
            if let Expr::Value(v) = &order.expr
                && matches!(v.value, Value::Number(..))
            {
                order.expr = value.clone();
            }
        }
        let mut aggregate = call("array_agg", vec![value]);
        if let Expr::Function(f) = &mut aggregate
            && let FunctionArguments::List(list) = &mut f.args
            && !ordering.is_empty()
        {
            list.clauses.push(FunctionArgumentClause::OrderBy(ordering));
        }
        select.projection = vec![SelectItem::UnnamedExpr(aggregate)];
        return call(
            "coalesce",
            vec![
                Expr::Subquery(Box::new(query)),
                Expr::Array(Array { elem: Vec::new(), named: true }),
            ],
        );
    }
    let alias = TableAlias {
        explicit: true,
        name: Ident::new("_array"),
        columns: vec![ast::TableAliasColumnDef::from_name("_item")],
        at: None,
    };
    let derived = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query),
        alias: Some(alias),
        sample: None,
    };
    let aggregate = call("array_agg", vec![Expr::Identifier(Ident::new("_item"))]);
    call(
        "coalesce",
        vec![
            Expr::Subquery(Box::new(select_from(
                vec![SelectItem::UnnamedExpr(aggregate)],
                vec![derived],
            ))),
            Expr::Array(Array { elem: Vec::new(), named: true }),
        ],
    )
}

fn contains_set_or_aggregate(expr: &Expr) -> bool {
    called(expr).is_some_and(|(name, _)| {
        matches!(
            name.to_lowercase().as_str(),
            "unnest" | "count" | "max" | "min" | "sum" | "array_agg" | "string_agg"
        )
    })
}

/// `SELECT projection FROM from`
pub(crate) fn query_of(projection: Vec<SelectItem>, from: Vec<TableFactor>) -> Query {
    select_from(projection, from)
}

fn select_from(projection: Vec<SelectItem>, from: Vec<TableFactor>) -> Query {
    let mut query = empty_query();
    let from = from
        .into_iter()
        .map(|relation| ast::TableWithJoins { relation, joins: Vec::new() })
        .collect();
    let mut select = empty_select();
    select.projection = projection;
    select.from = from;
    query.body = Box::new(SetExpr::Select(Box::new(select)));
    query
}

fn empty_select() -> Select {
    Select {
        select_token: ast::helpers::attached_token::AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: Vec::new(),
        exclude: None,
        into: None,
        from: Vec::new(),
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: ast::SelectFlavor::Standard,
    }
}

/// Table functions: strips `pg_catalog`, and spells out those that give lists here.
fn rewrite_factor(factor: &mut TableFactor) {
    let (function, alias, with_ordinality) = match factor {
        TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
            if is_system_schema(name) {
                name.0.remove(0);
            }
            let Some(ident) = name.0.last().and_then(|p| p.as_ident()) else { return };
            let function = ident.value.to_lowercase();
            let exprs = plain_args(&args.args);
            if exprs.len() != args.args.len() || name.0.len() != 1 {
                return;
            }
            (call(&function, exprs), alias.take(), *with_ordinality)
        }
        TableFactor::Function { name, args, alias, with_ordinality, .. } => {
            if is_system_schema(name) {
                name.0.remove(0);
            }
            let Some(ident) = name.0.last().and_then(|p| p.as_ident()) else { return };
            let function = ident.value.to_lowercase();
            let exprs = plain_args(args);
            if exprs.len() != args.len() || name.0.len() != 1 {
                return;
            }
            (call(&function, exprs), alias.take(), *with_ordinality)
        }
        TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. }
            if array_exprs.len() == 1 =>
        {
            (call("unnest", std::mem::take(array_exprs)), alias.take(), *with_ordinality)
        }
        TableFactor::UNNEST { alias, array_exprs, with_ordinality: false, .. } => {
            // Several arrays side by side; the shorter ones end in NULL.
            let mut alias = alias.take().unwrap_or_else(|| named_alias("unnest"));
            let mut columns = std::mem::take(&mut alias.columns).into_iter().map(|c| c.name);
            let projection = std::mem::take(array_exprs)
                .into_iter()
                .enumerate()
                .map(|(i, array)| SelectItem::ExprWithAlias {
                    expr: call("unnest", vec![array]),
                    alias: columns.next().unwrap_or_else(|| {
                        Ident::new(if i == 0 { "unnest".to_owned() } else { format!("unnest_{i}") })
                    }),
                })
                .collect();
            *factor = lateral_select(projection, alias);
            return;
        }
        _ => return,
    };
    let Some((name, args)) = called(&function) else { return };
    let name = name.to_owned();
    if name == "pg_options_to_table"
        && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(options))] = args
    {
        *factor = options_table(options.clone(), alias);
        return;
    }
    let exprs = plain_args(args);
    if let Some(members) = each_member(&name, &exprs, alias.clone())
        .or_else(|| record_of(&name, &exprs, alias.clone()))
    {
        *factor = members;
        return;
    }
    let series = name == "generate_series" && !with_ordinality && args.iter().all(is_literal);
    let known =
        SETS.contains(&name.as_str()) || matches!(name.as_str(), "unnest" | "regexp_matches");
    if !known || series {
        // DataFusion's own, or unknown: put back what was taken. The column of a series is named
        // as the relation is.
        let alias = if series {
            let mut alias = alias.unwrap_or_else(|| TableAlias {
                explicit: true,
                name: Ident::new(&name),
                columns: Vec::new(),
                at: None,
            });
            if alias.columns.is_empty() {
                alias
                    .columns
                    .push(ast::TableAliasColumnDef { name: alias.name.clone(), data_type: None });
            }
            if let Some(integers) = integer_series(factor, &alias) {
                *factor = integers;
                return;
            }
            Some(alias)
        } else {
            alias
        };
        match factor {
            TableFactor::Table { alias: place, .. }
            | TableFactor::Function { alias: place, .. } => {
                *place = alias;
            }
            _ => {}
        }
        return;
    }
    let value = match name.as_str() {
        "unnest" => function,
        "regexp_matches" => match_rows(exprs),
        _ => documents(&name, call("unnest", vec![function])),
    };
    let alias = alias.unwrap_or_else(|| named_alias(&name));
    let mut columns = alias.columns.iter().map(|c| c.name.clone());
    // These have a column of another name than their own.
    let elements = matches!(
        name.as_str(),
        "json_array_elements"
            | "jsonb_array_elements"
            | "json_array_elements_text"
            | "jsonb_array_elements_text"
    );
    let first = columns
        .next()
        .unwrap_or_else(|| if elements { Ident::new("value") } else { alias.name.clone() });
    let mut projection = vec![SelectItem::ExprWithAlias { expr: value.clone(), alias: first }];
    if with_ordinality {
        let bare = match &value {
            Expr::Cast { expr, .. } => expr.as_ref(),
            other => other,
        };
        let Some((_, [FunctionArg::Unnamed(FunctionArgExpr::Expr(source))])) = called(bare) else {
            return;
        };
        let subscripts = call(
            "generate_subscripts",
            vec![source.clone(), Expr::Value(Value::Number("1".into(), false).into())],
        );
        projection.push(SelectItem::ExprWithAlias {
            expr: cast_to(call("unnest", vec![subscripts]), DataType::Int8(None)),
            alias: columns.next().unwrap_or_else(|| Ident::new("ordinality")),
        });
    }
    *factor = TableFactor::Derived {
        lateral: true,
        subquery: Box::new(select_from(projection, Vec::new())),
        alias: Some(TableAlias { columns: Vec::new(), ..alias }),
        sample: None,
    };
}

/// A series of literals that are integers: DataFusion's makes bigints.
fn integer_series(factor: &TableFactor, alias: &TableAlias) -> Option<TableFactor> {
    let (TableFactor::Table { args: Some(ast::TableFunctionArgs { args, .. }), .. }
    | TableFactor::Function { args, .. }) = factor
    else {
        return None;
    };
    let small = args.iter().all(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
            expr.to_string().parse::<i32>().is_ok()
        }
        _ => false,
    });
    if !small {
        return None;
    }
    let mut series = factor.clone();
    if let TableFactor::Table { alias: place, .. } | TableFactor::Function { alias: place, .. } =
        &mut series
    {
        *place = Some(alias.clone());
    }
    let column = alias.columns.first()?.name.clone();
    let projection = vec![SelectItem::ExprWithAlias {
        expr: cast_to(Expr::Identifier(column.clone()), DataType::Int4(None)),
        alias: column,
    }];
    Some(TableFactor::Derived {
        lateral: false,
        subquery: Box::new(select_from(projection, vec![series])),
        alias: Some(TableAlias { columns: Vec::new(), ..alias.clone() }),
        sample: None,
    })
}

/// `pg_options_to_table(options)`: names and values of texts like `name=value`.
fn options_table(options: Expr, alias: Option<TableAlias>) -> TableFactor {
    let option = || Expr::Identifier(Ident::new("_option"));
    let text = |t: &str| Expr::Value(Value::SingleQuotedString(t.to_owned()).into());
    let number = |n: &str| Expr::Value(Value::Number(n.to_owned(), false).into());
    let value_start = Expr::BinaryOp {
        left: Box::new(call("strpos", vec![option(), text("=")])),
        op: BinaryOperator::Plus,
        right: Box::new(number("1")),
    };
    let derived = |query: Query, alias: TableAlias| TableFactor::Derived {
        lateral: true,
        subquery: Box::new(query),
        alias: Some(alias),
        sample: None,
    };
    let named = |name: &str| TableAlias {
        explicit: true,
        name: Ident::new(name),
        columns: Vec::new(),
        at: None,
    };
    let item = |expr: Expr, name: &str| SelectItem::ExprWithAlias { expr, alias: Ident::new(name) };
    let inner = select_from(vec![item(call("unnest", vec![options]), "_option")], Vec::new());
    let outer = select_from(
        vec![
            item(call("split_part", vec![option(), text("="), number("1")]), "option_name"),
            item(call("substr", vec![option(), value_start]), "option_value"),
        ],
        vec![derived(inner, named("_options"))],
    );
    derived(outer, alias.unwrap_or_else(|| named("pg_options_to_table")))
}

/// Unnesting forgets that items are documents.
fn documents(function: &str, unnested: Expr) -> Expr {
    match function {
        "jsonb_array_elements" | "jsonb_path_query" | "_jsonb_values" => {
            cast_to(unnested, DataType::JSONB)
        }
        "json_array_elements" | "_json_values" => cast_to(unnested, DataType::JSON),
        _ => unnested,
    }
}

/// `regexp_matches(…)`: rows of arrays.
fn match_rows(args: Vec<Expr>) -> Expr {
    let rows = call("unnest", vec![call("_regexp_matches", args)]);
    let texts =
        DataType::Array(ast::ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None));
    cast_to(rows, texts)
}

fn cast_to(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

fn lateral_select(projection: Vec<SelectItem>, alias: TableAlias) -> TableFactor {
    TableFactor::Derived {
        lateral: true,
        subquery: Box::new(select_from(projection, Vec::new())),
        alias: Some(alias),
        sample: None,
    }
}

/// `jsonb_each(x)` and its like: keys and values side by side.
fn each_member(name: &str, args: &[Expr], alias: Option<TableAlias>) -> Option<TableFactor> {
    let kind = if name.starts_with("jsonb") { "jsonb" } else { "json" };
    let values = match name {
        "jsonb_each" | "json_each" => "values",
        "jsonb_each_text" | "json_each_text" => "values_text",
        _ => return None,
    };
    let [document] = args else { return None };
    let mut alias = alias.unwrap_or_else(|| named_alias(name));
    let mut columns = std::mem::take(&mut alias.columns).into_iter().map(|c| c.name);
    let item = |function: String, alias: Ident| SelectItem::ExprWithAlias {
        expr: documents(&function, call("unnest", vec![call(&function, vec![document.clone()])])),
        alias,
    };
    let key = columns.next().unwrap_or_else(|| Ident::new("key"));
    let value = columns.next().unwrap_or_else(|| Ident::new("value"));
    let projection =
        vec![item(format!("{kind}_object_keys"), key), item(format!("_{kind}_{values}"), value)];
    Some(lateral_select(projection, alias))
}

/// `jsonb_to_record(x) AS t (a int, b text)` and its like: each column is cast from the member
/// of its name.
pub(crate) fn record_of(
    name: &str,
    args: &[Expr],
    alias: Option<TableAlias>,
) -> Option<TableFactor> {
    let set = match name {
        "jsonb_to_record" | "json_to_record" => false,
        "jsonb_to_recordset" | "json_to_recordset" => true,
        _ => return None,
    };
    let ([document], Some(mut alias)) = (args, alias) else { return None };
    let columns = std::mem::take(&mut alias.columns);
    let kind = if name.starts_with("jsonb") { "jsonb" } else { "json" };
    let whole = if set {
        let items = call(&format!("{kind}_array_elements"), vec![document.clone()]);
        let item = SelectItem::ExprWithAlias {
            expr: documents(&format!("{kind}_array_elements"), call("unnest", vec![items])),
            alias: Ident::new("_item"),
        };
        Some(lateral_select(vec![item], named_alias("_items")))
    } else {
        None
    };
    let source = || match &whole {
        Some(_) => Expr::Identifier(Ident::new("_item")),
        None => document.clone(),
    };
    let mut projection = Vec::new();
    for column in columns {
        let key = match column.name.quote_style {
            Some(_) => column.name.value.clone(),
            None => column.name.value.to_lowercase(),
        };
        let key = Expr::Value(Value::SingleQuotedString(key).into());
        let data_type = column.data_type?;
        let nested = matches!(data_type, DataType::JSON | DataType::JSONB)
            || matches!(data_type, DataType::Array(_));
        let getter = if nested { "json_get" } else { "json_get_text" };
        let value = match &data_type {
            DataType::Array(_) => call("_json_array_text", vec![call(getter, vec![source(), key])]),
            _ => call(getter, vec![source(), key]),
        };
        projection.push(SelectItem::ExprWithAlias {
            expr: cast_to(value, data_type),
            alias: column.name,
        });
    }
    Some(TableFactor::Derived {
        lateral: true,
        subquery: Box::new(select_from(projection, whole.into_iter().collect())),
        alias: Some(alias),
        sample: None,
    })
}

fn named_alias(name: &str) -> TableAlias {
    TableAlias { explicit: true, name: Ident::new(name), columns: Vec::new(), at: None }
}

/// Whether an argument is a number without a point, or NULL.
fn is_literal(arg: &FunctionArg) -> bool {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
            Value::Number(text, _) => text.parse::<i64>().is_ok(),
            Value::Null => true,
            _ => false,
        },
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::UnaryOp { expr, .. })) => {
            expr.to_string().parse::<i64>().is_ok()
        }
        _ => false,
    }
}

/// Gives a second output expression of the same text a name of its own, for DataFusion takes no
/// two of one name.
fn name_duplicates(select: &mut Select) {
    let mut seen = std::collections::HashSet::new();
    for (i, item) in select.projection.iter_mut().enumerate() {
        let text = match item {
            SelectItem::UnnamedExpr(expr) => expr.to_string(),
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            _ => continue,
        };
        if !seen.insert(text.clone()) {
            let alias = Ident::with_quote('"', format!("{text}_{}", i + 1));
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    *item = SelectItem::ExprWithAlias { expr: take(expr), alias };
                }
                SelectItem::ExprWithAlias { alias: old, .. } => *old = alias,
                _ => {}
            }
        }
    }
}

/// In the columns that a statement puts out, reg-types show names.
fn print_reg_types(query: &mut Query) {
    print_in_body(&mut query.body);
}

fn print_in_body(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            if let GroupByExpr::Expressions(group, _) = &mut select.group_by {
                group.iter_mut().for_each(reg_to_text);
            }
            let of_catalog = select.from.iter().any(|f| {
                let joined = f.joins.iter().map(|j| &j.relation);
                std::iter::once(&f.relation).chain(joined).any(|factor| match factor {
                    TableFactor::Table { name, .. } => {
                        system_name(name).is_some_and(|n| n.value.starts_with("pg_"))
                    }
                    _ => false,
                })
            });
            for item in &mut select.projection {
                if of_catalog {
                    print_internal(item);
                }
                match item {
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                        print_in_expr(expr);
                    }
                    _ => {}
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            print_in_body(left);
            print_in_body(right);
        }
        SetExpr::Query(query) => print_in_body(&mut query.body),
        _ => {}
    }
}

/// A column of type `regproc` as its function's name, one of a vector type with blanks; under
/// its own name.
fn print_internal(item: &mut SelectItem) {
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
        return;
    };
    let name = match expr {
        Expr::Identifier(name) => name.clone(),
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(name) => name.clone(),
            None => return,
        },
        _ => return,
    };
    let text = if PROCEDURES.contains(&name.value.as_str()) {
        call("regproc_text", vec![take(expr)])
    } else if VECTORS.contains(&name.value.as_str()) {
        let blank = Expr::Value(Value::SingleQuotedString(" ".to_owned()).into());
        call("array_to_string", vec![take(expr), blank])
    } else {
        return;
    };
    match item {
        SelectItem::UnnamedExpr(_) => {
            *item = SelectItem::ExprWithAlias { expr: text, alias: name };
        }
        SelectItem::ExprWithAlias { expr, .. } => *expr = text,
        _ => {}
    }
}

fn print_in_expr(expr: &mut Expr) {
    match expr {
        Expr::Subquery(query) => print_in_body(&mut query.body),
        Expr::Case { conditions, else_result, .. } => {
            for when in conditions {
                print_in_expr(&mut when.result);
            }
            if let Some(result) = else_result {
                print_in_expr(result);
            }
        }
        other => reg_to_text(other),
    }
}
