//! Roles, owners and grants. They are kept and shown; what a session may do does not depend on
//! them while there is no authentication.

use std::collections::BTreeMap;

use chronos_catalog::{NameKind, Object, Oid, Relation};
use datafusion::sql::sqlparser::ast::{
    Action, AlterRoleOperation, AlterSchemaOperation, CreateRole, GrantObjects, Grantee,
    GranteeName, GranteesType, Ident, ObjectName, ObjectType, Owner, Password, Privileges,
    RoleOption, Statement,
};

use super::{NameScope, object};
use crate::error::{PgError, PgResult};
use crate::session::names::{fold, no_relation, single};
use crate::session::session::Session;

/// The letters of the privileges that a table, a sequence and a schema have.
const TABLE: &str = "arwdDxt";
const SEQUENCE: &str = "rwU";
const SCHEMA: &str = "UC";

fn no_role(name: &str) -> PgError {
    PgError::new("42704", format!("role \"{name}\" does not exist"))
}

impl Session {
    /// Statements about roles, grants and owners; `None` for any other.
    pub(super) async fn define_access(&mut self, sql: &Statement) -> PgResult<Option<String>> {
        let tag = match sql {
            Statement::CreateRole(create) => {
                self.create_roles(create).await?;
                "CREATE ROLE"
            }
            Statement::AlterRole { name, operation } => {
                self.alter_role(name, operation).await?;
                "ALTER ROLE"
            }
            Statement::Drop { object_type: ObjectType::Role, if_exists, names, .. } => {
                for name in names {
                    self.drop_role(&single(name)?, *if_exists).await?;
                }
                "DROP ROLE"
            }
            Statement::Grant(grant) => {
                self.grant(&grant.privileges, grant.objects.as_ref(), &grant.grantees, true)
                    .await?;
                "GRANT"
            }
            Statement::Revoke(revoke) => {
                self.grant(&revoke.privileges, revoke.objects.as_ref(), &revoke.grantees, false)
                    .await?;
                "REVOKE"
            }
            Statement::AlterSchema(alter) => {
                for operation in &alter.operations {
                    match operation {
                        AlterSchemaOperation::Rename { name } => {
                            self.rename_schema(&alter.name, name).await?;
                        }
                        AlterSchemaOperation::OwnerTo { owner } => {
                            let scope = self.scope()?;
                            let name = single(&alter.name)?;
                            let oid = scope.lookup().schema(&name).ok_or_else(|| {
                                PgError::new("3F000", format!("schema \"{name}\" does not exist"))
                            })?;
                            self.change_owner(oid, owner).await?;
                        }
                        other => {
                            return Err(PgError::unsupported(format!("ALTER SCHEMA … {other}")));
                        }
                    }
                }
                "ALTER SCHEMA"
            }
            _ => return Ok(None),
        };
        Ok(Some(tag.to_owned()))
    }

    /// The role of that name.
    pub(super) fn role_named(&self, scope: &NameScope, name: &str) -> PgResult<Oid> {
        let name = match name {
            "current_user" | "current_role" | "session_user" => self.shared.identity.user.as_str(),
            other => other,
        };
        scope
            .objects
            .lookup(NameKind::Role, None, name, scope.at)
            .map(|(oid, _)| oid)
            .ok_or_else(|| no_role(name))
    }

    pub(super) async fn change_owner(&mut self, oid: Oid, owner: &Owner) -> PgResult<()> {
        let scope = self.scope()?;
        let owner = match owner {
            Owner::Ident(ident) => self.role_named(&scope, &fold(ident))?,
            Owner::CurrentRole | Owner::CurrentUser | Owner::SessionUser => self.owner(&scope),
        };
        let Some(object) = scope.objects.get(oid, scope.at).map(|o| Object::clone(o)) else {
            return Err(PgError::internal("the altered object is gone"));
        };
        self.change(oid, Some(Object { owner, ..object })).await
    }

    async fn create_roles(&mut self, create: &CreateRole) -> PgResult<()> {
        if create.password.is_some() {
            return Err(PgError::unsupported("a role's password"));
        }
        for name in &create.names {
            let name = single(name)?;
            let scope = self.scope()?;
            if name.starts_with("pg_") || name == "public" || name == "none" {
                return Err(PgError::new("42939", format!("role name \"{name}\" is reserved")));
            }
            if scope.objects.lookup(NameKind::Role, None, &name, scope.at).is_some() {
                let message = format!("role \"{name}\" already exists");
                if create.if_not_exists {
                    self.notice(PgError::notice(format!("{message}, skipping")));
                    continue;
                }
                return Err(PgError::new("42710", message));
            }
            let mut attributes = BTreeMap::new();
            let flags = [
                ("inherit", create.inherit),
                ("bypassrls", create.bypassrls),
                ("createdb", create.create_db),
                ("createrole", create.create_role),
                ("replication", create.replication),
            ];
            for (attribute, flag) in flags {
                if let Some(flag) = flag {
                    attributes.insert(attribute.to_owned(), flag.to_string());
                }
            }
            if let Some(limit) = &create.connection_limit {
                attributes.insert("connection_limit".to_owned(), limit.to_string());
            }
            if let Some(until) = &create.valid_until {
                attributes.insert("valid_until".to_owned(), until.to_string());
            }
            let member_of = create
                .in_role
                .iter()
                .chain(&create.in_group)
                .map(|role| self.role_named(&scope, &fold(role)))
                .collect::<PgResult<Vec<_>>>()?;
            let relation = Relation::Role {
                login: create.login.unwrap_or(false),
                superuser: create.superuser.unwrap_or(false),
                attributes,
                verifier: None,
                member_of,
            };
            let oid = self.allocate_oid().await?;
            let owner = self.owner(&scope);
            self.change(oid, Some(object(&name, None, owner, relation))).await?;
            for member in create.role.iter().chain(&create.user).chain(&create.admin) {
                self.set_member(oid, member, true).await?;
            }
        }
        Ok(())
    }

    async fn set_member(&mut self, group: Oid, member: &Ident, add: bool) -> PgResult<()> {
        let scope = self.scope()?;
        let oid = self.role_named(&scope, &fold(member))?;
        let Some(mut role) = scope.objects.get(oid, scope.at).map(|o| Object::clone(o)) else {
            return Err(no_role(&fold(member)));
        };
        if oid == group {
            let name = role.name;
            let message = format!("role \"{name}\" is a member of role \"{name}\"");
            return Err(PgError::new("0LP01", message));
        }
        if let Relation::Role { member_of, .. } = &mut role.relation {
            member_of.retain(|g| *g != group);
            if add {
                member_of.push(group);
            }
        }
        self.change(oid, Some(role)).await
    }

    async fn alter_role(&mut self, name: &Ident, operation: &AlterRoleOperation) -> PgResult<()> {
        let scope = self.scope()?;
        let name = fold(name);
        let oid = self.role_named(&scope, &name)?;
        let Some(mut role) = scope.objects.get(oid, scope.at).map(|o| Object::clone(o)) else {
            return Err(no_role(&name));
        };
        match operation {
            AlterRoleOperation::RenameRole { role_name } => {
                let new = fold(role_name);
                if scope.objects.lookup(NameKind::Role, None, &new, scope.at).is_some() {
                    return Err(PgError::new("42710", format!("role \"{new}\" already exists")));
                }
                role.name = new;
            }
            AlterRoleOperation::WithOptions { options } => {
                let Relation::Role { login, superuser, attributes, .. } = &mut role.relation else {
                    return Err(PgError::internal("a role that is none"));
                };
                for option in options {
                    let (attribute, value) = match option {
                        RoleOption::Login(flag) => {
                            *login = *flag;
                            continue;
                        }
                        RoleOption::SuperUser(flag) => {
                            *superuser = *flag;
                            continue;
                        }
                        RoleOption::Password(Password::NullPassword) => continue,
                        RoleOption::Password(Password::Password(_)) => {
                            return Err(PgError::unsupported("a role's password"));
                        }
                        RoleOption::BypassRLS(flag) => ("bypassrls", flag.to_string()),
                        RoleOption::CreateDB(flag) => ("createdb", flag.to_string()),
                        RoleOption::CreateRole(flag) => ("createrole", flag.to_string()),
                        RoleOption::Inherit(flag) => ("inherit", flag.to_string()),
                        RoleOption::Replication(flag) => ("replication", flag.to_string()),
                        RoleOption::ConnectionLimit(limit) => {
                            ("connection_limit", limit.to_string())
                        }
                        RoleOption::ValidUntil(until) => ("valid_until", until.to_string()),
                    };
                    attributes.insert(attribute.to_owned(), value);
                }
            }
            _ => return Err(PgError::unsupported("ALTER ROLE … SET")),
        }
        self.change(oid, Some(role)).await
    }

    async fn drop_role(&mut self, name: &str, if_exists: bool) -> PgResult<()> {
        let scope = self.scope()?;
        let Some((oid, _)) = scope.objects.lookup(NameKind::Role, None, name, scope.at) else {
            if if_exists {
                self.notice(PgError::notice(format!("role \"{name}\" does not exist, skipping")));
                return Ok(());
            }
            return Err(no_role(name));
        };
        if oid == Oid::SUPERUSER || name == self.shared.identity.user {
            return Err(PgError::new("55006", format!("role \"{name}\" cannot be dropped now")));
        }
        let grantee = format!("{name}=");
        let needed = scope.objects.iter(scope.at).any(|(other, o)| {
            other != oid && (o.owner == oid || o.acl.iter().any(|a| a.starts_with(&grantee)))
        });
        if needed {
            let message =
                format!("role \"{name}\" cannot be dropped because some objects depend on it");
            return Err(PgError::new("2BP01", message));
        }
        let members: Vec<(Oid, Object)> = scope
            .objects
            .iter(scope.at)
            .filter(|(_, o)| {
                matches!(&o.relation, Relation::Role { member_of, .. } if member_of.contains(&oid))
            })
            .map(|(member, o)| (member, Object::clone(o)))
            .collect();
        for (member, mut role) in members {
            if let Relation::Role { member_of, .. } = &mut role.relation {
                member_of.retain(|g| *g != oid);
            }
            self.change(member, Some(role)).await?;
        }
        self.change(oid, None).await
    }

    async fn grant(
        &mut self,
        privileges: &Privileges,
        objects: Option<&GrantObjects>,
        grantees: &[Grantee],
        give: bool,
    ) -> PgResult<()> {
        let scope = self.scope()?;
        let mut names = Vec::with_capacity(grantees.len());
        for grantee in grantees {
            let public = matches!(grantee.grantee_type, GranteesType::Public);
            let name = match &grantee.name {
                Some(GranteeName::ObjectName(name)) => single(name)?,
                None if public => "public".to_owned(),
                _ => return Err(PgError::unsupported("this kind of grantee")),
            };
            if public || name == "public" {
                names.push(String::new());
            } else {
                let oid = self.role_named(&scope, &name)?;
                let role = scope.objects.get(oid, scope.at).map(|o| o.name.clone());
                names.push(role.unwrap_or(name));
            }
        }
        let Some(objects) = objects else {
            return self.grant_roles(privileges, &names, give).await;
        };
        let targets = self.grant_targets(&scope, objects)?;
        for oid in targets {
            let scope = self.scope()?;
            let Some(mut object) = scope.objects.get(oid, scope.at).map(|o| Object::clone(o))
            else {
                return Err(PgError::internal("the granted object is gone"));
            };
            let all = match &object.relation {
                Relation::Schema => SCHEMA,
                Relation::Sequence { .. } => SEQUENCE,
                _ => TABLE,
            };
            let letters = letters(privileges, all)?;
            let owner = scope
                .objects
                .get(object.owner, scope.at)
                .map_or_else(String::new, |o| o.name.clone());
            if object.acl.is_empty() {
                object.acl.push(format!("{owner}={all}/{owner}"));
            }
            for name in &names {
                change_acl(&mut object.acl, name, &letters, &owner, give);
            }
            self.change(oid, Some(object)).await?;
        }
        Ok(())
    }

    async fn grant_roles(
        &mut self,
        privileges: &Privileges,
        names: &[String],
        give: bool,
    ) -> PgResult<()> {
        let Privileges::Actions(actions) = privileges else {
            return Err(PgError::new("42601", "syntax error in GRANT"));
        };
        for action in actions {
            let Action::Role { role } = action else {
                return Err(PgError::unsupported("this form of GRANT"));
            };
            let scope = self.scope()?;
            let group = self.role_named(&scope, &single(role)?)?;
            for name in names {
                self.set_member(group, &Ident::with_quote('"', name.clone()), give).await?;
            }
        }
        Ok(())
    }

    fn grant_targets(&self, scope: &NameScope, objects: &GrantObjects) -> PgResult<Vec<Oid>> {
        let relations = |names: &[ObjectName]| {
            names
                .iter()
                .map(|name| {
                    let name = self.relation_name(name)?;
                    let found = scope.lookup().relation(&name).map(|(oid, _)| oid);
                    found.ok_or_else(|| no_relation(&name))
                })
                .collect::<PgResult<Vec<Oid>>>()
        };
        let schema = |name: &ObjectName| {
            let name = single(name)?;
            scope
                .lookup()
                .schema(&name)
                .ok_or_else(|| PgError::new("3F000", format!("schema \"{name}\" does not exist")))
        };
        let within = |schemas: &[ObjectName], fits: fn(&Relation) -> bool| {
            let schemas = schemas.iter().map(schema).collect::<PgResult<Vec<_>>>()?;
            Ok(scope
                .objects
                .iter(scope.at)
                .filter(|(_, o)| {
                    o.namespace.is_some_and(|n| schemas.contains(&n)) && fits(&o.relation)
                })
                .map(|(oid, _)| oid)
                .collect())
        };
        match objects {
            GrantObjects::Tables(names)
            | GrantObjects::Sequences(names)
            | GrantObjects::Views(names) => relations(names),
            GrantObjects::Schemas(names) => names.iter().map(schema).collect(),
            GrantObjects::AllTablesInSchema { schemas } => {
                within(schemas, |r| matches!(r, Relation::Table(_) | Relation::View { .. }))
            }
            GrantObjects::AllSequencesInSchema { schemas } => {
                within(schemas, |r| matches!(r, Relation::Sequence { .. }))
            }
            // There is one database, and its privileges are not kept.
            other => Err(PgError::unsupported(format!("GRANT ON {other}"))),
        }
    }
}

/// The letters of privileges, in their usual order.
fn letters(privileges: &Privileges, all: &str) -> PgResult<String> {
    let actions = match privileges {
        Privileges::All { .. } => return Ok(all.to_owned()),
        Privileges::Actions(actions) => actions,
    };
    let mut given = String::new();
    for action in actions {
        let letter = match action {
            Action::Select { columns: None } => 'r',
            Action::Insert { columns: None } => 'a',
            Action::Update { columns: None } => 'w',
            Action::References { columns: None } => 'x',
            Action::Delete => 'd',
            Action::Truncate => 'D',
            Action::Trigger => 't',
            Action::Usage => 'U',
            Action::Create { .. } => 'C',
            Action::Select { .. }
            | Action::Insert { .. }
            | Action::Update { .. }
            | Action::References { .. } => {
                return Err(PgError::unsupported("privileges on columns"));
            }
            other => return Err(PgError::unsupported(format!("the privilege {other}"))),
        };
        if !all.contains(letter) {
            return Err(PgError::new("0LP01", format!("invalid privilege type {action}")));
        }
        given.push(letter);
    }
    Ok(given)
}

/// Gives or takes letters in the entry of one grantee; the empty name is PUBLIC.
fn change_acl(acl: &mut Vec<String>, grantee: &str, letters: &str, owner: &str, give: bool) {
    let prefix = format!("{grantee}=");
    let place = acl.iter().position(|a| a.starts_with(&prefix));
    let before = place.and_then(|i| acl[i].strip_prefix(&prefix)).unwrap_or_default();
    let before = before.split('/').next().unwrap_or_default().to_owned();
    let after: String = "arwdDxtUC"
        .chars()
        .filter(|c| match letters.contains(*c) {
            true => give,
            false => before.contains(*c),
        })
        .collect();
    let entry = format!("{prefix}{after}/{owner}");
    match place {
        Some(i) if after.is_empty() => {
            acl.remove(i);
        }
        Some(i) => acl[i] = entry,
        None if !after.is_empty() => acl.push(entry),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_are_given_and_taken_letter_by_letter() {
        let mut acl = vec!["chronos=arwdDxt/chronos".to_owned()];
        change_acl(&mut acl, "ann", "wr", "chronos", true);
        change_acl(&mut acl, "", "r", "chronos", true);
        assert_eq!(acl[1..], ["ann=rw/chronos", "=r/chronos"]);
        change_acl(&mut acl, "ann", "w", "chronos", false);
        change_acl(&mut acl, "", "r", "chronos", false);
        assert_eq!(acl[1..], ["ann=r/chronos"]);
    }
}
