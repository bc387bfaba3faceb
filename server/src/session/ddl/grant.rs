//! GRANT, REVOKE and ALTER DEFAULT PRIVILEGES.

use std::collections::BTreeMap;

use chronos_catalog::{Object, Oid, Relation};
use chronos_sql_ext::access::{Grant, GrantObjects, RoleName};
use chronos_sql_ext::privileges::{self, COLUMN, Item, items, letter};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};

use super::NameScope;
use crate::error::{PgError, PgResult};
use crate::session::names::{fold, no_relation};
use crate::session::privileges::denied_for;
use crate::session::session::Session;

impl Session {
    pub(super) async fn grant(&mut self, grant: &Grant) -> PgResult<()> {
        let scope = self.scope()?;
        let grantees = self.grantees(&scope, &grant.grantees)?;
        for oid in self.grant_targets(&scope, &grant.objects)? {
            let scope = self.scope()?;
            let mut object = self.role_object(&scope, oid)?;
            let owner = self.role_object(&scope, object.owner)?.name;
            let grantor = self.grantor(&scope, oid, &object, grant)?;
            let all = privileges::all(&object.relation);
            let whole: Vec<char> = match grant.privileges.is_empty() {
                true if grant.all_columns.is_empty() => all.chars().collect(),
                true => Vec::new(),
                false => letters(grant, &object, |columns| columns.is_empty(), all)?,
            };
            if !whole.is_empty() {
                if object.acl.is_empty() {
                    object.acl = default_acl(oid, all, &owner);
                }
                for grantee in &grantees {
                    change(&mut object.acl, grantee, &whole, &grantor, grant)?;
                }
                if object.acl.is_empty() {
                    // Nothing for anybody is not the default.
                    object.acl.push(Item::new(&owner, "", &owner).to_string());
                }
            }
            self.grant_columns(grant, &mut object, &grantees, &grantor)?;
            self.change_unchecked(oid, Some(object)).await?;
        }
        Ok(())
    }

    /// What is granted or revoked column by column.
    fn grant_columns(
        &self,
        grant: &Grant,
        object: &mut Object,
        grantees: &[String],
        grantor: &str,
    ) -> PgResult<()> {
        let mut columns: BTreeMap<u32, Vec<char>> = BTreeMap::new();
        let all = grant.all_columns.iter().map(|column| (column, COLUMN.chars().collect()));
        let named = grant.privileges.iter().flat_map(|(privilege, columns)| {
            let letters: Vec<char> = letter(privilege).into_iter().collect();
            columns.iter().map(move |column| (column, letters.clone()))
        });
        for (column, letters) in all.chain(named) {
            if let Some(wrong) = letters.iter().find(|l| !COLUMN.contains(**l)) {
                let message = format!(
                    "invalid privilege type {} for column",
                    chronos_sql_ext::privileges::word(*wrong).unwrap_or_default()
                );
                return Err(PgError::new("0LP01", message));
            }
            let number = column_number(object, column)?;
            columns.entry(number).or_default().extend(letters);
        }
        // Taking it from the table takes it from the columns.
        if !grant.give && grant.all_columns.is_empty() {
            for (privilege, named) in &grant.privileges {
                if let (Some(letter), true) = (letter(privilege), named.is_empty()) {
                    for number in object.column_acl.keys() {
                        columns.entry(*number).or_default().push(letter);
                    }
                }
            }
            if grant.privileges.is_empty() {
                for number in object.column_acl.keys() {
                    columns.entry(*number).or_default().extend(COLUMN.chars());
                }
            }
        }
        for (number, letters) in columns {
            let acl = object.column_acl.entry(number).or_default();
            for grantee in grantees {
                change(acl, grantee, &letters, grantor, grant)?;
            }
            if acl.is_empty() {
                object.column_acl.remove(&number);
            }
        }
        Ok(())
    }

    /// The roles that are granted to; the empty name is everybody.
    fn grantees(&self, scope: &NameScope, grantees: &[RoleName]) -> PgResult<Vec<String>> {
        grantees
            .iter()
            .map(|grantee| match grantee {
                RoleName::Public => Ok(String::new()),
                name => {
                    let oid = self.role_named(scope, name)?;
                    Ok(self.role_object(scope, oid)?.name)
                }
            })
            .collect()
    }

    /// Who grants: the owner, or who may give the privileges on.
    fn grantor(
        &self,
        scope: &NameScope,
        oid: Oid,
        object: &Object,
        grant: &Grant,
    ) -> PgResult<String> {
        let rights = self.shared.rights(&scope.objects, scope.at);
        if rights.owns(object) {
            return Ok(self.role_object(scope, object.owner)?.name);
        }
        let may =
            |privilege: &str| letter(privilege).is_some_and(|l| rights.may(oid, object, l, true));
        if grant.privileges.is_empty() || !grant.privileges.iter().all(|(p, _)| may(p)) {
            return Err(denied_for(object));
        }
        Ok(self.shared.user())
    }

    fn grant_targets(&self, scope: &NameScope, objects: &GrantObjects) -> PgResult<Vec<Oid>> {
        let relations = |names: &[ObjectName], sequences: bool| {
            names
                .iter()
                .map(|name| {
                    let name = self.relation_name(name)?;
                    let lookup = scope.lookup();
                    let (oid, object) = lookup.relation(&name).ok_or_else(|| no_relation(&name))?;
                    match &object.relation {
                        Relation::Index { .. } => {
                            Err(PgError::new("42809", format!("\"{}\" is an index", name.name)))
                        }
                        Relation::Sequence { .. } => Ok(oid),
                        _ if sequences => {
                            let message = format!("\"{}\" is not a sequence", name.name);
                            Err(PgError::new("42809", message))
                        }
                        _ => Ok(oid),
                    }
                })
                .collect::<PgResult<Vec<Oid>>>()
        };
        let schema = |name: &Ident| {
            let name = fold(name);
            scope
                .lookup()
                .schema(&name)
                .ok_or_else(|| PgError::new("3F000", format!("schema \"{name}\" does not exist")))
        };
        let within = |schemas: &[Ident], fits: fn(&Relation) -> bool| {
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
            GrantObjects::Relations(names) => relations(names, false),
            GrantObjects::Sequences(names) => relations(names, true),
            GrantObjects::Schemas(names) => names.iter().map(schema).collect(),
            GrantObjects::TablesIn(schemas) => {
                within(schemas, |r| matches!(r, Relation::Table(_) | Relation::View { .. }))
            }
            GrantObjects::SequencesIn(schemas) => {
                within(schemas, |r| matches!(r, Relation::Sequence { .. }))
            }
            // There is one database, and its privileges are not kept; nor are those of functions.
            GrantObjects::Other(what) => {
                Err(PgError::unsupported(format!("GRANT ON {}", what.to_uppercase())))
            }
            GrantObjects::AllTables | GrantObjects::AllSequences | GrantObjects::AllSchemas => {
                Err(PgError::internal("objects of ALTER DEFAULT PRIVILEGES"))
            }
        }
    }

    /// ALTER DEFAULT PRIVILEGES.
    pub(super) async fn default_privileges(
        &mut self,
        roles: &[RoleName],
        schemas: &[Ident],
        grant: &Grant,
    ) -> PgResult<()> {
        let (kind, all) = match &grant.objects {
            GrantObjects::AllTables => ("r", privileges::TABLE),
            GrantObjects::AllSequences => ("S", privileges::SEQUENCE),
            GrantObjects::AllSchemas => ("n", privileges::SCHEMA),
            GrantObjects::Other(what) => {
                let what = what.to_uppercase();
                return Err(PgError::unsupported(format!("default privileges on {what}")));
            }
            _ => return Err(PgError::internal("objects of GRANT")),
        };
        if kind == "n" && !schemas.is_empty() {
            let message = "cannot use IN SCHEMA clause when using GRANT/REVOKE ON SCHEMAS";
            return Err(PgError::new("0LP01", message));
        }
        if grant.privileges.iter().any(|(_, columns)| !columns.is_empty())
            || !grant.all_columns.is_empty()
        {
            let message = "default privileges cannot be set for columns";
            return Err(PgError::new("0LP01", message));
        }
        let current = [RoleName::Current];
        let roles = if roles.is_empty() { &current[..] } else { roles };
        for role in roles {
            let scope = self.scope()?;
            let oid = self.role_named(&scope, role)?;
            let mut role = self.role_object(&scope, oid)?;
            if !self.shared.rights(&scope.objects, scope.at).has_role(oid) {
                let message = format!("must be member of role \"{}\"", role.name);
                return Err(PgError::new("42501", message));
            }
            let grantees = self.grantees(&scope, &grant.grantees)?;
            let mut keys = Vec::new();
            for schema in schemas {
                let name = fold(schema);
                let namespace = scope.lookup().schema(&name).ok_or_else(|| {
                    PgError::new("3F000", format!("schema \"{name}\" does not exist"))
                })?;
                keys.push(format!("{kind}{namespace}"));
            }
            if schemas.is_empty() {
                keys.push(kind.to_owned());
            }
            let name = role.name.clone();
            let letters = match grant.privileges.is_empty() {
                true => all.chars().collect(),
                false => letters(grant, &role, |_| true, all)?,
            };
            let Relation::Role { default_acls, .. } = &mut role.relation else {
                return Err(PgError::internal("a role that is none"));
            };
            for key in keys {
                // The list for all schemas begins with what an owner has anyway; the one of a
                // schema is added to it.
                let acl = default_acls.entry(key.clone()).or_insert_with(|| match key == kind {
                    true => vec![Item::new(&name, all, &name).to_string()],
                    false => Vec::new(),
                });
                for grantee in &grantees {
                    change(acl, grantee, &letters, &name, grant)?;
                }
                let default = key == kind && *acl == [Item::new(&name, all, &name).to_string()];
                if acl.is_empty() || default {
                    default_acls.remove(&key);
                }
            }
            self.change_unchecked(oid, Some(role)).await?;
        }
        Ok(())
    }
}

/// The access list of a new object, by the default privileges of its owner.
pub(super) fn acl_of_new(
    scope: &NameScope,
    owner: Oid,
    namespace: Option<Oid>,
    relation: &Relation,
) -> Vec<String> {
    let kind = match relation {
        Relation::Table(_) | Relation::View { .. } => "r",
        Relation::Sequence { .. } => "S",
        Relation::Schema => "n",
        Relation::Index { .. } | Relation::Role { .. } => return Vec::new(),
    };
    let role = scope.objects.get(owner, scope.at);
    let Some(Relation::Role { default_acls, .. }) = role.map(|r| &r.relation) else {
        return Vec::new();
    };
    let (Some(role), false) = (role, default_acls.is_empty()) else { return Vec::new() };
    let everywhere = default_acls.get(kind);
    let here = namespace.and_then(|namespace| default_acls.get(&format!("{kind}{namespace}")));
    if everywhere.is_none() && here.is_none() {
        return Vec::new();
    }
    let own = Item::new(&role.name, privileges::all(relation), &role.name);
    let mut merged: Vec<Item> = match everywhere {
        Some(acl) => items(acl).collect(),
        None => vec![own],
    };
    for item in here.into_iter().flat_map(|acl| items(acl)) {
        match merged.iter_mut().find(|i| i.grantee == item.grantee) {
            Some(same) => {
                for (letter, option) in item.letters {
                    match same.letters.iter_mut().find(|(l, _)| *l == letter) {
                        Some(known) => known.1 |= option,
                        None => same.letters.push((letter, option)),
                    }
                }
            }
            None => merged.push(item),
        }
    }
    merged.iter().map(Item::to_string).collect()
}

/// What an empty list stands for.
fn default_acl(oid: Oid, all: &str, owner: &str) -> Vec<String> {
    let mut acl = vec![Item::new(owner, all, owner).to_string()];
    if oid == Oid::PUBLIC {
        acl.push(Item::new("", "U", owner).to_string());
    }
    acl
}

fn column_number(object: &Object, column: &Ident) -> PgResult<u32> {
    let name = fold(column);
    let found = match &object.relation {
        Relation::Table(def) => def.column_named(&name).map(|c| c.id.0),
        Relation::View { columns, .. } => {
            let place = columns.iter().position(|(c, _)| *c == name);
            place.and_then(|p| u32::try_from(p + 1).ok())
        }
        _ => None,
    };
    found.ok_or_else(|| {
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", object.name);
        PgError::new("42703", message)
    })
}

/// The letters of those privileges whose columns are asked for.
fn letters(
    grant: &Grant,
    object: &Object,
    wanted: impl Fn(&[Ident]) -> bool,
    all: &str,
) -> PgResult<Vec<char>> {
    let mut letters = Vec::new();
    for (privilege, _) in grant.privileges.iter().filter(|(_, columns)| wanted(columns)) {
        let Some(letter) = letter(privilege) else {
            let message = format!("unrecognized privilege type \"{}\"", privilege.to_lowercase());
            return Err(PgError::new("42601", message));
        };
        if !all.contains(letter) {
            let what = match &object.relation {
                Relation::Schema => "schema",
                Relation::Sequence { .. } => "sequence",
                _ => "relation",
            };
            let message = format!("invalid privilege type {privilege} for {what}");
            return Err(PgError::new("0LP01", message));
        }
        letters.push(letter);
    }
    Ok(letters)
}

/// Gives letters to a grantee, or takes them.
fn change(
    acl: &mut Vec<String>,
    grantee: &str,
    letters: &[char],
    grantor: &str,
    grant: &Grant,
) -> PgResult<()> {
    if grant.option && grant.give && grantee.is_empty() {
        return Err(PgError::new("0LP01", "grant options can only be granted to roles"));
    }
    let mut all: Vec<Item> = items(acl).collect();
    let place = all.iter().position(|item| item.grantee == grantee);
    let mut item = match place {
        Some(place) => all[place].clone(),
        None => Item::new(grantee, "", grantor),
    };
    for &letter in letters {
        let known = item.letters.iter_mut().find(|(l, _)| *l == letter);
        match (grant.give, known) {
            (true, Some(known)) => known.1 |= grant.option,
            (true, None) => item.letters.push((letter, grant.option)),
            (false, Some(known)) if grant.option => known.1 = false,
            (false, _) if grant.option => {}
            (false, _) => item.letters.retain(|(l, _)| *l != letter),
        }
    }
    // In their usual order.
    item.letters.sort_by_key(|(l, _)| "arwdDxtUC".find(*l));
    match place {
        Some(place) if item.letters.is_empty() => drop(all.remove(place)),
        Some(place) => all[place] = item,
        None if !item.letters.is_empty() => all.push(item),
        None => {}
    }
    *acl = all.iter().map(Item::to_string).collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(give: bool, option: bool) -> Grant {
        Grant {
            give,
            option,
            privileges: Vec::new(),
            all_columns: Vec::new(),
            objects: GrantObjects::AllTables,
            grantees: Vec::new(),
            cascade: false,
        }
    }

    #[test]
    fn privileges_are_given_and_taken_letter_by_letter() {
        let mut acl = vec!["chronos=arwdDxt/chronos".to_owned()];
        change(&mut acl, "ann", &['w', 'r'], "chronos", &grant(true, false)).unwrap();
        change(&mut acl, "", &['r'], "chronos", &grant(true, false)).unwrap();
        assert_eq!(acl[1..], ["ann=rw/chronos", "=r/chronos"]);
        change(&mut acl, "ann", &['r'], "chronos", &grant(true, true)).unwrap();
        assert_eq!(acl[1], "ann=r*w/chronos");
        change(&mut acl, "ann", &['r'], "chronos", &grant(false, true)).unwrap();
        change(&mut acl, "ann", &['w'], "chronos", &grant(false, false)).unwrap();
        change(&mut acl, "", &['r'], "chronos", &grant(false, false)).unwrap();
        assert_eq!(acl[1..], ["ann=r/chronos"]);
        assert!(change(&mut acl, "", &['r'], "chronos", &grant(true, true)).is_err());
    }
}
