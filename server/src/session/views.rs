//! Writing through views: what is written to a view is written to the table that it reads.
//!
//! ```text
//! UPDATE v SET x = 1 WHERE y = 2            v: SELECT a AS x, b AS y FROM t WHERE b > 0
//!
//! SELECT place, 1, "b1", …
//!   FROM (SELECT a AS x, b AS y, a AS "b0", b AS "b1", … FROM target AS t WHERE b > 0) AS v
//!   WHERE y = 2
//! ```
//!
//! Invariant: a view shows and changes the rows that its own query tells, with the privileges of
//! its owner (of who writes, for a `security_invoker` one); WITH CHECK OPTION holds of each row
//! that is written.

use std::sync::Arc;

use chronos_catalog::{Object, Oid, Relation, SqlType};
use chronos_sql_ext::{SimpleView, is_aggregate};
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, ObjectName, ObjectNamePart, TableFactor, TableWithJoins,
};

use super::build;
use super::dml::TARGET;
use super::joined::Joined;
use super::names::{RelationName, no_relation, relation, single};
use super::privileges::denied_for;
use super::session::Session;
use super::write::{WriteTarget, failing_row};
use crate::error::{PgError, PgResult};

/// What a statement does to a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Insert,
    Update,
    Delete,
}

impl Event {
    fn letter(self) -> char {
        match self {
            Event::Insert => 'a',
            Event::Update => 'w',
            Event::Delete => 'd',
        }
    }

    fn word(self) -> &'static str {
        match self {
            Event::Insert => "INSERT",
            Event::Update => "UPDATE",
            Event::Delete => "DELETE",
        }
    }
}

/// WITH CHECK OPTION
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Local,
    Cascaded,
}

/// One view on the way to the table.
#[derive(Clone, Debug)]
struct Level {
    oid: Oid,
    object: Arc<Object>,
    /// By which its expressions know what is below it.
    alias: String,
    /// Its columns: name, type, what it is of the columns below, and the table's column if it is
    /// one.
    columns: Vec<(String, SqlType, Expr, Option<usize>)>,
    selection: Option<Expr>,
    check: Option<Check>,
    /// On whose behalf it reads; `None` for who uses it.
    owner: Option<Oid>,
}

/// The views between the relation that a statement names and the table that it writes to, the
/// outermost first.
#[derive(Clone, Debug)]
pub(super) struct Through {
    levels: Vec<Level>,
    event: Event,
}

impl Session {
    /// What a statement writes to: a table, or one behind views that can be written through.
    ///
    /// # Errors
    /// As [`Session::write_target`]; 55000 for a view that cannot.
    pub(super) fn write_target_through(
        &self,
        name: &ObjectName,
        event: Event,
    ) -> PgResult<(WriteTarget, Option<Through>)> {
        let mut name = relation(name, &self.shared.identity.database)?;
        let mut found: Vec<(Oid, Arc<Object>, SimpleView)> = Vec::new();
        while let Some((oid, object)) = self.view_named(&name)? {
            let Relation::View { query, .. } = &object.relation else { break };
            if found.iter().any(|(known, ..)| *known == oid) {
                let message = format!(
                    "infinite recursion detected in rules for relation \"{}\"",
                    object.name
                );
                return Err(PgError::new("42P17", message));
            }
            let top = found.first().map_or(&object, |(_, top, _)| top);
            let view = SimpleView::of(query, &is_aggregate)
                .map_err(|detail| not_updatable(&top.name, event, detail))?;
            name = relation(&view.relation, &self.shared.identity.database)?;
            found.push((oid, object, view));
        }
        if found.is_empty() {
            return Ok((self.write_target_named(&name)?, None));
        }
        let target = self.write_target_named(&name).map_err(|error| match error.code {
            "42809" => {
                let detail = "Views that do not select from a single table or view are not \
                              automatically updatable.";
                not_updatable(&found[0].1.name, event, detail)
            }
            _ => error,
        })?;
        // From the table up.
        let mut below: Vec<String> = target.def.columns.iter().map(|c| c.name.clone()).collect();
        let mut places: Vec<Option<usize>> = (0..below.len()).map(Some).collect();
        let mut levels = Vec::with_capacity(found.len());
        for (oid, object, view) in found.into_iter().rev() {
            let Relation::View { columns, options, .. } = &object.relation else { continue };
            let shown: Vec<_> = view
                .expressions(&below)
                .into_iter()
                .zip(columns)
                .map(|(expr, (name, ty))| {
                    let place = view
                        .column_of(&expr, &below)
                        .and_then(|column| below.iter().position(|c| c == column))
                        .and_then(|i| places[i]);
                    (name.clone(), ty.clone(), expr, place)
                })
                .collect();
            below = shown.iter().map(|(name, ..)| name.clone()).collect();
            places = shown.iter().map(|(.., place)| *place).collect();
            let check = match options.get("check_option").map(String::as_str) {
                Some("local") => Some(Check::Local),
                Some("cascaded") => Some(Check::Cascaded),
                _ => None,
            };
            let invoker = options.get("security_invoker").is_some_and(|v| v == "true");
            levels.push(Level {
                oid,
                alias: view.alias,
                columns: shown,
                selection: view.selection,
                check,
                owner: (!invoker).then_some(object.owner),
                object,
            });
        }
        levels.reverse();
        let through = Through { levels, event };
        if event != Event::Delete && through.columns().all(|(.., place)| place.is_none()) {
            let detail = "Views that have no updatable columns are not automatically updatable.";
            return Err(not_updatable(through.name(), event, detail));
        }
        Ok((target, Some(through)))
    }

    /// The view of that name; `None` for anything else.
    fn view_named(&self, name: &RelationName) -> PgResult<Option<(Oid, Arc<Object>)>> {
        let scope = self.scope()?;
        let lookup = scope.lookup();
        let (oid, object) = match lookup.relation(name) {
            Some(found) => found,
            // A system table, or nothing: told by who looks for a table.
            None if name.schema.is_some() => return Ok(None),
            None => return Err(no_relation(name)),
        };
        Ok(matches!(object.relation, Relation::View { .. }).then(|| (oid, Arc::clone(object))))
    }

    /// Refuses to write through views what may not be written: `columns` are the places of the
    /// table's columns that get values, `reads` whether the statement looks at the rows.
    pub(super) fn require_through(
        &self,
        target: &WriteTarget,
        through: &Through,
        columns: Option<&[usize]>,
        reads: bool,
    ) -> PgResult<()> {
        let entered = self.shared.scope.lock().acting.len();
        let result = (|| {
            let scope = self.scope()?;
            for (depth, level) in through.levels.iter().enumerate() {
                let rights = self.shared.rights(&scope.objects, scope.at);
                let may = |letter| rights.may(level.oid, &level.object, letter, false);
                if !may(through.event.letter()) || ((reads || depth > 0) && !may('r')) {
                    return Err(denied_for(&level.object));
                }
                if let Some(owner) = level.owner {
                    self.shared.scope.lock().acting.push(owner);
                }
            }
            self.require(target, through.event.letter(), columns)?;
            let all: Vec<usize> = (0..target.def.columns.len()).collect();
            match through.event {
                Event::Insert => Ok(()),
                _ => self.require(target, 'r', Some(&all)),
            }
        })();
        self.shared.scope.lock().acting.truncate(entered);
        result
    }

    /// The table's rows as the outermost view shows them.
    pub(super) async fn rows_through(
        &mut self,
        through: &Through,
        rows: RecordBatch,
    ) -> PgResult<RecordBatch> {
        let mut rows = rows;
        for level in through.levels.iter().rev() {
            rows = self.rows_of_level(level, rows).await?;
        }
        Ok(rows)
    }

    async fn rows_of_level(&mut self, level: &Level, rows: RecordBatch) -> PgResult<RecordBatch> {
        let items =
            level.columns.iter().map(|(name, _, expr, _)| build::aliased(expr.clone(), name));
        let joined = Joined::one(&level.alias, rows);
        let (fields, rows) = self.evaluate(&joined, items.collect()).await?;
        let named = level.columns.iter().zip(fields.iter()).zip(rows.columns());
        let named: Vec<_> = named
            .map(|(((name, ..), field), array)| {
                field.ty.field(name, true).with_data_type(array.data_type().clone())
            })
            .collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(named)), rows.columns().to_vec())?)
    }

    /// WITH CHECK OPTION of new rows of the table.
    ///
    /// # Errors
    /// 44000
    pub(super) async fn check_through(
        &mut self,
        target: &WriteTarget,
        through: &Through,
        rows: &RecordBatch,
    ) -> PgResult<()> {
        let mut cascaded = false;
        let checked: Vec<bool> = through
            .levels
            .iter()
            .map(|level| {
                let checked = cascaded || level.check.is_some();
                cascaded |= level.check == Some(Check::Cascaded);
                checked
            })
            .collect();
        if !checked.contains(&true) || rows.num_rows() == 0 {
            return Ok(());
        }
        let columns = target.def.columns.len();
        let mut seen = rows.clone();
        for (level, checked) in through.levels.iter().zip(checked).rev() {
            if checked && let Some(selection) = &level.selection {
                let joined = Joined::one(&level.alias, seen.clone());
                let holds = self.condition(&joined, selection, "WHERE").await?;
                if let Some(row) = (0..holds.len()).find(|&row| !holds.value(row)) {
                    let name = &level.object.name;
                    let message = format!("new row violates check option for view \"{name}\"");
                    let own: Vec<usize> = (0..columns).collect();
                    let detail = failing_row(&rows.project(&own)?, row);
                    return Err(PgError::new("44000", message).detail(detail));
                }
            }
            seen = self.rows_of_level(level, seen).await?;
        }
        Ok(())
    }
}

impl Through {
    fn top(&self) -> Option<&Level> {
        self.levels.first()
    }

    fn columns(&self) -> impl Iterator<Item = &(String, SqlType, Expr, Option<usize>)> {
        self.top().into_iter().flat_map(|level| &level.columns)
    }

    /// The name of the view that the statement writes to.
    pub(super) fn name(&self) -> &str {
        self.top().map_or("", |level| &level.object.name)
    }

    /// No rows, as the view shows them.
    pub(super) fn empty(&self) -> RecordBatch {
        let fields: Vec<_> = self.columns().map(|(name, ty, ..)| ty.field(name, true)).collect();
        RecordBatch::new_empty(Arc::new(Schema::new(fields)))
    }

    /// The place of a column of the view in the table.
    ///
    /// # Errors
    /// 42703; 0A000 for a column that is computed.
    pub(super) fn place(&self, column: &str) -> PgResult<usize> {
        let view = self.name();
        let Some((.., place)) = self.columns().find(|(name, ..)| name == column) else {
            let message = format!("column \"{column}\" of relation \"{view}\" does not exist");
            return Err(PgError::new("42703", message));
        };
        place.ok_or_else(|| {
            let verb = if self.event == Event::Insert { "insert into" } else { "update" };
            PgError::new("0A000", format!("cannot {verb} column \"{column}\" of view \"{view}\""))
                .detail(
                    "View columns that are not columns of their base relation are not updatable.",
                )
        })
    }

    /// The places of the columns that an INSERT gives `width` values; all of the view's where it
    /// names none.
    pub(super) fn places(
        &self,
        named: &[ObjectName],
        width: Option<usize>,
    ) -> PgResult<Vec<usize>> {
        if named.is_empty() {
            // How many a query gives is known later: as many as can take values.
            let able = self.columns().take_while(|(.., place)| place.is_some()).count();
            let width = width.unwrap_or(able);
            return self.columns().take(width).map(|(name, ..)| self.place(name)).collect();
        }
        let mut places = Vec::with_capacity(named.len());
        for name in named {
            let name = single(name)?;
            let place = self.place(&name)?;
            if places.contains(&place) {
                let message = format!("column \"{name}\" specified more than once");
                return Err(PgError::new("42701", message));
            }
            places.push(place);
        }
        Ok(places)
    }

    /// Assignments to the table's columns.
    pub(super) fn assignments(
        &self,
        target: &WriteTarget,
        assignments: &[Assignment],
    ) -> PgResult<Vec<Assignment>> {
        let of_table = |name: &ObjectName| {
            let place = self.place(&single(name)?)?;
            let column = build::ident(&target.def.columns[place].name);
            Ok::<ObjectName, PgError>(ObjectName(vec![ObjectNamePart::Identifier(column)]))
        };
        let mut mapped = assignments.to_vec();
        for assignment in &mut mapped {
            match &mut assignment.target {
                AssignmentTarget::ColumnName(name) => *name = of_table(name)?,
                AssignmentTarget::Tuple(names) => {
                    for name in names {
                        *name = of_table(name)?;
                    }
                }
            }
        }
        Ok(mapped)
    }

    /// The view as a relation that also tells each row's place and the columns of the table, by
    /// [`inner`] names.
    pub(super) fn relation(&self, target: &WriteTarget, alias: &str) -> TableWithJoins {
        const OWN: [&str; 5] = ["_segment", "_position", "_ov", "_system_from", "_cv"];
        let mut from = build::table(TARGET, None);
        let mut first = true;
        for level in self.levels.iter().rev() {
            let qualified = |name: &str| build::qualified(&level.alias, name);
            let mut items: Vec<_> = level
                .columns
                .iter()
                .map(|(name, _, expr, _)| build::aliased(expr.clone(), name))
                .collect();
            for name in OWN {
                let from = if first { name.to_owned() } else { inner(name) };
                items.push(build::aliased(qualified(&from), &inner(name)));
            }
            for (place, column) in target.def.columns.iter().enumerate() {
                let name = column_name(place);
                let from = if first { &column.name } else { &name };
                items.push(build::aliased(qualified(from), &name));
            }
            first = false;
            set_alias(&mut from.relation, &level.alias);
            let query = build::select(items, vec![from], level.selection.clone());
            from = TableWithJoins {
                relation: TableFactor::Derived {
                    lateral: false,
                    subquery: Box::new(query),
                    alias: None,
                    sample: None,
                },
                joins: Vec::new(),
            };
        }
        set_alias(&mut from.relation, alias);
        from
    }
}

/// The name of a hidden column in [`Through::relation`].
pub(super) fn inner(name: &str) -> String {
    format!("\u{1}{name}")
}

/// The name of the table's column at that place in [`Through::relation`].
pub(super) fn column_name(place: usize) -> String {
    inner(&format!("b{place}"))
}

fn set_alias(factor: &mut TableFactor, name: &str) {
    if let TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } = factor {
        *alias = Some(build::alias(name));
    }
}

/// 55000
fn not_updatable(view: &str, event: Event, detail: &str) -> PgError {
    let (what, doing) = match event {
        Event::Insert => ("insert into", "inserting into"),
        Event::Update => ("update", "updating"),
        Event::Delete => ("delete from", "deleting from"),
    };
    let word = event.word();
    PgError::new("55000", format!("cannot {what} view \"{view}\"")).detail(detail).hint(format!(
        "To enable {doing} the view, provide an INSTEAD OF {word} trigger or an unconditional ON \
         {word} DO INSTEAD rule."
    ))
}
