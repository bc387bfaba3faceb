//! The system catalog at one instant.

use std::sync::Arc;

use chronos_catalog::{Objects, ReadTs};
use datafusion::catalog::{TableFunctionImpl, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use super::correlate::CorrelatedSubqueries;
use super::functions;
use super::provider::SystemTable;
use super::session::SystemSession;
use super::shape::{shape, shapes};
use crate::error::Error;
use crate::lateral::LateralJoins;

/// The system tables and functions at one instant, in one session.
#[derive(Clone, Debug)]
pub struct SystemCatalog {
    /// All objects and their history.
    pub objects: Arc<Objects>,
    /// The instant that they are shown at.
    pub at: ReadTs,
    /// The session.
    pub session: Arc<dyn SystemSession>,
}

impl SystemCatalog {
    /// The system schemas.
    pub const SCHEMAS: [&'static str; 3] = ["pg_catalog", "information_schema", "chronos"];

    /// The system catalog at an instant.
    pub fn new(objects: Arc<Objects>, at: ReadTs, session: Arc<dyn SystemSession>) -> Self {
        SystemCatalog { objects, at, session }
    }

    /// A system table, by its unquoted schema and name.
    pub fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        let shape = shape(schema, name)?;
        Some(Arc::new(SystemTable { catalog: self.clone(), shape }))
    }

    /// The names of a system schema's tables.
    pub fn table_names(&self, schema: &str) -> Vec<String> {
        shapes().iter().filter(|s| s.namespace == schema).map(|s| s.name.to_owned()).collect()
    }

    /// The functions, to be registered under their bare names.
    pub fn functions(&self) -> Vec<Arc<ScalarUDF>> {
        functions::functions(self)
    }

    /// The functions that make rows, by name.
    pub fn table_functions(&self) -> Vec<(&'static str, Arc<dyn TableFunctionImpl>)> {
        let of = |(name, view)| {
            let table = SystemTable { catalog: self.clone(), shape: shape("pg_catalog", view)? };
            let function: Arc<dyn TableFunctionImpl> = Arc::new(ViewFunction(name, table));
            Some((name, function))
        };
        VIEW_FUNCTIONS.iter().copied().filter_map(of).collect()
    }
}

/// The functions that PostgreSQL's views of the same rows are made of.
const VIEW_FUNCTIONS: &[(&str, &str)] = &[
    ("pg_available_extensions", "pg_available_extensions"),
    ("pg_cursor", "pg_cursors"),
    ("pg_hba_file_rules", "pg_hba_file_rules"),
    ("pg_lock_status", "pg_locks"),
    ("pg_prepared_statement", "pg_prepared_statements"),
    ("pg_show_all_settings", "pg_settings"),
    ("pg_timezone_names", "pg_timezone_names"),
];

/// A function without arguments whose rows are those of a view.
#[derive(Debug)]
struct ViewFunction(&'static str, SystemTable);

impl TableFunctionImpl for ViewFunction {
    fn call(&self, args: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        if args.is_empty() {
            return Ok(Arc::new(self.1.clone()));
        }
        let message = format!("function {}() takes no arguments", self.0);
        Err(Error::postgres("42883", message).into())
    }
}

/// The analyzer rules that catalog queries need; to be put before DataFusion's own.
pub fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![Arc::new(LateralJoins), Arc::new(CorrelatedSubqueries)]
}
