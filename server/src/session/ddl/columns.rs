//! Column and constraint definitions.

use chronos_catalog::{Column, ColumnId, ConstraintKind, SqlType};
use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, Expr, GeneratedAs, IndexColumn, TableConstraint,
};

use crate::error::{PgError, PgResult};
use crate::session::names::fold;

/// A constraint before it has an identifier and, perhaps, a name.
pub(super) struct NewConstraint {
    pub name: Option<String>,
    pub kind: NewKind,
}

/// What a new constraint demands, by columns' names.
#[expect(clippy::large_enum_variant, reason = "a statement has few of them")]
pub(super) enum NewKind {
    PrimaryKey(Vec<String>),
    Unique(Vec<String>),
    /// The expression, and the column that it was written at.
    Check(Expr, Option<String>),
}

/// A sequence that a column draws from.
pub(super) struct Serial {
    pub ty: SqlType,
    /// `Some(true)` for GENERATED ALWAYS AS IDENTITY, `Some(false)` for BY DEFAULT, `None` for
    /// serial.
    pub identity: Option<bool>,
    pub options: Vec<datafusion::sql::sqlparser::ast::SequenceOptions>,
}

/// A column definition taken apart.
pub(super) struct NewColumn {
    pub column: Column,
    pub default: Option<Expr>,
    pub serial: Option<Serial>,
    pub constraints: Vec<NewConstraint>,
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
pub(super) fn column(def: &ColumnDef, id: u32) -> PgResult<NewColumn> {
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
    });
    let mut new = NewColumn {
        column: Column {
            id: ColumnId(id),
            name: name.clone(),
            ty: ty.clone(),
            not_null: serial.is_some(),
            default: None,
            generated: None,
            identity_always: None,
            missing: None,
        },
        default: None,
        serial: None,
        constraints: Vec::new(),
    };
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
            ColumnOption::PrimaryKey(_) => {
                new.column.not_null = true;
                let kind = NewKind::PrimaryKey(vec![name.clone()]);
                new.constraints.push(NewConstraint { name: given, kind });
            }
            ColumnOption::Unique(_) => {
                let kind = NewKind::Unique(vec![name.clone()]);
                new.constraints.push(NewConstraint { name: given, kind });
            }
            ColumnOption::Check(check) => {
                let kind = NewKind::Check((*check.expr).clone(), Some(name.clone()));
                new.constraints.push(NewConstraint { name: given, kind });
            }
            ColumnOption::ForeignKey(_) => {
                return Err(PgError::unsupported("a foreign key"));
            }
            ColumnOption::Generated { generation_expr: Some(_), .. } => {
                return Err(PgError::unsupported("a generated column"));
            }
            ColumnOption::Generated { generated_as, sequence_options, .. } => {
                if !matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8) {
                    let message = "identity column type must be smallint, integer, or bigint";
                    return Err(PgError::new("22023", message));
                }
                serial = Some(Serial {
                    ty: ty.clone(),
                    identity: Some(matches!(generated_as, GeneratedAs::Always)),
                    options: sequence_options.clone().unwrap_or_default(),
                });
                new.column.not_null = true;
            }
            ColumnOption::Collation(_) => return Err(PgError::unsupported("COLLATE")),
            other => return Err(PgError::unsupported(format!("the column option {other}"))),
        }
    }
    new.column.identity_always = serial.as_ref().and_then(|s| s.identity);
    new.serial = serial;
    Ok(new)
}

/// A table constraint.
pub(super) fn table_constraint(constraint: &TableConstraint) -> PgResult<NewConstraint> {
    Ok(match constraint {
        TableConstraint::PrimaryKey(key) => NewConstraint {
            name: key.name.as_ref().map(fold),
            kind: NewKind::PrimaryKey(index_columns(&key.columns)?),
        },
        TableConstraint::Unique(key) => NewConstraint {
            name: key.name.as_ref().map(fold),
            kind: NewKind::Unique(index_columns(&key.columns)?),
        },
        TableConstraint::Check(check) => NewConstraint {
            name: check.name.as_ref().map(fold),
            kind: NewKind::Check((*check.expr).clone(), None),
        },
        TableConstraint::ForeignKey(_) => return Err(PgError::unsupported("a foreign key")),
        other => return Err(PgError::unsupported(format!("the constraint {other}"))),
    })
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
    })
}
