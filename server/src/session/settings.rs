//! The session's settings (PostgreSQL's "configuration parameters"), with PostgreSQL 15's
//! defaults.
//!
//! Invariants:
//! - A setting that was changed in a transaction block is what it was before after ROLLBACK.
//! - Names are kept in PostgreSQL's spelling and found whatever their case.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use chronos_sql_ext::system_tables::Setting;

use super::facts::Facts;
use crate::error::{PgError, PgResult, Severity};

/// The version that clients are told: they gate features on it.
pub const SERVER_VERSION: &str = "15.8";
/// The same as one number.
pub const SERVER_VERSION_NUM: &str = "150008";
/// The answer of `version()`.
pub const VERSION_TEXT: &str =
    concat!("PostgreSQL 15.8 (Chronos ", env!("CARGO_PKG_VERSION"), ") on x86_64-pc-linux-gnu");

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Bool,
    /// Least, greatest, unit (`""`, `"ms"`, `"kB"`).
    Int(i64, i64, &'static str),
    Real(f64, f64),
    Enum(&'static [&'static str]),
    Text,
    TimeZone,
    /// An instant to read at, or nothing.
    Instant,
}

/// One setting that the server knows.
#[derive(Debug)]
struct Definition {
    name: &'static str,
    kind: Kind,
    default: &'static str,
    /// Can only be told, not set.
    read_only: bool,
}

const fn setting(name: &'static str, kind: Kind, default: &'static str) -> Definition {
    Definition { name, kind, default, read_only: false }
}

const fn fixed(name: &'static str, default: &'static str) -> Definition {
    Definition { name, kind: Kind::Text, default, read_only: true }
}

const ISOLATION: &[&str] =
    &["serializable", "repeatable read", "read committed", "read uncommitted"];
const MESSAGES: &[&str] =
    &["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"];
const INT_MAX: i64 = i32::MAX as i64;

/// Every setting, in the order of SHOW ALL.
const DEFINITIONS: &[Definition] = &[
    setting("application_name", Kind::Text, ""),
    setting("array_nulls", Kind::Bool, "on"),
    fixed("block_size", "8192"),
    setting("bytea_output", Kind::Enum(&["hex", "escape"]), "hex"),
    setting("check_function_bodies", Kind::Bool, "on"),
    setting("chronos.actor", Kind::Text, ""),
    setting("chronos.as_of", Kind::Instant, ""),
    setting("chronos.as_of_schema", Kind::Enum(&["then", "current"]), "then"),
    setting("chronos.function_id", Kind::Text, ""),
    setting("chronos.reason", Kind::Text, ""),
    setting("client_encoding", Kind::Text, "UTF8"),
    setting("client_min_messages", Kind::Enum(MESSAGES), "notice"),
    setting("constraint_exclusion", Kind::Enum(&["partition", "on", "off"]), "partition"),
    setting("cursor_tuple_fraction", Kind::Real(0.0, 1.0), "0.1"),
    setting("DateStyle", Kind::Text, "ISO, MDY"),
    setting("deadlock_timeout", Kind::Int(1, INT_MAX, "ms"), "1000"),
    setting("default_statistics_target", Kind::Int(1, 10000, ""), "100"),
    setting("default_table_access_method", Kind::Text, "heap"),
    setting("default_tablespace", Kind::Text, ""),
    setting("default_text_search_config", Kind::Text, "pg_catalog.english"),
    setting("default_transaction_deferrable", Kind::Bool, "off"),
    setting("default_transaction_isolation", Kind::Enum(ISOLATION), "repeatable read"),
    setting("default_transaction_read_only", Kind::Bool, "off"),
    setting("effective_cache_size", Kind::Int(1, INT_MAX, "8kB"), "524288"),
    setting("enable_bitmapscan", Kind::Bool, "on"),
    setting("enable_hashagg", Kind::Bool, "on"),
    setting("enable_hashjoin", Kind::Bool, "on"),
    setting("enable_indexonlyscan", Kind::Bool, "on"),
    setting("enable_indexscan", Kind::Bool, "on"),
    setting("enable_material", Kind::Bool, "on"),
    setting("enable_mergejoin", Kind::Bool, "on"),
    setting("enable_nestloop", Kind::Bool, "on"),
    setting("enable_seqscan", Kind::Bool, "on"),
    setting("enable_sort", Kind::Bool, "on"),
    setting("escape_string_warning", Kind::Bool, "on"),
    setting("extra_float_digits", Kind::Int(-15, 3, ""), "1"),
    setting("force_parallel_mode", Kind::Enum(&["off", "on", "regress"]), "off"),
    setting("from_collapse_limit", Kind::Int(1, INT_MAX, ""), "8"),
    fixed("fsync", "on"),
    fixed("full_page_writes", "on"),
    setting("geqo", Kind::Bool, "on"),
    setting("gin_fuzzy_search_limit", Kind::Int(0, INT_MAX, ""), "0"),
    setting("idle_in_transaction_session_timeout", Kind::Int(0, INT_MAX, "ms"), "0"),
    setting("idle_session_timeout", Kind::Int(0, INT_MAX, "ms"), "0"),
    fixed("in_hot_standby", "off"),
    fixed("integer_datetimes", "on"),
    setting(
        "IntervalStyle",
        Kind::Enum(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]),
        "postgres",
    ),
    fixed("is_superuser", "on"),
    setting("jit", Kind::Bool, "on"),
    setting("join_collapse_limit", Kind::Int(1, INT_MAX, ""), "8"),
    fixed("lc_collate", "C.UTF-8"),
    fixed("lc_ctype", "C.UTF-8"),
    setting("lc_messages", Kind::Text, "C.UTF-8"),
    setting("lc_monetary", Kind::Text, "C.UTF-8"),
    setting("lc_numeric", Kind::Text, "C.UTF-8"),
    setting("lc_time", Kind::Text, "C.UTF-8"),
    fixed("listen_addresses", "localhost"),
    setting("lock_timeout", Kind::Int(0, INT_MAX, "ms"), "0"),
    setting("log_min_duration_statement", Kind::Int(-1, INT_MAX, "ms"), "-1"),
    setting("log_statement", Kind::Enum(&["none", "ddl", "mod", "all"]), "none"),
    setting("maintenance_work_mem", Kind::Int(1024, INT_MAX, "kB"), "65536"),
    fixed("max_connections", "100"),
    fixed("max_identifier_length", "63"),
    fixed("max_index_keys", "32"),
    setting("max_parallel_workers", Kind::Int(0, 1024, ""), "8"),
    setting("max_parallel_workers_per_gather", Kind::Int(0, 1024, ""), "2"),
    setting("password_encryption", Kind::Enum(&["scram-sha-256", "md5"]), "scram-sha-256"),
    setting(
        "plan_cache_mode",
        Kind::Enum(&["auto", "force_generic_plan", "force_custom_plan"]),
        "auto",
    ),
    fixed("port", "5432"),
    setting("quote_all_identifiers", Kind::Bool, "off"),
    setting("random_page_cost", Kind::Real(0.0, f64::MAX), "4"),
    setting("row_security", Kind::Bool, "on"),
    setting("search_path", Kind::Text, "\"$user\", public"),
    setting("seq_page_cost", Kind::Real(0.0, f64::MAX), "1"),
    fixed("server_encoding", "UTF8"),
    fixed("server_version", SERVER_VERSION),
    fixed("server_version_num", SERVER_VERSION_NUM),
    setting("session_replication_role", Kind::Enum(&["origin", "replica", "local"]), "origin"),
    fixed("shared_buffers", "16384"),
    fixed("ssl", "off"),
    setting("standard_conforming_strings", Kind::Enum(&["on"]), "on"),
    setting("statement_timeout", Kind::Int(0, INT_MAX, "ms"), "0"),
    fixed("superuser_reserved_connections", "3"),
    setting("synchronize_seqscans", Kind::Bool, "on"),
    setting(
        "synchronous_commit",
        Kind::Enum(&["local", "remote_write", "remote_apply", "on", "off"]),
        "on",
    ),
    setting("tcp_keepalives_count", Kind::Int(0, INT_MAX, ""), "0"),
    setting("tcp_keepalives_idle", Kind::Int(0, INT_MAX, ""), "0"),
    setting("tcp_keepalives_interval", Kind::Int(0, INT_MAX, ""), "0"),
    setting("temp_buffers", Kind::Int(100, INT_MAX, "8kB"), "1024"),
    setting("TimeZone", Kind::TimeZone, "UTC"),
    setting("transaction_deferrable", Kind::Bool, "off"),
    setting("transaction_isolation", Kind::Enum(ISOLATION), "repeatable read"),
    setting("transaction_read_only", Kind::Bool, "off"),
    setting("vacuum_cost_delay", Kind::Int(0, 100, "ms"), "0"),
    fixed("wal_level", "logical"),
    setting("work_mem", Kind::Int(64, INT_MAX, "kB"), "4096"),
    setting("xmlbinary", Kind::Enum(&["base64", "hex"]), "base64"),
    setting("xmloption", Kind::Enum(&["content", "document"]), "content"),
];

/// The settings that ParameterStatus reports.
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "standard_conforming_strings",
    "TimeZone",
];

/// The settings that say who the session is.
const IDENTITY: [&str; 2] = ["role", "session_authorization"];

/// How long a new value holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// SET, SET SESSION
    Session,
    /// SET LOCAL: to the end of the transaction.
    Local,
}

/// A session's settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What RESET goes back to where it is not the server's default: the connection's options.
    startup: BTreeMap<String, String>,
    session: BTreeMap<String, String>,
    local: BTreeMap<String, String>,
    /// Emptied by every change.
    facts: OnceLock<Arc<Facts>>,
}

fn definition(name: &str) -> Option<&'static Definition> {
    let name = match name.to_ascii_lowercase().as_str() {
        "time zone" => return definition("TimeZone"),
        other => other.to_owned(),
    };
    DEFINITIONS.iter().find(|d| d.name.eq_ignore_ascii_case(&name))
}

/// The name under which a value is kept: the server's spelling, or that of an extension's
/// setting (with a dot), which need not be known.
fn canonical(name: &str) -> PgResult<String> {
    if let Some(d) = definition(name) {
        return Ok(d.name.to_owned());
    }
    // Settings of our own are all known; those of others are placeholders, as in PostgreSQL.
    let lower = name.to_ascii_lowercase();
    if lower.contains('.') && !lower.starts_with("chronos.") {
        return Ok(lower);
    }
    Err(PgError::new("42704", format!("unrecognized configuration parameter \"{name}\"")))
}

fn invalid(name: &str, value: &str) -> PgError {
    PgError::new("22023", format!("invalid value for parameter \"{name}\": \"{value}\""))
}

/// Whether a client that wants messages from this level on (`client_min_messages`) is told a
/// notice or warning.
pub(super) fn is_told(notice: &PgError, least: &str) -> bool {
    match least {
        "error" => !matches!(notice.severity, Severity::Warning | Severity::Notice),
        "warning" => notice.severity != Severity::Notice,
        _ => true,
    }
}

/// Reads a boolean as PostgreSQL does: any unambiguous beginning of the words.
pub fn parse_bool(value: &str) -> Option<bool> {
    let v = value.trim().to_ascii_lowercase();
    let starts = |word: &str, least: usize| v.len() >= least && word.starts_with(&v);
    if v == "1" || starts("true", 1) || starts("yes", 1) || starts("on", 2) {
        Some(true)
    } else if v == "0" || starts("false", 1) || starts("no", 1) || starts("off", 2) {
        Some(false)
    } else {
        None
    }
}

/// Reads a time zone: a name of the IANA database whatever its case, or a whole number of hours.
pub fn parse_time_zone(value: &str) -> Option<chrono_tz::Tz> {
    let v = value.trim();
    if let Ok(zone) = v.parse() {
        return Some(zone);
    }
    if let Some(zone) = chrono_tz::TZ_VARIANTS.iter().find(|z| z.name().eq_ignore_ascii_case(v)) {
        return Some(*zone);
    }
    if v.eq_ignore_ascii_case("local") || v.eq_ignore_ascii_case("default") {
        return Some(chrono_tz::UTC);
    }
    // Hours east of Greenwich; the names of the Etc area count westwards.
    let hours: i32 = v.parse().ok()?;
    if hours == 0 {
        return Some(chrono_tz::UTC);
    }
    format!("Etc/GMT{}{}", if hours > 0 { '-' } else { '+' }, hours.abs()).parse().ok()
}

/// Units of a setting's values, largest first, in multiples of the unit it is kept in.
fn units(unit: &str) -> &'static [(&'static str, f64)] {
    match unit {
        "ms" => &[
            ("d", 86_400_000.0),
            ("h", 3_600_000.0),
            ("min", 60_000.0),
            ("s", 1000.0),
            ("ms", 1.0),
            ("us", 0.001),
        ],
        "kB" => &[
            ("TB", 1_073_741_824.0),
            ("GB", 1_048_576.0),
            ("MB", 1024.0),
            ("kB", 1.0),
            ("B", 1.0 / 1024.0),
        ],
        "8kB" => &[
            ("TB", 134_217_728.0),
            ("GB", 131_072.0),
            ("MB", 128.0),
            ("kB", 0.125),
            ("B", 1.0 / 8192.0),
        ],
        _ => &[],
    }
}

fn parse_int(name: &str, value: &str, (min, max, unit): (i64, i64, &str)) -> PgResult<i64> {
    let v = value.trim();
    let digits = v.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(v.len());
    let number: f64 = v[..digits].trim().parse().map_err(|_| invalid(name, value))?;
    let suffix = v[digits..].trim();
    let factor = match suffix {
        "" => 1.0,
        s => units(unit).iter().find(|(u, _)| *u == s).map(|(_, f)| *f).ok_or_else(|| {
            let known: Vec<_> = units(unit).iter().rev().map(|(u, _)| format!("\"{u}\"")).collect();
            let error = invalid(name, value);
            if known.is_empty() {
                error
            } else {
                error.hint(format!("Valid units for this parameter are {}.", known.join(", ")))
            }
        })?,
    };
    let n = (number * factor).round();
    if n < min as f64 || n > max as f64 {
        let message =
            format!("{v} is outside the valid range for parameter \"{name}\" ({min} .. {max})");
        return Err(PgError::new("22023", message));
    }
    Ok(n as i64)
}

fn normalize(d: &Definition, value: &str) -> PgResult<String> {
    Ok(match d.kind {
        Kind::Bool => {
            let b = parse_bool(value).ok_or_else(|| {
                PgError::new("22023", format!("parameter \"{}\" requires a Boolean value", d.name))
            })?;
            if b { "on" } else { "off" }.to_owned()
        }
        Kind::Int(min, max, unit) => parse_int(d.name, value, (min, max, unit))?.to_string(),
        Kind::Real(min, max) => {
            let n: f64 = value.trim().parse().map_err(|_| invalid(d.name, value))?;
            if n < min || n > max {
                return Err(invalid(d.name, value));
            }
            n.to_string()
        }
        Kind::Enum(values) => {
            let lower = value.trim().to_ascii_lowercase();
            match values.iter().find(|v| **v == lower) {
                Some(v) => (*v).to_owned(),
                // Booleans are taken by `on`/`off` enumerations.
                None => match parse_bool(&lower) {
                    Some(true) if values.contains(&"on") => "on".to_owned(),
                    Some(false) if values.contains(&"off") => "off".to_owned(),
                    _ => {
                        let hint = format!("Available values: {}.", values.join(", "));
                        return Err(invalid(d.name, value).hint(hint));
                    }
                },
            }
        }
        Kind::TimeZone => parse_time_zone(value)
            .map(|z| z.name().to_owned())
            .ok_or_else(|| invalid(d.name, value))?,
        Kind::Text if d.name == "client_encoding" => {
            let v: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            if !v.eq_ignore_ascii_case("utf8") && !v.eq_ignore_ascii_case("unicode") {
                return Err(PgError::new(
                    "22023",
                    format!("client encoding \"{value}\" is not supported; use UTF8"),
                ));
            }
            "UTF8".to_owned()
        }
        Kind::Text if d.name == "DateStyle" => {
            let mut order = "MDY";
            for part in value.split(',').map(|p| p.trim().to_ascii_lowercase()) {
                match part.as_str() {
                    "iso" | "" => {}
                    "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY",
                    "dmy" | "euro" | "european" => order = "DMY",
                    "ymd" => order = "YMD",
                    "default" => order = "MDY",
                    "sql" | "postgres" | "german" => {
                        return Err(PgError::unsupported(format!("DateStyle \"{value}\"")));
                    }
                    _ => return Err(invalid(d.name, value)),
                }
            }
            format!("ISO, {order}")
        }
        Kind::Text | Kind::Instant => value.to_owned(),
    })
}

impl Settings {
    /// The settings of a new session, with what the connection asked for.
    pub fn new(options: impl IntoIterator<Item = (String, String)>) -> PgResult<Self> {
        let mut settings = Settings::default();
        for (name, value) in options {
            let (name, value) = Self::checked(&name, &value)?;
            settings.startup.insert(name, value);
        }
        Ok(settings)
    }

    fn checked(name: &str, value: &str) -> PgResult<(String, String)> {
        if IDENTITY.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            let what = format!("setting \"{name}\" this way");
            return Err(
                PgError::unsupported(what).hint("Use SET ROLE or SET SESSION AUTHORIZATION.")
            );
        }
        let key = canonical(name)?;
        let value = match definition(name) {
            Some(d) if d.read_only => {
                let message = format!("parameter \"{}\" cannot be changed", d.name);
                return Err(PgError::new("55P02", message));
            }
            Some(d) => normalize(d, value)?,
            None => value.to_owned(),
        };
        Ok((key, value))
    }

    /// The role that `role` or `session_authorization` stands for, if it is not the one that the
    /// session began with.
    pub(super) fn identity(&self, name: &str) -> Option<String> {
        let given = self.local.get(name).or_else(|| self.session.get(name));
        given.filter(|role| !role.is_empty()).cloned()
    }

    /// Gives it another one; whoever calls has checked that it may be.
    pub(super) fn set_identity(&mut self, name: &str, role: Option<&str>, scope: Scope) {
        self.facts.take();
        let (key, value) = (name.to_owned(), role.unwrap_or_default().to_owned());
        match scope {
            Scope::Local => {
                self.local.insert(key, value);
            }
            Scope::Session => {
                self.local.remove(&key);
                self.session.insert(key, value);
            }
        }
    }

    /// Tells a session what a read-only setting is for it.
    pub(super) fn fix(&mut self, name: &str, value: &str) {
        self.facts.take();
        self.startup.insert(name.to_owned(), value.to_owned());
    }

    /// Gives a setting a value; `None` is its default.
    ///
    /// # Errors
    /// 42704 for an unknown setting, 22023 for a value it does not take, 55P02 for one that
    /// cannot be set.
    pub fn set(&mut self, name: &str, value: Option<&str>, scope: Scope) -> PgResult<()> {
        let (key, value) = match value {
            Some(value) => Self::checked(name, value)?,
            None => {
                let key = canonical(name)?;
                let value = self.reset_value(&key);
                (key, value)
            }
        };
        self.facts.take();
        match scope {
            Scope::Session => {
                self.local.remove(&key);
                self.session.insert(key, value);
            }
            Scope::Local => {
                self.local.insert(key, value);
            }
        }
        Ok(())
    }

    fn reset_value(&self, key: &str) -> String {
        match self.startup.get(key) {
            Some(value) => value.clone(),
            None => definition(key).map_or(String::new(), |d| d.default.to_owned()),
        }
    }

    /// RESET ALL.
    pub fn reset_all(&mut self) {
        self.facts.take();
        // Who one is does not belong to it.
        let identity = |name: &str| IDENTITY.contains(&name);
        self.session.retain(|name, _| identity(name));
        self.local.retain(|name, _| identity(name));
    }

    /// The transaction ended: what was LOCAL is no more.
    pub fn end_transaction(&mut self) {
        if !self.local.is_empty() {
            self.facts.take();
            self.local.clear();
        }
    }

    /// A setting's value as it is kept (numbers in the setting's unit).
    pub fn raw(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(value) => Some(value.to_owned()),
            None => self.value(&canonical(name).ok()?).map(str::to_owned),
        }
    }

    /// The same of a name in the server's spelling.
    fn value(&self, name: &str) -> Option<&str> {
        if let Some(value) = self.local.get(name) {
            return Some(value);
        }
        // Outside a transaction block the modes are those of the transaction to come.
        match name {
            "transaction_isolation" => return self.value("default_transaction_isolation"),
            "transaction_read_only" => return self.value("default_transaction_read_only"),
            "transaction_deferrable" => return self.value("default_transaction_deferrable"),
            _ => {}
        }
        if let Some(value) = self.session.get(name).or_else(|| self.startup.get(name)) {
            return Some(value);
        }
        DEFINITIONS.iter().find(|d| d.name == name).map(|d| d.default)
    }

    /// What follows from the settings as they are.
    pub(super) fn facts(&self) -> Arc<Facts> {
        Arc::clone(self.facts.get_or_init(|| Arc::new(Facts::of(self))))
    }

    /// The settings that are not the server's defaults.
    pub(super) fn changed(&self) -> BTreeMap<String, String> {
        let names = self.startup.keys().chain(self.session.keys()).chain(self.local.keys());
        let all = names.filter_map(|name| Some((name.clone(), self.value(name)?.to_owned())));
        let default = |name: &str| DEFINITIONS.iter().find(|d| d.name == name).map(|d| d.default);
        all.filter(|(name, value)| default(name) != Some(value.as_str())).collect()
    }

    /// A known setting's value as it is kept.
    pub fn known(&self, name: &str) -> String {
        self.raw(name).unwrap_or_default()
    }

    /// What SHOW answers.
    ///
    /// # Errors
    /// 42704 for an unknown setting.
    pub fn show(&self, name: &str) -> PgResult<String> {
        let value = self.raw(name).ok_or_else(|| {
            PgError::new("42704", format!("unrecognized configuration parameter \"{name}\""))
        })?;
        let Some(Definition { kind: Kind::Int(_, _, unit), .. }) = definition(name) else {
            return Ok(value);
        };
        let Ok(n) = value.parse::<i64>() else { return Ok(value) };
        if n <= 0 || unit.is_empty() {
            return Ok(value);
        }
        let fits = units(unit).iter().find(|(_, f)| {
            let whole = n as f64 / f;
            whole >= 1.0 && whole.fract() == 0.0
        });
        Ok(match fits {
            Some((name, factor)) => format!("{}{name}", n as f64 / factor),
            None => value,
        })
    }

    /// The name in the server's spelling, for the heading of SHOW.
    pub fn display_name(name: &str) -> String {
        definition(name).map_or_else(|| name.to_ascii_lowercase(), |d| d.name.to_owned())
    }

    /// Every setting with its value, for SHOW ALL.
    pub fn all(&self) -> Vec<(String, String)> {
        let known = DEFINITIONS.iter().map(|d| d.name.to_owned());
        let extra = self.session.keys().chain(self.local.keys()).chain(self.startup.keys());
        let mut names: Vec<String> =
            known.chain(extra.filter(|k| definition(k).is_none()).cloned()).collect();
        names.sort_by_key(|n| n.to_ascii_lowercase());
        names.dedup();
        names.into_iter().filter_map(|n| Some((n.clone(), self.show(&n).ok()?))).collect()
    }

    /// Every known setting, for `pg_settings`.
    pub(super) fn described(&self) -> Vec<Setting> {
        let row = |d: &Definition| {
            let (kind, unit) = match d.kind {
                Kind::Bool => ("bool", None),
                Kind::Int(_, _, unit) => ("integer", Some(unit).filter(|u| !u.is_empty())),
                Kind::Real(..) => ("real", None),
                Kind::Enum(_) => ("enum", None),
                Kind::Text | Kind::TimeZone | Kind::Instant => ("string", None),
            };
            Setting {
                name: d.name.to_owned(),
                value: self.known(d.name),
                default: self.reset_value(d.name),
                description: String::new(),
                kind,
                context: if d.read_only { "internal" } else { "user" },
                unit,
            }
        };
        DEFINITIONS.iter().map(row).collect()
    }

    /// The settings that ParameterStatus reports, with their values.
    pub fn reported(&self) -> BTreeMap<&'static str, String> {
        REPORTED.iter().map(|n| (*n, self.known(n))).collect()
    }

    /// Whether a boolean setting is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.known(name) == "on"
    }

    /// A limit of time, if it is set.
    pub fn milliseconds(&self, name: &str) -> Option<std::time::Duration> {
        let millis: u64 = self.known(name).parse().ok()?;
        (millis > 0).then(|| std::time::Duration::from_millis(millis))
    }

    /// A limit of time that is off by default; cheap where it is.
    pub fn timeout(&self, name: &str) -> Option<std::time::Duration> {
        let given = [&self.local, &self.session, &self.startup].into_iter();
        given.clone().any(|values| values.contains_key(name)).then(|| self.milliseconds(name))?
    }

    /// `TimeZone`.
    pub fn time_zone(&self) -> chrono_tz::Tz {
        parse_time_zone(&self.known("TimeZone")).unwrap_or(chrono_tz::UTC)
    }

    /// The schemas that unqualified names are looked up in, without the implicit `pg_catalog`.
    pub fn search_path(&self, user: &str) -> Vec<String> {
        let value = self.known("search_path");
        split_identifiers(&value)
            .into_iter()
            .filter_map(|s| match s.as_str() {
                // A schema of the system is nobody's own.
                "$user" if super::names::SYSTEM_SCHEMAS.contains(&user) => None,
                "$user" => Some(user.to_owned()),
                _ => Some(s),
            })
            .collect()
    }
}

/// Splits a list of identifiers: `"$user", Public` gives `$user` and `public`.
fn split_identifiers(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut chars = list.chars().peekable();
    let mut name = String::new();
    let mut quoted = false;
    let mut was_quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                name.push('"');
                chars.next();
            }
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => {
                if !name.is_empty() || was_quoted {
                    names.push(std::mem::take(&mut name));
                }
                was_quoted = false;
            }
            c if quoted => name.push(c),
            c if c.is_whitespace() => {}
            c => name.extend(c.to_lowercase()),
        }
    }
    if !name.is_empty() {
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_kept_in_the_settings_unit_and_shown_in_the_largest_that_fits() {
        let mut s = Settings::default();
        s.set("statement_timeout", Some("90s"), Scope::Session).unwrap();
        assert_eq!(s.known("statement_timeout"), "90000");
        assert_eq!(s.show("STATEMENT_TIMEOUT").unwrap(), "90s");
        assert_eq!(s.show("work_mem").unwrap(), "4MB");
        assert_eq!(s.show("effective_cache_size").unwrap(), "4GB");
    }

    #[test]
    fn an_unknown_setting_is_42704_but_one_of_an_extension_is_kept() {
        let mut s = Settings::default();
        assert_eq!(s.set("no_such", Some("1"), Scope::Session).unwrap_err().code, "42704");
        assert_eq!(s.set("chronos.no_such", Some("1"), Scope::Session).unwrap_err().code, "42704");
        s.set("my.thing", Some("1"), Scope::Session).unwrap();
        assert_eq!(s.show("My.Thing").unwrap(), "1");
    }

    #[test]
    fn a_local_value_ends_with_the_transaction() {
        let mut s = Settings::default();
        s.set("TimeZone", Some("europe/berlin"), Scope::Session).unwrap();
        s.set("TimeZone", Some("Asia/Tokyo"), Scope::Local).unwrap();
        assert_eq!(s.show("timezone").unwrap(), "Asia/Tokyo");
        s.end_transaction();
        assert_eq!(s.show("timezone").unwrap(), "Europe/Berlin");
    }

    #[test]
    fn reset_goes_back_to_what_the_connection_asked_for() {
        let options = [("search_path".to_owned(), "a, \"B\"".to_owned())];
        let mut s = Settings::new(options).unwrap();
        s.set("search_path", Some("c"), Scope::Session).unwrap();
        assert_eq!(s.search_path("u"), ["c"]);
        s.set("search_path", None, Scope::Session).unwrap();
        assert_eq!(s.search_path("u"), ["a", "B"]);
    }

    #[test]
    fn outside_a_block_the_modes_are_the_defaults() {
        let mut s = Settings::default();
        s.set("default_transaction_isolation", Some("serializable"), Scope::Session).unwrap();
        assert_eq!(s.show("transaction_isolation").unwrap(), "serializable");
        s.set("transaction_isolation", Some("read committed"), Scope::Local).unwrap();
        assert_eq!(s.show("transaction_isolation").unwrap(), "read committed");
    }

    #[test]
    fn a_user_named_like_a_system_schema_has_no_schema_of_that_name() {
        assert_eq!(Settings::default().search_path("chronos"), ["public"]);
        assert_eq!(Settings::default().search_path("ann"), ["ann", "public"]);
    }

    #[test]
    fn what_cannot_be_set_is_55p02() {
        let mut s = Settings::default();
        assert_eq!(s.set("server_version", Some("9"), Scope::Session).unwrap_err().code, "55P02");
    }
}
