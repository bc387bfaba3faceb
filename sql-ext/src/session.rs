//! The DataFusion session state that understands Chronos' SQL.

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;

use crate::relation::TemporalRelationPlanner;
use crate::temporal::TemporalCatalog;
use crate::types::PostgresTypePlanner;

/// Installs planners, rules and functions into a session state. `builder` should have its
/// default features already.
pub fn configure(
    mut builder: SessionStateBuilder,
    catalog: Arc<dyn TemporalCatalog>,
) -> SessionStateBuilder {
    let options = builder.config().get_or_insert_default().options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.support_varchar_with_length = true;
    options.sql_parser.map_string_types_to_utf8view = true;
    options.execution.time_zone = Some(catalog.time_zone().name().to_owned());
    builder
        .with_relation_planners(vec![Arc::new(TemporalRelationPlanner::new(catalog))])
        .with_type_planner(Arc::new(PostgresTypePlanner))
}
