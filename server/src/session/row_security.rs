//! Row-level security: which rows of a table a role sees and may write.
//!
//! Invariants:
//! - The policies are those of today, as privileges are, whatever instant is read: a policy filters
//!   the past too.
//! - Every scan of a user's table that a statement names asks [`Shared::row_filter`]; a plan that
//!   was filtered is kept for no other execution.
//! - What cannot heed policies refuses.

use std::sync::Arc;

use chronos_catalog::{Object, Oid, Policy, PolicyCommand};
use chronos_storage::VersionedTable;
use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, SelectItem, SetExpr, Statement, Value,
};

use super::build;
use super::dml::TARGET;
use super::joined::Joined;
use super::locking::LOCKED;
use super::privileges::today;
use super::session::Session;
use super::shared::Shared;
use super::views::{Event, Through};
use super::write::{WriteTarget, parse_expr};
use crate::error::{PgError, PgResult};

impl Event {
    fn command(self) -> PolicyCommand {
        match self {
            Event::Insert => PolicyCommand::Insert,
            Event::Update => PolicyCommand::Update,
            Event::Delete => PolicyCommand::Delete,
        }
    }
}

impl Shared {
    /// The table, if its policies hold for who acts.
    ///
    /// # Errors
    /// 42501 where the session wants to be told rather than filtered.
    pub(super) fn row_security(&self, oid: Oid) -> PgResult<Option<Arc<Object>>> {
        let (objects, now) = self.objects()?;
        let Some(object) = today(&objects, oid, now) else { return Ok(None) };
        if !object.row_security.enabled {
            return Ok(None);
        }
        let rights = self.rights(&objects, now);
        let free = rights.superuser()
            || rights.attribute("bypassrls")
            || (rights.owns(object) && !object.row_security.forced);
        if free {
            return Ok(None);
        }
        if self.settings.read().known("row_security") == "off" {
            let message = format!(
                "query would be affected by row-level security policy for table \"{}\"",
                object.name
            );
            return Err(PgError::new("42501", message));
        }
        Ok(Some(Arc::clone(object)))
    }

    /// The policies of a table for a command that hold for who acts.
    fn policies<'o>(
        &self,
        object: &'o Object,
        command: PolicyCommand,
    ) -> PgResult<Vec<&'o Policy>> {
        let (objects, now) = self.objects()?;
        let rights = self.rights(&objects, now);
        let policies = object.row_security.policies.iter().filter(|p| {
            (p.command == PolicyCommand::All || p.command == command)
                && (p.roles.is_empty() || p.roles.iter().any(|role| rights.has_role(*role)))
        });
        Ok(policies.collect())
    }

    /// Which rows a scan may see, and the name by which the condition knows the table; `None` for
    /// all of them.
    pub(super) fn row_filter(
        &self,
        name: &TableReference,
        provider: &dyn TableProvider,
    ) -> PgResult<Option<(String, Expr)>> {
        let Some(table) = provider.downcast_ref::<VersionedTable>() else { return Ok(None) };
        let mut commands = vec![PolicyCommand::Select];
        if name.table() == TARGET {
            match self.scope.lock().target_event {
                // What the database does by itself.
                None => return Ok(None),
                Some((event, true)) => commands.push(event.command()),
                Some((event, false)) => commands = vec![event.command()],
            }
        } else if name.table().starts_with(LOCKED) {
            commands.push(PolicyCommand::Update);
        }
        let Some(object) = self.row_security(table.table_oid())? else { return Ok(None) };
        let mut conditions = Vec::new();
        for command in commands {
            let policies = self.policies(&object, command)?;
            let (permissive, restrictive): (Vec<_>, Vec<_>) =
                policies.into_iter().partition(|p| p.permissive);
            conditions.push(any(permissive.iter().map(|p| p.using.as_deref()))?);
            for policy in restrictive {
                conditions.push(any(std::iter::once(policy.using.as_deref()))?);
            }
        }
        self.scope.lock().row_filtered = true;
        let all = conditions.into_iter().reduce(|a, b| both(a, BinaryOperator::And, b));
        Ok(all.map(|condition| (object.name.clone(), condition)))
    }
}

/// Whether one of the conditions holds; a policy without one lets every row through.
fn any<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> PgResult<Expr> {
    let literal = |value: bool| Expr::value(Value::Boolean(value));
    let mut result = None;
    for text in texts {
        let condition = match text {
            Some(text) => Expr::Nested(Box::new(condition(text)?)),
            None => literal(true),
        };
        result = Some(match result {
            None => condition,
            Some(others) => both(others, BinaryOperator::Or, condition),
        });
    }
    Ok(Expr::Nested(Box::new(result.unwrap_or_else(|| literal(false)))))
}

fn both(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn unsupported(what: &str, table: &str) -> PgError {
    PgError::unsupported(format!("{what} table \"{table}\" with row-level security"))
}

/// A kept condition as it is planned.
fn condition(text: &str) -> PgResult<Expr> {
    let item = build::aliased(parse_expr(text)?, "policy");
    let mut statement = Statement::Query(Box::new(build::select(vec![item], Vec::new(), None)));
    chronos_sql_ext::system_tables::rewrite(&mut statement);
    super::functions::rewrite(&mut statement);
    let Statement::Query(query) = statement else {
        return Err(PgError::internal("a policy that is no query"));
    };
    let SetExpr::Select(select) = *query.body else {
        return Err(PgError::internal("a policy that is no select list"));
    };
    match select.projection.into_iter().next() {
        Some(SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr)) => Ok(expr),
        _ => Err(PgError::internal("a policy without a condition")),
    }
}

impl Session {
    /// Says what a statement does to the target that [`Session::install_target`] offers, so that
    /// its policies hold: with `reads`, those of SELECT as well.
    pub(super) fn secure_target(
        &self,
        target: &WriteTarget,
        through: Option<&Through>,
        event: Event,
        reads: bool,
    ) -> PgResult<()> {
        if through.is_some() {
            self.refuse_policies_behind_view(target)?;
        }
        self.shared.scope.lock().target_event = Some((event, reads));
        Ok(())
    }

    /// Refuses what does not heed policies, where any hold for who acts.
    pub(super) fn refuse_policies(&self, target: &WriteTarget, what: &str) -> PgResult<()> {
        match self.shared.row_security(target.oid)? {
            None => Ok(()),
            Some(object) => Err(unsupported(what, &object.name)),
        }
    }

    /// Refuses to write through a view to a table with policies: they would hold for the view's
    /// owner, or for who writes.
    pub(super) fn refuse_policies_behind_view(&self, target: &WriteTarget) -> PgResult<()> {
        let (objects, now) = self.shared.objects()?;
        let enabled = today(&objects, target.oid, now).is_some_and(|o| o.row_security.enabled);
        if enabled && !self.shared.rights(&objects, now).superuser() {
            return Err(unsupported("writing through a view to", &target.name));
        }
        Ok(())
    }

    /// Refuses new rows that the policies do not let through.
    ///
    /// # Errors
    /// 42501
    pub(super) async fn check_policies(
        &mut self,
        target: &WriteTarget,
        event: Event,
        reads: bool,
        rows: &RecordBatch,
    ) -> PgResult<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let Some(object) = self.shared.row_security(target.oid)? else { return Ok(()) };
        let mut checks: Vec<(Option<String>, Expr)> = Vec::new();
        let commands = std::iter::once((event.command(), false))
            .chain(reads.then_some((PolicyCommand::Select, true)));
        for (command, seen) in commands {
            let policies = self.shared.policies(&object, command)?;
            let text = |policy: &Policy| match &policy.check {
                Some(check) if !seen => Some(check.clone()),
                _ => policy.using.clone(),
            };
            let (permissive, restrictive): (Vec<_>, Vec<_>) =
                policies.into_iter().partition(|p| p.permissive);
            let texts: Vec<Option<String>> = permissive.into_iter().map(text).collect();
            checks.push((None, any(texts.iter().map(Option::as_deref))?));
            for policy in restrictive {
                let text = text(policy);
                let condition = any(std::iter::once(text.as_deref()))?;
                checks.push((Some(policy.name.clone()), condition));
            }
        }
        let columns: Vec<usize> = (0..target.def.columns.len()).collect();
        let joined = Joined::one(&object.name, rows.project(&columns)?);
        for (name, condition) in checks {
            let holds = self.condition(&joined, &condition, "POLICY").await?;
            if (0..holds.len()).any(|row| !holds.value(row)) {
                let policy = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
                let message = format!(
                    "new row violates row-level security policy{policy} for table \"{}\"",
                    object.name
                );
                return Err(PgError::new("42501", message));
            }
        }
        Ok(())
    }
}
