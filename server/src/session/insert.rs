//! INSERT: rows from VALUES, which are read without the planner where they are literals, or from
//! a query, which is streamed.

use std::borrow::Cow;
use std::sync::Arc;

use chronos_catalog::{SqlType, TableDef};
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, Insert, ObjectName, OnConflict, OnConflictAction, OnInsert, Query,
    SelectItem, SetExpr, Statement, TableObject, UnaryOperator, Value, ValueWithSpan,
};
use futures::StreamExt;

use super::api::Response;
use super::dml::is_default;
use super::joined::Joined;
use super::names::fold;
use super::session::Session;
use super::views::{Event, Through};
use super::write::{WriteTarget, shown, shown_empty};
use crate::error::{PgError, PgResult};

/// Rows that are completed and written at a time.
const CHUNK: usize = 8192;

/// A value as the statement gives it.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    value: ScalarValue,
    ty: Option<SqlType>,
    /// A literal without a type of its own.
    unknown: bool,
}

impl Cell {
    fn known(value: ScalarValue) -> Self {
        Cell { value, ty: None, unknown: false }
    }

    /// The value, and whether it is a literal without a type.
    pub fn into_value(self) -> PgResult<(ScalarValue, bool)> {
        Ok((self.value, self.unknown))
    }

    /// Its type, where it has one that the value does not tell.
    pub fn sql_type(&self) -> Option<&SqlType> {
        self.ty.as_ref()
    }
}

fn number(text: &str) -> Option<ScalarValue> {
    if let Ok(n) = text.parse::<i64>() {
        return Some(match i32::try_from(n) {
            Ok(n) => ScalarValue::Int32(Some(n)),
            Err(_) => ScalarValue::Int64(Some(n)),
        });
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    let precision =
        u8::try_from(digits.trim_start_matches('0').len().max(fraction.len()).max(1)).ok()?;
    let scale = i8::try_from(fraction.len()).ok()?;
    (precision <= 38).then_some(ScalarValue::Decimal128(Some(value), precision, scale))
}

/// The value of an expression that is a literal or a parameter; `None` where it is more than
/// that.
pub(super) fn literal(expr: &Expr, parameters: Option<&[ScalarValue]>) -> PgResult<Option<Cell>> {
    Ok(match expr {
        Expr::Nested(inner) => literal(inner, parameters)?,
        Expr::Value(ValueWithSpan { value, .. }) => match value {
            Value::Number(text, _) => number(&text.to_string()).map(Cell::known),
            Value::SingleQuotedString(s) | Value::EscapedStringLiteral(s) => Some(Cell {
                value: ScalarValue::Utf8View(Some(s.clone())),
                ty: None,
                unknown: true,
            }),
            Value::DollarQuotedString(s) => Some(Cell {
                value: ScalarValue::Utf8View(Some(s.value.clone())),
                ty: None,
                unknown: true,
            }),
            Value::Boolean(b) => Some(Cell::known(ScalarValue::Boolean(Some(*b)))),
            Value::Null => Some(Cell::known(ScalarValue::Null)),
            Value::Placeholder(name) => {
                let value = super::plan::parameter(parameters, name)?;
                Some(Cell { value, ty: None, unknown: true })
            }
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match literal(expr, None) {
            Ok(Some(Cell { value, ty: None, unknown: false })) => match value {
                ScalarValue::Int32(Some(n)) => Some(Cell::known(ScalarValue::Int32(Some(-n)))),
                ScalarValue::Int64(Some(n)) => Some(Cell::known(ScalarValue::Int64(Some(-n)))),
                ScalarValue::Decimal128(Some(n), 19, 0) if -n == i128::from(i64::MIN) => {
                    Some(Cell::known(ScalarValue::Int64(Some(i64::MIN))))
                }
                ScalarValue::Decimal128(Some(n), p, s) => {
                    Some(Cell::known(ScalarValue::Decimal128(Some(-n), p, s)))
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}

impl Session {
    /// INSERT.
    pub(super) async fn insert(&mut self, insert: &Insert) -> PgResult<Response> {
        let TableObject::TableName(name) = &insert.table else {
            return Err(PgError::new("42601", "INSERT needs the name of a table"));
        };
        if insert.or.is_some() || insert.ignore || insert.overwrite || insert.replace_into {
            return Err(PgError::unsupported("this form of INSERT"));
        }
        let (target, through) = self.write_target_through(name, Event::Insert)?;
        if through.is_some() {
            self.refuse_policies_behind_view(&target)?;
        }
        let (overriding, insert) = Overriding::of(insert);
        let insert = insert.as_ref();
        let places = insert_places(&target, through.as_ref(), insert)?;
        let explicit = !insert.columns.is_empty();
        let alias = insert.table_alias.as_ref().map(|a| fold(&a.alias));
        let conflict = match &insert.on {
            None => None,
            Some(OnInsert::OnConflict(_)) if through.is_some() => {
                return Err(PgError::unsupported("ON CONFLICT through a view")
                    .hint("Insert into the table that the view reads."));
            }
            Some(OnInsert::OnConflict(OnConflict {
                action: OnConflictAction::DoUpdate(_),
                ..
            })) if self.shared.row_security(target.oid)?.is_some() => {
                let what = "ON CONFLICT DO UPDATE of a table with row-level security";
                return Err(PgError::unsupported(what));
            }
            Some(OnInsert::OnConflict(on)) => Some(super::conflict::Conflict::new(&target, on)?),
            Some(other) => return Err(PgError::unsupported(format!("INSERT {other}"))),
        };
        let listed = !insert.columns.is_empty() || insert.source.is_none();
        // Without a list, the values are for the first columns.
        let width = match insert.source.as_deref().map(|query| query.body.as_ref()) {
            Some(SetExpr::Values(values)) => values.rows.first().map(|row| row.content.len()),
            _ => None,
        };
        let all: Vec<usize> =
            (0..target.def.columns.len()).take(width.unwrap_or(usize::MAX)).collect();
        let named = match &insert.source {
            None => &[][..],
            Some(_) if listed => &places,
            Some(_) => &all,
        };
        let shown = alias.as_deref().unwrap_or(&target.name);
        match &through {
            None => {
                self.require(&target, 'a', Some(named))?;
                self.require_returned(&target, shown, insert.returning.as_deref())?;
            }
            Some(through) => {
                let reads = insert.returning.is_some();
                self.require_through(&target, through, Some(&places), reads)?;
            }
        }
        if let Some(conflict) = &conflict {
            conflict.require(self, &target, shown)?;
        }
        let keep = insert.returning.is_some();
        let mut writer = Writer {
            session: self,
            target: &target,
            alias: alias.as_deref(),
            conflict,
            through: through.as_ref(),
            keep,
            kept: Vec::new(),
            count: 0,
        };
        match &insert.source {
            None => {
                let rows = writer.session.complete(&target, &[], Vec::new(), 1).await?;
                writer.write(rows).await?;
            }
            Some(source) => match values_of(source) {
                Some(rows) => {
                    for chunk in rows.chunks(CHUNK) {
                        let given = (places.as_slice(), explicit, overriding);
                        let rows = writer.session.value_rows(&target, given, chunk).await?;
                        writer.write(rows).await?;
                    }
                }
                None => writer.query_rows(source, (&places, explicit, overriding)).await?,
            },
        }
        let Writer { kept, count, .. } = writer;
        let named = through.as_ref().map_or(target.name.as_str(), Through::name);
        let alias = alias.unwrap_or_else(|| named.to_owned());
        let kept = kept.into_iter().map(|rows| Joined::one(&alias, rows)).collect();
        let own = through.as_ref().map_or_else(|| shown_empty(&target), Through::empty);
        let empty = Joined::one(&alias, own);
        self.written(&target, insert.returning.as_deref(), empty, kept, count, "INSERT 0").await
    }

    /// Whole rows from the rows of VALUES.
    async fn value_rows(
        &mut self,
        target: &WriteTarget,
        (places, explicit, overriding): (&[usize], bool, Overriding),
        rows: &[&Vec<Expr>],
    ) -> PgResult<RecordBatch> {
        let width = rows.first().map_or(0, |r| r.len());
        if rows.iter().any(|r| r.len() != width) {
            return Err(PgError::new("42601", "VALUES lists must all be the same length"));
        }
        let places = width_fits(places, explicit, width)?;
        let parameters = self.shared.scope.lock().parameters.clone();
        // Column by column: literals at once, everything else in one plan.
        let mut cells: Vec<Vec<Option<Cell>>> = vec![Vec::with_capacity(rows.len()); width];
        let mut others: Vec<(usize, usize, Expr)> = Vec::new();
        for (r, row) in rows.iter().enumerate() {
            for (c, expr) in row.iter().enumerate() {
                let ignored = overriding.ignores(target, places[c]);
                let cell = if is_default(expr) || ignored {
                    let column = &target.def.columns[places[c]];
                    let array = self.defaults(column, 1).await?;
                    let value = ScalarValue::try_from_array(&array, 0)?;
                    Some(Cell { value, ty: Some(column.ty.clone()), unknown: false })
                } else {
                    overriding.check(target, places[c])?;
                    match literal(expr, parameters.as_deref())? {
                        None => self.transaction_start(expr),
                        cell => cell,
                    }
                };
                if cell.is_none() {
                    others.push((r, c, expr.clone()));
                }
                cells[c].push(cell);
            }
        }
        for chunk in others.chunks(200) {
            let expressions = chunk.iter().map(|(_, _, e)| e.clone()).collect();
            let values = self.typed_constants(expressions).await?;
            for ((r, c, _), (value, ty)) in chunk.iter().zip(values) {
                cells[*c][*r] = Some(Cell { value, ty: Some(ty), unknown: false });
            }
        }
        let mut arrays = Vec::with_capacity(width);
        for (place, cells) in places.iter().zip(cells) {
            let cells: Vec<Cell> = cells.into_iter().flatten().collect();
            arrays.push(self.cells_array(&target.def, *place, cells)?);
        }
        self.complete(target, places, arrays, rows.len()).await
    }

    /// The value of `now()` and CURRENT_TIMESTAMP, which need no planner.
    pub(super) fn transaction_start(&self, expr: &Expr) -> Option<Cell> {
        let Expr::Function(function) = expr else { return None };
        let bare = function.over.is_none()
            && match &function.args {
                FunctionArguments::None => true,
                FunctionArguments::List(list) => list.args.is_empty() && list.clauses.is_empty(),
                FunctionArguments::Subquery(_) => false,
            };
        let [name] = function.name.0.as_slice() else { return None };
        let name = fold(name.as_ident()?);
        if !bare || !matches!(name.as_str(), "now" | "current_timestamp") {
            return None;
        }
        let start = self.shared.scope.lock().transaction_start;
        let value = ScalarValue::TimestampMicrosecond(Some(start), Some(Arc::from("UTC")));
        Some(Cell { value, ty: Some(SqlType::Timestamptz), unknown: false })
    }

    /// The values of a column from cells of whatever types.
    fn cells_array(&self, def: &TableDef, place: usize, cells: Vec<Cell>) -> PgResult<ArrayRef> {
        let column = &def.columns[place];
        let first = cells.iter().find(|c| !c.value.is_null());
        let Some(first) = first else {
            return Ok(datafusion::arrow::array::new_null_array(&column.ty.arrow(), cells.len()));
        };
        let data_type = first.value.data_type();
        let (ty, unknown) = (first.ty.clone(), first.unknown);
        let uniform = cells.iter().all(|c| {
            c.value.is_null()
                || (c.value.data_type() == data_type && c.ty == ty && c.unknown == unknown)
        });
        if uniform {
            let null = ScalarValue::try_from(&data_type)?;
            let values = cells
                .iter()
                .map(|c| if c.value.is_null() { null.clone() } else { c.value.clone() });
            let array = ScalarValue::iter_to_array(values)?;
            match self.assign_column(&array, ty.as_ref(), unknown, column) {
                Ok(array) => return Ok(array),
                // One by one, for the message of the value that is wrong.
                Err(error) if cells.len() == 1 => return Err(error),
                Err(_) => {}
            }
        }
        let arrays = cells
            .into_iter()
            .map(|c| self.assign_column(&c.value.to_array()?, c.ty.as_ref(), c.unknown, column))
            .collect::<PgResult<Vec<_>>>()?;
        let arrays: Vec<_> = arrays.iter().map(AsRef::as_ref).collect();
        Ok(concat(&arrays)?)
    }
}

/// What an INSERT says about values of its own for identity columns.
#[derive(Clone, Copy, PartialEq)]
enum Overriding {
    Nothing,
    /// OVERRIDING SYSTEM VALUE: they are taken, also for GENERATED ALWAYS.
    System,
    /// OVERRIDING USER VALUE: the sequence's are taken instead.
    User,
}

impl Overriding {
    /// Takes the column that stands for the clause out of a statement.
    fn of(insert: &Insert) -> (Overriding, Cow<'_, Insert>) {
        let found = insert.columns.iter().enumerate().find_map(|(i, name)| {
            match super::names::single(name).ok()?.as_str() {
                chronos_sql_ext::OVERRIDING_SYSTEM => Some((i, Overriding::System)),
                chronos_sql_ext::OVERRIDING_USER => Some((i, Overriding::User)),
                _ => None,
            }
        });
        match found {
            None => (Overriding::Nothing, Cow::Borrowed(insert)),
            Some((place, overriding)) => {
                let mut insert = insert.clone();
                insert.columns.remove(place);
                (overriding, Cow::Owned(insert))
            }
        }
    }

    /// Whether the value given for a column does not count.
    fn ignores(self, target: &WriteTarget, place: usize) -> bool {
        self == Overriding::User && target.def.columns[place].identity_always.is_some()
    }

    fn check(self, target: &WriteTarget, place: usize) -> PgResult<()> {
        let identity = target.def.columns[place].identity_always.is_some();
        if identity && self != Overriding::Nothing { Ok(()) } else { check_identity(target, place) }
    }
}

/// Writes completed rows, and keeps them for RETURNING.
struct Writer<'a> {
    session: &'a mut Session,
    target: &'a WriteTarget,
    alias: Option<&'a str>,
    conflict: Option<super::conflict::Conflict>,
    through: Option<&'a Through>,
    keep: bool,
    kept: Vec<RecordBatch>,
    count: u64,
}

impl Writer<'_> {
    async fn write(&mut self, rows: RecordBatch) -> PgResult<()> {
        self.session.check(self.target, &rows).await?;
        self.session.check_policies(self.target, Event::Insert, self.keep, &rows).await?;
        if let Some(through) = self.through {
            self.session.check_through(self.target, through, &rows).await?;
        }
        let written = match &mut self.conflict {
            None => {
                self.session.insert_rows(self.target, rows.clone()).await?;
                shown(self.target, &rows, None)?
            }
            Some(conflict) => conflict.insert(self.session, self.target, self.alias, rows).await?,
        };
        self.count += written.num_rows() as u64;
        if self.keep {
            self.kept.push(match self.through {
                Some(through) => self.session.rows_through(through, written).await?,
                None => written,
            });
        }
        Ok(())
    }

    async fn query_rows(
        &mut self,
        source: &Query,
        (places, explicit, overriding): (&[usize], bool, Overriding),
    ) -> PgResult<()> {
        let mut query = source.clone();
        query.with = super::query::both_with(self.session.statement_with.clone(), query.with)?;
        let planned = self.session.plan(&Statement::Query(Box::new(query))).await?;
        let fields = Arc::clone(&planned.fields);
        let places = width_fits(places, explicit, fields.len())?.to_vec();
        for place in &places {
            overriding.check(self.target, *place)?;
        }
        let ignored: Vec<bool> =
            places.iter().map(|place| overriding.ignores(self.target, *place)).collect();
        let unknown = untyped_columns(source, fields.len());
        let mut stream = self.session.stream(planned).await?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let mut arrays = Vec::with_capacity(places.len());
            let mut given = Vec::with_capacity(places.len());
            for (i, place) in places.iter().enumerate() {
                if ignored[i] {
                    continue;
                }
                given.push(*place);
                let column = &self.target.def.columns[*place];
                let array = batch.column(i);
                arrays.push(self.session.assign_column(
                    array,
                    Some(&fields[i].ty),
                    unknown[i],
                    column,
                )?);
            }
            let rows = self.session.complete(self.target, &given, arrays, batch.num_rows()).await?;
            self.write(rows).await?;
        }
        Ok(())
    }
}

impl Session {
    /// Gives rows to the transaction.
    pub(super) async fn insert_rows(
        &mut self,
        target: &WriteTarget,
        rows: RecordBatch,
    ) -> PgResult<()> {
        self.note_new(target, &rows)?;
        let mut guard = self.shared.transaction.write().await;
        let transaction = guard.as_mut().ok_or_else(super::session::aborted)?;
        Ok(transaction.insert(target.oid, rows, None).await?)
    }
}

/// The rows of a query that is nothing but VALUES.
fn values_of(query: &Query) -> Option<Vec<&Vec<Expr>>> {
    let plain = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none();
    match query.body.as_ref() {
        SetExpr::Values(values) if plain => Some(values.rows.iter().map(|r| &r.content).collect()),
        _ => None,
    }
}

/// Whether an expression is a literal without a type.
pub(super) fn untyped(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Value(v) if matches!(
            v.value,
            Value::SingleQuotedString(_) | Value::Placeholder(_) | Value::Null
        )
    )
}

/// Which columns of a query are literals without a type.
fn untyped_columns(query: &Query, width: usize) -> Vec<bool> {
    let mut unknown = vec![false; width];
    if let SetExpr::Select(select) = query.body.as_ref()
        && select.projection.len() == width
    {
        for (slot, item) in unknown.iter_mut().zip(&select.projection) {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                *slot = untyped(expr);
            }
        }
    }
    unknown
}

/// The places of the columns that an INSERT names; all of them where it names none.
pub(super) fn insert_places(
    target: &WriteTarget,
    through: Option<&Through>,
    insert: &Insert,
) -> PgResult<Vec<usize>> {
    let named: Vec<ObjectName> =
        insert.columns.iter().filter(|n| !n.to_string().contains('\u{1}')).cloned().collect();
    let Some(through) = through else { return places_named(target, &named) };
    let width = match insert.source.as_deref().map(|query| query.body.as_ref()) {
        Some(SetExpr::Values(values)) => values.rows.first().map(|row| row.content.len()),
        _ => None,
    };
    through.places(&named, width)
}

/// The places of columns by name; all of them where none is named.
pub(super) fn places_named(target: &WriteTarget, names: &[ObjectName]) -> PgResult<Vec<usize>> {
    if names.is_empty() {
        return Ok((0..target.def.columns.len()).collect());
    }
    let mut places = Vec::with_capacity(names.len());
    for name in names {
        let name = super::names::single(name)?;
        let place = target.column(&name)?;
        if places.contains(&place) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(PgError::new("42701", message));
        }
        places.push(place);
    }
    Ok(places)
}

/// The columns that get `width` values.
fn width_fits(places: &[usize], explicit: bool, width: usize) -> PgResult<&[usize]> {
    if width > places.len() {
        let message = "INSERT has more expressions than target columns";
        return Err(PgError::new("42601", message));
    }
    if width < places.len() && explicit {
        let message = "INSERT has more target columns than expressions";
        return Err(PgError::new("42601", message));
    }
    Ok(&places[..width])
}

pub(super) fn check_identity(target: &WriteTarget, place: usize) -> PgResult<()> {
    let column = &target.def.columns[place];
    if column.generated.is_some() {
        let message = format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name);
        let detail = format!("Column \"{}\" is a generated column.", column.name);
        return Err(PgError::new("428C9", message).detail(detail));
    }
    if column.identity_always == Some(true) {
        let message = format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name);
        return Err(PgError::new("428C9", message)
            .detail(format!(
                "Column \"{}\" is an identity column defined as GENERATED ALWAYS.",
                column.name
            ))
            .hint("Use OVERRIDING SYSTEM VALUE to override."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        assert_eq!(number("5"), Some(ScalarValue::Int32(Some(5))));
        assert_eq!(number("5000000000"), Some(ScalarValue::Int64(Some(5_000_000_000))));
        assert_eq!(number("1.50"), Some(ScalarValue::Decimal128(Some(150), 3, 2)));
        assert_eq!(number("0.001"), Some(ScalarValue::Decimal128(Some(1), 3, 3)));
        assert_eq!(number("1e5"), None);
    }
}
