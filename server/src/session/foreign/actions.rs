//! The actions of foreign keys: rows that refer to keys that are gone are deleted or changed.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{Int64Type, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, LimitClause, Statement, Value};
use futures::StreamExt;

use super::keys::places;
use super::{Referring, parts};
use crate::engine::Reference;
use crate::error::{PgError, PgResult};
use crate::session::build;
use crate::session::dml::{TARGET, Write, target_query};
use crate::session::session::Session;
use crate::session::write::{WriteTarget, parse_expr};

/// The name of the keys that referring rows are looked for by.
const KEYS: &str = "\u{1}keys";
/// What the child and the keys are called in the query.
const CHILD: &str = "\u{1}child";
const PARENT: &str = "\u{1}parent";

impl Session {
    /// Carries out an action on the rows of the child that have one of the keys. `new_keys` are
    /// what became of the keys where they were updated.
    pub(super) async fn act(
        &mut self,
        from: &Referring,
        action: &str,
        reference: &Reference,
        new_keys: Option<RecordBatch>,
    ) -> PgResult<()> {
        let child = &from.child;
        let Some(key) = parts(&from.constraint) else { return Ok(()) };
        let ids = places(&child.def, key.columns);
        let deletes = action == "CASCADE" && new_keys.is_none();
        let mut assigned = vec![false; child.def.columns.len()];
        let mut items = Vec::new();
        for (place, column) in child.def.columns.iter().enumerate() {
            let value = match ids.iter().position(|&p| p == place) {
                None => build::qualified(CHILD, &column.name),
                Some(i) => {
                    assigned[place] = true;
                    match action {
                        "CASCADE" => build::qualified(PARENT, &format!("n{i}")),
                        "SET DEFAULT" => match &column.default {
                            Some(text) => parse_expr(text)?,
                            None => Expr::value(Value::Null),
                        },
                        _ => Expr::value(Value::Null),
                    }
                }
            };
            items.push(build::aliased(value, &format!("c{place}")));
        }
        if deletes {
            assigned.fill(false);
            items.clear();
        }
        self.install_keys(child, &ids, &reference.keys, new_keys.as_ref())?;
        self.install_target(child)?;
        let from = vec![build::table(KEYS, Some(build::alias(PARENT)))];
        let query = target_query(child, CHILD, &items, from, equal(child, &ids), None);
        let write = Write {
            target: child.clone(),
            alias: CHILD.to_owned(),
            query,
            assigned,
            returning: None,
            others: Vec::new(),
            deletes,
            portion: None,
            by_key: None,
            through: None,
            secured: None,
        };
        let result = match deletes {
            true => Box::pin(self.run_delete(&write)).await,
            false => Box::pin(self.run_update(&write)).await,
        };
        self.shared.scope.lock().overrides.remove(KEYS);
        result.map(|_| ())
    }

    /// The number of a key that a row of the child has.
    pub(super) async fn referred_row(
        &mut self,
        from: &Referring,
        reference: &Reference,
    ) -> PgResult<Option<usize>> {
        let child = &from.child;
        let Some(key) = parts(&from.constraint) else { return Ok(None) };
        let ids = places(&child.def, key.columns);
        self.install_keys(child, &ids, &reference.keys, None)?;
        self.install_target(child)?;
        let item = build::aliased(build::qualified(PARENT, "row"), "row");
        let tables = vec![
            build::table(TARGET, Some(build::alias(CHILD))),
            build::table(KEYS, Some(build::alias(PARENT))),
        ];
        let mut query = build::select(vec![item], tables, equal(child, &ids));
        query.limit_clause = Some(LimitClause::LimitOffset {
            limit: Some(Expr::value(Value::Number("1".into(), false))),
            offset: None,
            limit_by: Vec::new(),
        });
        let planned = self.plan(&Statement::Query(Box::new(query))).await;
        {
            let mut scope = self.shared.scope.lock();
            scope.overrides.remove(TARGET);
            scope.overrides.remove(KEYS);
        }
        let mut stream = self.stream(planned?).await?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let rows = batch.column(0).as_primitive_opt::<Int64Type>();
            let rows = rows.ok_or_else(|| PgError::internal("keys without their numbers"))?;
            if let Some(row) = rows.values().first() {
                return Ok(usize::try_from(*row).ok());
            }
        }
        Ok(None)
    }

    /// Makes the keys a table: `k0`, …, what becomes of them as `n0`, …, and their number.
    fn install_keys(
        &mut self,
        child: &WriteTarget,
        ids: &[usize],
        keys: &RecordBatch,
        new_keys: Option<&RecordBatch>,
    ) -> PgResult<()> {
        let mut fields = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        let sides = std::iter::once(('k', keys)).chain(new_keys.map(|keys| ('n', keys)));
        for (letter, keys) in sides {
            for (i, (place, array)) in ids.iter().zip(keys.columns()).enumerate() {
                let ty = &child.def.columns[*place].ty;
                fields.push(ty.field(&format!("{letter}{i}"), true));
                arrays.push(datafusion::arrow::compute::cast(array, &ty.arrow())?);
            }
        }
        fields.push(chronos_catalog::SqlType::Int8.field("row", false));
        arrays.push(Arc::new(Int64Array::from_iter_values(0..keys.num_rows() as i64)));
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        let provider: Arc<dyn TableProvider> =
            Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?);
        self.shared.scope.lock().overrides.insert(KEYS.to_owned(), provider);
        Ok(())
    }
}

/// The rows of the child that have a key.
fn equal(child: &WriteTarget, ids: &[usize]) -> Option<Expr> {
    let equal = |(i, &place): (usize, &usize)| Expr::BinaryOp {
        left: Box::new(build::qualified(CHILD, &child.def.columns[place].name)),
        op: BinaryOperator::Eq,
        right: Box::new(build::qualified(PARENT, &format!("k{i}"))),
    };
    ids.iter().enumerate().map(equal).reduce(|a, b| Expr::BinaryOp {
        left: Box::new(a),
        op: BinaryOperator::And,
        right: Box::new(b),
    })
}
