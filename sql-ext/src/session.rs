//! The DataFusion session state that understands Chronos' SQL.

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;

use crate::arithmetic::CheckedArithmeticRule;
use crate::casts::{PostgresCastRule, UnknownLiteralRule};
use crate::kept::{KeepTypeRule, OrderKeyRule};
use crate::now;
use crate::operators::PostgresOperatorPlanner;
use crate::relation::TemporalRelationPlanner;
use crate::temporal::TemporalCatalog;
use crate::totals;
use crate::types::PostgresTypePlanner;
use crate::window::{WindowFunction, WindowRule};

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
    // A cast is nullable in physical plans whatever it casts, which the check takes ill.
    options.execution.skip_physical_aggregate_schema_check = true;
    let functions = builder.scalar_functions().get_or_insert_default();
    functions.push(Arc::new(ScalarUDF::new_from_impl(WindowFunction::new())));
    functions.extend(now::functions(&catalog));
    crate::functions::install(&mut builder);
    builder.aggregate_functions().get_or_insert_default().extend(totals::functions());
    builder.aggregate_functions().get_or_insert_default().extend(crate::spread::functions());
    let planners = builder.expr_planners().get_or_insert_default();
    planners.insert(0, Arc::new(PostgresOperatorPlanner));
    let analyzer = builder.analyzer().get_or_insert_default();
    analyzer.rules.insert(0, Arc::new(UnknownLiteralRule));
    analyzer.rules.insert(0, Arc::new(KeepTypeRule));
    analyzer.rules.push(Arc::new(PostgresCastRule::new(Arc::clone(&catalog))));
    builder
        .with_relation_planners(vec![Arc::new(TemporalRelationPlanner::new(Arc::clone(&catalog)))])
        .with_type_planner(Arc::new(PostgresTypePlanner))
        .with_analyzer_rule(Arc::new(WindowRule::new(catalog)))
        .with_analyzer_rule(Arc::new(CheckedArithmeticRule::new()))
        .with_analyzer_rule(Arc::new(OrderKeyRule))
}
