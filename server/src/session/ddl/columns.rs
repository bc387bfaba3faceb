//! Column and constraint definitions.

use chronos_catalog::{Column, ColumnId, ConstraintKind, SqlType};
use datafusion::sql::sqlparser::ast::{
    CheckConstraint, ColumnDef, ColumnOption, ConstraintCharacteristics, DeferrableInitial, Expr,
    ForeignKeyConstraint, GeneratedAs, GeneratedExpressionMode, Ident, IndexColumn,
    SequenceOptions, TableConstraint, Value,
};

use crate::error::{PgError, PgResult};
use crate::session::names::fold;

/// A constraint before it has an identifier and, perhaps, a name.
pub(super) struct NewConstraint {
    pub name: Option<String>,
    pub kind: NewKind,
    /// NOT VALID
    pub not_valid: bool,
}

impl NewConstraint {
    pub fn new(name: Option<String>, kind: NewKind) -> Self {
        NewConstraint { name, kind, not_valid: false }
    }
}

/// What a new constraint demands, by columns' names.
#[expect(clippy::large_enum_variant, reason = "a statement has few of them")]
pub(super) enum NewKind {
    PrimaryKey(Vec<String>),
    Unique(Vec<String>),
    /// The expression, and the column that it was written at.
    Check(Expr, Option<String>),
    ForeignKey(Box<ForeignKeyConstraint>),
    /// PERIOD FOR name (start, end)
    Period(String, String, String),
    /// PRIMARY KEY (true) or UNIQUE (columns, period WITHOUT OVERLAPS)
    WithoutOverlaps(bool, Vec<String>, String),
}

/// A sequence that a column draws from.
pub(super) struct Serial {
    pub ty: SqlType,
    /// `Some(true)` for GENERATED ALWAYS AS IDENTITY, `Some(false)` for BY DEFAULT, `None` for
    /// serial.
    pub identity: Option<bool>,
    pub options: Vec<datafusion::sql::sqlparser::ast::SequenceOptions>,
    /// The name that it must have.
    pub name: Option<String>,
}

/// A column definition taken apart.
pub(super) struct NewColumn {
    pub column: Column,
    pub default: Option<Expr>,
    /// GENERATED ALWAYS AS (…) STORED
    pub generated: Option<Expr>,
    pub serial: Option<Serial>,
    pub constraints: Vec<NewConstraint>,
}

impl NewColumn {
    /// One without a default or constraint.
    pub fn plain(column: Column) -> Self {
        NewColumn { column, default: None, generated: None, serial: None, constraints: Vec::new() }
    }
}

/// The names that every table has already.
fn is_system_name(name: &str) -> bool {
    chronos_sql_ext::is_hidden(name)
        || matches!(name, "tableoid" | "xmin" | "cmin" | "xmax" | "cmax" | "ctid")
}

/// Takes a column definition apart.
///
/// # Errors
/// 42701 for a reserved name, 42704 for an unknown type, 42601 for options that contradict each
/// other, 0A000 for what is not there.
pub(super) fn column(def: &ColumnDef, id: u32, table: &str) -> PgResult<NewColumn> {
    let name = fold(&def.name);
    if is_system_name(&name) {
        let message = format!("column name \"{name}\" conflicts with a system column name");
        return Err(PgError::new("42701", message));
    }
    let ty = chronos_sql_ext::sql_type(&def.data_type)?;
    let mut serial = chronos_sql_ext::is_serial(&def.data_type).then(|| Serial {
        ty: ty.clone(),
        identity: None,
        options: Vec::new(),
        name: None,
    });
    let mut new = NewColumn::plain(Column {
        id: ColumnId(id),
        name: name.clone(),
        ty: ty.clone(),
        not_null: serial.is_some(),
        default: None,
        generated: None,
        identity_always: None,
        missing: None,
    });
    for option in &def.options {
        let given = option.name.as_ref().map(fold);
        match &option.option {
            ColumnOption::Null if new.column.not_null => {
                let message =
                    format!("conflicting NULL/NOT NULL declarations for column \"{name}\"");
                return Err(PgError::new("42601", message));
            }
            ColumnOption::Null => {}
            ColumnOption::NotNull => new.column.not_null = true,
            ColumnOption::Default(_) if new.default.is_some() || serial.is_some() => {
                let message = format!("multiple default values specified for column \"{name}\"");
                return Err(PgError::new("42601", message));
            }
            ColumnOption::Default(expr) => new.default = Some(expr.clone()),
            ColumnOption::PrimaryKey(key) => {
                refuse_deferrable(key.characteristics.as_ref())?;
                new.column.not_null = true;
                let kind = NewKind::PrimaryKey(vec![name.clone()]);
                new.constraints.push(NewConstraint::new(given, kind));
            }
            ColumnOption::Unique(key) => {
                refuse_deferrable(key.characteristics.as_ref())?;
                let kind = NewKind::Unique(vec![name.clone()]);
                new.constraints.push(NewConstraint::new(given, kind));
            }
            ColumnOption::Check(check) => {
                let kind = NewKind::Check((*check.expr).clone(), Some(name.clone()));
                new.constraints.push(NewConstraint::new(given, kind));
            }
            ColumnOption::ForeignKey(key) => {
                let mut key = key.clone();
                key.columns = vec![def.name.clone()];
                let kind = NewKind::ForeignKey(Box::new(key));
                new.constraints.push(NewConstraint::new(given, kind));
            }
            ColumnOption::Generated {
                generation_expr: Some(expr),
                generation_expr_mode: mode,
                ..
            } => {
                if !matches!(mode, Some(GeneratedExpressionMode::Stored)) {
                    return Err(PgError::unsupported("a generated column that is not STORED"));
                }
                new.generated = Some(expr.clone());
            }
            ColumnOption::Generated { generated_as, sequence_options, .. } => {
                if !matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8) {
                    let message = "identity column type must be smallint, integer, or bigint";
                    return Err(PgError::new("22023", message));
                }
                if serial.as_ref().is_some_and(|s| s.identity.is_some()) {
                    let message = format!("multiple identity specifications for column \"{name}\"");
                    return Err(PgError::new("42601", message));
                }
                serial = Some(identity(&ty, generated_as, sequence_options.as_deref())?);
                new.column.not_null = true;
            }
            ColumnOption::Collation(_) => return Err(PgError::unsupported("COLLATE")),
            other => return Err(PgError::unsupported(format!("the column option {other}"))),
        }
    }
    let has_default = new.default.is_some() || serial.is_some();
    if new.generated.is_some() && has_default {
        let what = if new.default.is_some() { "default" } else { "identity" };
        let message = format!(
            "both {what} and generation expression specified for column \"{name}\" of table \"{table}\""
        );
        return Err(PgError::new("42601", message));
    }
    new.column.identity_always = serial.as_ref().and_then(|s| s.identity);
    new.serial = serial;
    Ok(new)
}

/// The sequence of an identity column.
pub(super) fn identity(
    ty: &SqlType,
    generated_as: &GeneratedAs,
    options: Option<&[SequenceOptions]>,
) -> PgResult<Serial> {
    let options = options.unwrap_or_default().to_vec();
    // The parser puts SEQUENCE NAME where CACHE has its number.
    let name = options.iter().find_map(|o| match o {
        SequenceOptions::Cache(Expr::Value(v)) => match &v.value {
            Value::Number(n, _) => {
                n.to_string().strip_prefix(chronos_sql_ext::SEQUENCE_NAME).map(ToOwned::to_owned)
            }
            _ => None,
        },
        _ => None,
    });
    let name = match name {
        None => None,
        Some(name) => {
            let name = crate::session::names::parse(&name)?;
            crate::session::names::parts(&name)?.pop()
        }
    };
    let identity = Some(matches!(generated_as, GeneratedAs::Always));
    Ok(Serial { ty: ty.clone(), identity, options, name })
}

/// A table constraint.
pub(super) fn table_constraint(constraint: &TableConstraint) -> PgResult<NewConstraint> {
    let (name, kind) = match constraint {
        TableConstraint::PrimaryKey(key) => {
            refuse_deferrable(key.characteristics.as_ref())?;
            (&key.name, key_of(true, index_columns(&key.columns)?)?)
        }
        TableConstraint::Unique(key) => {
            refuse_deferrable(key.characteristics.as_ref())?;
            (&key.name, key_of(false, index_columns(&key.columns)?)?)
        }
        TableConstraint::Check(check) if period_of(check.name.as_ref()).is_some() => {
            (&None, period(check)?)
        }
        TableConstraint::Check(check) => (&check.name, NewKind::Check((*check.expr).clone(), None)),
        TableConstraint::ForeignKey(key) => (&key.name, NewKind::ForeignKey(Box::new(key.clone()))),
        other => return Err(PgError::unsupported(format!("the constraint {other}"))),
    };
    Ok(NewConstraint::new(name.as_ref().map(fold), kind))
}

/// The period that a constraint of that name stands for.
pub(super) fn period_of(name: Option<&Ident>) -> Option<&str> {
    name?.value.strip_prefix(chronos_sql_ext::PERIOD)
}

/// The period that a CHECK of the parser's making stands for.
fn period(check: &CheckConstraint) -> PgResult<NewKind> {
    match (period_of(check.name.as_ref()), check.expr.as_ref()) {
        (Some(name), Expr::BinaryOp { left, right, .. }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Identifier(start), Expr::Identifier(end)) => {
                Ok(NewKind::Period(name.to_owned(), fold(start), fold(end)))
            }
            _ => Err(PgError::new("42601", "PERIOD FOR needs the names of two columns")),
        },
        _ => Err(PgError::new("42601", "PERIOD FOR needs the names of two columns")),
    }
}

/// A key, with the period that its last column may stand for.
fn key_of(primary: bool, mut columns: Vec<String>) -> PgResult<NewKind> {
    let is_period = |name: &String| name.starts_with(chronos_sql_ext::WITHOUT_OVERLAPS);
    if let Some(last) = columns.pop_if(|name| is_period(name)) {
        if columns.is_empty() {
            let message = "constraint using WITHOUT OVERLAPS needs at least two columns";
            return Err(PgError::new("42601", message));
        }
        let period = last[chronos_sql_ext::WITHOUT_OVERLAPS.len()..].to_owned();
        if columns.iter().any(is_period) {
            return Err(PgError::new("42601", "WITHOUT OVERLAPS must come last in a key"));
        }
        return Ok(NewKind::WithoutOverlaps(primary, columns, period));
    }
    if columns.iter().any(is_period) {
        return Err(PgError::new("42601", "WITHOUT OVERLAPS must come last in a key"));
    }
    Ok(if primary { NewKind::PrimaryKey(columns) } else { NewKind::Unique(columns) })
}

/// Keys are checked row by row.
fn refuse_deferrable(given: Option<&ConstraintCharacteristics>) -> PgResult<()> {
    let waits = given.is_some_and(|c| {
        c.deferrable == Some(true) || matches!(c.initially, Some(DeferrableInitial::Deferred))
    });
    if waits { Err(PgError::unsupported("a deferrable unique key")) } else { Ok(()) }
}

/// The names of indexed columns; expressions are refused.
pub(super) fn index_columns(columns: &[IndexColumn]) -> PgResult<Vec<String>> {
    columns
        .iter()
        .map(|c| match &c.column.expr {
            Expr::Identifier(ident) => Ok(fold(ident)),
            other => Err(PgError::unsupported(format!("an index on the expression {other}"))),
        })
        .collect()
}

/// The numbers of columns by name.
///
/// # Errors
/// 42703, and 42701 for a column given twice.
pub(super) fn column_ids(columns: &[Column], names: &[String]) -> PgResult<Vec<ColumnId>> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let column = columns.iter().find(|c| c.name == *name).ok_or_else(|| {
            PgError::new("42703", format!("column \"{name}\" named in key does not exist"))
        })?;
        if ids.contains(&column.id) {
            let message = format!("column \"{name}\" appears twice in unique constraint");
            return Err(PgError::new("42701", message));
        }
        ids.push(column.id);
    }
    Ok(ids)
}

/// The name that PostgreSQL gives to a constraint without one.
pub(super) fn default_name(table: &str, kind: &NewKind) -> String {
    match kind {
        NewKind::PrimaryKey(_) => format!("{table}_pkey"),
        NewKind::Unique(columns) => format!("{table}_{}_key", columns.join("_")),
        NewKind::WithoutOverlaps(true, ..) => format!("{table}_pkey"),
        NewKind::WithoutOverlaps(false, columns, period) => {
            format!("{table}_{}_{period}_key", columns.join("_"))
        }
        NewKind::Period(period, ..) => format!("{table}_{period}_check"),
        NewKind::ForeignKey(key) => {
            let columns: Vec<String> = key.columns.iter().map(fold).collect();
            format!("{table}_{}_fkey", columns.join("_"))
        }
        NewKind::Check(_, Some(column)) => format!("{table}_{column}_check"),
        NewKind::Check(expr, None) => match first_column(expr) {
            Some(column) => format!("{table}_{column}_check"),
            None => format!("{table}_check"),
        },
    }
}

/// The only column that an expression names.
fn first_column(expr: &Expr) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    let _ = datafusion::sql::sqlparser::ast::visit_expressions(expr, |e| {
        if let Expr::Identifier(ident) = e {
            let name = fold(ident);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    if names.len() == 1 { names.pop() } else { None }
}

/// The kind with the columns' numbers.
pub(super) fn resolve_kind(kind: &NewKind, columns: &[Column]) -> PgResult<ConstraintKind> {
    Ok(match kind {
        NewKind::PrimaryKey(names) => ConstraintKind::PrimaryKey(column_ids(columns, names)?),
        NewKind::Unique(names) => ConstraintKind::Unique(column_ids(columns, names)?),
        NewKind::Check(expr, _) => ConstraintKind::Check(expr.to_string()),
        NewKind::WithoutOverlaps(primary, names, period) => ConstraintKind::WithoutOverlaps {
            primary: *primary,
            columns: column_ids(columns, names)?,
            period: period.clone(),
        },
        NewKind::ForeignKey(_) => return Err(PgError::internal("a foreign key without its table")),
        NewKind::Period(..) => return Err(PgError::internal("a period is no constraint")),
    })
}
