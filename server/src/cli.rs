//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::config::{Config, ConfigError, Overrides};
use crate::node;

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
        let data_dir = Arg::new("data_dir")
            .long("data-dir")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help("The data directory");
        command = command.subcommand(Command::new(name).about(about).arg(data_dir));
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
        Some((name, _)) => return fail(&format!("\"chronos {name}\" is not supported yet")),
    };
    match served.map_err(node::Error::from).and_then(node::run) {
        Ok(()) => ExitCode::SUCCESS,
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
