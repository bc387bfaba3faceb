//! `AS OF` an instant that each row of another relation tells:
//! `FROM orders o, LATERAL (SELECT * FROM prices FOR SYSTEM_TIME AS OF o.placed_at …) p`.
//!
//! The table is read in all its versions, and each row takes those that its instant falls into:
//!
//! ```text
//! Filter: _system_from <= i AND (_system_to > i OR _system_to IS NULL)    i = instant(o.placed_at)
//!   Scan of prices, all versions
//! ```
//!
//! Invariant: the instant of every outer row is judged, also of one that finds no row. So a join or
//! a subquery computes it beside the outer columns ([`hoist`]), never among the table's rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use chrono_tz::Tz;
use chronos_catalog::CommitTs;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchema, DataFusionError, Result, ScalarValue, SchemaError, TableReference,
};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast;

use crate::error::Error;
use crate::instant;
use crate::relation::{Reference, TemporalRelationPlanner};

/// Numbers for names that no other column has.
static NAMES: AtomicU64 = AtomicU64::new(0);

/// All versions of a table, for a read at instants that are known only row by row.
pub struct Versions {
    /// Every version that an instant in [`Versions::readable`] may see. No row of a running
    /// transaction.
    pub provider: Arc<dyn TableProvider>,
    /// What `provider` covers.
    pub time: chronos_catalog::SystemTime,
    /// Which instants can be read.
    pub readable: Readable,
    /// What holds for the rows that have not expired at an instant; `None` where none expires.
    pub alive: Option<Arc<dyn Fn(Expr) -> Expr + Send + Sync>>,
}

impl std::fmt::Debug for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Versions").field("readable", &self.readable).finish_non_exhaustive()
    }
}

/// The instants at which a table can be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Readable {
    /// The table's name, for errors.
    pub name: String,
    /// When it was made; `None` for one that no commit has made.
    pub made: Option<CommitTs>,
    /// The earliest instant whose history is kept.
    pub horizon: Option<CommitTs>,
    /// The statement's now.
    pub last: CommitTs,
}

impl Readable {
    fn check(&self, at: CommitTs) -> std::result::Result<(), Error> {
        if at > self.last {
            return Err(Error::FutureInstant(instant::display(at)));
        }
        let Some(made) = self.made.filter(|made| at >= *made) else {
            let error =
                Error::postgres("42P01", format!("relation \"{}\" does not exist", self.name))
                    .with_detail(format!("It did not exist at {}.", instant::display(at)));
            return Err(match self.made {
                Some(made) => {
                    error.with_hint(format!("It was made at {}.", instant::display(made)))
                }
                None => error.with_hint("The transaction that makes it has not committed."),
            });
        };
        match self.horizon {
            Some(horizon) if at < horizon.max(made) => Err(Error::postgres(
                "72000",
                format!("the history as of {} is not kept", instant::display(at)),
            )
            .with_hint(format!(
                "The earliest instant that can be read is {}.",
                instant::display(horizon)
            ))),
            _ => Ok(()),
        }
    }
}

impl TemporalRelationPlanner {
    /// A table as of the instant that an outer row tells.
    pub(crate) fn plan_per_row(
        &self,
        reference: &Reference<'_>,
        at: &ast::Expr,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let at = match context.sql_to_expr(at.clone(), &DFSchema::empty()) {
            Ok(at) if at.contains_outer() => at,
            Ok(_) => return Err(Error::InstantWithColumns.into()),
            Err(error) => {
                let unknown = matches!(
                    error.find_root(),
                    DataFusionError::SchemaError(inner, _)
                        if matches!(inner.as_ref(), SchemaError::FieldNotFound { .. })
                );
                return Err(if unknown { Error::InstantWithColumns.into() } else { error });
            }
        };
        let versions = self.catalog.versions(&reference.name)?;
        let instant = InstantOf {
            readable: versions.readable,
            zone: self.catalog.time_zone(),
            now: self.catalog.now(),
            signature: Signature::any(1, Volatility::Volatile),
        };
        let at = ScalarUDF::new_from_impl(instant).call(vec![at]);
        let plan = self.scan_versions(reference, &versions.provider, versions.time)?;
        let plan = self.filtered(&reference.name, &versions.provider, plan, context)?;
        let names: Vec<Column> = plan.schema().columns();
        // When versions began and ended goes under names that are nowhere else: the condition may
        // be moved above aliases and other projections.
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let (began, ended) = (format!("_began_{number}"), format!("_ended_{number}"));
        let mut columns: Vec<Expr> = names.iter().cloned().map(Expr::Column).collect();
        for (name, own) in [("_system_from", &began), ("_system_to", &ended)] {
            let (qualifier, field) = plan.schema().qualified_field_with_unqualified_name(name)?;
            columns.push(Expr::Column(Column::from((qualifier, field))).alias(own));
        }
        let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
        let column = |name: String| Expr::Column(Column::new(None::<TableReference>, name));
        let (from, to) = (column(began), column(ended));
        let mut seen =
            from.lt_eq(at.clone()).and(to.clone().is_null().or(to.clone().gt(at.clone())));
        if let Some(alive) = &versions.alive {
            seen = seen.and(alive(at));
        }
        let plan = LogicalPlanBuilder::from(plan).filter(seen)?.build()?;
        let plan = self.within_period(reference, &versions.provider, plan, context)?;
        // As of its instant no row has ended.
        let ended = ScalarValue::TimestampMicrosecond(None, Some("UTC".into()));
        let shown = names.into_iter().filter(|c| reference.shows(&c.name)).map(|column| {
            let Column { relation, name, .. } = &column;
            if name == "_system_to" {
                Expr::Literal(ended.clone(), None).alias_qualified(relation.clone(), name)
            } else {
                Expr::Column(column)
            }
        });
        LogicalPlanBuilder::from(plan).project(shown)?.build()
    }
}

/// An outer row's value as the instant that it stands for; fails for one that cannot be read.
#[derive(Debug, PartialEq, Eq, Hash)]
struct InstantOf {
    readable: Readable,
    zone: Tz,
    now: CommitTs,
    signature: Signature,
}

fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

impl ScalarUDFImpl for InstantOf {
    fn name(&self) -> &str {
        "instant"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(instant_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return Err(Error::postgres("XX000", "an instant of several values").into());
        };
        let values = value.to_array(args.number_rows)?;
        let instants = (0..values.len()).map(|row| {
            let value = ScalarValue::try_from_array(&values, row)?;
            let at = instant::of_value(&value, self.zone, self.now)?;
            self.readable.check(at)?;
            Ok(at.micros())
        });
        let instants = instants.collect::<Result<Vec<i64>>>()?;
        let instants = TimestampMicrosecondArray::from(instants).with_timezone("UTC");
        Ok(ColumnarValue::Array(Arc::new(instants)))
    }
}

fn instant_of(expr: &Expr) -> Option<&ScalarFunction> {
    match expr {
        Expr::ScalarFunction(call) if call.func.inner().downcast_ref::<InstantOf>().is_some() => {
            Some(call)
        }
        _ => None,
    }
}

/// Whether a plan reads a table at instants of other rows.
pub(crate) fn has_row_instants(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|e| Ok(instant_of(e).is_some()))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

/// An instant that was taken out of a subquery.
pub(crate) struct Hoisted {
    /// The outer column that stands for it in the subquery.
    pub(crate) column: Column,
    /// That column's type.
    pub(crate) field: FieldRef,
    /// What it is, for whoever has the outer columns.
    pub(crate) instant: Expr,
}

/// Whether a plan is nothing but filters and projections over what no outer row changes: what
/// DataFusion makes a join of. A condition does not rise above another alias.
pub(crate) fn is_chain(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(p) => {
            !p.expr.iter().any(Expr::contains_outer) && is_chain(&p.input)
        }
        LogicalPlan::Filter(f) => is_chain(&f.input),
        other => other.all_out_ref_exprs().is_empty(),
    }
}

/// Takes the instants that are made of outer columns which `is_ours` knows out of a subquery.
pub(crate) fn hoist(
    plan: LogicalPlan,
    is_ours: &dyn Fn(&Column) -> bool,
) -> Result<(LogicalPlan, Vec<Hoisted>)> {
    if !has_row_instants(&plan)? {
        return Ok((plan, Vec::new()));
    }
    let mut hoisted: Vec<Hoisted> = Vec::new();
    let plan = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|e| {
                let Some(call) = instant_of(&e) else { return Ok(Transformed::no(e)) };
                let mut columns = Vec::new();
                for arg in &call.args {
                    arg.apply(|e| {
                        if let Expr::OuterReferenceColumn(_, column) = e {
                            columns.push(column.clone());
                        }
                        Ok(TreeNodeRecursion::Continue)
                    })?;
                }
                let ours = columns.iter().filter(|c| is_ours(c)).count();
                if ours == 0 {
                    return Ok(Transformed::no(e));
                }
                if ours < columns.len() {
                    return Err(Error::unsupported(
                        "an instant that is made of columns of several queries around",
                    )
                    .into());
                }
                let instant = of_outer(e)?;
                let known = hoisted.iter().find(|h| h.instant == instant);
                let (column, field) = match known {
                    Some(known) => (known.column.clone(), Arc::clone(&known.field)),
                    None => {
                        let name = format!("_instant_{}", NAMES.fetch_add(1, Ordering::Relaxed));
                        let field = Arc::new(Field::new(&name, instant_type(), true));
                        let column = Column::new(None::<TableReference>, name);
                        hoisted.push(Hoisted {
                            column: column.clone(),
                            field: Arc::clone(&field),
                            instant,
                        });
                        (column, field)
                    }
                };
                Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
            })
        })
    })?;
    Ok((plan.data, hoisted))
}

/// Outer columns as the columns that they are once both sides are one.
pub(crate) fn of_outer(expr: Expr) -> Result<Expr> {
    expr.transform_up(|e| {
        Ok(match e {
            Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
            other => Transformed::no(other),
        })
    })
    .map(|t| t.data)
}
