//! `has_table_privilege` and its like, from owners, superusers and access lists.

use chronos_catalog::{Object, Oid, Relation};
use datafusion::common::{DataFusionError, Result};

use super::function::{Definition, Nulls, Returns, oid, text};
use crate::error::Error;
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
    f("has_any_column_privilege", 2, relation_privilege),
    f("has_column_privilege", 3, |c, args| {
        // Privileges are those of the table.
        let skip = args.len() - 3;
        let mut table: Vec<Cell> = args[..skip + 1].to_vec();
        table.push(args[args.len() - 1].clone());
        relation_privilege(c, &table)
    }),
    f("has_schema_privilege", 2, |c, args| {
        let (role, rest) = role_and_rest(c, args, 2)?;
        let schema = reg(c, RegKind::Namespace, &rest[0])?;
        let system = schema < Oid::FIRST_USER.0 && schema != Oid::PUBLIC.0;
        privileges(c, role, c.objects.get(Oid(schema), c.at), &rest[1], |kind| {
            (kind == 'U' && (system || schema == Oid::PUBLIC.0)).then_some(true)
        })
    }),
    f("has_database_privilege", 2, |c, args| {
        let (role, rest) = role_and_rest(c, args, 2)?;
        privileges(c, role, None, &rest[1], |kind| Some(matches!(kind, 'c' | 'T')))
    }),
    f("has_function_privilege", 2, |_, _| Ok(true.into())),
    f("has_type_privilege", 2, |_, _| Ok(true.into())),
    f("has_language_privilege", 2, |_, _| Ok(true.into())),
    f("has_tablespace_privilege", 2, |c, args| {
        let (role, _) = role_and_rest(c, args, 2)?;
        Ok(is_superuser(c, role).into())
    }),
    f("pg_has_role", 2, |c, args| {
        let (role, rest) = role_and_rest(c, args, 2)?;
        let group = reg(c, RegKind::Role, &rest[0])?;
        Ok((is_superuser(c, role) || is_member(c, role, group)).into())
    }),
];

fn relation_privilege(c: &SystemCatalog, args: &[Cell]) -> Result<Cell> {
    let (role, rest) = role_and_rest(c, args, 2)?;
    let relation = reg(c, RegKind::Class, &rest[0])?;
    let system = relation < Oid::FIRST_USER.0;
    if !system && c.relation(relation).is_none() {
        return Ok(Cell::Null);
    }
    privileges(c, role, c.objects.get(Oid(relation), c.at), &rest[1], |kind| {
        (system && kind == 'r').then_some(true)
    })
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

fn is_superuser(c: &SystemCatalog, role: u32) -> bool {
    c.objects
        .get(Oid(role), c.at)
        .is_some_and(|o| matches!(o.relation, Relation::Role { superuser: true, .. }))
}

/// Whether a role is another one or, directly or not, a member of it.
fn is_member(c: &SystemCatalog, role: u32, group: u32) -> bool {
    let mut seen = vec![role];
    let mut next = 0;
    while let Some(&one) = seen.get(next) {
        if one == group {
            return true;
        }
        next += 1;
        if let Some(o) = c.objects.get(Oid(one), c.at)
            && let Relation::Role { member_of, .. } = &o.relation
        {
            for member in member_of {
                if !seen.contains(&member.0) {
                    seen.push(member.0);
                }
            }
        }
    }
    false
}

/// Whether the role holds any of the privileges listed, by commas, in the last argument.
fn privileges(
    c: &SystemCatalog,
    role: u32,
    object: Option<&std::sync::Arc<Object>>,
    wanted: &Cell,
    by_default: impl Fn(char) -> Option<bool>,
) -> Result<Cell> {
    let superuser = is_superuser(c, role);
    let mut any = false;
    for word in text(wanted).split(',') {
        let upper = word.trim().to_uppercase();
        let (name, with_grant) = match upper.strip_suffix(" WITH GRANT OPTION") {
            Some(name) => (name, true),
            None => (upper.as_str(), false),
        };
        let Some(letter) = letter(name) else {
            let message = format!("unrecognized privilege type: \"{}\"", word.trim());
            return Err(Error::postgres("22023", message).into());
        };
        let granted = object.is_some_and(|o| {
            is_member(c, role, o.owner.0)
                || o.acl.iter().any(|a| grants(c, role, a, letter, with_grant))
        });
        any |= superuser || granted || (!with_grant && by_default(letter) == Some(true));
    }
    Ok(any.into())
}

fn letter(privilege: &str) -> Option<char> {
    Some(match privilege {
        "SELECT" => 'r',
        "INSERT" => 'a',
        "UPDATE" => 'w',
        "DELETE" => 'd',
        "TRUNCATE" => 'D',
        "REFERENCES" => 'x',
        "TRIGGER" => 't',
        "USAGE" => 'U',
        "CREATE" => 'C',
        "CONNECT" => 'c',
        "TEMPORARY" | "TEMP" => 'T',
        "EXECUTE" => 'X',
        _ => return None,
    })
}

/// Whether an access item, `grantee=letters/grantor` where `*` follows a letter that may be
/// granted on, gives the role a privilege. An empty grantee is everybody.
fn grants(c: &SystemCatalog, role: u32, item: &str, letter: char, with_grant: bool) -> bool {
    let Some((grantee, rest)) = item.rsplit_once('=') else { return false };
    let letters = rest.split('/').next().unwrap_or("");
    let grantee = grantee.trim_matches('"');
    let applies =
        grantee.is_empty() || c.role_oid(grantee).is_some_and(|group| is_member(c, role, group));
    let held = letters
        .find(letter)
        .is_some_and(|i| !with_grant || letters[i + letter.len_utf8()..].starts_with('*'));
    applies && held
}
