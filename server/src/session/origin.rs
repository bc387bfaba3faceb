//! Where a result column comes from, for RowDescription: drivers look up the column's metadata
//! there.

use chronos_storage::VersionedTable;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The table and column number that a column of a plan is, straight or under another name.
pub(super) fn of_column(plan: &LogicalPlan, index: usize) -> Option<(u32, i16)> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok()?;
            let table = provider.downcast_ref::<VersionedTable>()?;
            let name = scan.projected_schema.field(index).name();
            let column = table.def().column_named(name)?;
            Some((table.table_oid().0, i16::try_from(column.id.0).ok()?))
        }
        LogicalPlan::Projection(projection) => {
            of_expr(projection.expr.get(index)?, &projection.input)
        }
        LogicalPlan::SubqueryAlias(alias) => of_column(&alias.input, index),
        LogicalPlan::Filter(filter) => of_column(&filter.input, index),
        LogicalPlan::Sort(sort) => of_column(&sort.input, index),
        LogicalPlan::Limit(limit) => of_column(&limit.input, index),
        LogicalPlan::Aggregate(aggregate) => {
            of_expr(aggregate.group_expr.get(index)?, &aggregate.input)
        }
        LogicalPlan::Join(join) => {
            use datafusion::common::JoinType::{Full, Inner, Left, Right};
            if !matches!(join.join_type, Inner | Left | Right | Full) {
                return None;
            }
            let left = join.left.schema().fields().len();
            match index.checked_sub(left) {
                None => of_column(&join.left, index),
                Some(index) => of_column(&join.right, index),
            }
        }
        _ => None,
    }
}

fn of_expr(expr: &Expr, input: &LogicalPlan) -> Option<(u32, i16)> {
    match expr {
        Expr::Alias(alias) => of_expr(&alias.expr, input),
        Expr::Column(column) => {
            let index = input.schema().maybe_index_of_column(column)?;
            of_column(input, index)
        }
        _ => None,
    }
}
