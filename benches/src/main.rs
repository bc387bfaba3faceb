//! Measures the storage engine: `cargo run --release -p chronos-benches -- scan`.
//!
//! One question each, asked of the server program over the wire; `CHRONOS_BIN` names a program
//! instead of building one. Results with their machine stand in `benches/README.md`.

mod harness;
mod overwrites;
mod points;
mod scan;
mod size;
mod startup;

use std::process::ExitCode;

const HELP: &str = "\
usage: engine <question> [rows]

  scan [10000000]        aggregates now and AS OF, against DataFusion on plain Parquet files
  overwrites [100000]    does a table get slower when every row is overwritten five times?
  startup [10000000]     how long until a server with that many rows is ready?
  size [1000000]         bytes per row, against plain Parquet and (see size.sh) PostgreSQL
  points [1000000]       reads of one row by its key, now and AS OF, cold and warm";

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let question = args.next().unwrap_or_default();
    let rows = match args.next().map(|n| n.parse::<u64>()).transpose() {
        Ok(rows) => rows,
        Err(error) => {
            eprintln!("the number of rows: {error}\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match question.as_str() {
        "scan" => scan::run(rows.unwrap_or(10_000_000)).await,
        "overwrites" => overwrites::run(rows.unwrap_or(100_000)).await,
        "startup" => startup::run(rows.unwrap_or(10_000_000)).await,
        "size" => size::run(rows.unwrap_or(1_000_000)).await,
        "points" => points::run(rows.unwrap_or(1_000_000)).await,
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
