//! Errors of every part as PostgreSQL's SQLSTATEs.
//!
//! DataFusion reports most planning errors as text; what the text says decides the code, and
//! what is not recognised is an error of the statement (42000 or 0A000), never of the server.

use std::sync::Arc;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};

use chronos_sql_ext::Error as SqlError;

use crate::engine::Error as EngineError;
use crate::error::PgError;

impl From<DataFusionError> for PgError {
    fn from(error: DataFusionError) -> Self {
        datafusion(error)
    }
}

impl From<ArrowError> for PgError {
    fn from(error: ArrowError) -> Self {
        arrow(error)
    }
}

impl From<SqlError> for PgError {
    fn from(error: SqlError) -> Self {
        sql(&error)
    }
}

impl From<EngineError> for PgError {
    fn from(error: EngineError) -> Self {
        engine(&error)
    }
}

fn sql(error: &SqlError) -> PgError {
    PgError {
        detail: error.detail().map(str::to_owned),
        hint: error.hint().map(str::to_owned),
        position: error.position(),
        ..PgError::new(error.sqlstate(), error.to_string())
    }
}

fn engine(error: &EngineError) -> PgError {
    let message = error.to_string();
    let new = |code| PgError::new(code, message.clone());
    match error {
        EngineError::Conflict { detail } => new("40001").detail(detail.clone()),
        EngineError::ReadConflict { detail } => {
            new("40001").detail(detail.clone()).hint("The transaction might succeed if retried.")
        }
        EngineError::Deadlock { table } => new("40P01").detail(format!(
            "Another transaction holds a row of \"{table}\" and waits for a row of this one."
        )),
        EngineError::LockTimeout | EngineError::LockNotAvailable { .. } => new("55P03"),
        EngineError::UniqueViolation { schema, table, constraint, detail } => PgError {
            schema: Some(schema.clone()),
            table: Some(table.clone()),
            constraint: Some(constraint.clone()),
            ..new("23505").detail(detail.clone())
        },
        EngineError::ForeignKeyViolation { schema, table, constraint, detail, .. } => PgError {
            schema: Some(schema.clone()),
            table: Some(table.clone()),
            constraint: Some(constraint.clone()),
            ..new("23503").detail(detail.clone())
        },
        EngineError::ExclusionViolation { schema, table, constraint, detail } => PgError {
            schema: Some(schema.clone()),
            table: Some(table.clone()),
            constraint: Some(constraint.clone()),
            ..new("23P01").detail(detail.clone())
        },
        EngineError::NotNullViolation { schema, table, column, detail } => PgError {
            schema: Some(schema.clone()),
            table: Some(table.clone()),
            column: Some(column.clone()),
            ..new("23502").detail(detail.clone())
        },
        EngineError::NameTaken { kind, .. } => new(match *kind {
            "schema" => "42P06",
            "role" => "42710",
            _ => "42P07",
        }),
        EngineError::NoSuchTable { .. } => new("42P01"),
        EngineError::NotASequence(_) => new("42809"),
        EngineError::SequenceExhausted { .. } => new("2200H"),
        EngineError::SequenceBounds { .. } => new("22003"),
        EngineError::InstantInFuture { .. } => new("22023"),
        EngineError::Shape { .. } => PgError::internal(message),
        EngineError::Refused(_) => new("55000"),
        EngineError::MemoryFull { cause } => new("53200")
            .detail(cause.clone())
            .hint("chronos.uploads shows what waits; commits go on when the store takes it."),
        EngineError::Unsupported(_) => new("0A000"),
        EngineError::OutcomeUnknown { .. } => new("40003"),
        EngineError::ShuttingDown => new("57P01"),
        EngineError::Catalog(inner) => catalog(inner),
        EngineError::Storage(inner) => storage(inner),
        EngineError::Arrow(inner) => arrow_ref(inner),
    }
}

fn catalog(error: &chronos_catalog::Error) -> PgError {
    use chronos_catalog::Error as E;
    let code = match error {
        E::Corrupt { .. } => "XX001",
        E::Io { .. } => "58030",
        E::InUse { .. } | E::NotEmpty { .. } => "55006",
        E::OutcomeUnknown { .. } => "40003",
        E::NotLeader { .. } => "57P03",
        E::TooLarge { .. } => "54000",
        E::ClockSkew { .. } => "58000",
        E::NoSuchObject(_) | E::RowEnded(_) => "XX000",
    };
    PgError::new(code, error.to_string())
}

fn storage(error: &chronos_storage::Error) -> PgError {
    use chronos_storage::Error as E;
    let code = match error {
        E::DataFusion(inner) => return by_reference(inner),
        E::Arrow(inner) => return arrow_ref(inner),
        E::Shared(inner) => return storage(inner),
        E::BelowHorizon { instant, horizon, .. } => {
            let (instant, horizon) = (
                chronos_sql_ext::instant::display(*instant),
                chronos_sql_ext::instant::display(*horizon),
            );
            return PgError::new("72000", format!("the history as of {instant} is not kept"))
                .hint(format!("The earliest instant that can be read is {horizon}."));
        }
        E::Corrupt { .. } | E::Parquet(_) => "XX001",
        E::Url { .. } => "22023",
        E::NotOwner { .. } => "55006",
        E::ObjectStore { .. } | E::Io { .. } => "58030",
        E::NoSuchSegment { .. } => "72000",
        E::Moved { .. } => "40001",
        E::NoSuchKey { .. } | E::Inconsistent { .. } | E::Encode(_) => "XX000",
        E::Unsupported(_) | E::NotEnforced { .. } => "0A000",
    };
    PgError::new(code, error.to_string())
}

fn datafusion(error: DataFusionError) -> PgError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            datafusion(*inner)
        }
        DataFusionError::Shared(inner) => shared(&inner),
        DataFusionError::Collection(mut errors) if !errors.is_empty() => {
            datafusion(errors.swap_remove(0))
        }
        DataFusionError::External(inner) => external(inner),
        DataFusionError::ArrowError(inner, _) => arrow(*inner),
        other => by_reference(&other),
    }
}

/// An error that several streams share cannot be taken apart by value.
fn shared(error: &Arc<DataFusionError>) -> PgError {
    by_reference(error)
}

fn by_reference(error: &DataFusionError) -> PgError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            by_reference(inner)
        }
        DataFusionError::Shared(inner) => by_reference(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => by_reference(first),
            None => PgError::internal("an error without content"),
        },
        DataFusionError::External(inner) => external_ref(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => arrow_ref(inner),
        DataFusionError::SchemaError(inner, _) => schema(inner),
        DataFusionError::SQL(inner, _) => PgError::new("42601", inner.to_string()),
        DataFusionError::Plan(text) => plan(text),
        DataFusionError::NotImplemented(text) => PgError::new("0A000", first_line(text)),
        DataFusionError::Execution(text) => execution(text),
        DataFusionError::ResourcesExhausted(text) => PgError::new("53200", first_line(text)),
        DataFusionError::Configuration(text) => PgError::new("22023", first_line(text)),
        DataFusionError::ObjectStore(inner) => {
            PgError::new("58030", format!("object store: {inner}"))
        }
        DataFusionError::ParquetError(inner) => PgError::new("XX001", inner.to_string()),
        DataFusionError::IoError(inner) => PgError::new("58030", inner.to_string()),
        DataFusionError::Internal(text) => internal(text),
        DataFusionError::ExecutionJoin(inner) => PgError::internal(inner),
        DataFusionError::Substrait(text) | DataFusionError::Ffi(text) => PgError::internal(text),
    }
}

fn external(error: Box<dyn std::error::Error + Send + Sync>) -> PgError {
    let error = match error.downcast::<PgError>() {
        Ok(error) => return *error,
        Err(error) => error,
    };
    match error.downcast::<DataFusionError>() {
        Ok(error) => datafusion(*error),
        Err(error) => external_ref(error.as_ref()),
    }
}

fn external_ref(error: &(dyn std::error::Error + Send + Sync + 'static)) -> PgError {
    if let Some(error) = error.downcast_ref::<PgError>() {
        return error.clone();
    }
    if let Some(error) = error.downcast_ref::<DataFusionError>() {
        return by_reference(error);
    }
    if let Some(error) = error.downcast_ref::<SqlError>() {
        return sql(error);
    }
    if let Some(error) = error.downcast_ref::<EngineError>() {
        return engine(error);
    }
    if let Some(error) = error.downcast_ref::<chronos_storage::Error>() {
        return storage(error);
    }
    if let Some(error) = error.downcast_ref::<chronos_catalog::Error>() {
        return catalog(error);
    }
    if let Some(error) = error.downcast_ref::<ArrowError>() {
        return arrow_ref(error);
    }
    PgError::internal(error)
}

fn arrow(error: ArrowError) -> PgError {
    match error {
        ArrowError::ExternalError(inner) => external(inner),
        other => arrow_ref(&other),
    }
}

fn arrow_ref(error: &ArrowError) -> PgError {
    match error {
        ArrowError::ExternalError(inner) => external_ref(inner.as_ref()),
        ArrowError::DivideByZero => PgError::new("22012", "division by zero"),
        ArrowError::ArithmeticOverflow(text) => overflow(text),
        ArrowError::CastError(text) | ArrowError::ParseError(text) => cast(text),
        ArrowError::ComputeError(text) | ArrowError::InvalidArgumentError(text) => execution(text),
        ArrowError::NotYetImplemented(text) => PgError::new("0A000", text.clone()),
        ArrowError::MemoryError(text) => PgError::new("53200", text.clone()),
        ArrowError::IoError(text, _) => PgError::new("58030", text.clone()),
        ArrowError::SchemaError(text) => PgError::new("42804", text.clone()),
        ArrowError::ParquetError(text) | ArrowError::IpcError(text) => {
            PgError::new("XX001", text.clone())
        }
        ArrowError::CsvError(text) | ArrowError::JsonError(text) | ArrowError::AvroError(text) => {
            PgError::new("22P02", text.clone())
        }
        ArrowError::CDataInterface(text) => PgError::internal(text),
        ArrowError::DictionaryKeyOverflowError
        | ArrowError::RunEndIndexOverflowError
        | ArrowError::OffsetOverflowError(_) => PgError::new("54000", error.to_string()),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn schema(error: &SchemaError) -> PgError {
    match error {
        SchemaError::AmbiguousReference { field } => {
            PgError::new("42702", format!("column reference \"{}\" is ambiguous", field.name))
        }
        SchemaError::DuplicateQualifiedField { qualifier, .. } => PgError::new(
            "42712",
            format!("table name \"{}\" specified more than once", qualifier.table()),
        ),
        SchemaError::DuplicateUnqualifiedField { name } => {
            PgError::new("42701", format!("column \"{name}\" specified more than once"))
        }
        SchemaError::FieldNotFound { field, valid_fields } => {
            let Some(relation) = &field.relation else {
                return PgError::new("42703", format!("column \"{}\" does not exist", field.name));
            };
            let known = valid_fields
                .iter()
                .any(|f| f.relation.as_ref().is_some_and(|r| r.table() == relation.table()));
            if known || valid_fields.is_empty() {
                let message = format!("column {}.{} does not exist", relation.table(), field.name);
                PgError::new("42703", message)
            } else {
                let message =
                    format!("missing FROM-clause entry for table \"{}\"", relation.table());
                PgError::new("42P01", message)
            }
        }
    }
}

/// The text between the first pair of a quote character.
fn quoted(text: &str, quote: char) -> Option<&str> {
    let start = text.find(quote)? + quote.len_utf8();
    let end = text[start..].find(quote)? + start;
    Some(&text[start..end])
}

fn plan(text: &str) -> PgError {
    let line = first_line(text);
    let lower = line.to_ascii_lowercase();
    if lower.contains("table '") && lower.contains("not found") {
        let name = quoted(&line, '\'').unwrap_or_default();
        let mut parts = name.rsplitn(3, '.');
        let table = parts.next().unwrap_or(name);
        let relation = match parts.next() {
            Some("public") | None => table.to_owned(),
            Some(schema) => format!("{schema}.{table}"),
        };
        return PgError::new("42P01", format!("relation \"{relation}\" does not exist"));
    }
    if lower.starts_with("invalid function")
        || lower.contains("no function matches")
        || lower.contains("table function '")
    {
        let name = quoted(&line, '\'').unwrap_or_default();
        let signature = if name.contains('(') { name.to_owned() } else { format!("{name}()") };
        return PgError::new("42883", format!("function {signature} does not exist")).hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        );
    }
    if lower.contains("function") && lower.contains("failed to match any signature")
        || lower.contains("does not support") && lower.contains("function '")
        || lower.contains("expects") && lower.contains("arguments")
        || lower.contains("coercion from") && lower.contains("to the signature")
    {
        return PgError::new("42883", line);
    }
    if lower.contains("cannot coerce arithmetic")
        || lower.contains("cannot infer common argument type")
        || lower.contains("no common type")
        || lower.contains("cannot be applied to")
    {
        return PgError::new("42883", line);
    }
    if lower.contains("must appear in the group by")
        || lower.contains("must be in group by")
        || lower.contains("could not be resolved from available columns")
        || lower.contains("aggregate functions are not allowed")
        || lower.contains("cannot be nested")
    {
        return PgError::new("42803", line);
    }
    if lower.contains("different number of columns") {
        let message = "each UNION, INTERSECT or EXCEPT query must have the same number of columns";
        return PgError::new("42601", message);
    }
    if let Some((_, rest)) = line.split_once("Order by column out of bounds, specified: ") {
        let position = rest.split(',').next().unwrap_or_default();
        let message = format!("ORDER BY position {position} is not in select list");
        return PgError::new("42P10", message);
    }
    if lower.contains("distinct on expressions must match initial order by") {
        return PgError::new("42P10", line);
    }
    if lower.contains("cannot find column with position") {
        return PgError::new("42P10", "ORDER BY position is not in select list");
    }
    if lower.contains("specified more than once") && lower.contains("with query name") {
        return PgError::new("42712", line);
    }
    if lower.contains("projections require unique expression names") {
        return PgError::new("42701", line);
    }
    if lower.contains("select * with no tables") {
        return PgError::new("42601", "SELECT * with no tables specified is not valid");
    }
    if lower.contains("only one column") || lower.contains("should only return one column") {
        return PgError::new("42601", "subquery must return only one column");
    }
    if lower.contains("unsupported") || lower.contains("not supported") {
        return PgError::new("0A000", line);
    }
    if lower.contains("type") && (lower.contains("cannot") || lower.contains("mismatch")) {
        return PgError::new("42804", line);
    }
    if lower.contains("placeholder") {
        return PgError::new("42P02", line);
    }
    PgError::new("42000", line)
}

fn execution(text: &str) -> PgError {
    let line = first_line(text);
    let lower = line.to_ascii_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        PgError::new("22012", "division by zero")
    } else if lower.contains("overflow") || lower.contains("out of range") {
        overflow(&line)
    } else if lower.contains("returned more than one row")
        || lower.contains("more than one row")
        || lower.contains("at most one row")
    {
        PgError::new("21000", "more than one row returned by a subquery used as an expression")
    } else if lower.contains("cast") || lower.contains("parse") {
        cast(&line)
    } else if lower.contains("regular expression") || lower.contains("regex") {
        PgError::new("2201B", line)
    } else {
        PgError::new("22000", line)
    }
}

fn overflow(text: &str) -> PgError {
    let lower = text.to_ascii_lowercase();
    let what = if lower.contains("int64") || lower.contains("i64") {
        "bigint out of range"
    } else if lower.contains("int32") || lower.contains("i32") {
        "integer out of range"
    } else if lower.contains("int16") || lower.contains("i16") {
        "smallint out of range"
    } else if lower.contains("decimal") {
        "numeric field overflow"
    } else {
        "value out of range"
    };
    PgError::new("22003", what)
}

/// PostgreSQL's name of the type that an Arrow cast failed to reach.
fn type_name(arrow: &str) -> &'static str {
    match arrow {
        t if t.starts_with("Int64") => "bigint",
        t if t.starts_with("Int32") => "integer",
        t if t.starts_with("Int16") => "smallint",
        t if t.starts_with("Float64") => "double precision",
        t if t.starts_with("Float32") => "real",
        t if t.starts_with("Boolean") => "boolean",
        t if t.starts_with("Date") => "date",
        t if t.starts_with("Time3") || t.starts_with("Time6") => "time",
        t if t.starts_with("Timestamp") => "timestamp",
        t if t.starts_with("Decimal") => "numeric",
        t if t.starts_with("Interval") => "interval",
        _ => "the type",
    }
}

fn cast(text: &str) -> PgError {
    let line = first_line(text);
    let lower = line.to_ascii_lowercase();
    if lower.contains("overflow")
        || lower.contains("can't cast value")
        || lower.contains("out of range")
    {
        return overflow(&line);
    }
    // "Cannot cast string 'x' to value of Int32 type"
    if let Some(value) = quoted(&line, '\'')
        && let Some(ty) = line.split("value of ").nth(1)
    {
        let ty = type_name(ty);
        let code = if matches!(ty, "date" | "time" | "timestamp" | "interval") {
            "22007"
        } else {
            "22P02"
        };
        return PgError::new(code, format!("invalid input syntax for type {ty}: \"{value}\""));
    }
    if lower.contains("timestamp") || lower.contains("date") || lower.contains("interval") {
        return PgError::new("22007", line);
    }
    PgError::new("22P02", line)
}

fn internal(text: &str) -> PgError {
    let line = first_line(text);
    tracing::warn!(error = %line, "DataFusion reports an internal error");
    PgError::internal(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_inside_others_keeps_its_code() {
        let inner = PgError::new("22023", "in the future");
        let error = DataFusionError::External(Box::new(inner.clone())).context("a").context("b");
        assert_eq!(PgError::from(error), inner);
        let arrow =
            ArrowError::ExternalError(Box::new(DataFusionError::External(Box::new(inner.clone()))));
        assert_eq!(PgError::from(DataFusionError::from(arrow)), inner);
    }

    #[test]
    fn a_missing_table_is_42p01_with_its_name() {
        let error =
            PgError::from(DataFusionError::Plan("table 'chronos.public.x' not found".into()));
        assert_eq!(
            (error.code, error.message.as_str()),
            ("42P01", "relation \"x\" does not exist")
        );
    }

    #[test]
    fn a_failed_cast_of_text_is_22p02() {
        let text = "Cannot cast string 'abc' to value of Int32 type";
        let error = PgError::from(ArrowError::CastError(text.into()));
        assert_eq!(error.code, "22P02");
        assert_eq!(error.message, "invalid input syntax for type integer: \"abc\"");
    }

    #[test]
    fn division_by_zero_is_22012() {
        assert_eq!(PgError::from(ArrowError::DivideByZero).code, "22012");
    }
}
