//! What a query answered, as text, and how answers are compared.

use std::fmt;

use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::any_text::AnyText;

/// One value; `None` is NULL.
pub type Cell = Option<String>;

/// A result: the columns' names and the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Answer {
    /// Asks in the simple protocol. Of several statements the last result counts.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn simple(client: &Client, sql: &str) -> Result<Self, Error> {
        let mut answer = Answer::default();
        for message in client.simple_query(sql).await? {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    answer.columns = columns.iter().map(|c| c.name().to_owned()).collect();
                    answer.rows.clear();
                }
                SimpleQueryMessage::Row(row) => answer
                    .rows
                    .push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
                _ => {}
            }
        }
        Ok(answer)
    }

    /// Asks in the extended protocol with binary results, which are then written as PostgreSQL
    /// writes text. So the two protocols can be compared.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn extended(client: &Client, sql: &str) -> Result<Self, Error> {
        let statement = client.prepare(sql).await?;
        let columns = statement.columns().iter().map(|c| c.name().to_owned()).collect();
        let mut rows = Vec::new();
        for row in client.query(&statement, &[]).await? {
            let mut cells = Vec::with_capacity(row.len());
            for i in 0..row.len() {
                cells.push(row.try_get::<_, Option<AnyText>>(i)?.map(|text| text.0));
            }
            rows.push(cells);
        }
        Ok(Answer { columns, rows })
    }

    /// The only value of a result with one row and one column.
    ///
    /// # Panics
    /// If the result has another shape.
    pub fn value(&self) -> Cell {
        match self.rows.as_slice() {
            [row] if row.len() == 1 => row[0].clone(),
            _ => panic!("not one value but {self}"),
        }
    }

    /// A result as PostgreSQL's `COPY … TO … (FORMAT csv, HEADER)` writes it, where an empty
    /// unquoted value is NULL.
    ///
    /// # Panics
    /// If a quote is not closed.
    pub fn from_csv(text: &str) -> Self {
        let mut lines = Vec::new();
        let mut line = Vec::new();
        let mut cell = String::new();
        let mut quoted = false;
        let mut inside = false;
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '"' if inside && characters.peek() == Some(&'"') => {
                    characters.next();
                    cell.push('"');
                }
                '"' => {
                    inside = !inside;
                    quoted = true;
                }
                ',' | '\n' if !inside => {
                    let value = std::mem::take(&mut cell);
                    line.push((quoted || !value.is_empty()).then_some(value));
                    quoted = false;
                    if c == '\n' {
                        lines.push(std::mem::take(&mut line));
                    }
                }
                c => cell.push(c),
            }
        }
        assert!(!inside, "a quote is not closed");
        let mut lines = lines.into_iter();
        let columns = lines.next().unwrap_or_default().into_iter().map(Option::unwrap_or_default);
        Answer { columns: columns.collect(), rows: lines.collect() }
    }

    /// Where the two differ, or `None`. Numbers with a fraction may differ in the ninth digit,
    /// for sums of floating point numbers depend on the order of the rows and PostgreSQL's
    /// averages of integers have more digits than a double has; everything else must be the same
    /// text.
    pub fn difference(&self, expected: &Answer) -> Option<String> {
        if self.columns != expected.columns {
            return Some(format!("columns {:?}, expected {:?}", self.columns, expected.columns));
        }
        for (i, (row, wanted)) in self.rows.iter().zip(&expected.rows).enumerate() {
            let same = row.len() == wanted.len()
                && row.iter().zip(wanted).all(|(a, b)| same_cell(a.as_deref(), b.as_deref()));
            if !same {
                return Some(format!("row {i}: {}\nexpected: {}", Line(row), Line(wanted)));
            }
        }
        (self.rows.len() != expected.rows.len())
            .then(|| format!("{} rows, expected {}", self.rows.len(), expected.rows.len()))
    }

    /// # Panics
    /// If the two differ.
    pub fn assert_like(&self, expected: &Answer, what: &str) {
        if let Some(difference) = self.difference(expected) {
            panic!("{what}: {difference}");
        }
    }
}

/// Whether two values are the same text, or the same number up to the ninth digit.
fn same_cell(a: Option<&str>, b: Option<&str>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return a == b };
    if a == b {
        return true;
    }
    let fraction = |text: &str| text.contains(['.', 'e']);
    if !fraction(a) && !fraction(b) {
        return false;
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3),
        _ => false,
    }
}

/// A row as scripts and messages show it.
struct Line<'a>(&'a [Cell]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, cell) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("|")?;
            }
            match cell.as_deref() {
                None => f.write_str("NULL")?,
                Some("") => f.write_str("(empty)")?,
                Some(text) => f.write_str(text)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "{}", Line(row))?;
        }
        Ok(())
    }
}

/// An error in few words: SQLSTATE and message of a server's, all of another.
pub fn told(error: &Error) -> String {
    match error.as_db_error() {
        Some(error) => {
            let detail = error.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{} {}{detail}", error.code().code(), error.message())
        }
        None => format!("{error:?}"),
    }
}

/// The SQLSTATE of a server's error.
///
/// # Panics
/// If it is not a server's error.
pub fn sqlstate(error: &Error) -> String {
    match error.as_db_error() {
        Some(error) => error.code().code().to_owned(),
        None => panic!("not an error of the server: {error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_tells_null_from_empty_and_unquotes() {
        let answer = Answer::from_csv("a,b\n,\"\"\n\"x,\"\"y\"\"\nz\",2\n");
        assert_eq!(answer.columns, ["a", "b"]);
        assert_eq!(answer.rows[0], [None, Some(String::new())]);
        assert_eq!(answer.rows[1], [Some("x,\"y\"\nz".to_owned()), Some("2".to_owned())]);
    }

    #[test]
    fn numbers_with_a_fraction_may_differ_in_the_last_digits_only() {
        assert!(same_cell(Some("7.3796692494506765"), Some("7.379669249450677")));
        assert!(same_cell(Some("2.50"), Some("2.5")));
        assert!(!same_cell(Some("2.5001"), Some("2.5")));
        assert!(!same_cell(Some("25"), Some("26")));
        assert!(!same_cell(None, Some("0.0")));
    }

    #[test]
    fn a_missing_row_is_a_difference() {
        let long = Answer::from_csv("a\n1\n2\n");
        let short = Answer::from_csv("a\n1\n");
        assert!(short.difference(&long).is_some() && long.difference(&short).is_some());
        assert_eq!(long.difference(&long.clone()), None);
    }
}
