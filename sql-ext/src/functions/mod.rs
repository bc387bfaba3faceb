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
mod bits;
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
mod network;
mod numbers;
mod order;
mod ordered_sets;
mod patterns;
mod planner;
mod ranges;
mod records;
mod rewrite;
mod series;
mod strings;
#[cfg(test)]
mod tests;
mod value;

use arrow::array::ArrayRef;
use chronos_catalog::SqlType;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;
use std::sync::{Arc, LazyLock};

use function::{Definition, PostgresFunction};
pub(crate) use order::extreme_of;

/// All scalar functions, made once.
static SCALAR: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    let all: [&'static [Definition]; 21] = [
        aggregate::FUNCTIONS,
        arrays::FUNCTIONS,
        bits::FUNCTIONS,
        bytes::FUNCTIONS,
        datetime::FUNCTIONS,
        format::FUNCTIONS,
        json::FUNCTIONS,
        json_edit::FUNCTIONS,
        jsonpath::FUNCTIONS,
        math::FUNCTIONS,
        merge::FUNCTIONS,
        network::FUNCTIONS,
        numbers::FUNCTIONS,
        order::FUNCTIONS,
        ordered_sets::FUNCTIONS,
        patterns::FUNCTIONS,
        ranges::FUNCTIONS,
        records::FUNCTIONS,
        series::FUNCTIONS,
        strings::FUNCTIONS,
        datetime::MORE_FUNCTIONS,
    ];
    let mut functions = PostgresFunction::group(
        all.into_iter().flatten().chain(ranges::CONSTRUCTORS.iter().flatten()),
    );
    functions.extend(ranges::lower_and_upper());
    functions.extend(numbers::checked());
    functions
});

/// Installs the functions, the operators and the casts.
pub(crate) fn install(builder: &mut SessionStateBuilder) {
    builder.scalar_functions().get_or_insert_default().extend(SCALAR.iter().cloned());
    builder.aggregate_functions().get_or_insert_default().extend(aggregate::functions());
    builder.aggregate_functions().get_or_insert_default().extend(ranges::aggregates());
    builder
        .expr_planners()
        .get_or_insert_default()
        .insert(0, Arc::new(planner::PostgresExprPlanner));
    builder
        .analyzer()
        .get_or_insert_default()
        .add_function_rewrite(Arc::new(rewrite::RoundRewrite));
}

/// Casts an array's values one by one.
///
/// # Errors
/// Those of the cast.
pub(crate) fn convert_array(
    values: &ArrayRef,
    from: &SqlType,
    to: &SqlType,
    zone: chrono_tz::Tz,
) -> datafusion::common::Result<ArrayRef> {
    let values = column::readable(values)?;
    let converted = (0..values.len())
        .map(|row| convert::convert(column::value_at(values.as_ref(), row)?, from, to, zone))
        .collect::<datafusion::common::Result<Vec<_>>>()?;
    column::array_of(&converted, to)
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
