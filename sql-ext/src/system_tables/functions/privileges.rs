//! `has_table_privilege` and its like, from owners, superusers and access lists.

use chronos_catalog::{ColumnId, Object, Oid, Relation};
use datafusion::common::{DataFusionError, Result};

use super::function::{Definition, Nulls, Returns, oid, text};
use crate::error::Error;
use crate::privileges::{Rights, is_member, is_superuser, letter};
use crate::system_tables::catalog::SystemCatalog;
use crate::system_tables::names::RegKind;
use crate::system_tables::rows::Cell;

type Body = fn(&SystemCatalog, &[Cell]) -> Result<Cell>;

/// A function with or without a leading role.
const fn f(name: &'static str, args: usize, body: Body) -> Definition {
    Definition {
        name,
        min_args: args,
        max_args: args + 1,
        returns: Returns::Bool,
        nulls: Nulls::Strict,
        body,
    }
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("has_table_privilege", 2, relation_privilege),
    f("has_sequence_privilege", 2, relation_privilege),
    f("has_any_column_privilege", 2, |c, args| {
        let (role, rest) = role_and_rest(c, args, 2)?;
        relation_privilege_of(c, role, &rest[0], &rest[1], |rights, oid, object, letter| {
            rights.may_any_column(oid, object, letter)
        })
    }),
    f("has_column_privilege", 3, |c, args| {
        let (role, rest) = role_and_rest(c, args, 3)?;
        let column = column(c, &rest[0], &rest[1])?;
        relation_privilege_of(c, role, &rest[0], &rest[2], |rights, oid, object, letter| {
            rights.may_column(oid, object, column, letter)
        })
    }),
    f("has_schema_privilege", 2, |c, args| {
        let (role, rest) = role_and_rest(c, args, 2)?;
        let schema = reg(c, RegKind::Namespace, &rest[0])?;
        let rights = Rights::of(&c.objects, c.at, Some(Oid(role)));
        let object = c.objects.get(Oid(schema), c.at);
        any(&rest[1], |letter, option| match object {
            Some(object) => rights.may(Oid(schema), object, letter, option),
            None => rights.superuser() || (letter == 'U' && !option),
        })
    }),
    f("has_database_privilege", 2, |c, args| {
        let (role, rest) = role_and_rest(c, args, 2)?;
        let rights = Rights::of(&c.objects, c.at, Some(Oid(role)));
        any(&rest[1], |letter, option| {
            rights.superuser() || (!option && matches!(letter, 'c' | 'T'))
        })
    }),
    f("has_function_privilege", 2, |_, _| Ok(true.into())),
    f("has_type_privilege", 2, |_, _| Ok(true.into())),
    f("has_language_privilege", 2, |_, _| Ok(true.into())),
    f("has_tablespace_privilege", 2, |c, args| {
        let (role, _) = role_and_rest(c, args, 2)?;
        Ok(is_superuser(&c.objects, c.at, Oid(role)).into())
    }),
    f("pg_has_role", 2, |c, args| {
        let (role, rest) = role_and_rest(c, args, 2)?;
        let group = reg(c, RegKind::Role, &rest[0])?;
        let (role, group) = (Oid(role), Oid(group));
        let rights = Rights::of(&c.objects, c.at, Some(role));
        // USAGE is what it has by itself, MEMBER what it can have by SET ROLE.
        let usage = text(&rest[1]).trim().to_uppercase().starts_with("USAGE");
        Ok(match usage {
            true => rights.has_role(group),
            false => rights.superuser() || is_member(&c.objects, c.at, role, group),
        }
        .into())
    }),
];

fn relation_privilege(c: &SystemCatalog, args: &[Cell]) -> Result<Cell> {
    let (role, rest) = role_and_rest(c, args, 2)?;
    relation_privilege_of(c, role, &rest[0], &rest[1], |rights, oid, object, letter| {
        rights.may(oid, object, letter, false)
    })
}

/// Whether a role may use a relation so; `may` is not asked for what can be given on.
fn relation_privilege_of(
    c: &SystemCatalog,
    role: u32,
    relation: &Cell,
    wanted: &Cell,
    may: impl Fn(&Rights<'_>, Oid, &Object, char) -> bool,
) -> Result<Cell> {
    let relation = reg(c, RegKind::Class, relation)?;
    let rights = Rights::of(&c.objects, c.at, Some(Oid(role)));
    if relation < Oid::FIRST_USER.0 {
        // The system's own tables.
        return any(wanted, |letter, _| rights.superuser() || letter == 'r');
    }
    let Some(object) = c.objects.get(Oid(relation), c.at) else { return Ok(Cell::Null) };
    any(wanted, |letter, option| match option {
        true => rights.may(Oid(relation), object, letter, true),
        false => may(&rights, Oid(relation), object, letter),
    })
}

/// The column that a cell names or numbers.
fn column(c: &SystemCatalog, relation: &Cell, column: &Cell) -> Result<ColumnId> {
    let relation = reg(c, RegKind::Class, relation)?;
    let Cell::Text(name) = column else { return Ok(ColumnId(oid(column))) };
    let object = c.objects.get(Oid(relation), c.at);
    let found = object.and_then(|object| match &object.relation {
        Relation::Table(def) => def.column_named(name).map(|column| column.id),
        Relation::View { columns, .. } => {
            let place = columns.iter().position(|(column, _)| column == name)?;
            u32::try_from(place + 1).ok().map(ColumnId)
        }
        _ => None,
    });
    match (found, object) {
        (Some(column), _) => Ok(column),
        (None, None) => Ok(ColumnId(0)),
        (None, Some(object)) => {
            let message =
                format!("column \"{name}\" of relation \"{}\" does not exist", object.name);
            Err(Error::postgres("42703", message).into())
        }
    }
}

/// Splits off the role where one is given; it is the current one otherwise.
fn role_and_rest<'a>(
    c: &SystemCatalog,
    args: &'a [Cell],
    count: usize,
) -> Result<(u32, &'a [Cell])> {
    if args.len() > count {
        return Ok((reg(c, RegKind::Role, &args[0])?, &args[1..]));
    }
    Ok((c.role_oid(&c.session.user()).unwrap_or(0), args))
}

/// The identifier in a cell, which may hold a name.
pub(super) fn reg(c: &SystemCatalog, kind: RegKind, cell: &Cell) -> Result<u32> {
    match cell {
        Cell::Text(name) => c.reg_in(kind, name).ok_or_else(|| {
            DataFusionError::from(Error::postgres(
                kind.sqlstate(),
                format!("{kind} \"{name}\" does not exist"),
            ))
        }),
        other => Ok(oid(other)),
    }
}

/// Whether any holds of the privileges listed, by commas, with or without WITH GRANT OPTION.
fn any(wanted: &Cell, may: impl Fn(char, bool) -> bool) -> Result<Cell> {
    let mut found = false;
    for word in text(wanted).split(',') {
        let upper = word.trim().to_uppercase();
        let (name, option) = match upper.strip_suffix(" WITH GRANT OPTION") {
            Some(name) => (name, true),
            None => (upper.as_str(), false),
        };
        let Some(letter) = letter(name) else {
            let message = format!("unrecognized privilege type: \"{}\"", word.trim());
            return Err(Error::postgres("22023", message).into());
        };
        found |= may(letter, option);
    }
    Ok(found.into())
}
