//! UNDROP TABLE: a dropped table comes back with its rows, history, indexes and sequences.

use chronos_catalog::{CommitTs, NameKind, Object, Oid, Relation};
use datafusion::sql::sqlparser::ast::{Expr, ObjectName};

use crate::error::{PgError, PgResult};
use crate::session::api::Response;
use crate::session::names::{RelationName, no_relation, single};
use crate::session::session::Session;

/// A dropped table.
struct Dropped {
    oid: Oid,
    object: Object,
    at: CommitTs,
}

impl Session {
    pub(super) async fn undrop(
        &mut self,
        name: &ObjectName,
        instant: Option<&Expr>,
        new_name: Option<&ObjectName>,
    ) -> PgResult<Response> {
        let instant = match instant {
            Some(expr) => Some(self.evaluate_instant(expr).await?),
            None => None,
        };
        let name = self.relation_name(name)?;
        let dropped = self.dropped_table(&name, instant)?;
        let mut object = dropped.object;
        if let Some(new_name) = new_name {
            object.name = single(new_name)?;
        }
        let scope = self.scope()?;
        let Some(namespace) = object.namespace else {
            return Err(PgError::internal("a table without a schema"));
        };
        if scope.objects.get(namespace, scope.at).is_none() {
            let message = format!("the schema of table \"{name}\" does not exist any more");
            return Err(PgError::new("3F000", message));
        }
        if scope
            .objects
            .lookup(NameKind::Relation, Some(namespace), &object.name, scope.at)
            .is_some()
        {
            let message = format!("relation \"{}\" already exists", object.name);
            return Err(PgError::new("42P07", message)
                .hint("Give it another name: UNDROP TABLE … AS name."));
        }
        // What went with the table comes back with it, unless its name was taken.
        let mut together = Vec::new();
        for oid in scope.objects.oids() {
            let Some(last) = scope.objects.history(oid).last() else { continue };
            let owned = match &last.object.relation {
                Relation::Index { table, .. } => *table == dropped.oid,
                Relation::Sequence { owned_by: Some((table, _)), .. } => *table == dropped.oid,
                _ => false,
            };
            if owned && last.period.to == Some(dropped.at) {
                together.push((oid, Object::clone(&last.object)));
            }
        }
        for (_, owned) in &together {
            let taken = scope
                .objects
                .lookup(NameKind::Relation, owned.namespace, &owned.name, scope.at)
                .is_some();
            if taken {
                let message = format!("relation \"{}\" already exists", owned.name);
                return Err(PgError::new("42P07", message)
                    .detail(format!("It was dropped together with table \"{}\".", object.name)));
            }
        }
        self.change(dropped.oid, Some(object)).await?;
        for (oid, owned) in together {
            self.change(oid, Some(owned)).await?;
        }
        Ok(Response::Complete("UNDROP TABLE".to_owned()))
    }

    /// The table of that name that was dropped last, or that was there at an instant.
    fn dropped_table(&self, name: &RelationName, instant: Option<CommitTs>) -> PgResult<Dropped> {
        let scope = self.scope()?;
        let schemas: Vec<String> = match &name.schema {
            Some(schema) => vec![schema.clone()],
            None => scope.path.clone(),
        };
        let mut found: Option<Dropped> = None;
        for oid in scope.objects.oids() {
            let Some(last) = scope.objects.history(oid).last() else { continue };
            let Some(at) = last.period.to.filter(|to| *to < CommitTs::MAX) else { continue };
            let object = &last.object;
            let schema = object
                .namespace
                .and_then(|n| scope.objects.history(n).last())
                .is_some_and(|v| schemas.contains(&v.object.name));
            let there = instant
                .is_none_or(|t| scope.objects.get(oid, t).is_some_and(|o| o.name == name.name));
            let fits = matches!(object.relation, Relation::Table(_))
                && schema
                && (object.name == name.name || instant.is_some())
                && there;
            if fits && found.as_ref().is_none_or(|f| f.at < at) {
                found = Some(Dropped { oid, object: Object::clone(object), at });
            }
        }
        found.ok_or_else(|| {
            if scope.lookup().relation(name).is_some() {
                let message = format!("relation \"{name}\" is not dropped");
                return PgError::new("42P07", message);
            }
            no_relation(name).detail("No table of that name was dropped.")
        })
    }
}
