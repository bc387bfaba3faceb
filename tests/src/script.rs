//! Scripts of statements with their answers (`tests/sql/*.slt`), and their replay in the past.
//!
//! ```text
//! # Bob reads what Alice wrote.
//! statement ok
//! INSERT INTO t VALUES (1, NULL)
//!
//! statement error 23505
//! INSERT INTO t VALUES (1, 'b')
//!
//! query
//! SELECT * FROM t
//! ----
//! 1|NULL
//! ```
//!
//! A record ends at an empty line. `query rowsort` sorts the answer's rows first; `query once` is
//! not asked again later, because its answer depends on more than the tables. NULL is `NULL`, an
//! empty text `(empty)`.
//!
//! After every `query` the runner notes the moment. Afterwards it asks each one again AS OF its
//! moment, and the answer must be what it was. So every script is a time-travel test.

use std::fmt::Write;
use std::path::Path;

use tokio_postgres::Client;

use crate::answer::{Answer, sqlstate, told};

/// How statements are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A Query message; results as text.
    Simple,
    /// Parse, Bind, Execute; results in binary.
    Extended,
}

#[derive(Clone, Debug)]
enum Expect {
    Ok,
    Error(String),
    Rows { lines: Vec<String>, sort: bool, once: bool },
}

#[derive(Clone, Debug)]
struct Record {
    line: usize,
    sql: String,
    expect: Expect,
}

/// A parsed script.
#[derive(Clone, Debug)]
pub struct Script {
    name: String,
    records: Vec<Record>,
}

/// A query that was answered, and when.
#[derive(Clone, Debug)]
pub struct Moment {
    line: usize,
    sql: String,
    sort: bool,
    at: String,
    answer: String,
}

impl Script {
    /// # Panics
    /// If the file cannot be read or is malformed.
    pub fn read(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => panic!("{}: {e}", path.display()),
        };
        Self::parse(name, &text)
    }

    fn parse(name: String, text: &str) -> Self {
        let mut records = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((i, head)) = lines.next() {
            if head.trim().is_empty() || head.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = head.split_whitespace().collect();
            let body: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|l| !l.trim().is_empty()).collect();
            let (sql, answer) = match body.iter().position(|line| *line == "----") {
                Some(at) => (&body[..at], &body[at + 1..]),
                None => (&body[..], &body[body.len()..]),
            };
            let expect = match words.as_slice() {
                ["statement", "ok"] => Expect::Ok,
                ["statement", "error", code] => Expect::Error((*code).to_owned()),
                ["query", flags @ ..] => {
                    let known = flags.iter().all(|flag| ["rowsort", "once"].contains(flag));
                    assert!(known, "{name}:{}: unknown flag in {head:?}", i + 1);
                    Expect::Rows {
                        lines: answer.iter().map(|&line| line.to_owned()).collect(),
                        sort: flags.contains(&"rowsort"),
                        once: flags.contains(&"once"),
                    }
                }
                _ => panic!("{name}:{}: not a record: {head:?}", i + 1),
            };
            assert!(!sql.is_empty(), "{name}:{}: no statement", i + 1);
            records.push(Record { line: i + 1, sql: sql.join("\n"), expect });
        }
        assert!(!records.is_empty(), "{name}: no records");
        Script { name, records }
    }

    /// Runs the script, and gives the moments to ask again.
    ///
    /// # Panics
    /// If an answer is not the expected one; the message holds every difference.
    pub async fn run(&self, client: &Client, protocol: Protocol) -> Vec<Moment> {
        let mut moments = Vec::new();
        let mut failures = String::new();
        // Binary instants are written in UTC; text ones must be too.
        client.batch_execute("SET TIME ZONE 'UTC'").await.expect("the time zone can be set");
        for record in &self.records {
            if let Err(what) = self.one(client, protocol, record, &mut moments).await {
                let _infallible = writeln!(failures, "{}:{}: {what}\n", self.name, record.line);
            }
        }
        assert!(failures.is_empty(), "{protocol:?} protocol\n{failures}");
        moments
    }

    async fn one(
        &self,
        client: &Client,
        protocol: Protocol,
        record: &Record,
        moments: &mut Vec<Moment>,
    ) -> Result<(), String> {
        let result = match protocol {
            Protocol::Simple => Answer::simple(client, &record.sql).await,
            Protocol::Extended => Answer::extended(client, &record.sql).await,
        };
        match (&record.expect, result) {
            (Expect::Ok, Ok(_)) => Ok(()),
            (Expect::Ok | Expect::Rows { .. }, Err(e)) => Err(told(&e)),
            (Expect::Error(code), Ok(answer)) => {
                Err(format!("expected error {code}, got {} rows\n{answer}", answer.rows.len()))
            }
            (Expect::Error(code), Err(e)) => {
                let got = sqlstate(&e);
                if got == *code {
                    Ok(())
                } else {
                    Err(format!("expected {code}, got {}", told(&e)))
                }
            }
            (Expect::Rows { lines, sort, once }, Ok(answer)) => {
                let got = shown(&answer, *sort);
                let wanted: String = lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect();
                if got != wanted {
                    return Err(format!("got\n{got}expected\n{wanted}"));
                }
                if !once && reads(&record.sql) {
                    moments.push(Moment {
                        line: record.line,
                        sql: record.sql.clone(),
                        sort: *sort,
                        at: now(client).await,
                        answer: got,
                    });
                }
                Ok(())
            }
        }
    }

    /// Asks every query again AS OF its moment.
    ///
    /// # Panics
    /// If an answer has changed; the message holds every one.
    pub async fn replay(
        &self,
        client: &Client,
        protocol: Protocol,
        moments: &[Moment],
        state: &str,
    ) {
        let mut failures = String::new();
        client.batch_execute("SET TIME ZONE 'UTC'").await.expect("the time zone can be set");
        for moment in moments {
            let set = format!("SET chronos.as_of = '{}'", moment.at);
            client.batch_execute(&set).await.expect("the session can be set into the past");
            let result = match protocol {
                Protocol::Simple => Answer::simple(client, &moment.sql).await,
                Protocol::Extended => Answer::extended(client, &moment.sql).await,
            };
            let got = match result {
                Ok(answer) => shown(&answer, moment.sort),
                Err(e) => told(&e) + "\n",
            };
            if got != moment.answer {
                let _infallible = writeln!(
                    failures,
                    "{}:{}: AS OF {} {state}, got\n{got}but it was\n{}",
                    self.name, moment.line, moment.at, moment.answer
                );
            }
        }
        client.batch_execute("RESET chronos.as_of").await.expect("the session can be reset");
        assert!(failures.is_empty(), "{protocol:?} protocol\n{failures}");
    }
}

/// Whether a query only reads; one that writes or locks cannot be asked again of the past.
fn reads(sql: &str) -> bool {
    let sql = sql.to_uppercase();
    let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let starts =
        ["SELECT", "VALUES", "TABLE", "WITH", "("].iter().any(|word| sql.starts_with(word));
    let writes = ["INSERT INTO", "UPDATE ", "DELETE FROM", "MERGE INTO", "FOR SHARE", "NEXTVAL"];
    starts && !writes.iter().any(|word| sql.contains(word))
}

fn shown(answer: &Answer, sort: bool) -> String {
    if !sort {
        return answer.to_string();
    }
    let text = answer.to_string();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}

/// Now: an instant that everything acknowledged so far is at or before, and nothing later is. The
/// server promises both, so nothing is added for safety.
///
/// # Panics
/// If the server does not tell.
pub async fn now(client: &Client) -> String {
    match Answer::simple(client, "SELECT now()::text").await {
        Ok(answer) => answer.value().expect("the time is not NULL"),
        Err(e) => panic!("the time is not told: {}", told(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_with_their_answers() {
        let script = Script::parse(
            "x.slt".to_owned(),
            "# story\nstatement error 42601\nSELEC\n\nquery rowsort\nSELECT\n1\n----\n1|NULL\n",
        );
        assert_eq!(script.records.len(), 2);
        assert!(matches!(&script.records[0].expect, Expect::Error(code) if code == "42601"));
        assert_eq!(script.records[1].sql, "SELECT\n1");
        assert!(matches!(
            &script.records[1].expect,
            Expect::Rows { lines, sort: true, once: false } if lines == &["1|NULL"]
        ));
    }

    #[test]
    #[should_panic(expected = "unknown flag")]
    fn a_misspelt_flag_is_refused() {
        Script::parse("x.slt".to_owned(), "query rowsrot\nSELECT 1\n----\n1\n");
    }
}
