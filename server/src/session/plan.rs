//! From a parsed statement to a logical plan and the description of its columns.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chronos_catalog::{CommitTs, Objects, SqlType};
use chronos_sql_ext::system_tables::{SystemCatalog, SystemSession, analyzer_rules, rewrite};
use chronos_sql_ext::{Extension, Statement, StatementKind, TemporalCatalog, output_name};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ScalarValue, TableReference};
use datafusion::execution::config::SessionConfig;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast;

use super::api::{Description, FieldDescription};
use super::session::Session;
use super::shared::{SessionCatalog, SystemView};
use super::transaction::Block;
use crate::error::{PgError, PgResult};

/// Partitions of a plan. Small statements pay for each.
const PARTITIONS: usize = 4;

/// The session state that plans, kept while the definitions and settings it was made with hold.
#[derive(Default)]
pub(super) struct StateCache(Option<(Arc<Objects>, chrono_tz::Tz, SessionState)>);

/// A query planned.
pub(super) struct Planned {
    pub plan: LogicalPlan,
    pub fields: Arc<[FieldDescription]>,
    /// The types of the parameters so far as they are known.
    pub types: Vec<Option<SqlType>>,
    /// The numbers of the parameters that are instants to read at.
    pub instants: BTreeSet<usize>,
    /// Whether it holds instants, so that it is good for one execution.
    pub holds_instants: bool,
    /// The state that it was planned in and is to be executed in.
    pub state: SessionState,
}

impl Session {
    /// The state that plans the running statement.
    pub(super) fn state(&mut self) -> PgResult<SessionState> {
        let (objects, at) = self.shared.objects()?;
        let zone = self.shared.settings.read().time_zone();
        let fresh =
            matches!(&self.states.0, Some((o, z, _)) if Arc::ptr_eq(o, &objects) && *z == zone);
        if !fresh {
            let session: Arc<dyn SystemSession> = Arc::new(SystemView(Arc::clone(&self.shared)));
            let system = SystemCatalog::new(Arc::clone(&objects), at, session);
            let state = self.build_state(&system, zone)?;
            self.states.0 = Some((objects, zone, state));
        }
        let Some((_, _, state)) = &self.states.0 else {
            return Err(PgError::internal("no session state"));
        };
        let mut state = state.clone();
        let start = self.shared.scope.lock().transaction_start;
        let config = Arc::clone(state.config_options());
        let props = state.execution_props_mut();
        props.query_execution_start_time = DateTime::from_timestamp_micros(start);
        props.config_options = Some(config);
        Ok(state)
    }

    fn build_state(&self, system: &SystemCatalog, zone: chrono_tz::Tz) -> PgResult<SessionState> {
        let partitions = std::thread::available_parallelism().map_or(1, usize::from);
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(&self.shared.identity.database, "public")
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(false)
            .with_target_partitions(partitions.min(PARTITIONS));
        config.options_mut().execution.time_zone = Some(zone.name().to_owned());
        let catalog: Arc<dyn TemporalCatalog> = Arc::new(SessionCatalog(Arc::clone(&self.shared)));
        let builder = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_default_features();
        let mut state = chronos_sql_ext::configure(builder, catalog).build();
        for rule in analyzer_rules() {
            state.add_analyzer_rule(rule);
        }
        let mut registry = datafusion::execution::context::SessionContext::new_with_state(state);
        register(&mut registry, system, &self.shared);
        Ok(registry.state())
    }

    /// Plans a query. A plan that reads at an instant waits until nothing can commit at or
    /// before it any more, and then sees all of it.
    pub(super) async fn plan(&mut self, sql: &ast::Statement) -> PgResult<Planned> {
        loop {
            let planned = self.plan_once(sql).await?;
            let latest = self.shared.scope.lock().latest_instant.take();
            let Some(latest) = latest else { return Ok(planned) };
            self.shared.engine.close_instant(latest).await?;
            if !self.catch_up(latest).await {
                return Ok(planned);
            }
        }
    }

    /// Outside a block, lets the statement see commits up to an instant that it reads at. Gives
    /// whether there were any that it did not see.
    pub(super) async fn catch_up(&mut self, instant: CommitTs) -> bool {
        if self.block != Block::None {
            return false;
        }
        let mut guard = self.shared.transaction.write().await;
        match guard.as_mut() {
            Some(transaction)
                if transaction.read_ts() < instant
                    && transaction.read_ts() < self.shared.engine.last_commit()
                    && !transaction.has_writes() =>
            {
                *transaction = self.shared.engine.begin();
                true
            }
            _ => false,
        }
    }

    pub(super) async fn plan_once(&mut self, sql: &ast::Statement) -> PgResult<Planned> {
        let mut state = self.state()?;
        // The rows of a recursive query come in the order of its steps, as in PostgreSQL.
        if matches!(sql, ast::Statement::Query(query)
            if query.with.as_ref().is_some_and(|with| with.recursive))
        {
            state.config_mut().options_mut().execution.target_partitions = 1;
        }
        let mut statement = sql.clone();
        self.expand_calls(&mut statement).await?;
        let (types, values) = {
            let scope = self.shared.scope.lock();
            (scope.parameter_types.clone(), scope.parameters.clone())
        };
        super::infer::fill_table_functions(&mut statement, &types, values.as_deref());
        super::parameters::declare(&mut statement, &types);
        rewrite(&mut statement);
        super::functions::rewrite(&mut statement);
        super::scalar_relations::rewrite(&mut statement, &state);
        {
            let mut scope = self.shared.scope.lock();
            scope.restricted.clear();
            scope.row_filtered = false;
        }
        let catalog = SessionCatalog(Arc::clone(&self.shared));
        let bound = chronos_sql_ext::bind(&statement, &catalog)?;
        let names = match sql {
            ast::Statement::Query(query) => chronos_sql_ext::output_names(query),
            _ => Vec::new(),
        };
        let plan =
            state.statement_to_plan(DfStatement::Statement(Box::new(bound.statement))).await?;
        let fields = self.fields(&described(&plan, &state), &names)?;
        // What a policy says may depend on more than a kept plan is kept under.
        let filtered = self.shared.scope.lock().row_filtered;
        let (instants, holds_instants) =
            (bound.instant_parameters, bound.holds_instants || filtered);
        let only_described = values.is_none();
        let plan = match values {
            Some(values) if !values.is_empty() => plan.with_param_values(values)?,
            _ => plan,
        };
        if !only_described {
            self.shared.check_columns(&plan, &state)?;
        }
        Ok(Planned { plan, fields, instants, holds_instants, types, state })
    }

    /// The description of a plan's columns.
    fn fields(
        &self,
        plan: &LogicalPlan,
        names: &[Option<String>],
    ) -> PgResult<Arc<[FieldDescription]>> {
        let schema = plan.schema();
        let names = spread(names, schema.fields().len());
        let (objects, at) = self.shared.objects()?;
        let mut fields = Vec::with_capacity(schema.fields().len());
        for (i, (qualifier, field)) in schema.iter().enumerate() {
            let ty = SqlType::of_field(field).ok_or_else(|| {
                let message = format!("no type for the result column \"{}\"", field.name());
                PgError::unsupported(message)
            })?;
            let (table_oid, column) = super::origin::of_column(plan, i)
                .unwrap_or_else(|| self.origin(&objects, at, qualifier, field.name()));
            let name = names
                .get(i)
                .and_then(|n| *n)
                .unwrap_or_else(|| output_name(field.name()))
                .to_owned();
            fields.push(FieldDescription { name, table_oid, column, ty });
        }
        Ok(fields.into())
    }

    /// The table and column number that a result column is, where its qualifier tells.
    pub(super) fn origin(
        &self,
        objects: &Arc<Objects>,
        at: CommitTs,
        qualifier: Option<&TableReference>,
        column: &str,
    ) -> (u32, i16) {
        let Some(qualifier) = qualifier else { return (0, 0) };
        let path = self.shared.search_path();
        let lookup = super::names::Lookup { objects, at, path: &path };
        let name = super::names::RelationName {
            schema: qualifier.schema().map(str::to_owned),
            name: qualifier.table().to_owned(),
        };
        let Some((oid, object)) = lookup.relation(&name) else { return (0, 0) };
        match &object.relation {
            chronos_catalog::Relation::Table(def) => match def.column_named(column) {
                Some(column) => (oid.0, i16::try_from(column.id.0).unwrap_or(0)),
                None => (0, 0),
            },
            _ => (0, 0),
        }
    }

    /// Describe: parameters and columns.
    pub(super) async fn describe_statement(
        &mut self,
        statement: &Statement,
        given: &[Option<SqlType>],
    ) -> PgResult<Description> {
        let count = statement.parameter_count.max(given.len());
        let mut given = given.to_vec();
        given.resize(count, None);
        let sql = match &statement.kind {
            StatementKind::Sql(sql) => sql,
            StatementKind::Extension(Extension::Fetch { name, only_move: false, .. }) => {
                let fields = self.cursor_described(&super::names::fold(name));
                return Ok(Description { parameters: settle(given), fields });
            }
            StatementKind::Extension(extension) => {
                let fields = super::history::fields(extension);
                return Ok(Description { parameters: settle(given), fields });
            }
        };
        if let ast::Statement::Execute { name: Some(name), .. } = sql.as_ref() {
            let fields = Box::pin(self.describe_prepared(name)).await?;
            return Ok(Description { parameters: settle(given), fields });
        }
        if let Some(fields) = self.describe_control(sql)? {
            return Ok(Description { parameters: settle(given), fields: Some(fields) });
        }
        match sql.as_ref() {
            ast::Statement::Query(query) if !super::query::is_read(query) => {
                self.open_transaction().await?;
                self.describe_query_with_writes(query, given).await
            }
            ast::Statement::Query(_) => {
                self.open_transaction().await?;
                let planned = self.plan_described(sql, &given).await?;
                Ok(Description { parameters: settle(planned.types), fields: Some(planned.fields) })
            }
            ast::Statement::Insert(_)
            | ast::Statement::Update(_)
            | ast::Statement::Delete(_)
            | ast::Statement::Merge(_) => {
                self.open_transaction().await?;
                self.describe_write(sql, given).await
            }
            _ => Ok(Description { parameters: settle(given), fields: None }),
        }
    }

    /// Plans a query for its description. Gives the parameters that the client left open their
    /// types, and plans again with these, so that what depends on them gets the right type.
    pub(super) async fn plan_described(
        &mut self,
        sql: &ast::Statement,
        given: &[Option<SqlType>],
    ) -> PgResult<Planned> {
        let mut types = given.to_vec();
        super::infer::from_syntax(sql, &mut types);
        self.shared.scope.lock().parameter_types = types.to_vec();
        let planned = self.plan_once(sql).await?;
        if types.iter().all(Option::is_some) {
            return Ok(Planned { types, ..planned });
        }
        for number in &planned.instants {
            if let Some(slot @ None) = types.get_mut(number.wrapping_sub(1)) {
                *slot = Some(SqlType::Timestamptz);
            }
        }
        super::infer::from_plan(&planned.plan, &mut types)?;
        // What nothing tells is text.
        self.shared.scope.lock().parameter_types =
            types.iter().map(|t| Some(t.clone().unwrap_or(SqlType::Text))).collect();
        Ok(Planned { types, ..self.plan_once(sql).await? })
    }

    /// The columns of statements that answer rows without being queries.
    fn describe_control(&self, sql: &ast::Statement) -> PgResult<Option<Arc<[FieldDescription]>>> {
        Ok(match sql {
            ast::Statement::ShowVariable { variable } => {
                Some(super::show::show_fields(&super::show::variable_name(variable)))
            }
            ast::Statement::Explain { .. } => Some(super::explain::fields()),
            _ => None,
        })
    }
}

/// Text for the parameters that nothing tells the type of.
pub(super) fn settle(types: Vec<Option<SqlType>>) -> Vec<SqlType> {
    types.into_iter().map(|t| t.unwrap_or(SqlType::Text)).collect()
}

/// Spreads the names of a select list over the columns of the plan; a wildcard takes what is
/// left. With several wildcards, the columns between the first and the last keep the plan's
/// names.
fn spread(names: &[Option<String>], width: usize) -> Vec<Option<&str>> {
    let mut result = vec![None; width];
    let front = names.iter().take_while(|n| n.is_some()).count();
    for (slot, name) in result.iter_mut().zip(&names[..front]) {
        *slot = name.as_deref();
    }
    if front < names.len() {
        let back = names.iter().rev().take_while(|n| n.is_some()).count();
        for (slot, name) in result.iter_mut().rev().zip(names.iter().rev()).take(back) {
            *slot = name.as_deref();
        }
    }
    result
}

/// Registers the functions that look at the session.
/// The plan that tells a query's columns: DataFusion finds the common type of the branches of
/// UNION, CASE and their like only when it analyses a plan.
fn described<'a>(plan: &'a LogicalPlan, state: &SessionState) -> Cow<'a, LogicalPlan> {
    let open = plan.exists(|node| {
        if matches!(node, LogicalPlan::Union(_)) {
            return Ok(true);
        }
        let mut found = false;
        node.apply_expressions(|expr| {
            found |= expr.exists(|e| Ok(matches!(e, Expr::Case(_))))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        Ok(found)
    });
    if !open.unwrap_or(false) {
        return Cow::Borrowed(plan);
    }
    // What cannot be analysed yet, for want of parameters' types, is told by the plan as it is.
    match state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {}) {
        Ok(analyzed) => Cow::Owned(analyzed),
        Err(_) => Cow::Borrowed(plan),
    }
}

fn register(
    registry: &mut datafusion::execution::context::SessionContext,
    system: &SystemCatalog,
    shared: &Arc<super::shared::Shared>,
) {
    for function in system.functions() {
        registry.register_udf(function.as_ref().clone());
    }
    for (name, function) in system.table_functions() {
        registry.register_udtf(name, function);
    }
    for function in super::functions::functions(shared) {
        registry.register_udf(function);
    }
    registry.register_udf(super::expand::Expand::default().into());
    // It aggregates twice, and what our sums give is not what they take.
    registry.remove_optimizer_rule("single_distinct_aggregation_to_group_by");
}

/// The values of parameters, for those who evaluate by themselves.
pub(super) fn parameter(
    values: Option<&[ScalarValue]>,
    placeholder: &str,
) -> PgResult<ScalarValue> {
    let missing = || PgError::new("42P02", format!("there is no parameter {placeholder}"));
    let n: usize = placeholder.trim_start_matches('$').parse().map_err(|_| missing())?;
    let values = values.ok_or_else(missing)?;
    n.checked_sub(1).and_then(|i| values.get(i)).cloned().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_takes_the_columns_that_are_left() {
        let names = [Some("a".to_owned()), None, Some("z".to_owned())];
        assert_eq!(spread(&names, 4), [Some("a"), None, None, Some("z")]);
        assert_eq!(spread(&[], 2), [None, None]);
    }
}
