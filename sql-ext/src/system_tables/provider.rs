//! The table provider of every system table: rows are made when the table is scanned.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;

use super::catalog::SystemCatalog;
use super::rows::Rows;
use super::shape::Shape;
use super::static_rows::static_rows;
use super::{chronos_tables, cluster, information_schema as info, relations, views};

/// A system table as of the catalog's instant.
#[derive(Clone, Debug)]
pub(crate) struct SystemTable {
    pub catalog: SystemCatalog,
    pub shape: &'static Shape,
}

impl SystemTable {
    /// All rows: those of everybody, then those of this cluster's objects.
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        if self.shape.namespace == "pg_catalog" {
            batches.extend(static_rows(self.shape.name)?);
        }
        let mut rows = Rows::new(self.shape);
        self.fill(&mut rows);
        batches.push(rows.finish()?);
        Ok(batches)
    }

    /// Makes the rows of this cluster's objects. A table that is not named here is empty, as it
    /// is in a PostgreSQL where nobody made such objects.
    fn fill(&self, rows: &mut Rows) {
        let c = &self.catalog;
        match (self.shape.namespace, self.shape.name) {
            ("pg_catalog", name) => match name {
                "pg_class" => relations::pg_class(c, rows),
                "pg_attribute" => relations::pg_attribute(c, rows),
                "pg_attrdef" => relations::pg_attrdef(c, rows),
                "pg_index" => relations::pg_index(c, rows),
                "pg_constraint" => relations::pg_constraint(c, rows),
                "pg_rewrite" => relations::pg_rewrite(c, rows),
                "pg_sequence" => relations::pg_sequence(c, rows),
                "pg_description" => relations::pg_description(c, rows),
                "pg_shdescription" => relations::pg_shdescription(c, rows),
                "pg_depend" => relations::pg_depend(c, rows),
                "pg_namespace" => cluster::pg_namespace(c, rows),
                "pg_database" => cluster::pg_database(c, rows),
                "pg_tablespace" => cluster::pg_tablespace(c, rows),
                "pg_authid" | "pg_roles" => cluster::roles(c, rows, None),
                "pg_user" | "pg_shadow" => cluster::roles(c, rows, Some(true)),
                "pg_group" => cluster::roles(c, rows, Some(false)),
                "pg_default_acl" => cluster::pg_default_acl(c, rows),
                "pg_hba_file_rules" => cluster::pg_hba_file_rules(c, rows),
                "pg_auth_members" => cluster::pg_auth_members(c, rows),
                "pg_settings" => cluster::pg_settings(c, rows),
                "pg_stat_activity" => cluster::pg_stat_activity(c, rows),
                "pg_prepared_statements" => cluster::pg_prepared_statements(c, rows),
                "pg_timezone_names" => cluster::pg_timezone_names(rows),
                "pg_tables" => views::pg_tables(c, rows),
                "pg_views" => views::pg_views(c, rows),
                "pg_policy" => views::pg_policy(c, rows),
                "pg_policies" => views::pg_policies(c, rows),
                "pg_indexes" => views::pg_indexes(c, rows),
                "pg_sequences" => views::pg_sequences(c, rows),
                "pg_stat_user_tables"
                | "pg_stat_all_tables"
                | "pg_statio_user_tables"
                | "pg_statio_all_tables" => views::pg_stat_tables(c, rows),
                "pg_stat_user_indexes"
                | "pg_stat_all_indexes"
                | "pg_statio_user_indexes"
                | "pg_statio_all_indexes" => views::pg_stat_indexes(c, rows),
                "pg_stat_database" => views::pg_stat_database(c, rows),
                _ => {}
            },
            ("information_schema", name) => match name {
                "schemata" => info::schemata(c, rows),
                "information_schema_catalog_name" => info::catalog_name(c, rows),
                "tables" => info::tables(c, rows),
                "views" => info::views(c, rows),
                "columns" => info::columns(c, rows),
                "table_constraints" => info::table_constraints(c, rows),
                "key_column_usage" => info::key_column_usage(c, rows),
                "referential_constraints" => info::referential_constraints(c, rows),
                "constraint_column_usage" => info::constraint_usage(c, rows, true),
                "constraint_table_usage" => info::constraint_usage(c, rows, false),
                "check_constraints" => info::check_constraints(c, rows),
                "sequences" => info::sequences(c, rows),
                "enabled_roles" => info::enabled_roles(c, rows),
                "character_sets" => info::character_sets(c, rows),
                "table_privileges" | "role_table_grants" => info::table_privileges(c, rows),
                _ => {}
            },
            ("chronos", name) => match name {
                "tables" => chronos_tables::tables(c, rows),
                "segments" => chronos_tables::segments(c, rows),
                "compactions" => chronos_tables::compactions(c, rows),
                "uploads" => chronos_tables::uploads(c, rows),
                "erasures" => chronos_tables::erasures(c, rows),
                "schema_history" => chronos_tables::schema_history(c, rows),
                "columns" => chronos_tables::columns(c, rows),
                _ => {}
            },
            _ => {}
        }
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.shape.schema)
    }

    fn table_type(&self) -> TableType {
        if self.shape.kind == 'v' { TableType::View } else { TableType::Base }
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let batches = self.batches()?;
        Ok(MemorySourceConfig::try_new_exec(&[batches], self.schema(), projection.cloned())?)
    }
}
