//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, Overrides};
use crate::node;

/// A time-travel database that speaks PostgreSQL's protocol.
#[derive(Debug, Parser)]
#[command(name = "chronos", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Serves a database (what `chronos` alone does).
    Serve(Box<ServeArgs>),
    /// Verifies every checksum of a data directory and its store.
    Check(OfflineArgs),
    /// Shows what a data directory holds.
    Inspect(OfflineArgs),
    /// Writes a backup.
    Backup(OfflineArgs),
    /// Restores a backup.
    Restore(OfflineArgs),
}

/// Every setting has a flag; flags win over the environment, which wins over the file.
#[derive(Debug, Default, Args)]
struct ServeArgs {
    /// Read settings from this TOML file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the log, the snapshots and, without --store, the segments live.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The address of the PostgreSQL protocol.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The address of the HTTP endpoints (`/health`); "off" for none.
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Where segments live: a directory or file:, s3:, az:, gs: or memory: URL.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// error, warn, info, debug, trace, or a filter as in RUST_LOG.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Any other setting, by its name in the file: `--set flush_interval_ms=5000`.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
struct OfflineArgs {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl ServeArgs {
    fn config(self) -> Result<Config, ConfigError> {
        let mut flags = Overrides::default();
        if let Some(dir) = &self.data_dir {
            flags.set("--data-dir", "data_dir", &dir.to_string_lossy());
        }
        for (flag, name, value) in [
            ("--listen", "listen", &self.listen),
            ("--http", "http", &self.http),
            ("--store", "store", &self.store),
            ("--log-level", "log_level", &self.log_level),
        ] {
            if let Some(value) = value {
                flags.set(flag, name, value);
            }
        }
        for pair in &self.set {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(ConfigError::Flag {
                    flag: "--set".to_owned(),
                    reason: format!("\"{pair}\" is not of the form NAME=VALUE"),
                });
            };
            flags.set("--set", name.trim(), value.trim());
        }
        let environment = Overrides::from_environment(std::env::vars_os());
        Config::load(self.config.as_deref(), &environment, &flags)
    }
}

/// Runs the program and gives its exit code: 0 after a clean stop, 1 for a failure, 2 for a
/// wrong command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let args = match cli.command {
        None => cli.serve,
        Some(Subcommands::Serve(args)) => *args,
        Some(Subcommands::Check(_)) => return not_supported("check"),
        Some(Subcommands::Inspect(_)) => return not_supported("inspect"),
        Some(Subcommands::Backup(_)) => return not_supported("backup"),
        Some(Subcommands::Restore(_)) => return not_supported("restore"),
    };
    match args.config().map_err(node::Error::from).and_then(node::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn not_supported(command: &str) -> ExitCode {
    fail(&format!("\"chronos {command}\" is not supported yet"))
}

#[expect(clippy::print_stderr, reason = "an operator reads it before logging has started")]
fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("chronos: {error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_before_or_after_serve_mean_the_same() {
        let a = Cli::parse_from(["chronos", "--listen", "127.0.0.1:1"]);
        assert_eq!(a.serve.listen.as_deref(), Some("127.0.0.1:1"));
        let b = Cli::parse_from(["chronos", "serve", "--listen", "127.0.0.1:1"]);
        let Some(Subcommands::Serve(args)) = b.command else { panic!("not serve") };
        assert_eq!(args.listen.as_deref(), Some("127.0.0.1:1"));
    }

    #[test]
    fn set_without_a_value_names_the_flag() {
        let args = ServeArgs { set: vec!["flush_bytes".to_owned()], ..ServeArgs::default() };
        let error = args.config().unwrap_err().to_string();
        assert!(error.contains("--set"), "{error}");
    }
}
