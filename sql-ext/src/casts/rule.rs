//! Puts [`super::convert`] in the place of DataFusion's casts where the two differ.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use chronos_catalog::SqlType;
use chronos_catalog::schema::{NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::convert::exists;
use super::function::CastFunction;
use super::{is_character, sql_type};
use crate::temporal::TemporalCatalog;
use crate::text::TextSettings;

/// Replaces casts, those that type coercion added among them.
#[derive(Debug)]
pub(crate) struct PostgresCastRule {
    catalog: Arc<dyn TemporalCatalog>,
}

impl PostgresCastRule {
    pub(crate) fn new(catalog: Arc<dyn TemporalCatalog>) -> Self {
        PostgresCastRule { catalog }
    }
}

impl AnalyzerRule for PostgresCastRule {
    fn name(&self) -> &str {
        "postgres_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let settings = self.catalog.text_settings();
        plan.transform_up_with_subqueries(|plan| {
            let mut schema = DFSchema::empty();
            for input in plan.inputs() {
                schema.merge(input.schema());
            }
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                rewrite(expr, &schema, &settings)?.map_data(|expr| Ok(name.restore(expr)))
            })?
            .transform_data(|plan| Ok(Transformed::yes(plan.recompute_schema()?)))
        })
        .map(|transformed| transformed.data)
    }
}

/// Replaces the casts of an expression whose types are coerced already.
pub(crate) fn rewrite(
    expr: Expr,
    schema: &DFSchema,
    settings: &TextSettings,
) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let Expr::Cast(Cast { expr: inner, field }) = expr else {
            return Ok(Transformed::no(expr));
        };
        let types = match (sql_type(&inner, schema), SqlType::of_field(&field)) {
            (Some(from), Some(to)) => Some((from, inner.get_type(schema)?, to)),
            _ => None,
        };
        match types {
            Some((from, from_arrow, to))
                if exists(&from, &to) && differs(&from, &from_arrow, &to) =>
            {
                let call = CastFunction::call(*inner, from, to.clone(), settings);
                Ok(Transformed::yes(if to.arrow() == *field.data_type() {
                    call
                } else {
                    Expr::Cast(Cast { expr: Box::new(call), field })
                }))
            }
            Some((from, _, to)) if !field.name().is_empty() => {
                keep(*inner, field, (from, to), schema, settings)
            }
            _ => Ok(Transformed::no(Expr::Cast(Cast { expr: inner, field }))),
        }
    })
}

/// A written cast that stays DataFusion's. Planned by its field, it would be nullable when
/// executed whatever is cast, against the plan's schema; so it is planned by its type alone, or,
/// where metadata has to change, as a function after all.
fn keep(
    inner: Expr,
    field: FieldRef,
    (from, to): (SqlType, SqlType),
    schema: &DFSchema,
    settings: &TextSettings,
) -> Result<Transformed<Expr>> {
    let (_, source) = inner.to_field(schema)?;
    if from == to
        && source.data_type() == field.data_type()
        && source.metadata() == field.metadata()
        && matches!(inner, Expr::Column(_))
    {
        return Ok(Transformed::yes(inner));
    }
    if source.metadata().is_empty() && field.metadata().is_empty() {
        let data_type = field.data_type().clone();
        return Ok(Transformed::yes(Expr::Cast(Cast::new(Box::new(inner), data_type))));
    }
    if exists(&from, &to) && to.arrow() == *field.data_type() {
        return Ok(Transformed::yes(CastFunction::call(inner, from, to, settings)));
    }
    Ok(Transformed::no(Expr::Cast(Cast { expr: Box::new(inner), field })))
}

/// Whether DataFusion's cast would answer anything else.
fn differs(from: &SqlType, from_arrow: &DataType, to: &SqlType) -> bool {
    use SqlType as T;
    let texts = |data_type: &DataType| {
        matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    };
    match (from, to) {
        (a, b) if a == b => false,
        (a, T::Varchar(Some(_)) | T::Char(_)) => a != to,
        (T::Char(_), b) => !matches!(b, T::Name),
        (a, b) if is_character(a) && is_character(b) => false,
        (a, _) if is_character(a) => true,
        (T::Int2 | T::Int4 | T::Int8 | T::Oid, b) if is_character(b) => false,
        (a, b) if is_character(b) => {
            !texts(from_arrow) || crate::text::kept::casts_to_other_text(a)
        }
        // Widening: the optimizer looks through these.
        (T::Int2, T::Int4 | T::Int8)
        | (T::Int4, T::Int8)
        | (T::Int2 | T::Int4 | T::Int8 | T::Float4, T::Float8)
        | (T::Int2 | T::Int4 | T::Int8, T::Float4)
        | (T::Jsonb, T::Json)
        | (T::Bool, T::Int4)
        | (T::Int4, T::Bool) => false,
        (T::Int2 | T::Int4 | T::Int8, T::Numeric(to)) => {
            let digits = match from {
                T::Int2 => 5,
                T::Int4 => 10,
                _ => 19,
            };
            let (precision, scale) = precision(to);
            i32::from(precision) - i32::from(scale) < digits
        }
        (T::Numeric(_), T::Numeric(to)) => match from_arrow {
            DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => {
                let (precision, scale) = precision(to);
                let room = |p: u8, s: i8| i32::from(p) - i32::from(s);
                scale < *s || room(precision, scale) < room(*p, *s)
            }
            _ => true,
        },
        (T::Array(a), T::Array(b)) => match from_arrow {
            DataType::List(field) => differs(a, field.data_type(), b),
            _ => false,
        },
        _ => true,
    }
}

fn precision(declared: &Option<(u8, i8)>) -> (u8, i8) {
    declared.unwrap_or((NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE))
}
