//! CREATE TABLE (LIKE t …): columns and what belongs to them, copied.

use chronos_catalog::{Column, ColumnId, ConstraintKind, Object, Oid, Relation, TableDef};
use datafusion::sql::sqlparser::ast::{ColumnDef, ColumnOption, DataType, Expr, Value};

use super::columns::{NewColumn, NewConstraint, NewKind, Serial};
use crate::error::{PgError, PgResult};
use crate::session::names::no_relation;
use crate::session::session::Session;
use crate::session::write::parse_expr;

/// What one LIKE brings.
pub(super) struct Like {
    pub columns: Vec<NewColumn>,
    /// Keys and CHECK constraints.
    pub constraints: Vec<NewConstraint>,
    /// Indexes to make, by the names of their columns.
    pub indexes: Vec<(Vec<String>, bool, String)>,
    /// Comments on columns, by name.
    pub comments: Vec<(String, String)>,
}

impl Session {
    /// What a column definition that stands for LIKE brings; `None` for others.
    pub(super) fn like(&self, def: &ColumnDef) -> PgResult<Option<Like>> {
        if def.name.value != chronos_sql_ext::TABLE_LIKE {
            return Ok(None);
        }
        let DataType::Custom(name, _) = &def.data_type else {
            return Err(PgError::new("42601", "syntax error in LIKE"));
        };
        let options = def.options.iter().find_map(|o| match &o.option {
            ColumnOption::Default(Expr::Value(v)) => match &v.value {
                Value::SingleQuotedString(s) => Some(s.as_str()),
                _ => None,
            },
            _ => None,
        });
        let options: Vec<&str> = options.unwrap_or_default().split(',').collect();
        let includes = |option: &str| options.contains(&option);
        let named = self.relation_name(name)?;
        let scope = self.scope()?;
        let lookup = scope.lookup();
        let Some((oid, object)) = lookup.relation(&named) else { return Err(no_relation(&named)) };
        let mut like = Like {
            columns: Vec::new(),
            constraints: Vec::new(),
            indexes: Vec::new(),
            comments: Vec::new(),
        };
        match &object.relation {
            Relation::Table(def) => {
                for column in &def.columns {
                    like.columns.push(copied(column, &includes)?);
                }
                copy_constraints(&mut like, def, &includes)?;
                if includes("INDEXES") {
                    self.copy_indexes(&mut like, oid, def)?;
                }
                if includes("COMMENTS") {
                    copy_comments(&mut like, object, def);
                }
            }
            Relation::View { columns, .. } => {
                for (name, ty) in columns {
                    let column = Column {
                        id: ColumnId(0),
                        name: name.clone(),
                        ty: ty.clone(),
                        not_null: false,
                        default: None,
                        generated: None,
                        identity_always: None,
                        missing: None,
                    };
                    like.columns.push(NewColumn::plain(column));
                }
            }
            _ => {
                let message = format!("relation \"{}\" is invalid in LIKE clause", named.name);
                return Err(PgError::new("42809", message));
            }
        }
        Ok(Some(like))
    }

    fn copy_indexes(&self, like: &mut Like, table: Oid, def: &TableDef) -> PgResult<()> {
        let scope = self.scope()?;
        for (_, object) in scope.objects.iter(scope.at) {
            let Relation::Index { table: of, columns, unique, method } = &object.relation else {
                continue;
            };
            if *of == table {
                like.indexes.push((names_of(def, columns), *unique, method.clone()));
            }
        }
        Ok(())
    }
}

fn names_of(def: &TableDef, ids: &[ColumnId]) -> Vec<String> {
    ids.iter().filter_map(|id| def.column(*id)).map(|c| c.name.clone()).collect()
}

fn copied(column: &Column, includes: &dyn Fn(&str) -> bool) -> PgResult<NewColumn> {
    let mut new = NewColumn::plain(Column {
        default: None,
        generated: None,
        identity_always: None,
        missing: None,
        ..column.clone()
    });
    if column.identity_always.is_some() {
        if includes("IDENTITY") {
            new.column.identity_always = column.identity_always;
            new.serial = Some(Serial {
                ty: column.ty.clone(),
                identity: column.identity_always,
                options: Vec::new(),
                name: None,
            });
        }
    } else if let Some(text) = &column.default
        && includes("DEFAULTS")
    {
        new.default = Some(parse_expr(text)?);
    }
    if let Some(text) = &column.generated
        && includes("GENERATED")
    {
        new.generated = Some(parse_expr(text)?);
    }
    Ok(new)
}

fn copy_constraints(
    like: &mut Like,
    def: &TableDef,
    includes: &dyn Fn(&str) -> bool,
) -> PgResult<()> {
    for constraint in &def.constraints {
        let new = match &constraint.kind {
            ConstraintKind::Check(sql) if includes("CONSTRAINTS") => NewConstraint::new(
                Some(constraint.name.clone()),
                NewKind::Check(parse_expr(sql)?, None),
            ),
            ConstraintKind::PrimaryKey(ids) if includes("INDEXES") => {
                NewConstraint::new(None, NewKind::PrimaryKey(names_of(def, ids)))
            }
            ConstraintKind::Unique(ids) if includes("INDEXES") => {
                NewConstraint::new(None, NewKind::Unique(names_of(def, ids)))
            }
            _ => continue,
        };
        like.constraints.push(new);
    }
    Ok(())
}

fn copy_comments(like: &mut Like, object: &Object, def: &TableDef) {
    for column in &def.columns {
        if let Some(text) = object.comments.get(&column.id.0) {
            like.comments.push((column.name.clone(), text.clone()));
        }
    }
}
