//! Names to identifiers and back: `regclass`, `regtype`, `regproc`, `regnamespace`, `regrole`.

use std::fmt;

use super::catalog::SystemCatalog;
use super::quote::{quote_ident, split_name};
use super::static_rows::column;
use super::types;

/// A kind of object that has a reg-type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RegKind {
    Class,
    Type,
    Proc,
    Operator,
    Namespace,
    Role,
    Collation,
    Config,
}

impl RegKind {
    pub const ALL: [RegKind; 8] = [
        RegKind::Class,
        RegKind::Type,
        RegKind::Proc,
        RegKind::Operator,
        RegKind::Namespace,
        RegKind::Role,
        RegKind::Collation,
        RegKind::Config,
    ];

    /// The type's name.
    pub fn name(self) -> &'static str {
        match self {
            RegKind::Class => "regclass",
            RegKind::Type => "regtype",
            RegKind::Proc => "regproc",
            RegKind::Operator => "regoper",
            RegKind::Namespace => "regnamespace",
            RegKind::Role => "regrole",
            RegKind::Collation => "regcollation",
            RegKind::Config => "regconfig",
        }
    }

    /// The kind that a type's name stands for.
    pub fn of_type(name: &str) -> Option<RegKind> {
        match name {
            "regprocedure" => Some(RegKind::Proc),
            "regoperator" => Some(RegKind::Operator),
            _ => Self::ALL.into_iter().find(|k| k.name() == name),
        }
    }

    /// SQLSTATE of a name that stands for nothing.
    pub fn sqlstate(self) -> &'static str {
        match self {
            RegKind::Class => "42P01",
            RegKind::Proc | RegKind::Operator => "42883",
            RegKind::Namespace => "3F000",
            _ => "42704",
        }
    }
}

impl fmt::Display for RegKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RegKind::Class => "relation",
            RegKind::Type => "type",
            RegKind::Proc => "function",
            RegKind::Operator => "operator",
            RegKind::Namespace => "schema",
            RegKind::Role => "role",
            RegKind::Collation => "collation",
            RegKind::Config => "text search configuration",
        })
    }
}

impl SystemCatalog {
    /// The identifier that a name stands for; a number stands for itself, `-` for 0.
    pub(crate) fn reg_in(&self, kind: RegKind, text: &str) -> Option<u32> {
        let text = text.trim();
        if text == "-" {
            return Some(0);
        }
        if let Ok(oid) = text.parse::<u32>() {
            return Some(oid);
        }
        if kind == RegKind::Type {
            return types::oid_of_name(text);
        }
        if kind == RegKind::Operator {
            let name = text.rsplit('.').next().unwrap_or(text).split('(').next().unwrap_or(text);
            return static_oid("pg_operator", "oprname", name);
        }
        let text = if kind == RegKind::Proc { text.split('(').next()? } else { text };
        let parts = split_name(text)?;
        let name = parts.last()?;
        let schema = parts.len().checked_sub(2).map(|i| parts[i].as_str());
        match kind {
            RegKind::Class => match schema {
                Some(schema) => self.relation_oid(schema, name),
                None => self.effective_path().iter().find_map(|s| self.relation_oid(s, name)),
            },
            RegKind::Namespace => self.schema_oid(name),
            RegKind::Role => self.role_oid(name),
            RegKind::Proc => static_oid("pg_proc", "proname", name),
            RegKind::Collation => static_oid("pg_collation", "collname", name),
            RegKind::Type | RegKind::Operator | RegKind::Config => None,
        }
    }

    /// The name of an identifier; the number itself where nothing has it.
    pub(crate) fn reg_out(&self, kind: RegKind, oid: u32) -> String {
        if oid == 0 {
            return "-".to_owned();
        }
        let name = match kind {
            RegKind::Class => self.regclass_text(oid),
            RegKind::Type => types::format(oid, None),
            RegKind::Namespace => Some(self.schema_name(chronos_catalog::Oid(oid)))
                .filter(|n| !n.is_empty())
                .map(|n| quote_ident(&n)),
            RegKind::Role => {
                self.objects.get(chronos_catalog::Oid(oid), self.at).map(|o| quote_ident(&o.name))
            }
            RegKind::Proc => static_name("pg_proc", "proname", oid),
            RegKind::Operator => static_name("pg_operator", "oprname", oid),
            RegKind::Collation => {
                static_name("pg_collation", "collname", oid).map(|n| quote_ident(&n))
            }
            RegKind::Config => None,
        };
        name.unwrap_or_else(|| oid.to_string())
    }
}

fn static_oid(table: &str, name_column: &str, name: &str) -> Option<u32> {
    let at = column(table, name_column).iter().position(|n| *n == name)?;
    column(table, "oid").get(at)?.parse().ok()
}

fn static_name(table: &str, name_column: &str, oid: u32) -> Option<String> {
    let text = oid.to_string();
    let at = column(table, "oid").iter().position(|o| *o == text)?;
    Some((*column(table, name_column).get(at)?).to_owned())
}

/// A static row of `pg_proc`: its value in a column.
pub(crate) fn proc_column(oid: u32, name: &str) -> Option<&'static str> {
    let text = oid.to_string();
    let at = column("pg_proc", "oid").iter().position(|o| *o == text)?;
    column("pg_proc", name).get(at).copied()
}
