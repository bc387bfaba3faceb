//! Functions that tell of the session and the node.

use chronos_catalog::TEMPORARY_PREFIX;
use datafusion::common::Result;

use super::function::{Definition, Nulls, Returns, text};
use crate::error::Error;
use crate::system_tables::catalog::SystemCatalog;
use crate::system_tables::rows::Cell;

type Body = fn(&SystemCatalog, &[Cell]) -> Result<Cell>;

const fn f(name: &'static str, args: usize, returns: Returns, body: Body) -> Definition {
    Definition { name, min_args: args, max_args: args, returns, nulls: Nulls::Strict, body }
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("current_database", 0, Returns::Name, |c, _| Ok(c.session.database().into())),
    f("current_catalog", 0, Returns::Name, |c, _| Ok(c.session.database().into())),
    f("current_user", 0, Returns::Name, |c, _| Ok(c.session.user().into())),
    f("current_role", 0, Returns::Name, |c, _| Ok(c.session.user().into())),
    f("user", 0, Returns::Name, |c, _| Ok(c.session.user().into())),
    f("session_user", 0, Returns::Name, |c, _| Ok(c.session.session_user().into())),
    f("pg_backend_pid", 0, Returns::Int4, |c, _| Ok(c.session.pid().into())),
    f("version", 0, Returns::Text, |c, _| Ok(c.session.version().into())),
    f("current_schema", 0, Returns::Name, |c, _| {
        let path = c.session.search_path();
        let named = |s: &String| !s.starts_with(TEMPORARY_PREFIX) && c.schema_oid(s).is_some();
        Ok(path.into_iter().find(named).into())
    }),
    f("current_schemas", 1, Returns::NameList, |c, args| {
        let mut path = c.session.search_path();
        path.retain(|s| !s.starts_with(TEMPORARY_PREFIX) && c.schema_oid(s).is_some());
        Ok(if args[0] == Cell::Bool(true) { c.effective_path() } else { path }.into())
    }),
    Definition {
        name: "current_setting",
        min_args: 1,
        max_args: 2,
        returns: Returns::Text,
        nulls: Nulls::Strict,
        body: |c, args| {
            let name = text(&args[0]);
            let setting =
                c.session.settings().into_iter().find(|s| s.name.eq_ignore_ascii_case(name));
            match setting {
                Some(setting) => Ok(setting.value.into()),
                None if args.get(1) == Some(&Cell::Bool(true)) => Ok(Cell::Null),
                None => {
                    let message = format!("unrecognized configuration parameter \"{name}\"");
                    Err(Error::postgres("42704", message).into())
                }
            }
        },
    },
    f("pg_is_in_recovery", 0, Returns::Bool, |_, _| Ok(false.into())),
    f("pg_is_wal_replay_paused", 0, Returns::Bool, |_, _| Ok(false.into())),
    f("pg_postmaster_start_time", 0, Returns::Timestamptz, |c, _| {
        Ok(c.session.server_start().into())
    }),
    f("pg_conf_load_time", 0, Returns::Timestamptz, |c, _| Ok(c.session.server_start().into())),
    f("pg_my_temp_schema", 0, Returns::Oid, |c, _| Ok(c.temporary_schema().unwrap_or(0).into())),
    f("pg_is_other_temp_schema", 1, Returns::Bool, |_, _| Ok(false.into())),
    f("pg_client_encoding", 0, Returns::Name, |_, _| Ok("UTF8".into())),
    f("getdatabaseencoding", 0, Returns::Name, |_, _| Ok("UTF8".into())),
    f("pg_encoding_to_char", 1, Returns::Name, |_, args| {
        Ok(match args[0] {
            Cell::Int(6) => "UTF8",
            Cell::Int(0) => "SQL_ASCII",
            _ => "",
        }
        .into())
    }),
    f("pg_char_to_encoding", 1, Returns::Int4, |_, args| {
        let name = text(&args[0]).to_uppercase().replace('-', "");
        Ok(match name.as_str() {
            "UTF8" | "UNICODE" => 6,
            "SQL_ASCII" | "SQLASCII" => 0,
            _ => -1,
        }
        .into())
    }),
    f("pg_tablespace_location", 1, Returns::Text, |_, _| Ok("".into())),
    f("pg_blocking_pids", 1, Returns::Int4List, |_, _| Ok(Cell::List(Vec::new()))),
    f("inet_server_addr", 0, Returns::Text, |_, _| Ok(Cell::Null)),
    f("inet_server_port", 0, Returns::Int4, |_, _| Ok(Cell::Null)),
    f("inet_client_addr", 0, Returns::Text, |c, _| {
        let own = c.session.pid();
        let activity = c.session.activity();
        Ok(activity.into_iter().find(|a| a.pid == own).and_then(|a| a.client_address).into())
    }),
    f("inet_client_port", 0, Returns::Int4, |c, _| {
        let own = c.session.pid();
        let activity = c.session.activity();
        Ok(activity.into_iter().find(|a| a.pid == own).and_then(|a| a.client_port).into())
    }),
];
