//! DROP and TRUNCATE. The history of what is dropped stays readable.

use chronos_catalog::{Oid, Relation};
use datafusion::sql::sqlparser::ast::{
    CascadeOption, ObjectName, ObjectType, Statement, Truncate, TruncateIdentityOption,
};

use super::NameScope;
use super::relations::view_reads;
use crate::error::{PgError, PgResult};
use crate::session::names::{SYSTEM_SCHEMAS, single};
use crate::session::session::Session;

fn kind_name(object_type: &ObjectType) -> Option<&'static str> {
    Some(match object_type {
        ObjectType::Table => "table",
        ObjectType::View => "view",
        ObjectType::Index => "index",
        ObjectType::Sequence => "sequence",
        ObjectType::Schema => "schema",
        _ => return None,
    })
}

pub(super) fn is_kind(relation: &Relation, kind: &str) -> bool {
    matches!(
        (relation, kind),
        (Relation::Table(_), "table")
            | (Relation::View { .. }, "view")
            | (Relation::Index { .. }, "index")
            | (Relation::Sequence { .. }, "sequence")
    )
}

pub(super) fn relation_kind(relation: &Relation) -> &'static str {
    match relation {
        Relation::Table(_) => "table",
        Relation::View { .. } => "view",
        Relation::Index { .. } => "index",
        Relation::Sequence { .. } => "sequence",
        Relation::Schema => "schema",
        Relation::Role { .. } => "role",
    }
}

impl Session {
    pub(super) async fn drop_objects(&mut self, sql: &Statement) -> PgResult<String> {
        let Statement::Drop { object_type, if_exists, names, cascade, .. } = sql else {
            return Err(PgError::internal("not DROP"));
        };
        let Some(kind) = kind_name(object_type) else {
            return Err(PgError::unsupported(format!("DROP {object_type}")));
        };
        let mut targets = Vec::with_capacity(names.len());
        for name in names {
            if let Some(oid) = self.drop_target(name, kind, *if_exists)? {
                targets.push(oid);
            }
        }
        for oid in &targets {
            // An earlier one's CASCADE may have taken it.
            let scope = self.scope()?;
            if scope.objects.get(*oid, scope.at).is_some() {
                self.drop_one(*oid, &targets, *cascade).await?;
            }
        }
        Ok(format!("DROP {object_type}"))
    }

    /// The object to drop; `None` where IF EXISTS lets it be absent.
    fn drop_target(
        &mut self,
        name: &ObjectName,
        kind: &str,
        if_exists: bool,
    ) -> PgResult<Option<Oid>> {
        let scope = self.scope()?;
        if kind == "schema" {
            let name = single(name)?;
            if SYSTEM_SCHEMAS.contains(&name.as_str()) {
                let message = format!(
                    "cannot drop schema {name} because it is required by the database system"
                );
                return Err(PgError::new("2BP01", message));
            }
            let found = scope.lookup().schema(&name);
            return match found {
                Some(oid) => {
                    self.check_change(&scope, oid, None)?;
                    Ok(Some(oid))
                }
                None => self.absent(&format!("schema \"{name}\""), "3F000", if_exists),
            };
        }
        let relation = self.relation_name(name)?;
        let lookup = scope.lookup();
        let Some((oid, object)) = lookup.relation(&relation) else {
            let code = if kind == "index" { "42704" } else { "42P01" };
            return self.absent(&format!("{kind} \"{relation}\""), code, if_exists);
        };
        if !is_kind(&object.relation, kind) {
            let message = format!("\"{}\" is not a {kind}", relation.name);
            let hint = match relation_kind(&object.relation) {
                "index" => "Use DROP INDEX to remove an index.".to_owned(),
                other => format!("Use DROP {} to remove a {other}.", other.to_uppercase()),
            };
            return Err(PgError::new("42809", message).hint(hint));
        }
        self.check_change(&scope, oid, None)?;
        Ok(Some(oid))
    }

    fn absent(&mut self, what: &str, code: &'static str, if_exists: bool) -> PgResult<Option<Oid>> {
        if if_exists {
            self.notice(PgError::notice(format!("{what} does not exist, skipping")));
            return Ok(None);
        }
        Err(PgError::new(code, format!("{what} does not exist")))
    }

    /// Drops an object and what belongs to it; with `cascade` also what depends on it.
    pub(in crate::session) async fn drop_one(
        &mut self,
        oid: Oid,
        together: &[Oid],
        cascade: bool,
    ) -> PgResult<()> {
        let scope = self.scope()?;
        let Some(object) = scope.objects.get(oid, scope.at).cloned() else { return Ok(()) };
        let kind = relation_kind(&object.relation);
        let (owned, dependents) = dependents(&scope, oid, &self.shared.identity.database);
        let others: Vec<Oid> =
            dependents.iter().copied().filter(|d| !together.contains(d)).collect();
        if !others.is_empty() && !cascade {
            let describe = |oid: &Oid| {
                scope.objects.get(*oid, scope.at).map(|o| {
                    format!(
                        "{} {} depends on {kind} {}",
                        relation_kind(&o.relation),
                        o.name,
                        object.name
                    )
                })
            };
            let detail: Vec<String> = others.iter().filter_map(describe).collect();
            let message =
                format!("cannot drop {kind} {} because other objects depend on it", object.name);
            return Err(PgError::new("2BP01", message)
                .detail(detail.join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        if matches!(object.relation, Relation::Table(_)) {
            self.drop_references(oid, &object.name, together, cascade).await?;
        }
        for dependent in others {
            if let Some(o) = scope.objects.get(dependent, scope.at) {
                let kind = relation_kind(&o.relation);
                self.notice(PgError::notice(format!("drop cascades to {kind} {}", o.name)));
            }
            Box::pin(self.drop_one(dependent, together, true)).await?;
        }
        for owned in owned {
            self.change_unchecked(owned, None).await?;
        }
        let now = self.scope()?;
        if now.objects.get(oid, now.at).is_some() {
            self.change_unchecked(oid, None).await?;
        }
        Ok(())
    }

    pub(super) async fn truncate(&mut self, truncate: &Truncate) -> PgResult<String> {
        let cascade = matches!(truncate.cascade, Some(CascadeOption::Cascade));
        let mut targets = Vec::with_capacity(truncate.table_names.len());
        for table in &truncate.table_names {
            let target = self.write_target(&table.name)?;
            self.require(&target, 'D', None)?;
            targets.push(target);
        }
        loop {
            let others = self.referring_tables(&targets)?;
            let Some((child, parent)) = others.first() else { break };
            if !cascade {
                let message = "cannot truncate a table referenced in a foreign key constraint";
                return Err(PgError::new("0A000", message)
                    .detail(format!("Table \"{}\" references \"{parent}\".", child.name))
                    .hint(format!(
                        "Truncate table \"{}\" at the same time, or use TRUNCATE ... CASCADE.",
                        child.name
                    )));
            }
            for (child, _) in others {
                let text = format!("truncate cascades to table \"{}\"", child.name);
                self.notice(PgError::notice(text));
                targets.push(child);
            }
        }
        for target in &targets {
            self.delete_all(target).await?;
        }
        if matches!(truncate.identity, Some(TruncateIdentityOption::Restart)) {
            self.restart_identity(&targets).await?;
        }
        // All tables that refer to these are empty too.
        self.touched.clear();
        Ok("TRUNCATE TABLE".to_owned())
    }
}

/// What belongs to an object and goes with it, and what depends on it.
fn dependents(scope: &NameScope, oid: Oid, database: &str) -> (Vec<Oid>, Vec<Oid>) {
    let mut owned = Vec::new();
    let mut dependents = Vec::new();
    for (other, object) in scope.objects.iter(scope.at) {
        if other == oid {
            continue;
        }
        if object.namespace == Some(oid) {
            dependents.push(other);
            continue;
        }
        match &object.relation {
            Relation::Index { table, .. } if *table == oid => owned.push(other),
            Relation::Sequence { owned_by: Some((table, _)), .. } if *table == oid => {
                owned.push(other);
            }
            Relation::View { query, .. } if view_reads(query, scope, database, oid) => {
                dependents.push(other);
            }
            _ => {}
        }
    }
    (owned, dependents)
}

impl Session {
    /// Whether a view reads the relation.
    pub(super) fn is_read_by_view(&self, oid: Oid) -> PgResult<bool> {
        let scope = self.scope()?;
        Ok(scope.objects.iter(scope.at).any(|(_, o)| match &o.relation {
            Relation::View { query, .. } => {
                view_reads(query, &scope, &self.shared.identity.database, oid)
            }
            _ => false,
        }))
    }
}
