//! Expressions over rows that a statement has in its hands: those of RETURNING, of DO UPDATE and
//! of MERGE.
//!
//! ```text
//! sides:   t (id, n)    excluded (id, n)        one row of each side a row
//!          1, 10        1, 11                   SET n = t.n + excluded.n
//!          2, 20        2, 21
//! ```
//!
//! Results come in the order of the rows, one for each.

use std::sync::Arc;

use chronos_catalog::SqlType;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array,
};
use datafusion::arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Join, JoinConstraint, JoinOperator, Query, SelectItem,
    SelectItemQualifiedWildcardKind, Statement,
};

use super::api::FieldDescription;
use super::build;
use super::names::fold;
use super::plan::Planned;
use super::session::Session;
use crate::error::{PgError, PgResult};

/// The column that numbers the rows of each side. No user can write it.
const NUMBER: &str = "\u{1}n";

/// Rows of one relation.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// The name that expressions know the relation by.
    pub alias: String,
    pub rows: RecordBatch,
}

/// Rows of several relations side by side: as many of each.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    pub sides: Vec<Side>,
}

impl Joined {
    pub fn one(alias: &str, rows: RecordBatch) -> Joined {
        Joined { sides: vec![Side { alias: alias.to_owned(), rows }] }
    }

    pub fn and(mut self, alias: &str, rows: RecordBatch) -> Joined {
        self.sides.push(Side { alias: alias.to_owned(), rows });
        self
    }

    pub fn len(&self) -> usize {
        self.sides.first().map_or(0, |s| s.rows.num_rows())
    }

    /// The rows of which that holds.
    pub fn filter(&self, keep: &BooleanArray) -> PgResult<Joined> {
        let filter = |side: &Side| {
            let rows = filter_record_batch(&side.rows, keep)?;
            Ok(Side { alias: side.alias.clone(), rows })
        };
        Ok(Joined { sides: self.sides.iter().map(filter).collect::<PgResult<_>>()? })
    }

    /// All of them one after the other; they have the same sides.
    pub fn concat(parts: &[Joined]) -> PgResult<Option<Joined>> {
        let Some(first) = parts.first() else { return Ok(None) };
        let side = |(i, side): (usize, &Side)| {
            let rows: Vec<&RecordBatch> = parts.iter().map(|p| &p.sides[i].rows).collect();
            let rows = concat_batches(&side.rows.schema(), rows)?;
            Ok(Side { alias: side.alias.clone(), rows })
        };
        let sides = first.sides.iter().enumerate().map(side).collect::<PgResult<_>>()?;
        Ok(Some(Joined { sides }))
    }

    /// How many columns an item of a select list shows.
    pub fn width(&self, item: &SelectItem) -> usize {
        self.expand(vec![item.clone()]).len()
    }

    /// Wildcards written out, so that they show no column of ours.
    pub fn expand(&self, items: Vec<SelectItem>) -> Vec<SelectItem> {
        let mut expanded = Vec::with_capacity(items.len());
        let all = |side: &Side, expanded: &mut Vec<SelectItem>| {
            let schema = side.rows.schema();
            let names = schema.fields().iter().map(|f| f.name().clone());
            expanded.extend(
                names
                    .filter(|name| !chronos_sql_ext::is_hidden(name))
                    .map(|name| SelectItem::UnnamedExpr(build::qualified(&side.alias, &name))),
            );
        };
        for item in items {
            match &item {
                SelectItem::Wildcard(_) => {
                    self.sides.iter().for_each(|side| all(side, &mut expanded));
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    _,
                ) => {
                    let last = name.0.last().and_then(|p| p.as_ident()).map(fold);
                    match self.sides.iter().find(|s| Some(&s.alias) == last.as_ref()) {
                        Some(side) => all(side, &mut expanded),
                        None => expanded.push(item),
                    }
                }
                _ => expanded.push(item),
            }
        }
        expanded
    }
}

fn side_name(i: usize) -> String {
    format!("\u{1}side{i}")
}

impl Session {
    /// Plans a query over the sides, which are known by [`side_name`] meanwhile.
    async fn plan_joined(
        &mut self,
        joined: &Joined,
        items: Vec<SelectItem>,
        describing: Option<&[Option<SqlType>]>,
    ) -> PgResult<Planned> {
        let mut projection = joined.expand(items);
        let Some(first) = joined.sides.first() else {
            return Err(PgError::internal("no rows to evaluate over"));
        };
        projection.push(build::aliased(build::qualified(&first.alias, NUMBER), NUMBER));
        for (i, side) in joined.sides.iter().enumerate() {
            let rows = numbered(&side.rows)?;
            let table: Arc<dyn TableProvider> =
                Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?);
            self.shared.scope.lock().overrides.insert(side_name(i), table);
        }
        let mut from = build::table(&side_name(0), Some(build::alias(&first.alias)));
        for (i, side) in joined.sides.iter().enumerate().skip(1) {
            let table = build::table(&side_name(i), Some(build::alias(&side.alias)));
            let on = Expr::BinaryOp {
                left: Box::new(build::qualified(&first.alias, NUMBER)),
                op: BinaryOperator::Eq,
                right: Box::new(build::qualified(&side.alias, NUMBER)),
            };
            from.joins.push(Join {
                relation: table.relation,
                global: false,
                join_operator: JoinOperator::Inner(JoinConstraint::On(on)),
            });
        }
        let mut query = build::select(projection, vec![from], None);
        query.with = self.statement_with.clone();
        let statement = Statement::Query(Box::new(query));
        let planned = match describing {
            Some(types) => self.plan_described(&statement, types).await,
            None => self.plan(&statement).await,
        };
        for i in 0..joined.sides.len() {
            self.shared.scope.lock().overrides.remove(&side_name(i));
        }
        planned
    }

    /// The values of expressions (or wildcards) over rows, in their order.
    pub(super) async fn evaluate(
        &mut self,
        joined: &Joined,
        items: Vec<SelectItem>,
    ) -> PgResult<(Arc<[FieldDescription]>, RecordBatch)> {
        if let Some(plain) = self.plain_columns(joined, &items)? {
            return Ok(plain);
        }
        let mut planned = self.plan_joined(joined, items, None).await?;
        planned.state.config_mut().options_mut().execution.target_partitions = 1;
        let width = planned.fields.len() - 1;
        let fields: Arc<[FieldDescription]> = planned.fields[..width].into();
        let schema = Arc::new(planned.plan.schema().as_arrow().clone());
        let batches = self.collect(planned).await?;
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        let all = concat_batches(&schema, &batches)?;
        if all.num_rows() != joined.len() {
            // An aggregate or the like, which no place of an expression for each row takes.
            return Err(PgError::new("42803", "aggregate functions are not allowed here"));
        }
        let numbers = all.column(width).as_primitive_opt::<Int64Type>();
        let numbers = numbers.ok_or_else(|| PgError::internal("rows without their numbers"))?;
        let in_order = numbers.values().iter().enumerate().all(|(i, &n)| n == i as i64);
        let all = if in_order {
            all
        } else {
            let mut places = vec![0u32; all.num_rows()];
            for (i, &n) in numbers.values().iter().enumerate() {
                if let Some(place) = places.get_mut(n as usize) {
                    *place = i as u32;
                }
            }
            take_record_batch(&all, &UInt32Array::from(places))?
        };
        let columns: Vec<usize> = (0..width).collect();
        Ok((fields, all.project(&columns)?))
    }

    /// The columns that expressions over rows have.
    pub(super) async fn evaluate_fields(
        &mut self,
        joined: &Joined,
        items: Vec<SelectItem>,
        types: &[Option<SqlType>],
    ) -> PgResult<(Arc<[FieldDescription]>, Planned)> {
        let planned = self.plan_joined(joined, items, Some(types)).await?;
        let width = planned.fields.len() - 1;
        Ok((planned.fields[..width].into(), planned))
    }

    /// Of which rows a condition holds; NULL is no.
    pub(super) async fn condition(
        &mut self,
        joined: &Joined,
        condition: &Expr,
        clause: &str,
    ) -> PgResult<BooleanArray> {
        let items = vec![build::aliased(condition.clone(), "c")];
        let (_, values) = self.evaluate(joined, items).await?;
        let column = values.column(0);
        if matches!(column.data_type(), DataType::Null) {
            return Ok(BooleanArray::from(vec![false; column.len()]));
        }
        let Some(values) = column.as_boolean_opt() else {
            let message = format!("argument of {clause} must be type boolean");
            return Err(PgError::new("42804", message));
        };
        Ok(values.iter().map(|v| Some(v == Some(true))).collect())
    }
}

/// The rows with their numbers.
fn numbered(rows: &RecordBatch) -> PgResult<RecordBatch> {
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(NUMBER, DataType::Int64, false)));
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from_iter_values(0..rows.num_rows() as i64)));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The names by which the tables of a FROM are known, in order.
pub(super) fn aliases(
    tables: &[datafusion::sql::sqlparser::ast::TableWithJoins],
) -> PgResult<Vec<Ident>> {
    use datafusion::sql::sqlparser::ast::TableFactor as F;
    fn one(factor: &F, found: &mut Vec<Ident>) -> PgResult<()> {
        let alias = match factor {
            F::Table { alias: Some(alias), .. }
            | F::Derived { alias: Some(alias), .. }
            | F::Function { alias: Some(alias), .. }
            | F::TableFunction { alias: Some(alias), .. }
            | F::UNNEST { alias: Some(alias), .. }
            | F::NestedJoin { alias: Some(alias), .. } => Some(alias.name.clone()),
            F::Table { name, alias: None, .. } => name.0.last().and_then(|p| p.as_ident().cloned()),
            F::NestedJoin { table_with_joins, alias: None } => {
                one(&table_with_joins.relation, found)?;
                return table_with_joins.joins.iter().try_for_each(|j| one(&j.relation, found));
            }
            _ => None,
        };
        let alias = alias.ok_or_else(|| {
            PgError::unsupported("RETURNING with a FROM item that has no alias")
                .hint("Give the item an alias.")
        })?;
        found.push(alias);
        Ok(())
    }
    let mut found = Vec::new();
    for table in tables {
        one(&table.relation, &mut found)?;
        table.joins.iter().try_for_each(|j| one(&j.relation, &mut found))?;
    }
    Ok(found)
}

impl Session {
    /// The columns of each relation of a FROM: its alias and its columns.
    pub(super) async fn relations(
        &mut self,
        from: &[datafusion::sql::sqlparser::ast::TableWithJoins],
        types: &[Option<SqlType>],
    ) -> PgResult<Vec<(String, Arc<[FieldDescription]>)>> {
        let mut relations = Vec::new();
        for alias in aliases(from)? {
            let name = datafusion::sql::sqlparser::ast::ObjectName::from(vec![alias.clone()]);
            let item = SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                Default::default(),
            );
            let mut query: Query = build::select(vec![item], from.to_vec(), None);
            query.with = self.statement_with.clone();
            let statement = Statement::Query(Box::new(query));
            let planned = self.plan_described(&statement, types).await?;
            relations.push((fold(&alias), planned.fields));
        }
        Ok(relations)
    }
}
