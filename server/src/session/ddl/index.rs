//! CREATE INDEX.

use std::sync::Arc;

use chronos_catalog::{Constraint, ConstraintKind, Relation, TableDef};
use datafusion::sql::sqlparser::ast::CreateIndex;

use super::{columns, object};
use crate::error::{PgError, PgResult};
use crate::session::names::single;
use crate::session::session::Session;

impl Session {
    pub(super) async fn create_index(&mut self, create: &CreateIndex) -> PgResult<String> {
        if create.predicate.is_some() {
            return Err(PgError::unsupported("a partial index"));
        }
        if create.nulls_distinct == Some(false) {
            return Err(PgError::unsupported("NULLS NOT DISTINCT"));
        }
        let target = self.write_target(&create.table_name)?;
        self.require_owner(&self.scope()?, target.oid)?;
        let names = columns::index_columns(&create.columns)?;
        let ids = columns::column_ids(&target.def.columns, &names)?;
        let scope = self.scope()?;
        let table = scope
            .objects
            .get(target.oid, scope.at)
            .cloned()
            .ok_or_else(|| PgError::internal("the indexed table is gone"))?;
        let Some(namespace) = table.namespace else {
            return Err(PgError::internal("a table without a schema"));
        };
        let name = match &create.name {
            Some(name) => single(name)?,
            None => {
                let base = format!("{}_{}_idx", target.name, names.join("_"));
                super::table::free_name(&scope, namespace, &base)
            }
        };
        let taken = target.def.constraints.iter().any(|c| c.name == name);
        if taken && create.if_not_exists {
            return Ok("CREATE INDEX".to_owned());
        }
        if taken {
            return Err(PgError::new("42P07", format!("relation \"{name}\" already exists")));
        }
        if !self.name_is_free(&scope, namespace, &name, create.if_not_exists)? {
            return Ok("CREATE INDEX".to_owned());
        }
        let oid = self.allocate_oid().await?;
        if create.unique {
            // Uniqueness is kept by constraints.
            self.refuse_duplicates(&target, &name, &names).await?;
            let mut def = TableDef::clone(&target.def);
            def.schema_version += 1;
            def.constraints.push(Constraint::new(oid, name, ConstraintKind::Unique(ids)));
            let mut object = (*table).clone();
            object.relation = Relation::Table(Arc::new(def));
            self.change(target.oid, Some(object)).await?;
            return Ok("CREATE INDEX".to_owned());
        }
        let method =
            create.using.as_ref().map_or("btree".to_owned(), |m| m.to_string().to_lowercase());
        let relation = Relation::Index { table: target.oid, columns: ids, unique: false, method };
        let owner = self.owner(&scope);
        self.change(oid, Some(object(&name, Some(namespace), owner, relation))).await?;
        Ok("CREATE INDEX".to_owned())
    }
}
