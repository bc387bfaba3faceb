//! Objects as SQL text: what `pg_get_indexdef`, `pg_get_constraintdef` and their like print.

use chronos_catalog::{ConstraintKind, Relation};

use super::catalog::SystemCatalog;
use super::quote::quote_ident;
use super::snapshot::IndexInfo;

impl SystemCatalog {
    /// `CREATE INDEX …`. Qualifies the table's name always, or only where it must be.
    pub(crate) fn index_definition(&self, index: &IndexInfo, qualify: bool) -> String {
        let unique = if index.unique { "UNIQUE " } else { "" };
        let table = if qualify {
            index.table.qualified()
        } else {
            self.regclass_text(index.table.oid.0).unwrap_or_default()
        };
        let columns = index
            .table
            .table()
            .map_or_else(String::new, |def| self.column_list(def, &index.columns));
        let name = quote_ident(&index.name);
        format!("CREATE {unique}INDEX {name} ON {table} USING {} ({columns})", index.method)
    }

    /// The constraint's clause, as in `ALTER TABLE … ADD CONSTRAINT name …`.
    pub(crate) fn constraint_definition(&self, oid: u32) -> Option<String> {
        let (def, constraint) = self.tables().into_iter().find_map(|(_, def)| {
            let constraint = def.constraints.iter().find(|k| k.oid.0 == oid)?.clone();
            Some((def, constraint))
        })?;
        let mut text = match &constraint.kind {
            ConstraintKind::PrimaryKey(k) => format!("PRIMARY KEY ({})", self.column_list(&def, k)),
            ConstraintKind::Unique(k) => format!("UNIQUE ({})", self.column_list(&def, k)),
            ConstraintKind::WithoutOverlaps { primary, columns, period } => {
                let kind = if *primary { "PRIMARY KEY" } else { "UNIQUE" };
                let columns = self.column_list(&def, columns);
                let period = quote_ident(period);
                format!("{kind} ({columns}, {period} WITHOUT OVERLAPS)")
            }
            ConstraintKind::Check(sql) => format!("CHECK ({})", lower_types(sql)),
            ConstraintKind::ForeignKey {
                columns,
                table,
                referenced,
                on_delete,
                on_update,
                match_full,
                deferrable,
            } => {
                let target = self.relation(table.0)?;
                let mut text = format!(
                    "FOREIGN KEY ({}) REFERENCES {}({})",
                    self.column_list(&def, columns),
                    self.regclass_text(table.0)?,
                    self.column_list(target.table()?, referenced),
                );
                if *match_full {
                    text += " MATCH FULL";
                }
                for (event, action) in [("UPDATE", on_update), ("DELETE", on_delete)] {
                    if !action.is_empty() && !action.eq_ignore_ascii_case("NO ACTION") {
                        text += &format!(" ON {event} {}", action.to_uppercase());
                    }
                }
                match deferrable {
                    None => {}
                    Some(false) => text += " DEFERRABLE",
                    Some(true) => text += " DEFERRABLE INITIALLY DEFERRED",
                }
                text
            }
        };
        if constraint.not_valid {
            text += " NOT VALID";
        }
        Some(text)
    }

    /// A view's query.
    pub(crate) fn view_query(&self, oid: u32) -> Option<String> {
        match &self.relation(oid)?.object.relation {
            Relation::View { query, .. } => Some(super::views::view_definition(query)),
            _ => None,
        }
    }

    /// The sequence that a column owns, by its qualified name.
    pub(crate) fn serial_sequence(&self, table: u32, column: &str) -> Option<String> {
        let owner = self.relation(table)?;
        let id = owner.table()?.column_named(column)?.id;
        self.relations()
            .into_iter()
            .find(|r| {
                matches!(&r.object.relation, Relation::Sequence { owned_by: Some((t, k)), .. }
                    if t.0 == table && *k == id)
            })
            .map(|r| r.qualified())
    }
}

/// An expression's text with the types of its casts as PostgreSQL writes them: the parser prints
/// them in capitals.
pub(crate) fn lower_types(text: &str) -> String {
    const MORE: [&str; 6] = ["PRECISION", "VARYING", "WITH", "WITHOUT", "TIME", "ZONE"];
    let word = |text: &str| text.bytes().take_while(|b| b.is_ascii_alphabetic()).count();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"', ':']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(cast) = rest.strip_prefix("::") {
            out.push_str("::");
            rest = cast;
            let mut n = word(rest);
            out.push_str(&rest[..n].to_lowercase());
            rest = &rest[n..];
            while let Some(next) = rest.strip_prefix(' ') {
                n = word(next);
                if !MORE.contains(&&next[..n]) {
                    break;
                }
                out.push(' ');
                out.push_str(&next[..n].to_lowercase());
                rest = &next[n..];
            }
            continue;
        }
        // What stands in quotes stays; doubled quotes are two pieces.
        let quote = &rest[..1];
        let end = match quote {
            ":" => 1,
            quote => rest[1..].find(quote).map_or(rest.len(), |end| end + 2),
        };
        out.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_casts_are_written_small() {
        assert_eq!(lower_types("'A::B'::TEXT || x::CHAR(3)"), "'A::B'::text || x::char(3)");
        assert_eq!(
            lower_types("a::DOUBLE PRECISION > 1 AND b::TIMESTAMP WITH TIME ZONE IS NULL"),
            "a::double precision > 1 AND b::timestamp with time zone IS NULL"
        );
        assert_eq!(lower_types("nextval('s'::REGCLASS)"), "nextval('s'::regclass)");
    }
}
