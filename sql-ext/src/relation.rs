//! Plans table references at their instants.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::TableFactor;

use crate::temporal::TemporalCatalog;

/// Plans the markers that [`crate::bind`] makes of table references.
#[derive(Debug)]
pub(crate) struct TemporalRelationPlanner {
    catalog: Arc<dyn TemporalCatalog>,
}

impl TemporalRelationPlanner {
    pub(crate) fn new(catalog: Arc<dyn TemporalCatalog>) -> Self {
        TemporalRelationPlanner { catalog }
    }
}

impl RelationPlanner for TemporalRelationPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        _context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let _ = &self.catalog;
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}
