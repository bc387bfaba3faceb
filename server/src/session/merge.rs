//! MERGE: each row of the source joined to the target, and the first clause that fits it.

use std::collections::HashSet;
use std::sync::Arc;

use chronos_catalog::{RowRef, SegmentId};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions,
};
use datafusion::arrow::compute::{concat_batches, not};
use datafusion::arrow::datatypes::{Field, Int64Type, Schema, UInt32Type, UInt64Type};
use datafusion::sql::sqlparser::ast::{
    Expr, Join, JoinConstraint, JoinOperator, Merge, MergeAction, MergeClauseKind, MergeInsertExpr,
    MergeInsertKind, OutputClause, Query, SelectItem, Statement, TableWithJoins,
};

use super::api::{FieldDescription, Response};
use super::build;
use super::describe_write::{Types, note_assignments};
use super::dml::{TARGET, assigned_values, is_default};
use super::insert::{check_identity, places_named, untyped};
use super::joined::Joined;
use super::names::fold;
use super::session::Session;
use super::write::{WriteTarget, shown, shown_empty, shown_with};
use crate::error::{PgError, PgResult};

/// The column by which the parser tells DO NOTHING.
const NOTHING: &str = chronos_sql_ext::MERGE_NOTHING;

/// The hidden columns of the target that the join brings along.
const HIDDEN: [&str; 5] = ["_segment", "_position", "_ov", "_system_from", "_cv"];

/// What a clause does.
enum Action<'a> {
    Nothing,
    Delete,
    Update(Vec<Option<Expr>>),
    Insert(Vec<usize>, &'a [Expr]),
}

/// Which rows a clause is for.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Matched,
    /// Of the source, without a target.
    NotMatched,
    /// Of the target, without a source.
    NotMatchedBySource,
}

struct Clause<'a> {
    kind: Kind,
    condition: Option<&'a Expr>,
    action: Action<'a>,
}

/// A MERGE taken apart.
struct Parts {
    target: WriteTarget,
    alias: String,
    source: (String, Arc<[FieldDescription]>),
    query: Query,
}

fn returning(merge: &Merge) -> PgResult<Option<Vec<SelectItem>>> {
    match &merge.output {
        None => Ok(None),
        Some(OutputClause::Returning { select_items, .. }) => Ok(Some(select_items.clone())),
        Some(OutputClause::Output { .. }) => {
            Err(PgError::new("42601", "syntax error at or near \"OUTPUT\""))
        }
    }
}

fn clauses<'a>(merge: &'a Merge, target: &WriteTarget) -> PgResult<Vec<Clause<'a>>> {
    let mut clauses = Vec::with_capacity(merge.clauses.len());
    for clause in &merge.clauses {
        let kind = match clause.clause_kind {
            MergeClauseKind::Matched => Kind::Matched,
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => Kind::NotMatched,
            MergeClauseKind::NotMatchedBySource => Kind::NotMatchedBySource,
        };
        let action = match &clause.action {
            MergeAction::Delete { .. } => Action::Delete,
            MergeAction::Update(update) => {
                if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                    return Err(PgError::new("42601", "syntax error at or near \"WHERE\""));
                }
                let nothing =
                    update.assignments.iter().any(|a| a.target.to_string().contains(NOTHING));
                if nothing {
                    Action::Nothing
                } else {
                    Action::Update(assigned_values(target, &update.assignments)?)
                }
            }
            MergeAction::Insert(insert) => insert_action(insert, target)?,
        };
        clauses.push(Clause { kind, condition: clause.predicate.as_ref(), action });
    }
    Ok(clauses)
}

fn insert_action<'a>(insert: &'a MergeInsertExpr, target: &WriteTarget) -> PgResult<Action<'a>> {
    if insert.columns.iter().any(|c| c.to_string().contains(NOTHING)) {
        return Ok(Action::Nothing);
    }
    if insert.insert_predicate.is_some() {
        return Err(PgError::new("42601", "syntax error at or near \"WHERE\""));
    }
    let MergeInsertKind::Values(values) = &insert.kind else {
        return Err(PgError::new("42601", "syntax error at or near \"ROW\""));
    };
    let [row] = values.rows.as_slice() else {
        return Err(PgError::new("42601", "MERGE inserts one row of VALUES"));
    };
    let places = places_named(target, &insert.columns)?;
    let row: &[Expr] = &row.content;
    if row.len() > places.len() {
        let message = "INSERT has more expressions than target columns";
        return Err(PgError::new("42601", message));
    }
    if row.len() < places.len() && !insert.columns.is_empty() {
        let message = "INSERT has more target columns than expressions";
        return Err(PgError::new("42601", message));
    }
    let places = places[..row.len()].to_vec();
    for (&place, value) in places.iter().zip(row) {
        if !is_default(value) {
            check_identity(target, place)?;
        }
    }
    Ok(Action::Insert(places, row))
}

fn affected_twice() -> PgError {
    PgError::new("21000", "MERGE command cannot affect row a second time")
        .hint("Ensure that not more than one source row matches any one target row.")
}

impl Session {
    /// MERGE.
    pub(super) async fn merge(&mut self, merge: &Merge) -> PgResult<Response> {
        let parts = self.merge_parts(merge, &[]).await?;
        let returning = returning(merge)?;
        let clauses = clauses(merge, &parts.target)?;
        self.require_clauses(merge, &parts, &clauses)?;
        let (mut places, mut matched, mut absent) = self.merge_rows(&parts).await?;
        let mut orphans = match clauses.iter().any(|c| c.kind == Kind::NotMatchedBySource) {
            true => Some(self.merge_orphans(&parts, &places).await?),
            false => None,
        };
        let target = &parts.target;
        let mut touched: HashSet<RowRef> = HashSet::new();
        let mut ended: Vec<(Vec<RowRef>, Option<RecordBatch>)> = Vec::new();
        let mut updated: Vec<(RecordBatch, Int64Array)> = Vec::new();
        let mut inserted: Vec<RecordBatch> = Vec::new();
        let mut kept: Vec<Joined> = Vec::new();
        let mut count = 0u64;
        let source = |joined: &Joined| joined.sides.last().map(|s| s.rows.clone());
        for clause in &clauses {
            let rows = match (clause.kind, &orphans) {
                (Kind::Matched, _) => &matched,
                (Kind::NotMatched, _) => &absent,
                (Kind::NotMatchedBySource, Some((_, rows))) => rows,
                (Kind::NotMatchedBySource, None) => continue,
            };
            if rows.len() == 0 {
                continue;
            }
            let fits = match clause.condition {
                None => BooleanArray::from(vec![true; rows.len()]),
                Some(condition) => self.condition(rows, condition, "WHEN").await?,
            };
            let chosen = rows.filter(&fits)?;
            let rest = rows.filter(&not(&fits)?)?;
            let chosen_places = match (clause.kind, &mut orphans) {
                (Kind::Matched, _) => {
                    matched = rest;
                    take_fitting(&mut places, &fits)
                }
                (Kind::NotMatchedBySource, Some((places, rows))) => {
                    *rows = rest;
                    take_fitting(places, &fits)
                }
                _ => {
                    absent = rest;
                    Vec::new()
                }
            };
            if chosen.len() == 0 {
                continue;
            }
            let source_rows = match clause.kind {
                Kind::NotMatchedBySource => parts.no_source(chosen.len()),
                _ => source(&chosen),
            };
            let source_rows = source_rows.ok_or_else(|| PgError::internal("no source"))?;
            let shown_rows = match &clause.action {
                Action::Nothing => continue,
                Action::Delete => {
                    let old = &chosen.sides[0].rows;
                    let width = target.def.columns.len();
                    let ov = versions(old)?;
                    ended.push((chosen_places.clone(), None));
                    let (from, cv) =
                        (Arc::clone(old.column(width + 1)), Arc::clone(old.column(width + 2)));
                    shown_with(target, &old.columns()[..width], Some(from), ov, Some(cv))?
                }
                Action::Update(values) => {
                    let rows = self.updated_rows(target, &chosen, values).await?;
                    self.check(target, &rows).await?;
                    let old = versions(&chosen.sides[0].rows)?;
                    let next = self.next_versions(target, &old, &chosen_places)?;
                    ended.push((chosen_places.clone(), Some(rows.clone())));
                    let shown_rows = shown(target, &rows, Some(next.clone()))?;
                    updated.push((rows, next));
                    shown_rows
                }
                Action::Insert(columns, values) => {
                    let rows = self.merge_insert(target, &chosen, columns, values).await?;
                    self.check(target, &rows).await?;
                    let shown_rows = shown(target, &rows, None)?;
                    inserted.push(rows);
                    shown_rows
                }
            };
            if !chosen_places.iter().all(|place| touched.insert(*place)) {
                return Err(affected_twice());
            }
            count += chosen.len() as u64;
            kept.push(Joined::one(&parts.source.0, source_rows).and(&parts.alias, shown_rows));
        }
        for (versions, rows) in &ended {
            self.end_rows(target, versions, rows.as_ref()).await?;
        }
        for (rows, next) in updated {
            self.insert_versions(target, rows, next).await?;
        }
        for rows in inserted {
            self.insert_rows(target, rows).await?;
        }
        let empty = parts.empty();
        self.written(target, returning.as_deref(), empty, kept, count, "MERGE").await
    }

    /// Refuses what the session's role may not do.
    fn require_clauses(
        &self,
        merge: &Merge,
        parts: &Parts,
        clauses: &[Clause<'_>],
    ) -> PgResult<()> {
        let (target, alias) = (&parts.target, parts.alias.as_str());
        self.require_named(target, alias, merge.on.as_ref())?;
        for clause in clauses {
            if let Some(condition) = clause.condition {
                self.require_named(target, alias, condition)?;
            }
            match &clause.action {
                Action::Nothing => {}
                Action::Delete => self.require(target, 'd', None)?,
                Action::Update(values) => {
                    let assigned: Vec<usize> =
                        (0..values.len()).filter(|&i| values[i].is_some()).collect();
                    self.require(target, 'w', Some(&assigned))?;
                    for expr in values.iter().flatten() {
                        self.require_named(target, alias, expr)?;
                    }
                }
                Action::Insert(places, _) => self.require(target, 'a', Some(places))?,
            }
        }
        self.require_returned(target, alias, returning(merge)?.as_deref())
    }

    async fn merge_parts(
        &mut self,
        merge: &Merge,
        types: &[Option<chronos_catalog::SqlType>],
    ) -> PgResult<Parts> {
        let (name, alias) = Self::target_factor(&merge.table)?;
        let target = self.write_target(name).map_err(|error| match error.code {
            "42809" => {
                let message = format!("cannot execute MERGE on relation \"{name}\"");
                PgError::new("0A000", message)
                    .detail("This operation is supported for tables only.")
            }
            _ => error,
        })?;
        self.refuse_policies(&target, "MERGE into")?;
        let alias = alias.map_or_else(|| target.name.clone(), |a| fold(&a.name));
        let from = TableWithJoins { relation: merge.source.clone(), joins: Vec::new() };
        let mut sources = self.relations(std::slice::from_ref(&from), types).await?;
        let source = match (sources.pop(), sources.is_empty()) {
            (Some(source), true) => source,
            _ => return Err(PgError::unsupported("MERGE USING a join without an alias")),
        };
        if source.0 == alias {
            let message = format!("name \"{alias}\" specified more than once");
            return Err(PgError::new("42712", message));
        }
        let mut items: Vec<SelectItem> = Vec::new();
        let columns = target.def.columns.iter().map(|c| c.name.as_str());
        for (i, name) in HIDDEN.into_iter().chain(columns).enumerate() {
            items.push(build::aliased(build::qualified(&alias, name), &format!("t{i}")));
        }
        for (i, field) in source.1.iter().enumerate() {
            items.push(build::aliased(build::qualified(&source.0, &field.name), &format!("s{i}")));
        }
        let mut from = from;
        from.joins.push(Join {
            relation: build::table(TARGET, Some(build::alias(&alias))).relation,
            global: false,
            join_operator: JoinOperator::LeftOuter(JoinConstraint::On((*merge.on).clone())),
        });
        let mut query = build::select(items, vec![from], None);
        query.with = self.statement_with.clone();
        Ok(Parts { target, alias, source, query })
    }

    /// All that a query answers which reads the target.
    async fn rows_over_target(
        &mut self,
        target: &WriteTarget,
        query: Query,
    ) -> PgResult<RecordBatch> {
        self.install_target(target)?;
        let planned = self.plan(&Statement::Query(Box::new(query))).await;
        self.shared.scope.lock().overrides.remove(TARGET);
        let planned = planned?;
        let schema = Arc::new(planned.plan.schema().as_arrow().clone());
        let batches = self.collect(planned).await?;
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        Ok(concat_batches(&schema, &batches)?)
    }

    /// The rows of the join: places and rows of those that have a target, with their source; and
    /// the source of the others.
    async fn merge_rows(&mut self, parts: &Parts) -> PgResult<(Vec<RowRef>, Joined, Joined)> {
        let all = self.rows_over_target(&parts.target, parts.query.clone()).await?;
        let internal = || PgError::internal("rows without their places");
        let segments = all.column(0).as_primitive_opt::<UInt64Type>().ok_or_else(internal)?;
        let positions = all.column(1).as_primitive_opt::<UInt32Type>().ok_or_else(internal)?;
        let is_matched: BooleanArray =
            (0..all.num_rows()).map(|i| Some(segments.is_valid(i))).collect();
        let places = (0..all.num_rows())
            .filter(|&i| segments.is_valid(i))
            .map(|i| RowRef { segment: SegmentId(segments.value(i)), position: positions.value(i) })
            .collect();
        let width = parts.target.def.columns.len();
        let named = |names: Vec<String>, arrays: Vec<ArrayRef>| {
            let fields: Vec<Field> = names
                .iter()
                .zip(&arrays)
                .map(|(name, a)| Field::new(name, a.data_type().clone(), true))
                .collect();
            let options = RecordBatchOptions::new().with_row_count(Some(all.num_rows()));
            RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        };
        let columns = all.columns();
        let old = parts.old_rows(&all)?;
        let names = parts.source.1.iter().map(|f| f.name.clone()).collect();
        let source = named(names, columns[HIDDEN.len() + width..].to_vec())?;
        let source = tagged(source, |i| parts.source.1.get(i).map(|f| f.ty.clone()))?;
        let joined = Joined::one(&parts.alias, old).and(&parts.source.0, source.clone());
        let absent = Joined::one(&parts.source.0, source).filter(&not(&is_matched)?)?;
        Ok((places, joined.filter(&is_matched)?, absent))
    }

    /// The rows of the target that no row of the source met, and their places.
    async fn merge_orphans(
        &mut self,
        parts: &Parts,
        matched: &[RowRef],
    ) -> PgResult<(Vec<RowRef>, Joined)> {
        let columns = parts.target.def.columns.iter().map(|c| c.name.as_str());
        let items: Vec<SelectItem> = HIDDEN
            .into_iter()
            .chain(columns)
            .enumerate()
            .map(|(i, n)| build::aliased(build::qualified(&parts.alias, n), &format!("t{i}")))
            .collect();
        let from = vec![build::table(TARGET, Some(build::alias(&parts.alias)))];
        let query = build::select(items, from, None);
        let all = self.rows_over_target(&parts.target, query).await?;
        let places = places_of(&all)?;
        let met: HashSet<RowRef> = matched.iter().copied().collect();
        let orphan: BooleanArray = places.iter().map(|p| Some(!met.contains(p))).collect();
        let old = parts.old_rows(&all)?;
        let joined = Joined::one(&parts.alias, old).filter(&orphan)?;
        Ok((places.into_iter().filter(|p| !met.contains(p)).collect(), joined))
    }

    async fn merge_insert(
        &mut self,
        target: &WriteTarget,
        rows: &Joined,
        places: &[usize],
        values: &[Expr],
    ) -> PgResult<RecordBatch> {
        let given: Vec<(usize, &Expr)> =
            places.iter().copied().zip(values).filter(|(_, value)| !is_default(value)).collect();
        let items: Vec<SelectItem> = given
            .iter()
            .enumerate()
            .map(|(i, (_, value))| build::aliased((*value).clone(), &format!("c{i}")))
            .collect();
        let mut arrays = Vec::with_capacity(given.len());
        if !items.is_empty() {
            let (fields, results) = self.evaluate(rows, items).await?;
            for (i, (place, value)) in given.iter().enumerate() {
                let column = &target.def.columns[*place];
                let array = results.column(i);
                let ty = Some(&fields[i].ty);
                arrays.push(self.assign_column(array, ty, untyped(value), column)?);
            }
        }
        let places: Vec<usize> = given.iter().map(|(place, _)| *place).collect();
        self.complete(target, &places, arrays, rows.len()).await
    }

    /// The sides of RETURNING and what it shows.
    pub(super) async fn describe_merge(
        &mut self,
        merge: &Merge,
        types: &mut Types,
    ) -> PgResult<(Joined, Option<Vec<SelectItem>>)> {
        let parts = self.merge_parts(merge, types).await?;
        let clauses = clauses(merge, &parts.target)?;
        for clause in &merge.clauses {
            if let MergeAction::Update(update) = &clause.action {
                note_assignments(types, &parts.target, &update.assignments);
            }
        }
        self.install_target(&parts.target)?;
        self.infer(&Statement::Query(Box::new(parts.query.clone())), types).await?;
        self.shared.scope.lock().overrides.remove(TARGET);
        let old = shown_empty(&parts.target);
        let source = RecordBatch::new_empty(parts.source_schema());
        let absent = Joined::one(&parts.source.0, source.clone());
        let orphans = Joined::one(&parts.alias, old.clone());
        let matched = Joined::one(&parts.alias, old).and(&parts.source.0, source);
        for clause in &clauses {
            let rows = match clause.kind {
                Kind::Matched => &matched,
                Kind::NotMatched => &absent,
                Kind::NotMatchedBySource => &orphans,
            };
            let mut exprs: Vec<Expr> = clause.condition.cloned().into_iter().collect();
            match &clause.action {
                Action::Update(values) => exprs.extend(values.iter().flatten().cloned()),
                Action::Insert(places, values) => {
                    for (&place, value) in places.iter().zip(*values) {
                        super::describe_write::note(
                            types,
                            value,
                            &parts.target.def.columns[place].ty,
                        );
                        if !is_default(value) {
                            exprs.push(value.clone());
                        }
                    }
                }
                Action::Nothing | Action::Delete => {}
            }
            let items = exprs
                .into_iter()
                .enumerate()
                .map(|(i, e)| build::aliased(e, &format!("c{i}")))
                .collect();
            self.infer_joined(rows, items, types).await?;
        }
        Ok((parts.empty(), returning(merge)?))
    }
}

/// Takes the places of the rows that a clause chose out of those that are left.
fn take_fitting(places: &mut Vec<RowRef>, fits: &BooleanArray) -> Vec<RowRef> {
    let (mut chosen, mut others) = (Vec::new(), Vec::new());
    for (i, place) in places.drain(..).enumerate() {
        if fits.value(i) { chosen.push(place) } else { others.push(place) }
    }
    *places = others;
    chosen
}

/// The places that lead rows, all of which have one.
fn places_of(rows: &RecordBatch) -> PgResult<Vec<RowRef>> {
    let internal = || PgError::internal("rows without their places");
    let segments = rows.column(0).as_primitive_opt::<UInt64Type>().ok_or_else(internal)?;
    let positions = rows.column(1).as_primitive_opt::<UInt32Type>().ok_or_else(internal)?;
    let place = |i| RowRef { segment: SegmentId(segments.value(i)), position: positions.value(i) };
    Ok((0..rows.num_rows()).map(place).collect())
}

impl Parts {
    /// The rows of the target, its hidden columns last, out of a query that has those first.
    fn old_rows(&self, all: &RecordBatch) -> PgResult<RecordBatch> {
        let columns = all.columns();
        let mut names: Vec<&str> =
            self.target.def.columns.iter().map(|c| c.name.as_str()).collect();
        names.extend(&HIDDEN[2..]);
        let mut arrays = Vec::with_capacity(names.len());
        for (i, column) in self.target.def.columns.iter().enumerate() {
            let array = &columns[HIDDEN.len() + i];
            arrays.push(datafusion::arrow::compute::cast(array, &column.ty.arrow())?);
        }
        arrays.extend_from_slice(&columns[2..HIDDEN.len()]);
        let fields: Vec<Field> = names
            .iter()
            .zip(&arrays)
            .map(|(name, a)| Field::new(*name, a.data_type().clone(), true))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(all.num_rows()));
        let schema = Arc::new(Schema::new(fields));
        let rows = RecordBatch::try_new_with_options(schema, arrays, &options)?;
        tagged(rows, |i| self.target.def.columns.get(i).map(|c| c.ty.clone()))
    }

    /// Rows of the source without a value.
    fn no_source(&self, rows: usize) -> Option<RecordBatch> {
        let schema = self.source_schema();
        let arrays = schema
            .fields()
            .iter()
            .map(|f| datafusion::arrow::array::new_null_array(f.data_type(), rows))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, arrays, &options).ok()
    }

    fn source_schema(&self) -> Arc<Schema> {
        let fields: Vec<_> = self.source.1.iter().map(|f| f.ty.field(&f.name, true)).collect();
        Arc::new(Schema::new(fields))
    }

    /// The sides of RETURNING without rows.
    fn empty(&self) -> Joined {
        Joined::one(&self.source.0, RecordBatch::new_empty(self.source_schema()))
            .and(&self.alias, shown_empty(&self.target))
    }
}

/// The rows with their columns' SQL types.
fn tagged(
    rows: RecordBatch,
    ty: impl Fn(usize) -> Option<chronos_catalog::SqlType>,
) -> PgResult<RecordBatch> {
    let fields: Vec<Field> = rows
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(i, f)| match ty(i) {
            Some(ty) => ty.field(f.name(), true).with_data_type(f.data_type().clone()),
            None => f.as_ref().clone(),
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(schema, rows.columns().to_vec(), &options)?)
}

fn versions(rows: &RecordBatch) -> PgResult<Int64Array> {
    rows.column_by_name("_ov")
        .and_then(|c| c.as_primitive_opt::<Int64Type>())
        .cloned()
        .ok_or_else(|| PgError::internal("rows without their versions"))
}
