//! Roles, owners and the roles of a session.

use std::collections::BTreeMap;

use chronos_catalog::{NameKind, Object, Oid, Relation};
use chronos_sql_ext::access::{Access, RoleName, RoleOption};
use chronos_sql_ext::privileges::{self, Item, items};
use datafusion::sql::sqlparser::ast::{AlterSchemaOperation, Ident, Owner, Statement};

use super::{NameScope, object};
use crate::auth::scram::Verifier;
use crate::error::{PgError, PgResult};
use crate::session::login::{CONNECTION_LIMIT, SETTING, VALID_UNTIL};
use crate::session::names::{fold, single};
use crate::session::session::Session;
use crate::session::settings::{Scope, Settings};
use crate::session::transaction::Block;

pub(super) fn no_role(name: &str) -> PgError {
    PgError::new("42704", format!("role \"{name}\" does not exist"))
}

/// The role that OWNER TO names.
pub(super) fn owner_name(owner: &Owner) -> RoleName {
    match owner {
        Owner::Ident(ident) => RoleName::Named(ident.clone()),
        Owner::CurrentRole | Owner::CurrentUser => RoleName::Current,
        Owner::SessionUser => RoleName::Session,
    }
}

fn denied(what: &str) -> PgError {
    PgError::new("42501", format!("permission denied to {what}"))
}

/// The parts of a role's definition.
struct Role<'a> {
    login: &'a mut bool,
    superuser: &'a mut bool,
    attributes: &'a mut BTreeMap<String, String>,
    verifier: &'a mut Option<String>,
}

impl Session {
    /// Carries out a statement about roles or privileges.
    pub(in crate::session) async fn run_access(&mut self, access: &Access) -> PgResult<String> {
        match access {
            Access::CreateRole { name, options } => self.create_role(name, options).await?,
            Access::AlterRole { role, options } => self.alter_role(role, options).await?,
            Access::RenameRole { role, name } => self.rename_role(role, name).await?,
            Access::AlterRoleSetting { role, name, value } => {
                self.alter_role_setting(role, name.as_deref(), value.as_deref()).await?;
            }
            Access::AlterGroup { group, add, members } => {
                let scope = self.scope()?;
                let group = self.role_named(&scope, group)?;
                self.check_admin(&scope, group)?;
                for member in members {
                    self.set_member(group, member, *add, false).await?;
                }
            }
            Access::DropRole { if_exists, names } => {
                for name in names {
                    self.drop_role(name, *if_exists).await?;
                }
            }
            Access::Privileges(grant) => self.grant(grant).await?,
            Access::Membership { give, groups, members, admin } => {
                for group in groups {
                    let scope = self.scope()?;
                    let group = self.role_named(&scope, &RoleName::Named(group.clone()))?;
                    self.check_admin(&scope, group)?;
                    for member in members {
                        match (give, admin) {
                            (false, true) => self.take_admin(group, member).await?,
                            (give, admin) => self.set_member(group, member, *give, *admin).await?,
                        }
                    }
                }
            }
            Access::DefaultPrivileges { roles, schemas, grant } => {
                self.default_privileges(roles, schemas, grant).await?;
            }
            Access::ReassignOwned { from, to } => self.reassign_owned(from, to).await?,
            Access::SetRole { .. } | Access::SetSessionAuthorization { .. } => {
                return self.set_identity(access).await;
            }
        }
        Ok(access.tag().to_owned())
    }

    /// ALTER SCHEMA; `None` for any other statement.
    pub(super) async fn define_access(&mut self, sql: &Statement) -> PgResult<Option<String>> {
        let Statement::AlterSchema(alter) = sql else { return Ok(None) };
        let scope = self.scope()?;
        let name = single(&alter.name)?;
        let oid = scope
            .lookup()
            .schema(&name)
            .ok_or_else(|| PgError::new("3F000", format!("schema \"{name}\" does not exist")))?;
        self.require_owner(&scope, oid)?;
        for operation in &alter.operations {
            match operation {
                AlterSchemaOperation::Rename { name } => {
                    self.rename_schema(&alter.name, name).await?;
                }
                AlterSchemaOperation::OwnerTo { owner } => {
                    self.change_owner(oid, &owner_name(owner)).await?;
                }
                other => return Err(PgError::unsupported(format!("ALTER SCHEMA … {other}"))),
            }
        }
        Ok(Some("ALTER SCHEMA".to_owned()))
    }

    /// The role that a statement names.
    pub(super) fn role_named(&self, scope: &NameScope, name: &RoleName) -> PgResult<Oid> {
        let name = match name {
            RoleName::Public => "public".to_owned(),
            RoleName::Current => self.shared.user(),
            RoleName::Session => self.shared.session_user(),
            RoleName::Named(ident) => fold(ident),
        };
        let found = scope.objects.lookup(NameKind::Role, None, &name, scope.at);
        found.map(|(oid, _)| oid).ok_or_else(|| no_role(&name))
    }

    pub(super) fn role_object(&self, scope: &NameScope, oid: Oid) -> PgResult<Object> {
        let role = scope.objects.get(oid, scope.at).map(|o| Object::clone(o));
        role.ok_or_else(|| PgError::internal("the altered role is gone"))
    }

    /// Gives an object to a role that the current one is a member of.
    pub(in crate::session) async fn change_owner(
        &mut self,
        oid: Oid,
        owner: &RoleName,
    ) -> PgResult<()> {
        let scope = self.scope()?;
        self.require_owner(&scope, oid)?;
        let owner = self.role_named(&scope, owner)?;
        let rights = self.shared.rights(&scope.objects, scope.at);
        let role = self.role_object(&scope, owner)?;
        let current = self.shared.role(&scope.objects, scope.at);
        let member = current.is_some_and(|current| {
            rights.superuser() || privileges::is_member(&scope.objects, scope.at, current, owner)
        });
        if !member {
            let message = format!("must be member of role \"{}\"", role.name);
            return Err(PgError::new("42501", message));
        }
        let object = self.role_object(&scope, oid)?;
        if let Some(namespace) = object.namespace
            && !rights.superuser()
        {
            let theirs = privileges::Rights::of(&scope.objects, scope.at, Some(owner));
            if let Some(schema) = scope.objects.get(namespace, scope.at)
                && !theirs.may(namespace, schema, 'C', false)
            {
                let message = format!("permission denied for schema {}", schema.name);
                return Err(PgError::new("42501", message));
            }
        }
        // What stands in a table's service goes with it.
        let served = |o: &Object| match &o.relation {
            Relation::Sequence { owned_by: Some((table, _)), .. } => *table == oid,
            Relation::Index { table, .. } => *table == oid,
            _ => false,
        };
        let served: Vec<Oid> =
            scope.objects.iter(scope.at).filter(|(_, o)| served(o)).map(|(oid, _)| oid).collect();
        for oid in std::iter::once(oid).chain(served) {
            let object = self.role_object(&scope, oid)?;
            self.change_unchecked(oid, Some(owned_by(&scope, object, owner))).await?;
        }
        Ok(())
    }

    async fn reassign_owned(&mut self, from: &[RoleName], to: &RoleName) -> PgResult<()> {
        for role in from {
            let scope = self.scope()?;
            let role = self.role_named(&scope, role)?;
            let to_oid = self.role_named(&scope, to)?;
            let rights = self.shared.rights(&scope.objects, scope.at);
            if !rights.has_role(role) || !rights.has_role(to_oid) {
                return Err(denied("reassign objects"));
            }
            let owned: Vec<Oid> = scope
                .objects
                .iter(scope.at)
                .filter(|(oid, o)| {
                    o.owner == role && *oid >= Oid::FIRST_USER && o.namespace.is_some()
                        || (o.owner == role && matches!(o.relation, Relation::Schema))
                })
                .map(|(oid, _)| oid)
                .collect();
            for oid in owned {
                let object = self.role_object(&scope, oid)?;
                self.change_unchecked(oid, Some(owned_by(&scope, object, to_oid))).await?;
            }
        }
        Ok(())
    }

    /// Refuses who may not manage roles.
    fn check_createrole(&self, scope: &NameScope, what: &str) -> PgResult<()> {
        let rights = self.shared.rights(&scope.objects, scope.at);
        if rights.superuser() || rights.attribute("createrole") {
            return Ok(());
        }
        Err(denied(what))
    }

    /// Refuses who may not say who is a member of a role.
    fn check_admin(&self, scope: &NameScope, group: Oid) -> PgResult<()> {
        let rights = self.shared.rights(&scope.objects, scope.at);
        let role = self.role_object(scope, group)?;
        let superuser = matches!(role.relation, Relation::Role { superuser: true, .. });
        if superuser && !rights.superuser() {
            return Err(PgError::new("42501", "must be superuser to alter superusers"));
        }
        let admin = || {
            let Some(current) = self.shared.role(&scope.objects, scope.at) else { return false };
            scope.objects.get(current, scope.at).is_some_and(|o| {
                matches!(&o.relation, Relation::Role { admin_of, .. } if admin_of.contains(&group))
            })
        };
        // The predefined roles are for superusers to give.
        let createrole = group >= Oid::FIRST_USER && rights.attribute("createrole");
        if rights.superuser() || createrole || admin() {
            return Ok(());
        }
        let message = format!("must have admin option on role \"{}\"", role.name);
        Err(PgError::new("42501", message))
    }

    async fn create_role(&mut self, name: &Ident, options: &[RoleOption]) -> PgResult<()> {
        let name = fold(name);
        let scope = self.scope()?;
        self.check_createrole(&scope, "create role")?;
        if name.starts_with("pg_") || name == "public" || name == "none" {
            let mut error = PgError::new("42939", format!("role name \"{name}\" is reserved"));
            if name.starts_with("pg_") {
                error = error.detail("Role names starting with \"pg_\" are reserved.");
            }
            return Err(error);
        }
        if scope.objects.lookup(NameKind::Role, None, &name, scope.at).is_some() {
            return Err(PgError::new("42710", format!("role \"{name}\" already exists")));
        }
        let (mut login, mut superuser, mut verifier) = (false, false, None);
        let mut attributes = BTreeMap::new();
        let role = Role {
            login: &mut login,
            superuser: &mut superuser,
            attributes: &mut attributes,
            verifier: &mut verifier,
        };
        self.apply_options(role, &name, options)?;
        let rights = self.shared.rights(&scope.objects, scope.at);
        if superuser && !rights.superuser() {
            return Err(PgError::new("42501", "must be superuser to create superusers"));
        }
        let relation = Relation::Role {
            login,
            superuser,
            attributes,
            verifier,
            member_of: Vec::new(),
            admin_of: Vec::new(),
            default_acls: BTreeMap::new(),
        };
        let oid = self.allocate_oid().await?;
        self.change_unchecked(oid, Some(object(&name, None, Oid::SUPERUSER, relation))).await?;
        let own = RoleName::Named(Ident::with_quote('"', name));
        for option in options {
            match option {
                RoleOption::InRole(groups) => {
                    for group in groups {
                        let scope = self.scope()?;
                        let group = self.role_named(&scope, group)?;
                        self.check_admin(&scope, group)?;
                        self.set_member(group, &own, true, false).await?;
                    }
                }
                RoleOption::Members { admin, members } => {
                    for member in members {
                        self.set_member(oid, member, true, *admin).await?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn apply_options(&self, role: Role<'_>, name: &str, options: &[RoleOption]) -> PgResult<()> {
        for option in options {
            match option {
                RoleOption::Login(flag) => *role.login = *flag,
                RoleOption::Superuser(flag) => *role.superuser = *flag,
                RoleOption::Attribute(attribute, flag) => {
                    role.attributes.insert((*attribute).to_owned(), flag.to_string());
                }
                RoleOption::ConnectionLimit(limit) => {
                    if *limit < -1 {
                        let message = format!("invalid connection limit: {limit}");
                        return Err(PgError::new("22023", message));
                    }
                    role.attributes.insert(CONNECTION_LIMIT.to_owned(), limit.to_string());
                }
                RoleOption::ValidUntil(until) => {
                    let zone = self.shared.settings.read().time_zone();
                    let now = self.shared.engine.now_micros();
                    let until = chronos_sql_ext::instant::parse(
                        until,
                        zone,
                        chronos_catalog::CommitTs(now),
                    )
                    .map_err(|_| {
                        let message = format!(
                            "invalid input syntax for type timestamp with time zone: \
                                     \"{until}\""
                        );
                        PgError::new("22007", message)
                    })?;
                    let text = until.micros().to_string();
                    if until == chronos_catalog::CommitTs::MAX {
                        role.attributes.remove(VALID_UNTIL);
                    } else {
                        role.attributes.insert(VALID_UNTIL.to_owned(), text);
                    }
                }
                RoleOption::Password(None) => *role.verifier = None,
                RoleOption::Password(Some(password)) => {
                    *role.verifier = Some(verifier(&password.0, name)?);
                }
                RoleOption::InRole(_) | RoleOption::Members { .. } => {}
            }
        }
        Ok(())
    }

    async fn alter_role(&mut self, name: &RoleName, options: &[RoleOption]) -> PgResult<()> {
        let scope = self.scope()?;
        let oid = self.role_named(&scope, name)?;
        let mut role = self.role_object(&scope, oid)?;
        // A role may give itself another password; anything else is for who manages roles.
        let own = self.shared.role(&scope.objects, scope.at) == Some(oid);
        let only_password = options.iter().all(|o| matches!(o, RoleOption::Password(_)));
        if !(own && only_password) {
            self.check_createrole(&scope, "alter role")?;
        }
        let rights = self.shared.rights(&scope.objects, scope.at);
        let sets_superuser = options.iter().any(|o| matches!(o, RoleOption::Superuser(_)));
        if let Relation::Role { superuser, .. } = &role.relation
            && (*superuser || sets_superuser)
            && !rights.superuser()
        {
            let message =
                "must be superuser to alter superuser roles or change superuser attribute";
            return Err(PgError::new("42501", message));
        }
        if oid < Oid::FIRST_USER && oid != Oid::SUPERUSER {
            let message = format!("role name \"{}\" is reserved", role.name);
            return Err(PgError::new("42939", message));
        }
        let name = role.name.clone();
        let Relation::Role { login, superuser, attributes, verifier, .. } = &mut role.relation
        else {
            return Err(PgError::internal("a role that is none"));
        };
        self.apply_options(Role { login, superuser, attributes, verifier }, &name, options)?;
        if oid == Oid::SUPERUSER && !*superuser {
            let message = "permission denied to alter role";
            return Err(PgError::new("42501", message)
                .detail("The bootstrap user must have the SUPERUSER attribute."));
        }
        self.change_unchecked(oid, Some(role)).await
    }

    /// `ALTER ROLE … SET` and `RESET`.
    async fn alter_role_setting(
        &mut self,
        name: &RoleName,
        setting: Option<&str>,
        value: Option<&str>,
    ) -> PgResult<()> {
        let scope = self.scope()?;
        let oid = self.role_named(&scope, name)?;
        if self.shared.role(&scope.objects, scope.at) != Some(oid) {
            self.check_createrole(&scope, "alter setting")?;
        }
        let mut role = self.role_object(&scope, oid)?;
        let superuser = matches!(role.relation, Relation::Role { superuser: true, .. });
        if superuser && !self.shared.rights(&scope.objects, scope.at).superuser() {
            return Err(PgError::new("42501", "must be superuser to alter superusers"));
        }
        let Relation::Role { attributes, .. } = &mut role.relation else {
            return Err(PgError::internal("a role that is none"));
        };
        match (setting, value) {
            (None, _) => attributes.retain(|key, _| !key.starts_with(SETTING)),
            (Some(setting), None) => {
                attributes.remove(&format!("{SETTING}{}", setting.to_lowercase()));
            }
            (Some(setting), Some(value)) => {
                // It has to be one, and the value one of its own.
                Settings::new([(setting.to_owned(), value.to_owned())])?;
                let key = format!("{SETTING}{}", setting.to_lowercase());
                attributes.insert(key, value.to_owned());
            }
        }
        self.change_unchecked(oid, Some(role)).await
    }

    async fn rename_role(&mut self, from: &RoleName, to: &Ident) -> PgResult<()> {
        let scope = self.scope()?;
        self.check_createrole(&scope, "rename role")?;
        let oid = self.role_named(&scope, from)?;
        let mut role = self.role_object(&scope, oid)?;
        let (old, new) = (role.name.clone(), fold(to));
        if old == self.shared.session_user() {
            return Err(PgError::new("0A000", "session user cannot be renamed"));
        }
        if old.starts_with("pg_") || new.starts_with("pg_") || new == "public" || new == "none" {
            let name = if old.starts_with("pg_") { old } else { new };
            return Err(PgError::new("42939", format!("role name \"{name}\" is reserved")));
        }
        if scope.objects.lookup(NameKind::Role, None, &new, scope.at).is_some() {
            return Err(PgError::new("42710", format!("role \"{new}\" already exists")));
        }
        // Access lists name roles.
        let others: Vec<(Oid, Object)> = scope
            .objects
            .iter(scope.at)
            .filter(|(_, o)| lists(o).any(|acl| mentions(acl, &old)))
            .map(|(other, o)| (other, renamed_in(Object::clone(o), &old, &new)))
            .collect();
        for (other, changed) in others {
            if other == oid {
                role = changed;
            } else {
                self.change_unchecked(other, Some(changed)).await?;
            }
        }
        role.name = new;
        self.change_unchecked(oid, Some(role)).await
    }

    async fn drop_role(&mut self, name: &RoleName, if_exists: bool) -> PgResult<()> {
        let scope = self.scope()?;
        self.check_createrole(&scope, "drop role")?;
        let oid = match self.role_named(&scope, name) {
            Ok(oid) => oid,
            Err(error) if if_exists && error.code == "42704" => {
                self.notice(PgError::notice(format!("{}, skipping", error.message)));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let role = self.role_object(&scope, oid)?;
        let name = role.name;
        if name == self.shared.user() {
            return Err(PgError::new("55006", "current user cannot be dropped"));
        }
        if name == self.shared.session_user() {
            return Err(PgError::new("55006", "session user cannot be dropped"));
        }
        let rights = self.shared.rights(&scope.objects, scope.at);
        if matches!(role.relation, Relation::Role { superuser: true, .. }) && !rights.superuser() {
            return Err(PgError::new("42501", "must be superuser to drop superusers"));
        }
        let needed: Vec<String> = scope
            .objects
            .iter(scope.at)
            .filter(|(other, o)| {
                *other != oid && (o.owner == oid || lists(o).any(|acl| mentions(acl, &name)))
            })
            .map(|(_, o)| {
                let what = if o.owner == oid { "owner of" } else { "privileges for" };
                format!("{what} {} {}", super::drop::relation_kind(&o.relation), o.name)
            })
            .collect();
        if oid < Oid::FIRST_USER || !needed.is_empty() {
            let message =
                format!("role \"{name}\" cannot be dropped because some objects depend on it");
            let error = PgError::new("2BP01", message);
            return Err(match needed.is_empty() {
                true => error,
                false => error.detail(needed.join("\n")),
            });
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
            if let Relation::Role { member_of, admin_of, .. } = &mut role.relation {
                member_of.retain(|g| *g != oid);
                admin_of.retain(|g| *g != oid);
            }
            self.change_unchecked(member, Some(role)).await?;
        }
        self.change_unchecked(oid, None).await
    }

    /// Makes a role a member of another one, or ends that.
    async fn set_member(
        &mut self,
        group: Oid,
        member: &RoleName,
        add: bool,
        admin: bool,
    ) -> PgResult<()> {
        let scope = self.scope()?;
        let oid = self.role_named(&scope, member)?;
        let mut role = self.role_object(&scope, oid)?;
        let group_name = self.role_object(&scope, group)?.name;
        if add && privileges::is_member(&scope.objects, scope.at, group, oid) {
            let message = format!("role \"{}\" is a member of role \"{group_name}\"", role.name);
            return Err(PgError::new("0LP01", message));
        }
        let name = role.name.clone();
        let Relation::Role { member_of, admin_of, .. } = &mut role.relation else {
            return Err(PgError::internal("a role that is none"));
        };
        let before = member_of.contains(&group);
        if before == add && (!add || !admin || admin_of.contains(&group)) {
            let message = match add {
                true => format!("role \"{name}\" is already a member of role \"{group_name}\""),
                false => format!("role \"{name}\" is not a member of role \"{group_name}\""),
            };
            let notice =
                if add { PgError::notice(message) } else { PgError::warning("01000", message) };
            self.notice(notice);
            return Ok(());
        }
        if add {
            if !before {
                member_of.push(group);
            }
            if admin && !admin_of.contains(&group) {
                admin_of.push(group);
            }
        } else {
            member_of.retain(|g| *g != group);
            admin_of.retain(|g| *g != group);
        }
        self.change_unchecked(oid, Some(role)).await
    }

    /// `REVOKE ADMIN OPTION FOR`
    async fn take_admin(&mut self, group: Oid, member: &RoleName) -> PgResult<()> {
        let scope = self.scope()?;
        let oid = self.role_named(&scope, member)?;
        let mut role = self.role_object(&scope, oid)?;
        if let Relation::Role { admin_of, .. } = &mut role.relation {
            admin_of.retain(|g| *g != group);
        }
        self.change_unchecked(oid, Some(role)).await
    }

    /// SET ROLE and SET SESSION AUTHORIZATION.
    async fn set_identity(&mut self, access: &Access) -> PgResult<String> {
        let (local, role, key) = match access {
            Access::SetRole { local, role } => (*local, role, "role"),
            Access::SetSessionAuthorization { local, role } => {
                (*local, role, "session_authorization")
            }
            _ => return Err(PgError::internal("not SET ROLE")),
        };
        if local && self.block == Block::None {
            let text = "SET LOCAL can only be used in transaction blocks";
            self.notice(PgError::warning("25P01", text));
            return Ok("SET".to_owned());
        }
        if let Some(name) = role {
            let scope = self.scope()?;
            let found = scope.objects.lookup(NameKind::Role, None, name, scope.at);
            let (oid, _) = found
                .ok_or_else(|| PgError::new("22023", format!("role \"{name}\" does not exist")))?;
            // What is allowed depends on who logged in, and not on who one is at the moment.
            let whose = if key == "role" {
                self.shared.session_user()
            } else {
                self.shared.identity.user.clone()
            };
            let own = scope.objects.lookup(NameKind::Role, None, &whose, scope.at);
            let allowed = own.is_some_and(|(own, _)| {
                privileges::is_superuser(&scope.objects, scope.at, own)
                    || own == oid
                    || (key == "role" && privileges::is_member(&scope.objects, scope.at, own, oid))
            });
            if !allowed {
                let what = if key == "role" {
                    format!("set role \"{name}\"")
                } else {
                    "set session authorization".to_owned()
                };
                return Err(denied(&what));
            }
        }
        let kept = if local { Scope::Local } else { Scope::Session };
        let mut settings = self.shared.settings.write();
        settings.set_identity(key, role.as_deref(), kept);
        if key == "session_authorization" {
            settings.set_identity("role", None, kept);
        }
        drop(settings);
        self.shared.tell_superuser();
        Ok("SET".to_owned())
    }
}

/// The verifier of a password, which may be one already.
fn verifier(password: &str, role: &str) -> PgResult<String> {
    if password.starts_with("md5") && password.len() == 35 {
        return Err(PgError::unsupported("an MD5 password")
            .hint("Give the password itself, or use \\password in psql with scram-sha-256."));
    }
    if let Ok(verifier) = password.parse::<Verifier>() {
        return Ok(verifier.to_string());
    }
    if password.is_empty() {
        let message = format!("the password of role \"{role}\" must not be empty");
        return Err(PgError::new("22023", message));
    }
    Ok(Verifier::of_password(password).to_string())
}

/// All access lists of an object.
fn lists(object: &Object) -> impl Iterator<Item = &Vec<String>> {
    let defaults = match &object.relation {
        Relation::Role { default_acls, .. } => Some(default_acls.values()),
        _ => None,
    };
    std::iter::once(&object.acl)
        .chain(object.column_acl.values())
        .chain(defaults.into_iter().flatten())
}

fn mentions(acl: &[String], role: &str) -> bool {
    items(acl).any(|item| item.grantee == role || item.grantor == role)
}

/// The object with a role under another name in its access lists.
fn renamed_in(mut object: Object, old: &str, new: &str) -> Object {
    let rename = |acl: &mut Vec<String>| {
        let renamed = items(acl).map(|mut item| {
            for name in [&mut item.grantee, &mut item.grantor] {
                if name == old {
                    *name = new.to_owned();
                }
            }
            item.to_string()
        });
        *acl = renamed.collect();
    };
    rename(&mut object.acl);
    object.column_acl.values_mut().for_each(rename);
    if let Relation::Role { default_acls, .. } = &mut object.relation {
        default_acls.values_mut().for_each(rename);
    }
    object
}

/// The object as another role's, which takes the place of the old one in the access lists.
fn owned_by(scope: &NameScope, object: Object, owner: Oid) -> Object {
    let name = |oid| scope.objects.get(oid, scope.at).map(|o| o.name.clone());
    let (Some(old), Some(new)) = (name(object.owner), name(owner)) else {
        return Object { owner, ..object };
    };
    let mut object = Object { owner, ..object };
    let change = |acl: &mut Vec<String>| {
        let mut changed: Vec<Item> = Vec::with_capacity(acl.len());
        for mut item in items(acl) {
            for name in [&mut item.grantee, &mut item.grantor] {
                if *name == old {
                    name.clone_from(&new);
                }
            }
            match changed.iter_mut().find(|i| i.grantee == item.grantee) {
                Some(same) => {
                    item.letters.retain(|(l, _)| !same.has(*l, false));
                    same.letters.append(&mut item.letters);
                }
                None => changed.push(item),
            }
        }
        *acl = changed.iter().map(Item::to_string).collect();
    };
    change(&mut object.acl);
    object.column_acl.values_mut().for_each(change);
    object
}
