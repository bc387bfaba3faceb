//! CREATE SCHEMA, CREATE VIEW and COMMENT.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use chronos_catalog::{INDEX_COMMENT, NameKind, Object, Oid, Relation, TEMPORARY_PREFIX};
use chronos_sql_ext::access::RoleName;
use chronos_sql_ext::{SimpleView, StatementKind, is_aggregate};
use datafusion::sql::sqlparser::ast::{
    CommentObject, CreateTableOptions, CreateView, Expr, Ident, Join, JoinConstraint, JoinOperator,
    ObjectName, ObjectNamePart, Query, SchemaName, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SqlOption, Statement, Value, visit_relations,
    visit_relations_mut,
};

use super::{NameScope, object};
use crate::error::{PgError, PgResult};
use crate::session::api::FieldDescription;
use crate::session::build;
use crate::session::names::{RelationName, SYSTEM_SCHEMAS, fold, no_relation, relation, single};
use crate::session::session::Session;

impl Session {
    pub(super) async fn create_schema(
        &mut self,
        name: &SchemaName,
        if_not_exists: bool,
    ) -> PgResult<String> {
        let (name, role) = match name {
            SchemaName::Simple(name) => (single(name)?, None),
            SchemaName::UnnamedAuthorization(role) => (fold(role), Some(role)),
            SchemaName::NamedAuthorization(name, role) => (single(name)?, Some(role)),
        };
        if name.starts_with("pg_") {
            return Err(PgError::new("42939", format!("unacceptable schema name \"{name}\""))
                .detail("The prefix \"pg_\" is reserved for system schemas."));
        }
        let scope = self.scope()?;
        if scope.lookup().schema(&name).is_some() || SYSTEM_SCHEMAS.contains(&name.as_str()) {
            let message = format!("schema \"{name}\" already exists");
            if if_not_exists {
                let mut notice = PgError::notice(format!("{message}, skipping"));
                notice.code = "42P06";
                self.notice(notice);
                return Ok("CREATE SCHEMA".to_owned());
            }
            return Err(PgError::new("42P06", message));
        }
        let oid = self.allocate_oid().await?;
        let owner = match role {
            Some(role) => self.role_named(&scope, &RoleName::Named(role.clone()))?,
            None => self.owner(&scope),
        };
        self.change(oid, Some(object(&name, None, owner, Relation::Schema))).await?;
        Ok("CREATE SCHEMA".to_owned())
    }

    pub(super) async fn create_view(&mut self, create: &CreateView) -> PgResult<String> {
        if create.materialized {
            return Err(PgError::unsupported("CREATE MATERIALIZED VIEW"));
        }
        let options = view_options(&create.options)?;
        let name = self.relation_name(&create.name)?;
        // Names mean what they mean now, whatever the search path of who reads the view.
        let mut query = create.query.clone();
        if crate::session::history::holds_call(&query) {
            return Err(PgError::unsupported("a function about history in a view"));
        }
        qualify(&mut query, &self.scope()?, &self.shared.identity.database)?;
        let temporary = create.temporary || reads_temporary(&query);
        if temporary && !create.temporary {
            let text = format!("view \"{}\" will be a temporary view", name.name);
            self.notice(PgError::notice(text));
        }
        let (scope, namespace) = self.creation_namespace(&name, temporary).await?;
        let existing = scope
            .objects
            .lookup(NameKind::Relation, Some(namespace), &name.name, scope.at)
            .map(|(oid, object)| (oid, object.clone()));
        let replaced = match &existing {
            Some((oid, object)) if create.or_replace => match &object.relation {
                Relation::View { columns, .. } => Some((*oid, columns.clone())),
                _ => {
                    return Err(PgError::new("42809", format!("\"{}\" is not a view", name.name)));
                }
            },
            Some(_) => {
                self.name_is_free(&scope, namespace, &name.name, create.if_not_exists)?;
                return Ok("CREATE VIEW".to_owned());
            }
            None => None,
        };
        let planned = self.plan(&Statement::Query(query.clone())).await?;
        let mut columns = Vec::with_capacity(planned.fields.len());
        for (i, field) in planned.fields.iter().enumerate() {
            let given = create.columns.get(i).map(|c| fold(&c.name));
            columns.push((given.unwrap_or_else(|| field.name.clone()), field.ty.clone()));
        }
        if create.columns.len() > columns.len() {
            return Err(PgError::new(
                "42601",
                "CREATE VIEW specifies more column names than columns",
            ));
        }
        for (i, (column, _)) in columns.iter().enumerate() {
            if columns[..i].iter().any(|(c, _)| c == column) {
                let message = format!("column \"{column}\" specified more than once");
                return Err(PgError::new("42701", message));
            }
        }
        if let Some((_, old)) = &replaced
            && (old.len() > columns.len() || old.iter().zip(&columns).any(|(a, b)| a != b))
        {
            return Err(PgError::new("42P16", "cannot change name or type of a view column")
                .hint("Drop the view and create it again."));
        }
        // `*` means the columns of now, whatever is added later.
        self.write_out_wildcards(&mut query, &planned.fields).await;
        let text = chronos_sql_ext::query_text(&query)?;
        if options.contains_key("check_option") {
            SimpleView::of(&text, &is_aggregate).map_err(|why| {
                let message =
                    "WITH CHECK OPTION is supported only on automatically updatable views";
                PgError::new("0A000", message).hint(why)
            })?;
        }
        let search_path = self.shared.search_path();
        let relation = Relation::View { query: text, columns, search_path, options };
        let oid = match replaced {
            Some((oid, _)) => oid,
            None => self.allocate_oid().await?,
        };
        let owner = self.owner(&scope);
        self.change(oid, Some(object(&name.name, Some(namespace), owner, relation))).await?;
        Ok("CREATE VIEW".to_owned())
    }

    /// Names the columns that the wildcards of a query stand for. `fields` are the query's.
    async fn write_out_wildcards(&mut self, query: &mut Query, fields: &[FieldDescription]) {
        let with = std::mem::replace(&mut self.statement_with, query.with.clone());
        let mut selects = Vec::new();
        leaves(&mut query.body, &mut selects);
        for select in selects {
            let is_wildcard = |item: &SelectItem| {
                matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
            };
            if !select.projection.iter().any(is_wildcard) {
                continue;
            }
            let merges = |join: &Join| match &join.join_operator {
                JoinOperator::Join(on)
                | JoinOperator::Inner(on)
                | JoinOperator::Left(on)
                | JoinOperator::LeftOuter(on)
                | JoinOperator::Right(on)
                | JoinOperator::RightOuter(on)
                | JoinOperator::FullOuter(on) => {
                    matches!(on, JoinConstraint::Using(_) | JoinConstraint::Natural)
                }
                _ => false,
            };
            if select.from.iter().any(|from| from.joins.iter().any(merges)) {
                // The columns that USING merges belong to no relation.
                if let [SelectItem::Wildcard(_)] = select.projection.as_slice() {
                    let named = fields.iter().map(|field| build::column(&field.name));
                    select.projection = named.map(SelectItem::UnnamedExpr).collect();
                }
                continue;
            }
            // Where a relation has no name, its columns do not change either.
            let Ok(relations) = self.relations(&select.from, &[]).await else { continue };
            let of = |alias: &str| {
                let found = relations.iter().filter(move |(name, _)| name == alias);
                found.flat_map(|(name, fields)| columns_of(name, fields)).collect::<Vec<_>>()
            };
            let mut items = Vec::new();
            for item in std::mem::take(&mut select.projection) {
                match &item {
                    SelectItem::Wildcard(_) => items.extend(
                        relations.iter().flat_map(|(name, fields)| columns_of(name, fields)),
                    ),
                    SelectItem::QualifiedWildcard(
                        SelectItemQualifiedWildcardKind::ObjectName(name),
                        _,
                    ) => {
                        let last = name.0.last().and_then(ObjectNamePart::as_ident).map(fold);
                        match of(&last.unwrap_or_default()) {
                            columns if columns.is_empty() => items.push(item),
                            columns => items.extend(columns),
                        }
                    }
                    _ => items.push(item),
                }
            }
            select.projection = items;
        }
        self.statement_with = with;
    }

    pub(super) async fn comment(&mut self, sql: &Statement) -> PgResult<String> {
        let Statement::Comment { object_type, object_name, comment, .. } = sql else {
            return Err(PgError::internal("not COMMENT"));
        };
        let scope = self.scope()?;
        let (oid, key) = match object_type {
            CommentObject::Column => {
                let mut table = object_name.clone();
                let column = table.0.pop().and_then(|p| p.as_ident().map(fold)).unwrap_or_default();
                let target = self.write_target(&table)?;
                let place = target.column(&column)?;
                (target.oid, target.def.columns[place].id.0)
            }
            CommentObject::Schema => {
                let name = single(object_name)?;
                let oid = scope.lookup().schema(&name).ok_or_else(|| {
                    PgError::new("3F000", format!("schema \"{name}\" does not exist"))
                })?;
                (oid, 0)
            }
            CommentObject::Table
            | CommentObject::View
            | CommentObject::Sequence
            | CommentObject::Index => {
                let name = self.relation_name(object_name)?;
                let lookup = scope.lookup();
                let key = match (object_type, lookup.relation(&name)) {
                    (CommentObject::Index, None) => key_index(&scope, &name),
                    _ => None,
                };
                if let Some((table, constraint)) = key {
                    return self
                        .comment_with(table, constraint.0 | INDEX_COMMENT, comment.as_deref())
                        .await;
                }
                let (oid, found) = lookup.relation(&name).ok_or_else(|| no_relation(&name))?;
                let kind = match object_type {
                    CommentObject::Table => "table",
                    CommentObject::View => "view",
                    CommentObject::Sequence => "sequence",
                    _ => "index",
                };
                if !super::drop::is_kind(&found.relation, kind) {
                    let article = if kind == "index" { "an" } else { "a" };
                    let message = format!("\"{}\" is not {article} {kind}", name.name);
                    return Err(PgError::new("42809", message));
                }
                (oid, 0)
            }
            CommentObject::Role | CommentObject::User => {
                let name = single(object_name)?;
                let role = RoleName::Named(Ident::with_quote('"', name));
                (self.role_named(&scope, &role)?, 0)
            }
            other => return Err(PgError::unsupported(format!("COMMENT ON {other}"))),
        };
        self.comment_with(oid, key, comment.as_deref()).await
    }

    async fn comment_with(&mut self, oid: Oid, key: u32, text: Option<&str>) -> PgResult<String> {
        let scope = self.scope()?;
        let mut object: Object = scope
            .objects
            .get(oid, scope.at)
            .map(|o| (**o).clone())
            .ok_or_else(|| PgError::internal("the commented object is gone"))?;
        set_comment(&mut object, key, text);
        self.change(oid, Some(object)).await?;
        Ok("COMMENT".to_owned())
    }

    /// COMMENT ON CONSTRAINT; kept with the table, under the constraint's identifier.
    pub(super) async fn comment_on_constraint(
        &mut self,
        table: &ObjectName,
        constraint: &Ident,
        text: Option<&str>,
    ) -> PgResult<String> {
        let target = self.write_target(table)?;
        let name = fold(constraint);
        let Some(found) = target.def.constraints.iter().find(|c| c.name == name) else {
            let message =
                format!("constraint \"{name}\" for table \"{}\" does not exist", target.name);
            return Err(PgError::new("42704", message));
        };
        self.comment_with(target.oid, found.oid.0, text).await
    }
}

/// The table and the constraint whose index has that name.
fn key_index(scope: &NameScope, name: &RelationName) -> Option<(Oid, Oid)> {
    let schemas = match &name.schema {
        Some(schema) => std::slice::from_ref(schema),
        None => scope.path.as_slice(),
    };
    schemas.iter().find_map(|schema| {
        let namespace = scope.lookup().schema(schema)?;
        scope.objects.iter(scope.at).find_map(|(oid, o)| match &o.relation {
            Relation::Table(def) if o.namespace == Some(namespace) => {
                let (key, ..) = def.unique_keys().find(|(_, n, _)| *n == name.name)?;
                Some((oid, key))
            }
            _ => None,
        })
    })
}

fn columns_of(relation: &str, fields: &[FieldDescription]) -> Vec<SelectItem> {
    let columns = fields.iter().map(|field| build::qualified(relation, &field.name));
    columns.map(SelectItem::UnnamedExpr).collect()
}

/// The SELECTs that a query's rows come from.
fn leaves<'q>(body: &'q mut SetExpr, selects: &mut Vec<&'q mut Select>) {
    match body {
        SetExpr::Select(select) => selects.push(select),
        SetExpr::SetOperation { left, right, .. } => {
            leaves(left, selects);
            leaves(right, selects);
        }
        _ => {}
    }
}

/// WITH (…) of a view.
fn view_options(given: &CreateTableOptions) -> PgResult<BTreeMap<String, String>> {
    let given = match given {
        CreateTableOptions::None => return Ok(BTreeMap::new()),
        CreateTableOptions::With(options) | CreateTableOptions::Options(options) => options,
        _ => return Err(PgError::unsupported("a view's options of that kind")),
    };
    let mut options = BTreeMap::new();
    for option in given {
        let SqlOption::KeyValue { key, value } = option else {
            return Err(PgError::unsupported(format!("the view option {option}")));
        };
        let key = fold(key);
        let value = match value {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => text.clone(),
                other => other.to_string(),
            },
            Expr::Identifier(word) => fold(word),
            other => other.to_string(),
        };
        let value = value.to_lowercase();
        let stored = match key.as_str() {
            "check_option" if matches!(value.as_str(), "local" | "cascaded") => value,
            "check_option" => {
                let message = format!("invalid value for enum option \"{key}\": {value}");
                return Err(PgError::new("22023", message)
                    .detail("Valid values are \"local\" and \"cascaded\"."));
            }
            "security_invoker" | "security_barrier" => match value.as_str() {
                "true" | "on" | "yes" | "1" | "t" | "y" => "true".to_owned(),
                "false" | "off" | "no" | "0" | "f" | "n" => "false".to_owned(),
                _ => {
                    let message = format!("invalid value for boolean option \"{key}\": {value}");
                    return Err(PgError::new("22023", message));
                }
            },
            _ => {
                let message = format!("unrecognized parameter \"{key}\"");
                return Err(PgError::new("22023", message));
            }
        };
        if options.insert(key.clone(), stored).is_some() {
            let message = format!("parameter \"{key}\" specified more than once");
            return Err(PgError::new("22023", message));
        }
    }
    Ok(options)
}

fn set_comment(object: &mut Object, key: u32, text: Option<&str>) {
    match text {
        Some(text) if !text.is_empty() => {
            object.comments.insert(key, text.to_owned());
        }
        _ => {
            object.comments.remove(&key);
        }
    }
}

/// Whether a query, its names qualified, reads a temporary relation.
fn reads_temporary(query: &Query) -> bool {
    visit_relations(query, |name: &ObjectName| {
        let schema = name.0.first().and_then(ObjectNamePart::as_ident);
        match name.0.len() > 1 && schema.is_some_and(|s| s.value.starts_with(TEMPORARY_PREFIX)) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })
    .is_break()
}

/// Gives every table name its schema; names of WITH queries stay.
pub(super) fn qualify(query: &mut Query, scope: &NameScope, database: &str) -> PgResult<()> {
    let mut with: Vec<String> = Vec::new();
    collect_with(query, &mut with);
    let mut failed = None;
    let _ = visit_relations_mut(query, |name: &mut ObjectName| {
        if let Err(error) = qualify_one(name, scope, database, &with) {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    failed.map_or(Ok(()), Err)
}

fn collect_with(query: &mut Query, names: &mut Vec<String>) {
    struct Collect<'a>(&'a mut Vec<String>);
    impl datafusion::sql::sqlparser::ast::VisitorMut for Collect<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            if let Some(with) = &query.with {
                self.0.extend(with.cte_tables.iter().map(|c| fold(&c.alias.name)));
            }
            ControlFlow::Continue(())
        }
    }
    let _ = datafusion::sql::sqlparser::ast::VisitMut::visit(query, &mut Collect(names));
}

fn qualify_one(
    name: &mut ObjectName,
    scope: &NameScope,
    database: &str,
    with: &[String],
) -> PgResult<()> {
    if name.0.len() != 1 || name.0.iter().any(|p| p.as_ident().is_none()) {
        return Ok(());
    }
    let plain: RelationName = relation(name, database)?;
    if with.contains(&plain.name) {
        return Ok(());
    }
    let lookup = scope.lookup();
    // What is not found is left to planning: a function, a system table, or an error.
    let Some((_, object)) = lookup.relation(&plain) else { return Ok(()) };
    let schema = lookup.schema_name(object.namespace);
    name.0.insert(0, ObjectNamePart::Identifier(Ident::with_quote('"', schema)));
    Ok(())
}

/// Whether a view's query reads the relation.
pub(super) fn view_reads(query: &str, scope: &NameScope, database: &str, wanted: Oid) -> bool {
    let Ok(statements) = chronos_sql_ext::parse(query) else {
        return scope.objects.get(wanted, scope.at).is_some_and(|o| query.contains(&o.name));
    };
    let statements = statements.iter().filter_map(|s| match &s.kind {
        StatementKind::Sql(sql) => Some(sql.as_ref()),
        StatementKind::Extension(_) => None,
    });
    let mut found = false;
    for statement in statements {
        let _ = visit_relations(statement, |name| {
            if let Ok(name) = relation(name, database) {
                found |= scope.lookup().relation(&name).is_some_and(|(oid, _)| oid == wanted);
            }
            ControlFlow::<()>::Continue(())
        });
    }
    found
}
