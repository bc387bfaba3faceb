//! The roles that every database has. Their privileges are known by their identifiers, which are
//! PostgreSQL's.

use std::collections::BTreeMap;

use crate::ids::Oid;
use crate::schema::{Object, Relation};

/// Reads all tables, views and sequences.
pub const READ_ALL_DATA: Oid = Oid(6181);
/// Writes all tables.
pub const WRITE_ALL_DATA: Oid = Oid(6182);
/// Sees what is otherwise for superusers to see: activity, settings, statistics.
pub const MONITOR: Oid = Oid(3373);
/// Sees the statements of others.
pub const READ_ALL_STATS: Oid = Oid(3375);
/// Stops the statements of others, and ends their sessions.
pub const SIGNAL_BACKEND: Oid = Oid(4200);

const READ_ALL_SETTINGS: Oid = Oid(3374);
const STAT_SCAN_TABLES: Oid = Oid(3377);

/// Identifier, name, and the roles that it is a member of.
pub(crate) const PREDEFINED: &[(Oid, &str, &[Oid])] = &[
    (MONITOR, "pg_monitor", &[READ_ALL_SETTINGS, READ_ALL_STATS, STAT_SCAN_TABLES]),
    (READ_ALL_SETTINGS, "pg_read_all_settings", &[]),
    (READ_ALL_STATS, "pg_read_all_stats", &[]),
    (STAT_SCAN_TABLES, "pg_stat_scan_tables", &[]),
    (SIGNAL_BACKEND, "pg_signal_backend", &[]),
    (Oid(4544), "pg_checkpoint", &[]),
    (Oid(4569), "pg_read_server_files", &[]),
    (Oid(4570), "pg_write_server_files", &[]),
    (Oid(4571), "pg_execute_server_program", &[]),
    (Oid(6171), "pg_database_owner", &[]),
    (READ_ALL_DATA, "pg_read_all_data", &[]),
    (WRITE_ALL_DATA, "pg_write_all_data", &[]),
];

/// A role that every database has.
pub(crate) fn predefined(name: &str, groups: &[Oid]) -> Object {
    Object {
        name: name.to_owned(),
        namespace: None,
        owner: Oid::SUPERUSER,
        comments: BTreeMap::new(),
        acl: Vec::new(),
        column_acl: BTreeMap::new(),
        row_security: crate::schema::RowSecurity::default(),
        relation: Relation::Role {
            login: false,
            superuser: false,
            attributes: BTreeMap::new(),
            verifier: None,
            member_of: groups.to_vec(),
            admin_of: Vec::new(),
            default_acls: BTreeMap::new(),
        },
    }
}
