//! PostgreSQL's functions and operators, where DataFusion has none or means something else.
//!
//! - `value`, `column`: one value, and Arrow arrays of them.
//! - `convert`: casts between any two types.
//! - `function`: a scalar function as a name, parameters, a result type and a body over values.
//! - `planner`: which function an operator stands for, by the types of its sides.
//! - `rewrite`: functions of DataFusion's that depend on the type of their argument.
//! - `compare`: the order of values.
//! - The functions themselves, by topic.

mod aggregate;
mod arrays;
mod bytes;
mod column;
mod compare;
mod convert;
mod datetime;
mod format;
mod function;
mod json;
mod json_edit;
mod jsonpath;
mod math;
mod merge;
mod numbers;
mod ordered_sets;
mod patterns;
mod planner;
mod records;
mod rewrite;
mod series;
mod strings;
#[cfg(test)]
mod tests;
mod value;

use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;
use std::sync::{Arc, LazyLock};

use function::{Definition, PostgresFunction};

/// All scalar functions, made once.
static SCALAR: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    let all: [&'static [Definition]; 17] = [
        aggregate::FUNCTIONS,
        arrays::FUNCTIONS,
        bytes::FUNCTIONS,
        datetime::FUNCTIONS,
        format::FUNCTIONS,
        json::FUNCTIONS,
        json_edit::FUNCTIONS,
        jsonpath::FUNCTIONS,
        math::FUNCTIONS,
        merge::FUNCTIONS,
        numbers::FUNCTIONS,
        ordered_sets::FUNCTIONS,
        patterns::FUNCTIONS,
        records::FUNCTIONS,
        series::FUNCTIONS,
        strings::FUNCTIONS,
        datetime::MORE_FUNCTIONS,
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
    builder
        .analyzer()
        .get_or_insert_default()
        .add_function_rewrite(Arc::new(rewrite::RoundRewrite));
}

/// All of them.
#[cfg(test)]
pub(crate) fn all() -> &'static [Arc<ScalarUDF>] {
    &SCALAR
}

/// The function of that name, which is one of ours.
pub(crate) fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    SCALAR.iter().find(|f| f.name() == name).cloned()
}
