//! From a logical plan to a [`KeyPlan`], where a key answers it.

use std::sync::Arc;

use chronos_catalog::{ColumnId, ReadTs, SystemTime, TableDef};
use chronos_storage::{KeySpec, PointRead};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::{Cast, InList};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, TryCast};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::key_plan::{KeyPlan, KeySource};
use super::parameter;
use super::shape::{Shape, is_constant, parameter_column};

/// More keys than this in a statement are left to the planner.
const KEYS_MAX: usize = 64;

/// Compiles a plan with placeholders, not optimized, of the types given; `None` where no key
/// answers it. `now` is the instant at which the transaction reads.
pub(super) fn compile(
    plan: LogicalPlan,
    types: &[DataType],
    state: &SessionState,
    now: ReadTs,
) -> Result<Option<KeyPlan>> {
    let plan = parameter::open(plan, types)?;
    if !is_constant(&plan) {
        return Ok(None);
    }
    let plan = state.optimize(&plan)?;
    let Some(shape) = Shape::of(&plan) else { return Ok(None) };
    if shape.table.system_time() != SystemTime::AsOf(now) {
        return Ok(None);
    }
    let schema = shape.table.schema_fields();
    let parameters: Vec<Field> = types
        .iter()
        .enumerate()
        .map(|(i, ty)| Field::new(parameter_column(i), ty.clone(), true))
        .collect();
    let every: Vec<Field> =
        schema.iter().map(|f| f.as_ref().clone()).chain(parameters.iter().cloned()).collect();
    let every = DFSchema::try_from(Schema::new(every))?;
    let Some((key, sources)) = find_key(shape.table.def(), &shape.predicates, &every) else {
        return Ok(None);
    };
    if shape.one_row && sources.iter().any(|s| !matches!(s, Bound::Values(v) if v.len() == 1)) {
        return Ok(None);
    }
    // What is read: the columns that some expression names.
    let mut columns = Vec::new();
    for expr in shape.outputs.iter().chain(&shape.predicates) {
        expr.apply(|expr| {
            if let Expr::Column(column) = expr
                && let Some(place) = schema.iter().position(|f| *f.name() == column.name)
                && !columns.contains(&place)
            {
                columns.push(place);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    let Some(read) = PointRead::new(shape.table.table_oid(), shape.table.def(), key, &columns)
    else {
        return Ok(None);
    };
    let parameters = Arc::new(Schema::new(parameters));
    let row: Vec<Field> = read
        .schema()
        .fields()
        .iter()
        .chain(parameters.fields())
        .map(|f| f.as_ref().clone().with_nullable(true))
        .collect();
    let row = Arc::new(Schema::new(row));
    let props = state.execution_props();
    let over = |schema: &Arc<Schema>, expr: &Expr| -> Result<Arc<dyn PhysicalExpr>> {
        let schema = DFSchema::try_from(schema.as_ref().clone())?;
        create_physical_expr(expr, &schema, props, &PhysicalPlanningContext::default())
    };
    let keys = sources
        .iter()
        .map(|source| {
            Ok(match source {
                Bound::Values(values) => KeySource::Values(
                    values.iter().map(|e| over(&parameters, e)).collect::<Result<_>>()?,
                ),
                Bound::List(list) => KeySource::List(over(&parameters, list)?),
            })
        })
        .collect::<Result<_>>()?;
    let filter = match conjunction(shape.predicates.iter().cloned()) {
        Some(filter) => Some(over(&row, &filter)?),
        None => None,
    };
    let outputs: Vec<_> =
        shape.outputs.iter().map(|expr| over(&row, expr)).collect::<Result<_>>()?;
    let answer = plan.schema().fields().iter().zip(&outputs).map(|(field, expr)| {
        let data_type = expr.data_type(&row)?;
        Ok(field.as_ref().clone().with_data_type(data_type).with_nullable(true))
    });
    let schema = Arc::new(Schema::new(answer.collect::<Result<Vec<_>>>()?));
    Ok(Some(KeyPlan { read, keys, filter, outputs, schema, parameters, row }))
}

/// What a column is equal to.
enum Bound {
    Values(Vec<Expr>),
    List(Expr),
}

/// The first unique key all of whose columns the conditions bind.
fn find_key(
    def: &TableDef,
    predicates: &[Expr],
    schema: &DFSchema,
) -> Option<(KeySpec, Vec<Bound>)> {
    def.unique_keys().find_map(|(oid, _, columns)| {
        let several = columns.len() > 1;
        let bound = |id: &ColumnId| {
            let column = def.column(*id)?;
            let target = column.ty.arrow();
            let found = predicates.iter().filter_map(|p| binding(p, &column.name, &target, schema));
            found.into_iter().find(|b| match b {
                Bound::Values(values) => values.len() == 1 || !several,
                Bound::List(_) => !several,
            })
        };
        let sources = columns.iter().map(bound).collect::<Option<Vec<_>>>()?;
        Some((KeySpec { oid, columns: columns.to_vec() }, sources))
    })
}

/// What a condition says that a column is equal to, in the column's type.
fn binding(expr: &Expr, column: &str, target: &DataType, schema: &DFSchema) -> Option<Bound> {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(c) if c.name == column);
    let value_for = |side: &Expr, value: &Expr| {
        if is_column(side) {
            return typed(value, target, schema);
        }
        // What does not fit is NULL, which no key is.
        (is_widened(side, &is_column, target) && is_free(value))
            .then(|| Expr::TryCast(TryCast::new(Box::new(value.clone()), target.clone())))
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let value = value_for(left, right).or_else(|| value_for(right, left))?;
            Some(Bound::Values(vec![value]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (Bound::Values(mut values), Bound::Values(more)) =
                (binding(left, column, target, schema)?, binding(right, column, target, schema)?)
            else {
                return None;
            };
            values.extend(more);
            (values.len() <= KEYS_MAX).then_some(Bound::Values(values))
        }
        Expr::InList(InList { expr, list, negated: false })
            if !list.is_empty() && list.len() <= KEYS_MAX =>
        {
            let values = list.iter().map(|e| value_for(expr, e));
            Some(Bound::Values(values.collect::<Option<_>>()?))
        }
        Expr::ScalarFunction(call) if call.func.name() == "array_has" => {
            let [list, item] = call.args.as_slice() else { return None };
            let fits = matches!(
                list.get_type(schema),
                Ok(DataType::List(item)) if item.data_type() == target
            );
            (is_column(item) && is_free(list) && fits).then(|| Bound::List(list.clone()))
        }
        _ => None,
    }
}

/// Whether an expression is the column, an integer, in a wider type.
fn is_widened(expr: &Expr, is_column: &dyn Fn(&Expr) -> bool, target: &DataType) -> bool {
    match expr {
        Expr::Cast(Cast { expr, field }) => {
            is_column(expr)
                && matches!(
                    (target, field.data_type()),
                    (DataType::Int16, DataType::Int32 | DataType::Int64)
                        | (DataType::Int32, DataType::Int64)
                )
        }
        _ => false,
    }
}

/// A value of the column's type that depends on no row.
fn typed(expr: &Expr, target: &DataType, schema: &DFSchema) -> Option<Expr> {
    if !is_free(expr) {
        return None;
    }
    let from = expr.get_type(schema).ok()?;
    if from == *target {
        return Some(expr.clone());
    }
    let text =
        |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    (text(&from) && text(target))
        .then(|| Expr::Cast(Cast::new(Box::new(expr.clone()), target.clone())))
}

/// Whether an expression names no column of the table.
fn is_free(expr: &Expr) -> bool {
    !expr
        .exists(|e| Ok(matches!(e, Expr::Column(c) if !c.name.starts_with('\u{1}'))))
        .unwrap_or(true)
}
