//! RETURNING of columns as they are, which needs no plan.

use std::sync::Arc;

use chronos_catalog::SqlType;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{Expr, SelectItem};

use super::api::FieldDescription;
use super::joined::{Joined, Side};
use super::names::fold;
use super::session::Session;
use crate::error::PgResult;

impl Session {
    /// The values of items that are all columns; `None` where one is more than that, or it is not
    /// clear whose column it is.
    pub(super) fn plain_columns(
        &self,
        joined: &Joined,
        items: &[SelectItem],
    ) -> PgResult<Option<(Arc<[FieldDescription]>, RecordBatch)>> {
        let (objects, at) = self.shared.objects()?;
        let items = joined.expand(items.to_vec());
        let mut described = Vec::with_capacity(items.len());
        let mut fields: Vec<FieldRef> = Vec::with_capacity(items.len());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(items.len());
        for item in &items {
            let (expr, alias) = match item {
                SelectItem::UnnamedExpr(expr) => (expr, None),
                SelectItem::ExprWithAlias { expr, alias } => (expr, Some(fold(alias))),
                _ => return Ok(None),
            };
            let Some((side, place)) = column_of(joined, expr) else { return Ok(None) };
            let field = &side.rows.schema_ref().fields()[place];
            let Some(ty) = SqlType::of_field(field) else { return Ok(None) };
            let qualifier = TableReference::bare(side.alias.as_str());
            let (table_oid, column) = self.origin(&objects, at, Some(&qualifier), field.name());
            let name = alias.unwrap_or_else(|| field.name().clone());
            described.push(FieldDescription { name, table_oid, column, ty });
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(side.rows.column(place)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(joined.len()));
        let schema = Arc::new(Schema::new(fields));
        let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
        Ok(Some((described.into(), rows)))
    }
}

/// The one column that an expression names.
fn column_of<'a>(joined: &'a Joined, expr: &Expr) -> Option<(&'a Side, usize)> {
    let (qualifier, name) = match expr {
        Expr::Identifier(name) => (None, fold(name)),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [side, name] => (Some(fold(side)), fold(name)),
            _ => return None,
        },
        _ => return None,
    };
    let mut found = joined.sides.iter().filter_map(|side| {
        if qualifier.as_ref().is_some_and(|q| *q != side.alias) {
            return None;
        }
        let fields = side.rows.schema_ref().fields();
        let mut places = fields.iter().enumerate().filter(|(_, f)| *f.name() == name);
        let (place, _) = places.next()?;
        // The planner says what is wrong with a name that means several.
        places.next().is_none().then_some((side, place))
    });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}
