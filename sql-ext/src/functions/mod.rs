//! PostgreSQL's functions and operators, where DataFusion has none or means something else.
//!
//! - `value`, `column`: one value, and Arrow arrays of them.
//! - `convert`: casts between any two types.
//! - `function`: a scalar function as a name, parameters, a result type and a body over values.
//! - `planner`: which function an operator stands for, by the types of its sides.
//! - `rewrite`: casts whose meaning is not that of Arrow's.
//! - The functions themselves, by topic: `json`, `json_edit`, `merge`, `aggregate`, `datetime`,
//!   `numbers`, `strings`.

mod aggregate;
mod column;
mod convert;
mod datetime;
mod function;
mod json;
mod json_edit;
mod merge;
mod numbers;
mod planner;
mod rewrite;
mod strings;
#[cfg(test)]
mod tests;
mod value;

use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;
use std::sync::{Arc, LazyLock};

pub use rewrite::cast;

use function::{Definition, PostgresFunction};

/// All scalar functions, made once.
static SCALAR: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    let all: [&'static [Definition]; 7] = [
        aggregate::FUNCTIONS,
        datetime::FUNCTIONS,
        json::FUNCTIONS,
        json_edit::FUNCTIONS,
        merge::FUNCTIONS,
        numbers::FUNCTIONS,
        strings::FUNCTIONS,
    ];
    let mut functions = PostgresFunction::group(all.into_iter().flatten());
    functions.extend(numbers::checked());
    functions
});

/// Installs the functions, the operators and the casts.
pub(crate) fn install(builder: &mut SessionStateBuilder) {
    builder.scalar_functions().get_or_insert_default().extend(SCALAR.iter().cloned());
    builder.aggregate_functions().get_or_insert_default().extend(aggregate::functions());
    builder
        .expr_planners()
        .get_or_insert_default()
        .insert(0, Arc::new(planner::PostgresExprPlanner));
    builder.analyzer().get_or_insert_default().add_function_rewrite(Arc::new(rewrite::CastRewrite));
}

/// The function of that name, which is one of ours.
fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    SCALAR.iter().find(|f| f.name() == name).cloned()
}
