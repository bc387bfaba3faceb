//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use chronos_catalog::CommitTs;
use chronos_catalog::clock::{Clock, SystemClock};
use chronos_catalog::raft::{Finding, Severity};
use chronos_sql_ext::instant;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::config::{Config, ConfigError, Overrides};
use crate::engine::EngineResult;
use crate::{node, offline, restore};

/// What works on a data directory while no server does.
const OFFLINE: &[(&str, &str)] = &[
    ("check", "Verifies every checksum of a data directory and its store"),
    ("inspect", "Shows what a data directory holds"),
    ("backup", "Writes a backup"),
    ("restore", "Restores a backup"),
];

fn command() -> Command {
    let mut command = Command::new("chronos")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A time-travel database that speaks PostgreSQL's protocol")
        .args_conflicts_with_subcommands(true)
        .args(serve_args())
        .subcommand(
            Command::new("serve")
                .about("Serves a database (what \"chronos\" alone does)")
                .args(serve_args()),
        );
    for &(name, about) in OFFLINE {
        let data_dir =
            Arg::new("data_dir").long("data-dir").value_name("DIR").help("The data directory");
        let store = Arg::new("store").long("store").value_name("URL").help("Where segments live");
        let mut offline = Command::new(name).about(about).args([data_dir, store]);
        let url = |name: &'static str| Arg::new(name).long(name).value_name("URL");
        match name {
            "check" => {
                offline = offline.arg(url("backup").help("Verify the backups there instead"));
            }
            "backup" => {
                offline = offline.arg(url("to").required(true).help("Where backups are kept"));
            }
            "restore" => {
                offline = offline.arg(url("from").required(true).help("Where the backup is")).arg(
                    Arg::new("as_of")
                        .long("as-of")
                        .value_name("INSTANT")
                        .help("Restore the database as it was then; text without a zone is UTC"),
                );
            }
            _ => {}
        }
        command = command.subcommand(offline);
    }
    command
}

/// `--config` and one flag for each setting.
fn serve_args() -> impl Iterator<Item = Arg> {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Read settings from this TOML file");
    let settings = Config::descriptions().map(|(name, help)| {
        // The parser keeps names for as long as the process runs: a few bytes for each setting.
        let flag: &'static str = dashed(name).leak();
        Arg::new(name).long(flag).value_name("VALUE").help(help)
    });
    std::iter::once(file).chain(settings)
}

/// A setting's name as a flag has it.
fn dashed(name: &str) -> String {
    name.replace('_', "-")
}

/// The settings that the command line, the environment and the file come to.
fn config(matches: &ArgMatches) -> Result<Config, ConfigError> {
    let mut flags = Overrides::default();
    for (name, _) in Config::descriptions() {
        if let Some(value) = matches.get_one::<String>(name) {
            flags.set(&format!("--{}", dashed(name)), name, value);
        }
    }
    let environment = Overrides::from_environment(std::env::vars_os());
    let file = matches.get_one::<PathBuf>("config");
    Config::load(file.map(PathBuf::as_path), &environment, &flags)
}

/// Runs the program and gives its exit code: 0 after a clean stop, 1 for a failure, 2 for a
/// wrong command line.
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let served = match matches.subcommand() {
        None => config(&matches),
        Some(("serve", matches)) => config(matches),
        Some(("check", matches)) => return check(matches),
        Some(("inspect", matches)) => return inspect(matches),
        Some(("backup", matches)) => return backup(matches),
        Some(("restore", matches)) => return restore(matches),
        Some((name, _)) => return fail(&format!("\"chronos {name}\" is not supported yet")),
    };
    match served.map_err(node::Error::from).and_then(node::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// The settings of a command that works on a data directory: the environment's and the flags'.
fn offline_config(matches: &ArgMatches) -> Result<Config, ConfigError> {
    let mut flags = Overrides::default();
    for (name, flag) in [("data_dir", "--data-dir"), ("store", "--store")] {
        if let Ok(Some(value)) = matches.try_get_one::<String>(name) {
            flags.set(flag, name, value);
        }
    }
    Config::load(None, &Overrides::from_environment(std::env::vars_os()), &flags)
}

/// Verifies a data directory that no server has open: 0 where all is well, else 1.
fn check(matches: &ArgMatches) -> ExitCode {
    let config = match offline_config(matches) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    let checked = match matches.get_one::<String>("backup") {
        Some(url) => restore::verify(url),
        None => offline::check(&config),
    };
    match checked {
        Ok(findings) => tell(&findings),
        Err(error) => fail(&error),
    }
}

/// Writes a backup of a data directory that no server has open.
fn backup(matches: &ArgMatches) -> ExitCode {
    let url = matches.get_one::<String>("to").map_or("", String::as_str);
    match offline_config(matches) {
        Ok(config) => done(restore::backup(&config, url)),
        Err(error) => fail(&error),
    }
}

/// Makes a data directory of a backup.
fn restore(matches: &ArgMatches) -> ExitCode {
    let url = matches.get_one::<String>("from").map_or("", String::as_str);
    let config = match offline_config(matches) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    let as_of = match matches.get_one::<String>("as_of") {
        None => None,
        Some(text) => {
            let now = SystemClock.now_micros();
            match instant::parse(text, chrono_tz::UTC, CommitTs(now)) {
                Ok(at) => Some(at),
                Err(error) => return fail(&error),
            }
        }
    };
    done(restore::restore(&config, url, as_of))
}

fn done(result: EngineResult<String>) -> ExitCode {
    match result {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn tell(findings: &[Finding]) -> ExitCode {
    for finding in findings {
        println!("{finding}");
    }
    match findings.iter().any(|f| f.severity == Severity::Damaged) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// Shows what a data directory that no server has open holds.
fn inspect(matches: &ArgMatches) -> ExitCode {
    let config = match offline_config(matches) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    match offline::inspect(&config) {
        Ok(Ok(lines)) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Ok(Err(findings)) => tell(&findings),
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    // Logging may not have started, and an operator must see it whatever the log level.
    eprintln!("chronos: {error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flags_mean_the_same_with_and_without_serve() {
        let flags = ["--listen", "127.0.0.1:1", "--flush-interval", "100ms"];
        let alone = command().get_matches_from(["chronos"].iter().chain(&flags));
        let serve = command().get_matches_from(["chronos", "serve"].iter().chain(&flags));
        let Some(("serve", serve)) = serve.subcommand() else { panic!("not serve") };
        for matches in [&alone, serve] {
            let config = config(matches).unwrap();
            assert_eq!(config.listen.port(), 1);
            assert_eq!(config.flush_interval.as_millis(), 100);
        }
    }

    #[test]
    fn wrong_value_names_the_flag() {
        let matches = command().get_matches_from(["chronos", "--flush-bytes", "many"]);
        let error = config(&matches).unwrap_err().to_string();
        assert!(error.contains("--flush-bytes"), "{error}");
    }
}
