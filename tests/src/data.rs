//! The data in `tests/data`: tables, files, queries, and what PostgreSQL answers.

use std::io::Read;
use std::path::PathBuf;
use std::pin::pin;

use flate2::read::GzDecoder;
use futures::SinkExt;
use tokio_postgres::Client;

use crate::answer::Answer;

/// The tables, each with its number of rows.
pub const TABLES: [(&str, u64); 5] = [
    ("airlines", 16),
    ("airports", 1_458),
    ("planes", 3_322),
    ("weather", 26_115),
    ("flights", 336_776),
];

/// The stages at which PostgreSQL's answers were recorded: before, between and after the two
/// statements of [`changes`].
pub const STAGES: [&str; 3] = ["0-loaded", "1-updated", "2-deleted"];

/// `tests/data`.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/data"))
}

fn text(path: &str) -> String {
    let path = folder().join(path);
    match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) => panic!("{}: {e}", path.display()),
    }
}

/// The CREATE TABLE statements.
pub fn schema() -> String {
    text("schema.sql")
}

/// An UPDATE of all flights of one carrier, and a DELETE of those from one airport.
pub fn changes() -> Vec<String> {
    text("changes.sql").lines().map(str::to_owned).collect()
}

/// A table's rows as csv with a header and `NA` for NULL.
///
/// # Panics
/// If the file cannot be read.
pub fn csv(table: &str) -> Vec<u8> {
    let folder = folder().join("nycflights13");
    let plain = folder.join(format!("{table}.csv"));
    if plain.exists() {
        return std::fs::read(plain).expect("the file can be read");
    }
    let file = std::fs::File::open(folder.join(format!("{table}.csv.gz")))
        .expect("the file is there, packed or not");
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).expect("the file can be unpacked");
    bytes
}

/// A recorded question.
#[derive(Clone, Debug)]
pub struct Query {
    /// Its file's name without the ending.
    pub name: String,
    template: String,
}

impl Query {
    /// The statement, with `clause` after each table's name: empty, or an AS OF.
    pub fn sql(&self, clause: &str) -> String {
        TABLES.iter().fold(self.template.clone(), |sql, (table, _)| {
            sql.replace(&format!("{{{table}}}"), &format!("{table}{clause}"))
        })
    }

    /// What PostgreSQL answered at that stage.
    pub fn expected(&self, stage: &str) -> Answer {
        Answer::from_csv(&text(&format!("expected/{stage}/{}.csv", self.name)))
    }
}

/// All recorded questions, by name.
///
/// # Panics
/// If the folder cannot be read.
pub fn queries() -> Vec<Query> {
    let folder = folder().join("queries");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| Query { template: text(&format!("queries/{name}.sql")), name })
        .collect()
}

/// Makes the five tables and loads them by COPY.
///
/// # Panics
/// If a statement fails or COPY counts other rows than the file has.
pub async fn load(client: &Client) {
    client.batch_execute(&schema()).await.expect("the tables can be made");
    for (table, rows) in TABLES {
        assert_eq!(copy_in(client, table, csv(table)).await, rows, "rows of {table}");
    }
}

/// COPY of csv with a header and `NA` for NULL; gives the number of rows.
///
/// # Panics
/// If it fails.
pub async fn copy_in(client: &Client, table: &str, csv: Vec<u8>) -> u64 {
    let copy = format!("COPY {table} FROM STDIN WITH (FORMAT csv, HEADER, NULL 'NA')");
    let sink = client.copy_in(&copy).await.expect("COPY begins");
    let mut sink = pin!(sink);
    // Not aligned with lines, as from a network.
    for chunk in csv.chunks(65_521) {
        sink.send(bytes(chunk)).await.expect("the server takes rows");
    }
    sink.finish().await.expect("COPY ends")
}

fn bytes(chunk: &[u8]) -> std::io::Cursor<Vec<u8>> {
    std::io::Cursor::new(chunk.to_vec())
}
