//! CREATE, ALTER and DROP POLICY, and which tables have row-level security.

use std::ops::ControlFlow;

use chronos_catalog::{Object, Oid, Policy, PolicyCommand, SqlType};
use datafusion::sql::sqlparser::ast::{
    AlterPolicy, AlterPolicyOperation, CreatePolicy, CreatePolicyCommand, CreatePolicyType,
    DropPolicy, Expr, Function, ObjectName, ObjectNamePart, Owner, SelectItem, SetExpr, Statement,
    visit_expressions,
};

use super::drop_column::names_column;
use super::relations::qualify;
use super::rename::rename_in;
use crate::error::{PgError, PgResult};
use crate::session::build;
use crate::session::names::fold;
use crate::session::session::Session;
use crate::session::write::WriteTarget;

impl Session {
    pub(super) async fn create_policy(&mut self, create: &CreatePolicy) -> PgResult<String> {
        let target = self.policy_target(&create.table_name)?;
        let mut object = self.table_object(&target)?;
        let name = fold(&create.name);
        if object.row_security.policies.iter().any(|p| p.name == name) {
            let message = format!("policy \"{name}\" for table \"{}\" already exists", target.name);
            return Err(PgError::new("42710", message));
        }
        let command = match create.command {
            None | Some(CreatePolicyCommand::All) => PolicyCommand::All,
            Some(CreatePolicyCommand::Select) => PolicyCommand::Select,
            Some(CreatePolicyCommand::Insert) => PolicyCommand::Insert,
            Some(CreatePolicyCommand::Update) => PolicyCommand::Update,
            Some(CreatePolicyCommand::Delete) => PolicyCommand::Delete,
        };
        let (using, check) = (create.using.as_ref(), create.with_check.as_ref());
        fits(command, using.is_some(), check.is_some())?;
        let policy = Policy {
            oid: self.allocate_oid().await?,
            name,
            permissive: !matches!(create.policy_type, Some(CreatePolicyType::Restrictive)),
            command,
            roles: self.policy_roles(create.to.as_deref())?,
            using: self.policy_text(&create.table_name, using).await?,
            check: self.policy_text(&create.table_name, check).await?,
        };
        object.row_security.policies.push(policy);
        self.change(target.oid, Some(object)).await?;
        Ok("CREATE POLICY".to_owned())
    }

    pub(super) async fn alter_policy(&mut self, alter: &AlterPolicy) -> PgResult<String> {
        let target = self.policy_target(&alter.table_name)?;
        let mut object = self.table_object(&target)?;
        let name = fold(&alter.name);
        let policies = &mut object.row_security.policies;
        let Some(place) = policies.iter().position(|p| p.name == name) else {
            return Err(no_policy(&name, &target));
        };
        match &alter.operation {
            AlterPolicyOperation::Rename { new_name } => {
                let new = fold(new_name);
                if policies.iter().any(|p| p.name == new) {
                    let message =
                        format!("policy \"{new}\" for table \"{}\" already exists", target.name);
                    return Err(PgError::new("42710", message));
                }
                policies[place].name = new;
            }
            AlterPolicyOperation::Apply { to, using, with_check } => {
                fits(policies[place].command, using.is_some(), with_check.is_some())?;
                if to.is_some() {
                    policies[place].roles = self.policy_roles(to.as_deref())?;
                }
                if using.is_some() {
                    let text = self.policy_text(&alter.table_name, using.as_ref()).await?;
                    object.row_security.policies[place].using = text;
                }
                if with_check.is_some() {
                    let text = self.policy_text(&alter.table_name, with_check.as_ref()).await?;
                    object.row_security.policies[place].check = text;
                }
            }
        }
        self.change(target.oid, Some(object)).await?;
        Ok("ALTER POLICY".to_owned())
    }

    pub(super) async fn drop_policy(&mut self, drop: &DropPolicy) -> PgResult<String> {
        let tag = "DROP POLICY".to_owned();
        let relation = self.relation_name(&drop.table_name)?;
        if drop.if_exists && self.scope()?.lookup().relation(&relation).is_none() {
            let message = format!("relation \"{relation}\" does not exist, skipping");
            self.notice(PgError::notice(message));
            return Ok(tag);
        }
        let target = self.policy_target(&drop.table_name)?;
        let mut object = self.table_object(&target)?;
        let name = fold(&drop.name);
        let before = object.row_security.policies.len();
        object.row_security.policies.retain(|p| p.name != name);
        if object.row_security.policies.len() == before {
            if !drop.if_exists {
                return Err(no_policy(&name, &target));
            }
            let message = format!(
                "policy \"{name}\" for relation \"{}\" does not exist, skipping",
                target.name
            );
            self.notice(PgError::notice(message));
            return Ok(tag);
        }
        self.change(target.oid, Some(object)).await?;
        Ok(tag)
    }

    /// The table of a policy, which only its owner changes.
    fn policy_target(&self, name: &ObjectName) -> PgResult<WriteTarget> {
        let target = self.write_target(name)?;
        self.require_owner(&self.scope()?, target.oid)?;
        Ok(target)
    }

    /// The roles that TO names; none for PUBLIC.
    fn policy_roles(&self, owners: Option<&[Owner]>) -> PgResult<Vec<Oid>> {
        let scope = self.scope()?;
        let mut roles = Vec::new();
        for owner in owners.unwrap_or_default() {
            if matches!(owner, Owner::Ident(name) if fold(name) == "public") {
                return Ok(Vec::new());
            }
            roles.push(self.role_named(&scope, &super::roles::owner_name(owner))?);
        }
        Ok(roles)
    }

    /// A condition as it is kept: planned once, the names of relations in it qualified.
    async fn policy_text(
        &mut self,
        table: &ObjectName,
        condition: Option<&Expr>,
    ) -> PgResult<Option<String>> {
        let Some(condition) = condition else { return Ok(None) };
        refuse_aggregates(condition)?;
        let item = build::aliased(condition.clone(), "policy");
        let mut query = build::select(vec![item], vec![build::table_named(table.clone())], None);
        qualify(&mut query, &self.scope()?, &self.shared.identity.database)?;
        let planned = self.plan(&Statement::Query(Box::new(query.clone()))).await?;
        let ty = planned.fields.first().map(|field| field.ty.clone());
        if ty != Some(SqlType::Bool) {
            let name = ty.map(|ty| crate::pgwire::types::name(&ty)).unwrap_or_default();
            let message = format!("argument of POLICY must be type boolean, not type {name}");
            return Err(PgError::new("42804", message));
        }
        let SetExpr::Select(select) = *query.body else {
            return Err(PgError::internal("a select list without SELECT"));
        };
        match select.projection.into_iter().next() {
            Some(SelectItem::ExprWithAlias { expr, .. }) => Ok(Some(expr.to_string())),
            _ => Err(PgError::internal("a select list without its item")),
        }
    }

    /// Switches row-level security of a table.
    pub(super) async fn set_row_security(
        &mut self,
        target: &WriteTarget,
        mut object: Object,
        enabled: Option<bool>,
        forced: Option<bool>,
    ) -> PgResult<()> {
        let security = &mut object.row_security;
        security.enabled = enabled.unwrap_or(security.enabled);
        security.forced = forced.unwrap_or(security.forced);
        self.change(target.oid, Some(object)).await
    }
}

/// The policies of a table that name a column.
pub(super) fn policies_of_column(object: &Object, column: &str) -> Vec<String> {
    let names = |text: &Option<String>| text.as_ref().is_some_and(|t| names_column(t, column));
    let policies = object.row_security.policies.iter();
    policies.filter(|p| names(&p.using) || names(&p.check)).map(|p| p.name.clone()).collect()
}

/// Lets policies name a column by its new name.
pub(super) fn rename_column(object: &mut Object, old: &str, new: &str) -> PgResult<()> {
    for policy in &mut object.row_security.policies {
        for text in [&mut policy.using, &mut policy.check].into_iter().flatten() {
            if !names_column(text, old) {
                continue;
            }
            if text.to_uppercase().contains("SELECT") {
                let what = format!(
                    "renaming column \"{old}\", which policy \"{}\" names beside a subquery",
                    policy.name
                );
                return Err(PgError::unsupported(what).hint("Drop the policy and create it again."));
            }
            *text = rename_in(text, old, new)?;
        }
    }
    Ok(())
}

/// A policy looks at one row; what stands in a subquery is the subquery's own.
fn refuse_aggregates(condition: &Expr) -> PgResult<()> {
    let found = visit_expressions(condition, |expr| match expr {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
            ControlFlow::Break(Ok(()))
        }
        Expr::Function(Function { over: Some(_), .. }) => ControlFlow::Break(Err(PgError::new(
            "42P20",
            "window functions are not allowed in policy expressions",
        ))),
        Expr::Function(Function { name, .. })
            if name
                .0
                .last()
                .and_then(ObjectNamePart::as_ident)
                .is_some_and(|name| chronos_sql_ext::is_aggregate(&fold(name))) =>
        {
            ControlFlow::Break(Err(PgError::new(
                "42803",
                "aggregate functions are not allowed in policy expressions",
            )))
        }
        _ => ControlFlow::Continue(()),
    });
    found.break_value().unwrap_or(Ok(()))
}

fn fits(command: PolicyCommand, using: bool, check: bool) -> PgResult<()> {
    match command {
        PolicyCommand::Select | PolicyCommand::Delete if check => {
            Err(PgError::new("42601", "WITH CHECK cannot be applied to SELECT or DELETE"))
        }
        PolicyCommand::Insert if using => {
            Err(PgError::new("42601", "only WITH CHECK expression allowed for INSERT"))
        }
        _ => Ok(()),
    }
}

fn no_policy(name: &str, target: &WriteTarget) -> PgError {
    let message = format!("policy \"{name}\" for table \"{}\" does not exist", target.name);
    PgError::new("42704", message)
}
