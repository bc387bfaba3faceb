//! Functions that look at the session, or change it: settings, sequences, transaction times.

use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

use chronos_catalog::{CommitTs, Oid, Relation, SqlType};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CastKind, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectNamePart, Value, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::privileges::{check_read, check_schema};
use super::settings::{Scope, Settings};
use super::shared::Shared;
use crate::error::{PgError, PgResult};
use crate::pgwire::types;

/// What a function does with one row's arguments.
pub(super) type Body = fn(&Shared, &[ScalarValue], &[FieldRef]) -> PgResult<ScalarValue>;

/// A function: its name, the least and the most arguments, its result and its body.
pub(super) type Entry = (&'static str, (usize, usize), SqlType, Volatility, Body);

/// One function.
struct SessionFunction {
    name: &'static str,
    /// The least and most arguments.
    arguments: (usize, usize),
    result: SqlType,
    signature: Signature,
    body: Body,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for SessionFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for SessionFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for SessionFunction {}

impl Hash for SessionFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

fn external(error: PgError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl ScalarUDFImpl for SessionFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DfResult<DataType> {
        Ok(self.result.arrow())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let given = args.arg_fields.len();
        if given < self.arguments.0 || given > self.arguments.1 {
            let kinds: Vec<String> = args
                .arg_fields
                .iter()
                .map(|f| {
                    SqlType::of_field(f).map_or_else(|| "unknown".to_owned(), |t| types::name(&t))
                })
                .collect();
            let message = format!("function {}({}) does not exist", self.name, kinds.join(", "));
            return Err(external(PgError::new("42883", message)));
        }
        Ok(Arc::new(self.result.field(self.name, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let volatile = self.signature.volatility == Volatility::Volatile;
        let rows = if constant && !volatile { 1 } else { args.number_rows };
        let mut results = Vec::with_capacity(rows);
        for row in 0..rows {
            let values = args
                .args
                .iter()
                .map(|a| match a {
                    ColumnarValue::Scalar(value) => Ok(value.clone()),
                    ColumnarValue::Array(array) => ScalarValue::try_from_array(array, row),
                })
                .collect::<DfResult<Vec<_>>>()?;
            results.push((self.body)(&self.shared, &values, &args.arg_fields).map_err(external)?);
        }
        if rows == 1 && constant && !volatile {
            return Ok(ColumnarValue::Scalar(results.swap_remove(0)));
        }
        if results.is_empty() {
            let empty: ArrayRef = datafusion::arrow::array::new_empty_array(&self.result.arrow());
            return Ok(ColumnarValue::Array(empty));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(results)?))
    }
}

/// The text of an argument; `None` for NULL.
pub(super) fn text(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(v) | ScalarValue::Utf8View(v) | ScalarValue::LargeUtf8(v) => v.clone(),
        ScalarValue::Null => None,
        other if other.is_null() => None,
        other => Some(other.to_string()),
    }
}

pub(super) fn string(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8View(Some(value.into()))
}

fn timestamp(micros: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(micros), Some(Arc::from("UTC")))
}

fn current_setting(shared: &Shared, args: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    let Some(name) = text(&args[0]) else { return Ok(ScalarValue::Utf8View(None)) };
    let missing_ok = matches!(args.get(1), Some(ScalarValue::Boolean(Some(true))));
    match shared.settings.read().show(&name) {
        Ok(value) => Ok(string(value)),
        Err(_) if missing_ok => Ok(ScalarValue::Utf8View(None)),
        Err(error) => Err(error),
    }
}

fn set_config(shared: &Shared, args: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    let Some(name) = text(&args[0]) else {
        return Err(PgError::new("22004", "SET requires parameter name"));
    };
    let local = matches!(args[2], ScalarValue::Boolean(Some(true)));
    let scope = if local { Scope::Local } else { Scope::Session };
    let value = text(&args[1]);
    let mut settings = shared.settings.write();
    settings.set(&name, value.as_deref(), scope)?;
    Ok(string(settings.show(&name)?))
}

/// The sequence that an argument names, by name or identifier.
fn sequence(shared: &Shared, value: &ScalarValue) -> PgResult<(Oid, Relation)> {
    let oid = match value {
        ScalarValue::UInt32(Some(oid)) => Some(Oid(*oid)),
        ScalarValue::Int32(Some(oid)) => u32::try_from(*oid).ok().map(Oid),
        ScalarValue::Int64(Some(oid)) => u32::try_from(*oid).ok().map(Oid),
        _ => None,
    };
    match oid {
        None => {
            let name = text(value)
                .ok_or_else(|| PgError::new("22004", "the sequence's name must not be null"))?;
            shared.sequence(&name)
        }
        Some(oid) => {
            let (objects, at) = shared.objects_or_committed();
            match objects.get(oid, at).map(|o| o.relation.clone()) {
                Some(relation @ Relation::Sequence { .. }) => Ok((oid, relation)),
                _ => Err(PgError::new("42809", format!("object {oid} is not a sequence"))),
            }
        }
    }
}

/// Waits for the engine from a function, which cannot be asynchronous.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

fn nextval(shared: &Shared, args: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    shared.refuse_read_only("nextval()")?;
    let (oid, relation) = sequence(shared, &args[0])?;
    shared.check_sequence(oid, "Uw")?;
    Ok(ScalarValue::Int64(Some(wait(shared.draw(oid, &relation))?)))
}

fn currval(shared: &Shared, args: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    let (oid, _) = sequence(shared, &args[0])?;
    shared.check_sequence(oid, "Ur")?;
    match shared.sequences.lock().0.get(&oid) {
        Some(value) => Ok(ScalarValue::Int64(Some(*value))),
        None => {
            let message = "currval of this sequence is not yet defined in this session";
            Err(PgError::new("55000", message))
        }
    }
}

fn lastval(shared: &Shared, _: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    let sequences = shared.sequences.lock();
    let last = sequences.1.and_then(|oid| sequences.0.get(&oid).copied());
    last.map(|v| ScalarValue::Int64(Some(v)))
        .ok_or_else(|| PgError::new("55000", "lastval is not yet defined in this session"))
}

fn setval(shared: &Shared, args: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    shared.refuse_read_only("setval()")?;
    let (oid, relation) = sequence(shared, &args[0])?;
    shared.check_sequence(oid, "w")?;
    let value = match args[1].cast_to(&DataType::Int64)? {
        ScalarValue::Int64(Some(value)) => value,
        _ => return Ok(ScalarValue::Int64(None)),
    };
    let called = !matches!(args.get(2), Some(ScalarValue::Boolean(Some(false))));
    wait(shared.engine.set_value(oid, &relation, value, called))?;
    if called {
        let mut sequences = shared.sequences.lock();
        sequences.0.insert(oid, value);
    }
    Ok(ScalarValue::Int64(Some(value)))
}

fn statement_timestamp(
    shared: &Shared,
    _: &[ScalarValue],
    _: &[FieldRef],
) -> PgResult<ScalarValue> {
    Ok(timestamp(shared.scope.lock().statement_start))
}

fn transaction_timestamp(
    shared: &Shared,
    _: &[ScalarValue],
    _: &[FieldRef],
) -> PgResult<ScalarValue> {
    Ok(timestamp(shared.scope.lock().transaction_start))
}

fn clock_timestamp(shared: &Shared, _: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    Ok(timestamp(shared.engine.now_micros()))
}

fn last_commit_time(shared: &Shared, _: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    let last = *shared.last_commit.lock();
    Ok(ScalarValue::TimestampMicrosecond(last.map(CommitTs::micros), Some(Arc::from("UTC"))))
}

/// The table that an argument names, by name or identifier.
fn table_argument(shared: &Shared, value: &ScalarValue) -> PgResult<Oid> {
    let oid = match value {
        ScalarValue::UInt32(Some(oid)) => Some(Oid(*oid)),
        ScalarValue::Int32(Some(oid)) => u32::try_from(*oid).ok().map(Oid),
        ScalarValue::Int64(Some(oid)) => u32::try_from(*oid).ok().map(Oid),
        _ => None,
    };
    if let Some(oid) = oid {
        return Ok(oid);
    }
    let name =
        text(value).ok_or_else(|| PgError::new("22004", "the table's name must not be null"))?;
    let parsed = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&name)
        .and_then(|mut p| p.parse_object_name(false))
        .map_err(|_| PgError::new("42602", format!("invalid name syntax: \"{name}\"")))?;
    let name = super::names::relation(&parsed, &shared.identity.database)?;
    let (objects, now) = shared.objects_or_committed();
    let (at, path) = (shared.as_of().unwrap_or(now), shared.search_path());
    let lookup = super::names::Lookup { objects: &objects, at, path: &path };
    let (oid, object) = lookup.relation(&name).ok_or_else(|| super::names::no_relation(&name))?;
    let rights = shared.rights(&objects, now);
    check_schema(&rights, &name)?;
    check_read(&rights, &objects, now, oid)?;
    match &object.relation {
        Relation::Table(_) => Ok(oid),
        _ => Err(PgError::new("42809", format!("\"{name}\" is not a table"))),
    }
}

/// `chronos.table_version`: the table's commit number at the read's instant.
fn table_version(shared: &Shared, args: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    if args[0].is_null() {
        return Ok(ScalarValue::Int64(None));
    }
    let oid = table_argument(shared, &args[0])?;
    let at = shared.as_of().unwrap_or_else(|| shared.engine.last_commit());
    let version = wait(super::history::table_version(&shared.engine, oid, at))?;
    Ok(ScalarValue::Int64(version))
}

/// `pg_xact_commit_timestamp`: when the commit of that number was.
fn xact_commit_timestamp(
    shared: &Shared,
    args: &[ScalarValue],
    _: &[FieldRef],
) -> PgResult<ScalarValue> {
    let number = match args[0].cast_to(&DataType::Int64)? {
        ScalarValue::Int64(Some(number)) => number,
        _ => return Ok(ScalarValue::TimestampMicrosecond(None, Some(Arc::from("UTC")))),
    };
    let at = wait(super::history::commit_time(&shared.engine, number))?;
    Ok(ScalarValue::TimestampMicrosecond(at.map(CommitTs::micros), Some(Arc::from("UTC"))))
}

fn txid_current(shared: &Shared, _: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    // Transactions have no number before they commit; when it began tells them apart.
    Ok(ScalarValue::Int64(Some(shared.scope.lock().transaction_start)))
}

fn pg_typeof(_: &Shared, _: &[ScalarValue], fields: &[FieldRef]) -> PgResult<ScalarValue> {
    let name = fields.first().and_then(|f| SqlType::of_field(f)).map(|t| types::name(&t));
    Ok(string(name.unwrap_or_else(|| "unknown".to_owned())))
}

/// The functions, under the names that [`rewrite`] gives them.
pub(super) fn functions(shared: &Arc<Shared>) -> Vec<ScalarUDF> {
    use SqlType as T;
    use Volatility::{Stable, Volatile};
    let all: [Entry; 15] = [
        ("current_setting", (1, 2), T::Text, Stable, current_setting),
        ("set_config", (3, 3), T::Text, Volatile, set_config),
        ("nextval", (1, 1), T::Int8, Volatile, nextval),
        ("currval", (1, 1), T::Int8, Volatile, currval),
        ("lastval", (0, 0), T::Int8, Volatile, lastval),
        ("setval", (2, 3), T::Int8, Volatile, setval),
        ("statement_timestamp", (0, 0), T::Timestamptz, Stable, statement_timestamp),
        ("transaction_timestamp", (0, 0), T::Timestamptz, Stable, transaction_timestamp),
        ("clock_timestamp", (0, 0), T::Timestamptz, Volatile, clock_timestamp),
        ("chronos_last_commit_time", (0, 0), T::Timestamptz, Stable, last_commit_time),
        ("txid_current", (0, 0), T::Int8, Stable, txid_current),
        ("pg_current_xact_id", (0, 0), T::Int8, Stable, txid_current),
        ("chronos_table_version", (1, 1), T::Int8, Stable, table_version),
        ("pg_xact_commit_timestamp", (1, 1), T::Timestamptz, Stable, xact_commit_timestamp),
        ("pg_typeof", (1, 1), T::Text, Stable, pg_typeof),
    ];
    all.into_iter()
        .chain(super::coordination::FUNCTIONS)
        .chain([(
            "chronos_listening_channels",
            (0, 0),
            T::Array(Box::new(T::Text)),
            Volatile,
            super::coordination::listening_channels as Body,
        )])
        .map(|(name, arguments, result, volatility, body)| {
            let signature = if arguments.1 == 0 {
                Signature::nullary(volatility)
            } else {
                Signature::variadic_any(volatility)
            };
            let shared = Arc::clone(shared);
            ScalarUDF::from(SessionFunction { name, arguments, result, signature, body, shared })
        })
        .collect()
}

/// A call of a function with one argument or none.
fn call(name: &str, argument: Option<Expr>) -> Expr {
    let args = argument.map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a)));
    Expr::Function(Function {
        name: ast::ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The functions that give a set of rows in a select list, as the unnesting of a list.
fn spread_rows(expr: &mut Expr) {
    let Expr::Function(function) = &*expr else { return };
    let Some(name) = function.name.0.last().and_then(|p| p.as_ident()) else { return };
    if name.value.eq_ignore_ascii_case("pg_listening_channels") {
        *expr = call("unnest", Some(call("chronos_listening_channels", None)));
    }
}

/// Turns `chronos.f(x)` into `chronos_f(x)`: the planner knows functions by one name.
pub(super) fn rewrite(statement: &mut ast::Statement) {
    let _ = visit_expressions_mut(statement, |expr| {
        spread_rows(expr);
        modulo(expr);
        huge_number(expr);
        if let Expr::Function(Function { name, .. }) = expr
            && let [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(function)] =
                name.0.as_slice()
            && super::names::fold(schema) == "chronos"
        {
            let joined = format!("chronos_{}", super::names::fold(function));
            name.0 = vec![ObjectNamePart::Identifier(Ident::with_quote('"', joined))];
        }
        ControlFlow::<()>::Continue(())
    });
}

/// `mod(a, b)` is `a % b`.
fn modulo(expr: &mut Expr) {
    let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = expr else {
        return;
    };
    let [ObjectNamePart::Identifier(function)] = name.0.as_slice() else { return };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(left)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(right)),
    ] = list.args.as_slice()
    else {
        return;
    };
    if super::names::fold(function) == "mod" {
        *expr = Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(left.clone()))),
            op: BinaryOperator::Modulo,
            right: Box::new(Expr::Nested(Box::new(right.clone()))),
        }));
    }
}

/// The exponent beyond which a number is a double, for no numeric of ours holds it.
const NUMERIC_EXPONENT_MAX: u32 = 30;

/// A literal such as `1e308` is a double.
fn huge_number(expr: &mut Expr) {
    let Expr::Value(value) = expr else { return };
    let Value::Number(digits, _) = &value.value else { return };
    let huge = digits
        .split_once(['e', 'E'])
        .and_then(|(_, exponent)| exponent.parse::<i32>().ok())
        .is_some_and(|exponent| exponent.unsigned_abs() > NUMERIC_EXPONENT_MAX);
    if huge {
        *expr = Expr::Cast {
            kind: CastKind::DoubleColon,
            expr: Box::new(Expr::value(Value::SingleQuotedString(digits.clone()))),
            data_type: ast::DataType::DoublePrecision,
            array: false,
            format: None,
        };
    }
}

impl Shared {
    /// The objects of the transaction or, while rows are read after it ended, the committed ones.
    pub fn objects_or_committed(&self) -> (Arc<chronos_catalog::Objects>, CommitTs) {
        match self.objects() {
            Ok(found) => found,
            Err(_) => (Arc::clone(&self.engine.state().read().objects), CommitTs::MAX),
        }
    }

    fn refuse_read_only(&self, what: &str) -> PgResult<()> {
        let settings: &Settings = &self.settings.read();
        if settings.is_on("transaction_read_only") {
            let message = format!("cannot execute {what} in a read-only transaction");
            return Err(PgError::new("25006", message));
        }
        Ok(())
    }

    /// The next value of a sequence.
    async fn draw(&self, oid: Oid, relation: &Relation) -> PgResult<i64> {
        let value = self.engine.next_value(oid, relation).await?;
        let mut sequences = self.sequences.lock();
        sequences.0.insert(oid, value);
        sequences.1 = Some(oid);
        Ok(value)
    }

    /// `nextval`, by the sequence's name as SQL text. The sequence of an identity column needs no
    /// privilege of its own.
    pub async fn next_value(&self, name: &str, identity: bool) -> PgResult<i64> {
        let (oid, relation) = self.sequence(name)?;
        if !identity {
            self.check_sequence(oid, "Uw")?;
        }
        self.draw(oid, &relation).await
    }

    /// The sequence of that name.
    pub fn sequence(&self, name: &str) -> PgResult<(Oid, Relation)> {
        let parsed = Parser::new(&PostgreSqlDialect {})
            .try_with_sql(name)
            .and_then(|mut p| p.parse_object_name(false))
            .map_err(|_| PgError::new("42602", format!("invalid name syntax: \"{name}\"")))?;
        let name = super::names::relation(&parsed, &self.identity.database)?;
        let (objects, at) = self.objects_or_committed();
        let path = self.search_path();
        let lookup = super::names::Lookup { objects: &objects, at, path: &path };
        let (oid, object) =
            lookup.relation(&name).ok_or_else(|| super::names::no_relation(&name))?;
        match &object.relation {
            relation @ Relation::Sequence { .. } => Ok((oid, relation.clone())),
            _ => Err(PgError::new("42809", format!("\"{name}\" is not a sequence"))),
        }
    }
}
