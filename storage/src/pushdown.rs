//! Filters that a key answers.

use chronos_catalog::{ColumnId, TableDef};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::keys::{KeySpec, is_hashable};
use crate::provider::SYSTEM_TO;

/// More keys than this are looked for by reading the table.
const KEYS_MAX: usize = 1024;

/// Whether a filter can be evaluated over the columns that files have. Others are left to the plan
/// above: of the versions in a file, most ends are not in the file.
pub(crate) fn can_prune(filter: &Expr) -> bool {
    let beyond = filter.exists(|expr| {
        let is_end = matches!(expr, Expr::Column(column) if column.name == SYSTEM_TO);
        let beyond = matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        );
        Ok(is_end || beyond)
    });
    matches!(beyond, Ok(false)) && !filter.is_volatile()
}

/// A key whose value the filters tell.
#[derive(Debug)]
pub(crate) struct FoundKey {
    pub(crate) key: KeySpec,
    /// The possible values, an array a column.
    pub(crate) values: Vec<ArrayRef>,
}

impl FoundKey {
    /// For EXPLAIN.
    pub(crate) fn describe(&self, def: &TableDef) -> String {
        let names: Vec<&str> = self
            .key
            .columns
            .iter()
            .filter_map(|&id| def.column(id))
            .map(|c| c.name.as_str())
            .collect();
        format!("({}) x {}", names.join(", "), self.values.first().map_or(0, |v| v.len()))
    }
}

/// The first key all of whose columns the filters bind to literals.
pub(crate) fn find_key(def: &TableDef, indexes: &[KeySpec], filters: &[Expr]) -> Option<FoundKey> {
    let bound: Vec<(ColumnId, Vec<ScalarValue>)> = filters
        .iter()
        .flat_map(split_conjunction)
        .filter_map(|filter| binding(def, filter))
        .collect();
    if bound.is_empty() {
        return None;
    }
    let unique =
        def.unique_keys().map(|(oid, _, columns)| KeySpec { oid, columns: columns.to_vec() });
    unique.chain(indexes.iter().cloned()).find_map(|key| {
        if key.columns.is_empty() || !is_hashable(def, &key.columns) {
            return None;
        }
        let mut rows: Vec<Vec<ScalarValue>> = vec![Vec::new()];
        for id in &key.columns {
            let (_, values) = bound.iter().find(|(column, _)| column == id)?;
            if rows.len() * values.len() > KEYS_MAX {
                return None;
            }
            rows = rows
                .iter()
                .flat_map(|row| {
                    values.iter().map(|v| row.iter().cloned().chain([v.clone()]).collect())
                })
                .collect();
        }
        let values = (0..key.columns.len())
            .map(|i| ScalarValue::iter_to_array(rows.iter().map(|row| row[i].clone())).ok())
            .collect::<Option<Vec<_>>>()?;
        Some(FoundKey { key, values })
    })
}

/// `column = literal` or `column IN (literals)`, in the column's own type.
fn binding(def: &TableDef, filter: &Expr) -> Option<(ColumnId, Vec<ScalarValue>)> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let (column, value) = match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _))
                | (Expr::Literal(value, _), Expr::Column(column)) => (column, value),
                _ => return None,
            };
            let column = def.column_named(&column.name)?;
            Some((column.id, vec![in_type(value, &column.ty.arrow())?]))
        }
        // A disjunction of equalities on one column is what the optimizer makes of short lists.
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (column, mut values) = binding(def, left)?;
            let (other, more) = binding(def, right)?;
            values.extend(more);
            (column == other && values.len() <= KEYS_MAX).then_some((column, values))
        }
        Expr::InList(list) if !list.negated && list.list.len() <= KEYS_MAX => {
            let Expr::Column(column) = list.expr.as_ref() else { return None };
            let column = def.column_named(&column.name)?;
            let target = column.ty.arrow();
            let values = list
                .list
                .iter()
                .map(|item| match item {
                    Expr::Literal(value, _) => in_type(value, &target),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()?;
            (!values.is_empty()).then_some((column.id, values))
        }
        _ => None,
    }
}

/// A literal in a column's type, where the two compare as equals do.
fn in_type(value: &ScalarValue, target: &DataType) -> Option<ScalarValue> {
    let from = value.data_type();
    if from == *target {
        return Some(value.clone());
    }
    let text =
        |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    (text(&from) && text(target)).then(|| value.cast_to(target).ok()).flatten()
}
