//! Names: PostgreSQL's folding and length limit, and looking them up in the catalog.

use std::sync::Arc;

use chronos_catalog::{NameKind, Object, Objects, Oid, ReadTs, TEMPORARY_PREFIX};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};

use crate::error::{PgError, PgResult};

/// The bytes that a name may have; longer ones are cut, as PostgreSQL does.
const MAX_BYTES: usize = 63;

/// Schemas whose content is computed and cannot be changed.
pub(super) const SYSTEM_SCHEMAS: [&str; 3] = ["pg_catalog", "information_schema", "chronos"];

/// A name of a relation, with its schema if one was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RelationName {
    pub schema: Option<String>,
    pub name: String,
}

impl std::fmt::Display for RelationName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The name that an identifier means: lower case unless quoted, at most 63 bytes.
pub(super) fn fold(ident: &Ident) -> String {
    let mut name = match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    };
    if name.len() > MAX_BYTES {
        let mut end = MAX_BYTES;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
    }
    name
}

/// The parts of a name.
pub(super) fn parts(name: &ObjectName) -> PgResult<Vec<String>> {
    let part = |p: &datafusion::sql::sqlparser::ast::ObjectNamePart| {
        p.as_ident()
            .map(fold)
            .ok_or_else(|| PgError::new("42601", format!("improper qualified name: {name}")))
    };
    name.0.iter().map(part).collect()
}

/// A name out of its text.
pub(super) fn parse(text: &str) -> PgResult<ObjectName> {
    let dialect = datafusion::sql::sqlparser::dialect::PostgreSqlDialect {};
    datafusion::sql::sqlparser::parser::Parser::new(&dialect)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_object_name(false))
        .map_err(|_| PgError::new("42602", format!("invalid name syntax: \"{text}\"")))
}

/// The relation that a name of one to three parts means.
///
/// # Errors
/// 0A000 for another database, 42601 for more parts.
pub(super) fn relation(name: &ObjectName, database: &str) -> PgResult<RelationName> {
    let mut parts = parts(name)?;
    let table = parts.pop();
    let schema = parts.pop();
    if let Some(catalog) = parts.pop()
        && catalog != database
    {
        let message = format!("cross-database references are not implemented: \"{name}\"");
        return Err(PgError::new("0A000", message));
    }
    match table {
        Some(name) if parts.is_empty() => Ok(RelationName { schema, name }),
        _ => Err(PgError::new("42601", format!("improper qualified name: {name}"))),
    }
}

/// The one part of a name that cannot be qualified.
pub(super) fn single(name: &ObjectName) -> PgResult<String> {
    let mut parts = parts(name)?;
    match (parts.pop(), parts.is_empty()) {
        (Some(name), true) => Ok(name),
        _ => Err(PgError::new("42601", format!("improper qualified name: {name}"))),
    }
}

/// Where names are looked up: objects at an instant, along a search path.
pub(super) struct Lookup<'a> {
    pub objects: &'a Arc<Objects>,
    pub at: ReadTs,
    pub path: &'a [String],
}

impl Lookup<'_> {
    /// The schema of that name.
    pub fn schema(&self, name: &str) -> Option<Oid> {
        let own = || self.path.iter().find(|s| s.starts_with(TEMPORARY_PREFIX));
        let name = if name == "pg_temp" { own()? } else { name };
        self.objects.lookup(NameKind::Schema, None, name, self.at).map(|(oid, _)| oid)
    }

    /// The relation of that name: in its schema, or the first found along the path.
    pub fn relation(&self, name: &RelationName) -> Option<(Oid, &Arc<Object>)> {
        let within = |schema: &str| {
            let namespace = self.schema(schema)?;
            self.objects.lookup(NameKind::Relation, Some(namespace), &name.name, self.at)
        };
        match &name.schema {
            Some(schema) => within(schema),
            None => self.path.iter().find_map(|schema| within(schema)),
        }
    }

    /// The schema in which an object of that name is made.
    ///
    /// # Errors
    /// 3F000 where there is none, 42501 in a system schema.
    pub fn creation_schema(&self, name: &RelationName) -> PgResult<(Oid, String)> {
        match &name.schema {
            Some(schema) if SYSTEM_SCHEMAS.contains(&schema.as_str()) => {
                Err(PgError::new("42501", format!("permission denied for schema {schema}")))
            }
            Some(schema) => match self.schema(schema) {
                Some(oid) => Ok((oid, schema.clone())),
                None => Err(PgError::new("3F000", format!("schema \"{schema}\" does not exist"))),
            },
            None => self
                .path
                .iter()
                .filter(|schema| !schema.starts_with(TEMPORARY_PREFIX))
                .find_map(|schema| Some((self.schema(schema)?, schema.clone())))
                .ok_or_else(|| PgError::new("3F000", "no schema has been selected to create in")),
        }
    }

    /// The name of a schema.
    pub fn schema_name(&self, namespace: Option<Oid>) -> String {
        namespace
            .and_then(|oid| self.objects.get(oid, self.at))
            .map_or_else(String::new, |o| o.name.clone())
    }
}

/// 42P01 for a relation.
pub(super) fn no_relation(name: &RelationName) -> PgError {
    PgError::new("42P01", format!("relation \"{name}\" does not exist"))
}

/// An identifier as SQL text, quoted where it must be.
pub(super) fn quote(name: &str) -> String {
    let plain = name
        .chars()
        .enumerate()
        .all(|(i, c)| c == '_' || c.is_ascii_lowercase() || (i > 0 && c.is_ascii_digit()));
    if plain && !name.is_empty() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_to_lower_case_unless_quoted() {
        assert_eq!(fold(&Ident::new("AbC")), "abc");
        assert_eq!(fold(&Ident::with_quote('"', "AbC")), "AbC");
    }

    #[test]
    fn a_long_name_is_cut_at_63_bytes_between_characters() {
        assert_eq!(fold(&Ident::new("é".repeat(40))).len(), 62);
    }

    #[test]
    fn an_identifier_is_quoted_where_it_must_be() {
        assert_eq!(quote("a_1"), "a_1");
        assert_eq!(quote("A\"b"), "\"A\"\"b\"");
    }
}
