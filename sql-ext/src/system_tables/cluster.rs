//! Schemas, roles, databases, settings and sessions.

use chronos_catalog::{NameKind, Oid, Relation};

use super::catalog::SystemCatalog;
use super::relations::acl;
use super::rows::{Cell, Rows};
use super::static_rows::namespace_oid;

/// The identifier of the database, as of PostgreSQL's `postgres`.
pub(crate) const DATABASE: u32 = 16_384;

/// What the database is also called, and its number under that name.
const MAINTENANCE: (&str, u32) = ("postgres", 5);

/// The number of a database, by its name.
pub(crate) fn database_oid(name: &str) -> u32 {
    if name == MAINTENANCE.0 { MAINTENANCE.1 } else { DATABASE }
}

/// The names of the database: its own, and that which tools connect to by default.
fn databases(c: &SystemCatalog) -> [(u32, String); 2] {
    let current = c.session.database();
    let own = if current == MAINTENANCE.0 { "chronos".to_owned() } else { current };
    [(DATABASE, own), (MAINTENANCE.1, MAINTENANCE.0.to_owned())]
}

/// The schemas: identifier, name, owner and access list.
pub(crate) fn namespaces(c: &SystemCatalog) -> Vec<(u32, String, u32, Vec<String>)> {
    let mut all: Vec<_> = ["pg_catalog", "information_schema", "chronos", "pg_toast"]
        .into_iter()
        .map(|n| (namespace_oid(n), n.to_owned(), Oid::SUPERUSER.0, Vec::new()))
        .collect();
    for (oid, object) in c.objects.iter(c.at) {
        if object.relation.name_kind() == NameKind::Schema
            && !all.iter().any(|(_, name, ..)| *name == object.name)
        {
            let mut acl = object.acl.clone();
            if oid == Oid::PUBLIC && acl.is_empty() {
                // What PostgreSQL shows of it too: everybody may use it.
                let owner = c.objects.get(object.owner, c.at).map_or("", |o| o.name.as_str());
                acl = vec![format!("{owner}=UC/{owner}"), format!("=U/{owner}")];
            }
            all.push((oid.0, object.name.clone(), object.owner.0, acl));
        }
    }
    all
}

pub(crate) fn pg_namespace(c: &SystemCatalog, rows: &mut Rows) {
    for (oid, name, owner, grants) in namespaces(c) {
        rows.push([
            ("oid", oid.into()),
            ("nspname", name.into()),
            ("nspowner", owner.into()),
            ("nspacl", acl(&grants)),
        ]);
    }
}

pub(crate) fn pg_database(c: &SystemCatalog, rows: &mut Rows) {
    for (oid, name) in databases(c) {
        rows.push([
            ("oid", oid.into()),
            ("datname", name.into()),
            ("datdba", Oid::SUPERUSER.into()),
            ("encoding", 6.into()),
            ("datlocprovider", "c".into()),
            ("datallowconn", true.into()),
            ("datconnlimit", (-1).into()),
            ("dattablespace", 1663.into()),
            ("datcollate", "C.UTF-8".into()),
            ("datctype", "C.UTF-8".into()),
        ]);
    }
}

pub(crate) fn pg_tablespace(_: &SystemCatalog, rows: &mut Rows) {
    for (oid, name) in [(1663, "pg_default"), (1664, "pg_global")] {
        rows.push([
            ("oid", oid.into()),
            ("spcname", name.into()),
            ("spcowner", Oid::SUPERUSER.into()),
        ]);
    }
}

/// Rows of `pg_authid`, `pg_roles`, `pg_user`, `pg_shadow` and `pg_group`: they differ in names
/// and in who is shown.
pub(crate) fn roles(c: &SystemCatalog, rows: &mut Rows, only_login: Option<bool>) {
    for (oid, object) in c.objects.iter(c.at) {
        let Relation::Role { login, superuser, attributes, verifier, .. } = &object.relation else {
            continue;
        };
        let config: Vec<String> = attributes
            .iter()
            .filter_map(|(key, value)| Some(format!("{}={value}", key.strip_prefix("set.")?)))
            .collect();
        let config: Cell = if config.is_empty() { Cell::Null } else { config.into() };
        let until = attributes.get("valid_until").and_then(|text| text.parse::<i64>().ok());
        if only_login.is_some_and(|wanted| wanted != *login) {
            continue;
        }
        let bootstrap = oid == Oid::SUPERUSER;
        let flag = |name: &str, default: bool| {
            attributes.get(name).map_or(default, |v| v.eq_ignore_ascii_case("true") || v == "1")
        };
        let limit: i32 =
            attributes.get("connection_limit").and_then(|v| v.parse().ok()).unwrap_or(-1);
        let members: Vec<Oid> = c
            .objects
            .iter(c.at)
            .filter(|(_, o)| {
                matches!(&o.relation, Relation::Role { member_of, .. } if member_of.contains(&oid))
            })
            .map(|(member, _)| member)
            .collect();
        let hidden: Cell = verifier.as_ref().map(|_| "********").into();
        rows.push([
            ("oid", oid.into()),
            ("rolname", object.name.as_str().into()),
            ("rolsuper", (*superuser).into()),
            ("rolinherit", flag("inherit", true).into()),
            ("rolcreaterole", flag("createrole", bootstrap).into()),
            ("rolcreatedb", flag("createdb", bootstrap).into()),
            ("rolcanlogin", (*login).into()),
            ("rolreplication", flag("replication", bootstrap).into()),
            ("rolbypassrls", flag("bypassrls", bootstrap).into()),
            ("rolconnlimit", limit.into()),
            ("rolpassword", "********".into()),
            ("rolvaliduntil", until.into()),
            ("valuntil", until.into()),
            ("rolconfig", config.clone()),
            ("useconfig", config),
            ("usename", object.name.as_str().into()),
            ("usesysid", oid.into()),
            ("usecreatedb", flag("createdb", bootstrap).into()),
            ("usesuper", (*superuser).into()),
            ("userepl", flag("replication", bootstrap).into()),
            ("usebypassrls", flag("bypassrls", bootstrap).into()),
            ("passwd", hidden),
            ("groname", object.name.as_str().into()),
            ("grosysid", oid.into()),
            ("grolist", members.into()),
        ]);
    }
}

pub(crate) fn pg_auth_members(c: &SystemCatalog, rows: &mut Rows) {
    for (oid, object) in c.objects.iter(c.at) {
        if let Relation::Role { member_of, admin_of, .. } = &object.relation {
            for group in member_of {
                rows.push([
                    ("roleid", (*group).into()),
                    ("member", oid.into()),
                    ("grantor", Oid::SUPERUSER.into()),
                    ("admin_option", admin_of.contains(group).into()),
                ]);
            }
        }
    }
}

/// The identifier of the first default access list. They have none of their own; these collide
/// with no object, for they lie in the upper half.
const DEFAULT_ACL: u32 = 0x8000_0000;

pub(crate) fn pg_default_acl(c: &SystemCatalog, rows: &mut Rows) {
    let mut next = DEFAULT_ACL;
    for (oid, object) in c.objects.iter(c.at) {
        let Relation::Role { default_acls, .. } = &object.relation else { continue };
        for (key, list) in default_acls {
            let (kind, namespace) = key.split_at(1);
            rows.push([
                ("oid", next.into()),
                ("defaclrole", oid.into()),
                ("defaclnamespace", namespace.parse::<u32>().unwrap_or(0).into()),
                ("defaclobjtype", kind.into()),
                ("defaclacl", acl(list)),
            ]);
            next += 1;
        }
    }
}

pub(crate) fn pg_hba_file_rules(c: &SystemCatalog, rows: &mut Rows) {
    for (line, rule) in (1..).zip(c.session.access_rules()) {
        rows.push([
            ("line_number", Cell::Int(line)),
            ("type", rule.kind.into()),
            ("database", rule.databases.into()),
            ("user_name", rule.users.into()),
            ("address", rule.address.into()),
            ("netmask", rule.mask.into()),
            ("auth_method", rule.method.into()),
            ("options", if rule.options.is_empty() { Cell::Null } else { rule.options.into() }),
        ]);
    }
}

pub(crate) fn pg_settings(c: &SystemCatalog, rows: &mut Rows) {
    for s in c.session.settings() {
        rows.push([
            ("name", s.name.into()),
            ("setting", s.value.as_str().into()),
            ("unit", s.unit.into()),
            ("category", "Chronos".into()),
            ("short_desc", s.description.into()),
            ("context", s.context.into()),
            ("vartype", s.kind.into()),
            ("source", if s.value == s.default { "default" } else { "session" }.into()),
            ("boot_val", s.default.as_str().into()),
            ("reset_val", s.default.into()),
            ("pending_restart", false.into()),
        ]);
    }
}

pub(crate) fn pg_stat_activity(c: &SystemCatalog, rows: &mut Rows) {
    for a in c.session.activity() {
        // Of the sessions of others one may see no more than that they are there.
        let shown = !a.state.is_empty();
        let started: Cell = if shown { a.session_start.into() } else { Cell::Null };
        let state: Cell = if shown { a.state.into() } else { Cell::Null };
        rows.push([
            ("datid", database_oid(&a.database).into()),
            ("datname", a.database.into()),
            ("pid", a.pid.into()),
            ("usesysid", c.role_oid(&a.user).into()),
            ("usename", a.user.into()),
            ("application_name", a.application_name.into()),
            ("client_addr", a.client_address.into()),
            ("client_port", a.client_port.into()),
            ("backend_start", started),
            ("xact_start", a.transaction_start.into()),
            ("query_start", a.query_start.into()),
            ("state_change", a.query_start.into()),
            ("state", state),
            ("query", a.query.into()),
            ("backend_type", "client backend".into()),
        ]);
    }
}

pub(crate) fn pg_prepared_statements(c: &SystemCatalog, rows: &mut Rows) {
    for statement in c.session.prepared_statements() {
        rows.push([
            ("name", statement.name.into()),
            ("statement", statement.statement.into()),
            ("prepare_time", statement.prepared_at.into()),
            ("parameter_types", statement.parameter_types.into()),
            ("from_sql", statement.from_sql.into()),
        ]);
    }
}

pub(crate) fn pg_timezone_names(rows: &mut Rows) {
    use chrono::{Offset, TimeZone, Utc};
    let now = Utc::now().naive_utc();
    for zone in chrono_tz::TZ_VARIANTS {
        let offset = zone.offset_from_utc_datetime(&now);
        rows.push([
            ("name", zone.name().into()),
            ("abbrev", offset.to_string().into()),
            ("utc_offset", (i64::from(offset.fix().local_minus_utc()) * 1_000_000).into()),
            ("is_dst", (!chrono_tz::OffsetComponents::dst_offset(&offset).is_zero()).into()),
        ]);
    }
}
