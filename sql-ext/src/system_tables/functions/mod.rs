//! The functions of `pg_catalog` that read the catalog or the session.

mod acl;
mod function;
mod privileges;
mod session;
mod system;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

pub(crate) use function::SystemFunction;

use super::catalog::SystemCatalog;

/// All functions, bound to one catalog.
pub(crate) fn functions(catalog: &SystemCatalog) -> Vec<Arc<ScalarUDF>> {
    let explode = acl::Explode::new(catalog.clone());
    [system::FUNCTIONS, session::FUNCTIONS, privileges::FUNCTIONS]
        .into_iter()
        .flatten()
        .chain(system::REG_FUNCTIONS.iter().flatten())
        .map(|f| Arc::new(ScalarUDF::new_from_impl(SystemFunction::new(f, catalog.clone()))))
        .chain([Arc::new(ScalarUDF::new_from_impl(explode))])
        .collect()
}
