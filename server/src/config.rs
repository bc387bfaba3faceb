//! Settings: a TOML file, the environment and flags, in rising precedence.
//!
//! One setting has one name everywhere: `flush_bytes` in the file, `CHRONOS_FLUSH_BYTES` in the
//! environment, `--flush-bytes` on the command line. An unknown name is an error that says where it stands. `config/chronos.toml` documents
//! each with its default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::auth::Secret;
use crate::auth::hba::Rules;
use crate::pgwire::tls::TlsFiles;

mod access;

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read configuration file \"{path}\": {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("configuration file \"{path}\" is malformed: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// There is no such setting.
    #[error("unknown setting \"{name}\" ({origin})")]
    Unknown {
        /// The name.
        name: String,
        /// The file, environment variable or flag.
        origin: String,
    },
    /// The value is not one.
    #[error("invalid value for setting \"{name}\" ({origin}): {reason}")]
    Invalid {
        /// The name.
        name: String,
        /// The file, environment variable or flag.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// What has no authentication would be open to a network.
    #[error(
        "refusing to listen on {address} ({setting}): there is no authentication, so only \
         loopback addresses such as 127.0.0.1 are allowed"
    )]
    OpenToNetwork {
        /// The address.
        address: SocketAddr,
        /// The flag's name.
        setting: &'static str,
    },
}

/// Settings by name, as text, with where each came from.
#[derive(Debug, Default)]
pub struct Overrides(Vec<(String, String, String)>);

impl Overrides {
    /// Adds a setting that stands in `origin`.
    pub fn set(&mut self, origin: &str, name: &str, value: &str) {
        self.0.push((origin.to_owned(), name.to_owned(), value.to_owned()));
    }

    /// The settings among environment variables: those that start with `CHRONOS_`.
    pub fn from_environment(vars: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut overrides = Overrides::default();
        for (key, value) in vars {
            let (Some(key), Some(value)) = (key.to_str(), value.to_str()) else { continue };
            if let Some(name) = key.strip_prefix("CHRONOS_") {
                overrides.set(key, &name.to_lowercase(), value);
            }
        }
        overrides
    }
}

/// Every setting of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the log, the snapshots and (without `store`) the segments live.
    pub data_dir: PathBuf,
    /// The address of the PostgreSQL protocol.
    pub listen: SocketAddr,
    /// The address of the HTTP endpoints; `None` for none.
    pub http: Option<SocketAddr>,
    /// Where segments live; `None` for `data_dir/store`.
    pub store: Option<String>,
    /// What is logged: a level or a filter.
    pub log_level: String,
    /// How many connections may be open at a time.
    pub connections_max: usize,
    /// How many of them only superusers may have.
    pub connections_reserved: usize,
    /// How long a client may take until it is connected.
    pub authentication_timeout: Duration,
    /// The longest message taken from a client, in bytes.
    pub message_bytes_max: usize,
    /// The certificate of the PostgreSQL protocol; `None` for no encryption.
    pub tls_cert_file: Option<PathBuf>,
    /// The certificate's private key.
    pub tls_key_file: Option<PathBuf>,
    /// The authorities of clients' certificates; `None` where none are asked for.
    pub tls_client_ca_file: Option<PathBuf>,
    /// The password of the role `chronos` as long as it has none.
    pub password: Secret,
    /// Who may connect from where, and how they prove who they are.
    pub hba: Rules,
    /// How many threads run statements; 0 for one a core.
    pub worker_threads: usize,
    /// Bytes of hot rows of one table from which on they are flushed.
    pub flush_bytes: u64,
    /// How long rows stay in memory before they are flushed.
    pub flush_interval: Duration,
    /// Bytes of hot rows of all tables at which writers wait for a flush.
    pub hot_bytes_max: u64,
    /// Rows of one transaction and table from which on they go to segments before the commit.
    pub bulk_rows: usize,
    /// Bytes of one transaction and table from which on they go to segments before the commit.
    pub bulk_bytes: usize,
    /// Bytes of the log since the last snapshot from which on another one is made.
    pub snapshot_log_bytes: u64,
    /// How often the node looks for segments to compact; zero for never.
    pub compaction_interval: Duration,
    /// How often expired rows (`ttl`) are ended; zero for never.
    pub ttl_interval: Duration,
    /// How far the hybrid clock may run ahead of the wall clock.
    pub clock_skew_max: Duration,
    /// Bytes that one session's queries may hold for sorts, joins and groups.
    pub query_bytes_max: usize,
    /// Bytes that those of all sessions may hold.
    pub queries_bytes_max: usize,
    /// Bytes of memory for decoded metadata, key files and row ends of cold segments.
    pub cache_bytes: usize,
    /// Bytes of local disk for copies of objects, where the store is no directory.
    pub disk_cache_bytes: u64,
    /// How long a stop waits for running statements.
    pub shutdown_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("./chronos-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 5432)),
            http: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
            store: None,
            log_level: "info".to_owned(),
            connections_max: 200,
            connections_reserved: 3,
            authentication_timeout: Duration::from_secs(60),
            message_bytes_max: 1 << 30,
            tls_cert_file: None,
            tls_key_file: None,
            tls_client_ca_file: None,
            password: Secret::default(),
            hba: Rules::default(),
            worker_threads: 0,
            flush_bytes: 64 << 20,
            flush_interval: Duration::from_secs(300),
            hot_bytes_max: 512 << 20,
            bulk_rows: 262_144,
            bulk_bytes: 32 << 20,
            snapshot_log_bytes: 64 << 20,
            compaction_interval: Duration::from_secs(10),
            ttl_interval: Duration::from_secs(60),
            clock_skew_max: Duration::from_millis(500),
            query_bytes_max: 1 << 30,
            queries_bytes_max: 2 << 30,
            cache_bytes: 256 << 20,
            disk_cache_bytes: 1 << 30,
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

/// How one setting is read and shown.
struct Setting {
    name: &'static str,
    /// For the command line's help.
    help: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
    get: fn(&Config) -> String,
}

macro_rules! settings {
    ($($field:ident: $parse:ident / $show:ident, $help:literal;)*) => {
        &[$(Setting {
            name: stringify!($field),
            help: $help,
            set: |config, text| { config.$field = $parse(text)?; Ok(()) },
            get: |config| $show(&config.$field),
        }),*]
    };
}

/// Every setting. The names are those of the file.
static SETTINGS: &[Setting] = settings![
    data_dir: parse_path / show_path, "Where the log, snapshots and, without a store, segments live";
    listen: parse_address / show, "The address of the PostgreSQL protocol";
    http: parse_http / show_http, "The address of /health and /health/ready; \"off\" for none";
    store: parse_store / show_store, "Where segments live: a directory or a file:, s3:, az:, gs: or memory: URL";
    log_level: parse_text / show, "error, warn, info, debug, trace, or a filter as in RUST_LOG";
    connections_max: parse_number / show, "Connections at a time";
    connections_reserved: parse_number / show, "Connections that only superusers may have";
    authentication_timeout: parse_duration / show_duration, "How long a client may take to connect";
    message_bytes_max: parse_number / show, "Bytes of the longest message taken from a client";
    tls_cert_file: parse_file / show_file, "The server's certificate (PEM); none for no encryption";
    tls_key_file: parse_file / show_file, "The certificate's private key (PEM)";
    tls_client_ca_file: parse_file / show_file, "The authorities of clients' certificates (PEM)";
    password: parse_secret / show, "The first password of the role chronos; others can see flags, so prefer CHRONOS_PASSWORD";
    hba: parse_rules / show, "Who may connect from where, as lines of pg_hba.conf; see config/chronos.toml";
    worker_threads: parse_number / show, "Threads that run statements; 0 for one a core";
    flush_bytes: parse_number / show, "Bytes of a table in memory from which on they are flushed";
    flush_interval: parse_duration / show_duration, "How long rows stay in memory";
    hot_bytes_max: parse_number / show, "Bytes of all tables in memory at which writers wait";
    bulk_rows: parse_number / show, "Rows from which on a transaction writes segments ahead";
    bulk_bytes: parse_number / show, "Bytes from which on a transaction writes segments ahead";
    snapshot_log_bytes: parse_number / show, "Bytes of log between snapshots";
    compaction_interval: parse_duration / show_duration, "How often segments are looked at for compaction; 0ms for never";
    ttl_interval: parse_duration / show_duration, "How often expired rows are ended; 0ms for never";
    clock_skew_max: parse_duration / show_duration, "How far commit times may be ahead of the clock";
    query_bytes_max: parse_number / show, "Bytes of memory for the queries of one session";
    queries_bytes_max: parse_number / show, "Bytes of memory for the queries of all sessions";
    cache_bytes: parse_number / show, "Bytes of memory for what is known of segments";
    disk_cache_bytes: parse_number / show, "Bytes of disk for copies of objects of a store that is no directory";
    shutdown_timeout: parse_duration / show_duration, "How long a stop waits for statements";
];

fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("a path is needed".to_owned());
    }
    Ok(PathBuf::from(text))
}

#[expect(clippy::ptr_arg, reason = "called through a table of settings")]
fn show_path(path: &PathBuf) -> String {
    path.display().to_string()
}

fn parse_file(text: &str) -> Result<Option<PathBuf>, String> {
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

#[expect(clippy::ref_option, reason = "called through a table of settings")]
fn show_file(path: &Option<PathBuf>) -> String {
    path.as_ref().map(show_path).unwrap_or_default()
}

fn parse_secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text))
}

fn parse_rules(text: &str) -> Result<Rules, String> {
    Rules::parse(text)
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.replacen("localhost:", "127.0.0.1:", 1);
    text.parse().map_err(|_| format!("\"{text}\" is not an address such as 127.0.0.1:5432"))
}

fn parse_http(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" { Ok(None) } else { parse_address(text).map(Some) }
}

fn show_http(address: &Option<SocketAddr>) -> String {
    address.map_or_else(|| "off".to_owned(), |a| a.to_string())
}

fn parse_store(text: &str) -> Result<Option<String>, String> {
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

#[expect(clippy::ref_option, reason = "called through a table of settings")]
fn show_store(store: &Option<String>) -> String {
    store.clone().unwrap_or_default()
}

fn parse_text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn show(value: &impl ToString) -> String {
    value.to_string()
}

fn parse_number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not a number from 0"))
}

/// Units of time, the largest first.
const UNITS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a duration such as 100ms, 10s, 5min, 1h or 1d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = text[digits..].trim();
    let millis = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

fn show_duration(duration: &Duration) -> String {
    let millis = duration.as_millis();
    let exact = |&&(_, unit): &&(&str, u64)| millis > 0 && millis.is_multiple_of(unit.into());
    match UNITS.iter().find(exact) {
        Some(&(name, unit)) => format!("{}{name}", millis / u128::from(unit)),
        None => format!("{millis}ms"),
    }
}

impl Config {
    /// Reads the file if one is given, then what overrides it. `CHRONOS_CONFIG` names a file
    /// where no flag does.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(
        file: Option<&Path>,
        environment: &Overrides,
        flags: &Overrides,
    ) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let named = environment.0.iter().find(|(_, name, _)| name == "config");
        let file = file.map(Path::to_path_buf).or(named.map(|(_, _, v)| PathBuf::from(v)));
        if let Some(path) = file {
            let text = std::fs::read_to_string(&path)
                .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            config.read_toml(&path, &text)?;
        }
        for (origin, name, value) in environment.0.iter().chain(&flags.0) {
            if name == "config" && origin == "CHRONOS_CONFIG" {
                continue;
            }
            config.set(origin, name, value)?;
        }
        config.check()?;
        Ok(config)
    }

    fn read_toml(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: BTreeMap<String, toml::Value> = toml::from_str(text)
            .map_err(|e| ConfigError::Malformed { path: path.to_owned(), reason: e.to_string() })?;
        let origin = path.display().to_string();
        for (name, value) in &table {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                toml::Value::Array(rules) if name == "hba" => {
                    access::lines(rules).map_err(|reason| ConfigError::Invalid {
                        name: name.clone(),
                        origin: origin.clone(),
                        reason,
                    })?
                }
                toml::Value::Float(_)
                | toml::Value::Datetime(_)
                | toml::Value::Array(_)
                | toml::Value::Table(_) => {
                    return Err(match SETTINGS.iter().any(|s| s.name == name) {
                        false => ConfigError::Unknown { name: name.clone(), origin },
                        true => ConfigError::Invalid {
                            name: name.clone(),
                            origin,
                            reason: "a string or a whole number is needed".to_owned(),
                        },
                    });
                }
            };
            self.set(&origin, name, &text)?;
        }
        Ok(())
    }

    fn set(&mut self, origin: &str, name: &str, value: &str) -> Result<(), ConfigError> {
        let Some(setting) = SETTINGS.iter().find(|s| s.name == name) else {
            let (name, origin) = (name.to_owned(), origin.to_owned());
            return Err(ConfigError::Unknown { name, origin });
        };
        (setting.set)(self, value).map_err(|reason| ConfigError::Invalid {
            name: name.to_owned(),
            origin: origin.to_owned(),
            reason,
        })
    }

    fn check(&self) -> Result<(), ConfigError> {
        let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
        if let Some(address) = self.http
            && !loopback(address.ip())
        {
            return Err(ConfigError::OpenToNetwork { address, setting: "--http" });
        }
        access::check(self).map_err(|(name, reason)| ConfigError::Invalid {
            name: name.to_owned(),
            origin: "configuration".to_owned(),
            reason,
        })?;
        for (name, zero) in [
            ("connections_max", self.connections_max == 0),
            ("bulk_rows", self.bulk_rows == 0),
            ("bulk_bytes", self.bulk_bytes == 0),
            ("flush_bytes", self.flush_bytes == 0),
            ("snapshot_log_bytes", self.snapshot_log_bytes == 0),
        ] {
            if zero {
                return Err(ConfigError::Invalid {
                    name: name.to_owned(),
                    origin: "configuration".to_owned(),
                    reason: "it must be greater than 0".to_owned(),
                });
            }
        }
        if self.connections_reserved >= self.connections_max {
            return Err(ConfigError::Invalid {
                name: "connections_reserved".to_owned(),
                origin: "configuration".to_owned(),
                reason: format!("it must be less than connections_max ({})", self.connections_max),
            });
        }
        if self.hot_bytes_max < self.flush_bytes {
            return Err(ConfigError::Invalid {
                name: "hot_bytes_max".to_owned(),
                origin: "configuration".to_owned(),
                reason: format!("it must not be less than flush_bytes ({})", self.flush_bytes),
            });
        }
        Ok(())
    }

    /// Whether the PostgreSQL protocol is open to a network.
    pub fn open_to_network(&self) -> bool {
        !self.listen.ip().to_canonical().is_loopback()
    }

    /// The files of encryption, if it is configured.
    pub fn tls_files(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            cert: self.tls_cert_file.clone()?,
            key: self.tls_key_file.clone()?,
            client_ca: self.tls_client_ca_file.clone(),
        })
    }

    /// The root of the object store.
    pub fn store_url(&self) -> String {
        match &self.store {
            Some(url) => url.clone(),
            None => self.data_dir.join("store").to_string_lossy().into_owned(),
        }
    }

    /// Every setting's name and one line about it.
    pub fn descriptions() -> impl Iterator<Item = (&'static str, &'static str)> {
        SETTINGS.iter().map(|s| (s.name, s.help))
    }

    /// Every setting with its value, by name.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        SETTINGS.iter().map(|s| (s.name, (s.get)(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = include_str!("../../config/chronos.toml");

    fn load(
        file: Option<&str>,
        env: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Config, ConfigError> {
        let dir = tempfile_dir();
        let path = file.map(|text| {
            let path = dir.join("chronos.toml");
            std::fs::write(&path, text).unwrap();
            path
        });
        let environment = Overrides::from_environment(
            env.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))),
        );
        let mut overrides = Overrides::default();
        for (name, value) in flags {
            overrides.set("flag", name, value);
        }
        let config = Config::load(path.as_deref(), &environment, &overrides);
        std::fs::remove_dir_all(dir).unwrap();
        config
    }

    fn tempfile_dir() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("chronos-config-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn documented_file_names_every_setting_at_its_default() {
        // The lines are comments, so that the file changes nothing where it is used as it is.
        let uncommented: String = DOCUMENTED
            .lines()
            .filter_map(|line| line.strip_prefix("#").filter(|l| !l.starts_with(' ')))
            .fold(String::new(), |text, line| text + line + "\n");
        let mut config = Config { data_dir: PathBuf::from("other"), ..Config::default() };
        config.read_toml(Path::new("chronos.toml"), &uncommented).unwrap();
        assert_eq!(config, Config::default());
        for setting in SETTINGS {
            let line = format!("#{} = ", setting.name);
            assert!(DOCUMENTED.contains(&line), "{} is not documented", setting.name);
        }
    }

    #[test]
    fn flag_wins_over_environment_wins_over_file() {
        let file = Some("connections_max = 9\nworker_threads = 1\nbulk_rows = 1\n");
        let env = [("CHRONOS_WORKER_THREADS", "2"), ("CHRONOS_BULK_ROWS", "2")];
        let config = load(file, &env, &[("bulk_rows", "3")]).unwrap();
        assert_eq!((config.connections_max, config.worker_threads, config.bulk_rows), (9, 2, 3));
    }

    #[test]
    fn unknown_setting_is_named_with_its_place() {
        for result in [
            load(Some("flush_byte = 3"), &[], &[]),
            load(None, &[("CHRONOS_FLUSH_BYTE", "3")], &[]),
            load(None, &[], &[("flush_byte", "3")]),
            load(Some("[flush_byte]\na = 3"), &[], &[]),
        ] {
            let error = result.unwrap_err();
            assert!(matches!(&error, ConfigError::Unknown { name, .. } if name == "flush_byte"));
        }
    }

    #[test]
    fn address_of_a_network_is_refused_where_there_is_no_authentication() {
        for address in ["0.0.0.0:5432", "[::]:5432", "192.168.0.1:5432"] {
            assert!(load(None, &[], &[("listen", address)]).unwrap().open_to_network());
            let error = load(None, &[], &[("http", address)]).unwrap_err();
            assert!(matches!(error, ConfigError::OpenToNetwork { setting: "--http", .. }));
        }
        let loopback = load(None, &[], &[("listen", "[::1]:5432")]).unwrap();
        assert!(!loopback.open_to_network());
        assert!(load(None, &[], &[("http", "off")]).unwrap().http.is_none());
    }

    #[test]
    fn value_that_is_no_number_is_refused() {
        let error = load(Some("flush_bytes = \"many\""), &[], &[]).unwrap_err();
        assert!(matches!(&error, ConfigError::Invalid { name, .. } if name == "flush_bytes"));
    }

    #[test]
    fn duration_needs_a_unit() {
        for (text, millis) in
            [("100ms", 100), ("10s", 10_000), ("2 min", 120_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        }
        for text in ["", "10", "s", "-1s", "1.5s", "1w", "99999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(show_duration(&Duration::from_millis(1_500)), "1500ms");
        assert_eq!(show_duration(&Duration::ZERO), "0ms");
    }

    #[test]
    fn every_setting_shows_as_it_is_read() {
        for (name, value) in Config::default().settings() {
            let config = load(None, &[], &[(name, &value)]).unwrap();
            assert_eq!(config, Config::default(), "{name}");
        }
    }
}
