//! Makes batches of COPY data that arrives in pieces of any size.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};

use super::columns::Column;
use super::lines::{Dialect, Line, Lines};
use super::{binary, csv, text};
use crate::error::{PgError, PgResult};
use crate::pgwire::frontend::utf8;
use crate::session::api::{CopyFormat, CopyOptions, FieldDescription, TextSettings};

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;
/// Data of a batch; a row may be longer.
const BATCH_BYTES: usize = 4 << 20;

/// Takes data and gives batches.
pub(super) struct Decoder {
    relation: String,
    names: Vec<String>,
    options: CopyOptions,
    settings: TextSettings,
    schema: SchemaRef,
    columns: Vec<Column>,
    data: BytesMut,
    lines: Lines,
    /// The line at hand, from 1; rows in the binary format.
    line: u64,
    header: bool,
    ended: bool,
    rows: usize,
    bytes: usize,
}

impl Decoder {
    /// `relation` is named in errors.
    pub(super) fn new(
        relation: &str,
        fields: &[FieldDescription],
        options: &CopyOptions,
        settings: TextSettings,
    ) -> Self {
        let dialect = match options.format {
            CopyFormat::Csv => Dialect::Csv { quote: options.quote, escape: options.escape },
            _ => Dialect::Text,
        };
        let schema = fields.iter().map(|f| f.ty.field(&f.name, true)).collect::<Vec<_>>();
        Decoder {
            relation: relation.to_owned(),
            names: fields.iter().map(|f| f.name.clone()).collect(),
            settings,
            schema: Arc::new(Schema::new(schema)),
            columns: fields.iter().map(|f| Column::new(&f.ty)).collect(),
            data: BytesMut::new(),
            lines: Lines::new(dialect),
            line: 0,
            header: options.header || options.header_match || options.format == CopyFormat::Binary,
            ended: false,
            rows: 0,
            bytes: 0,
            options: options.clone(),
        }
    }

    /// Takes more data. What follows the end marker is ignored.
    ///
    /// # Errors
    /// 54000 for a row that is too long to be held.
    pub(super) fn push(&mut self, data: &[u8]) -> PgResult<()> {
        /// The longest row.
        const LIMIT: usize = 1 << 30;
        if self.ended {
            if self.options.format == CopyFormat::Binary && !data.is_empty() {
                return Err(PgError::new("22P04", "received copy data after EOF marker"));
            }
            return Ok(());
        }
        if self.data.len() + data.len() > LIMIT {
            return Err(PgError::new("54000", "a row of COPY data is too long"));
        }
        self.data.extend_from_slice(data);
        Ok(())
    }

    /// The next batch of what was pushed, `None` when there is not enough for a full one. With
    /// `last` nothing follows, and batches come until all is read.
    ///
    /// # Errors
    /// What the data is wrong with, in the context of its line.
    pub(super) fn batch(&mut self, last: bool) -> PgResult<Option<RecordBatch>> {
        while !self.ended && self.rows < BATCH_ROWS && self.bytes < BATCH_BYTES {
            let more = match self.options.format {
                CopyFormat::Binary => self.binary_row(last)?,
                CopyFormat::Text | CopyFormat::Csv => self.line(last)?,
            };
            if !more {
                break;
            }
        }
        let full = self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES;
        if self.rows == 0 || !(full || last) {
            return Ok(None);
        }
        let columns = self.columns.iter_mut().map(Column::finish).collect::<PgResult<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map(Some)
            .map_err(PgError::internal)
    }

    /// Reads a line; false when there is none.
    fn line(&mut self, last: bool) -> PgResult<bool> {
        let found = self
            .lines
            .next(&self.data, last)
            .map_err(|e| e.context(format!("COPY {}, line {}", self.relation, self.line + 1)))?;
        let (length, whole, spans) = match found {
            Line::Data { length, whole, spans } => (length, whole, spans),
            Line::Partial => return Ok(false),
            Line::End => {
                self.ended = true;
                self.data.clear();
                return Ok(false);
            }
        };
        self.line += spans;
        let line = self.data.split_to(whole);
        let raw = &line[..length];
        let line = utf8(raw)
            .map_err(|e| e.context(format!("COPY {}, line {}", self.relation, self.line)))?;
        if self.lines.within_quotes() {
            return Err(self.in_line(PgError::new("22P04", "unterminated CSV quoted field"), line));
        }
        if std::mem::take(&mut self.header) {
            if self.options.header_match {
                self.match_header(line).map_err(|e| self.in_line(e, line))?;
            }
            return Ok(true);
        }
        self.values(line)?;
        self.rows += 1;
        self.bytes += whole;
        Ok(true)
    }

    fn values(&mut self, line: &str) -> PgResult<()> {
        let mut rest = Some(line);
        let text = self.options.format == CopyFormat::Text;
        for i in 0..self.columns.len() {
            let value = if text {
                text::next(&mut rest, self.options.delimiter, &self.options.null)
                    .map_err(|e| self.in_line(e, line))?
            } else {
                match csv::next(&mut rest, &self.options).map_err(|e| self.in_line(e, line))? {
                    None => None,
                    Some(value) => {
                        let matches = value.text == self.options.null.as_str();
                        let null = matches
                            && if value.quoted {
                                self.options.force_null.contains(&i)
                            } else {
                                !self.options.force_not_null.contains(&i)
                            };
                        Some(if null { None } else { Some(value.text) })
                    }
                }
            };
            match value {
                Some(Some(value)) => {
                    if let Err(error) = self.columns[i].text(&value, &self.settings) {
                        return Err(error.context(format!(
                            "COPY {}, line {}, column {}: \"{}\"",
                            self.relation,
                            self.line,
                            self.names[i],
                            shown(&value)
                        )));
                    }
                }
                Some(None) => self.columns[i].null()?,
                None => {
                    let message = format!("missing data for column \"{}\"", self.names[i]);
                    return Err(self.in_line(PgError::new("22P04", message), line));
                }
            }
        }
        // A table without columns has empty lines.
        if rest.is_some_and(|rest| !self.columns.is_empty() || !rest.is_empty()) {
            let error = PgError::new("22P04", "extra data after last expected column");
            return Err(self.in_line(error, line));
        }
        Ok(())
    }

    fn match_header(&self, line: &str) -> PgResult<()> {
        let (mut rest, mut found) = (Some(line), Vec::new());
        loop {
            let name = if self.options.format == CopyFormat::Text {
                text::next(&mut rest, self.options.delimiter, &self.options.null)?
            } else {
                csv::next(&mut rest, &self.options)?
                    .map(|v| (v.quoted || v.text != self.options.null.as_str()).then_some(v.text))
            };
            let Some(name) = name else { break };
            found.push(name);
        }
        if found.len() != self.names.len() {
            return Err(PgError::new(
                "22P04",
                format!(
                    "wrong number of fields in header line: got {}, expected {}",
                    found.len(),
                    self.names.len()
                ),
            ));
        }
        for (i, (found, expected)) in found.iter().zip(&self.names).enumerate() {
            let got = match found {
                Some(name) if name == expected => continue,
                Some(name) => format!("\"{name}\""),
                None => format!("null value (\"{}\")", self.options.null),
            };
            return Err(PgError::new(
                "22P04",
                format!(
                    "column name mismatch in header line field {}: got {got}, expected \"{expected}\"",
                    i + 1
                ),
            ));
        }
        Ok(())
    }

    fn in_line(&self, error: PgError, line: &str) -> PgError {
        error.context(format!("COPY {}, line {}: \"{}\"", self.relation, self.line, shown(line)))
    }

    /// Reads a row of the binary format; false when there is none.
    fn binary_row(&mut self, last: bool) -> PgResult<bool> {
        let cut = || PgError::new("22P04", "unexpected EOF in COPY data");
        if self.header {
            if !binary::header(&mut self.data)? {
                return if last { Err(cut()) } else { Ok(false) };
            }
            self.header = false;
        }
        let context = format!("COPY {}, line {}", self.relation, self.line + 1);
        let measured = binary::measure(&self.data, self.columns.len())
            .map_err(|e| e.context(context.clone()))?;
        let length = match measured {
            binary::Row::Data(length) => length,
            // Data without a trailer is taken, if it ends between rows.
            binary::Row::Partial if last && !self.data.is_empty() => {
                return Err(cut().context(context));
            }
            binary::Row::Partial => return Ok(false),
            binary::Row::End => {
                self.ended = true;
                self.data.advance(2);
                if self.data.is_empty() {
                    return Ok(false);
                }
                return Err(PgError::new("22P04", "received copy data after EOF marker"));
            }
        };
        self.line += 1;
        let row = self.data.split_to(length);
        let mut rest = &row[2..];
        for (column, name) in self.columns.iter_mut().zip(&self.names) {
            match binary::value(&mut rest) {
                None => column.null()?,
                Some(value) => column.binary(value).map_err(|e| {
                    e.context(format!("COPY {}, line {}, column {name}", self.relation, self.line))
                })?,
            }
        }
        self.rows += 1;
        self.bytes += length;
        Ok(true)
    }
}

/// As much of a value or line as an error shows.
fn shown(text: &str) -> String {
    const LIMIT: usize = 100;
    if text.len() <= LIMIT {
        return text.to_owned();
    }
    let end = (0..=LIMIT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests {
    use chronos_catalog::SqlType;
    use datafusion::arrow::array::{Array, AsArray};
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    fn decoder(options: CopyOptions) -> Decoder {
        let fields = [("a", SqlType::Int4), ("b", SqlType::Text)].map(|(name, ty)| {
            FieldDescription { name: name.to_owned(), table_oid: 0, column: 0, ty }
        });
        let settings = TextSettings {
            time_zone: chrono_tz::Tz::UTC,
            interval_style: "postgres".to_owned(),
            bytea_escape: false,
            extra_float_digits: 1,
            date_style: "ISO, MDY".to_owned(),
            now: None,
        };
        Decoder::new("t", &fields, &options, settings)
    }

    fn options(format: CopyFormat) -> CopyOptions {
        let csv = format == CopyFormat::Csv;
        CopyOptions {
            format,
            delimiter: if csv { b',' } else { b'\t' },
            null: if csv { String::new() } else { "\\N".to_owned() },
            header: false,
            header_match: false,
            quote: b'"',
            escape: b'"',
            force_quote: vec![],
            force_not_null: vec![],
            force_null: vec![],
        }
    }

    fn read(options: CopyOptions, data: &[u8]) -> PgResult<Vec<(Option<i32>, Option<String>)>> {
        let mut decoder = decoder(options);
        let mut rows = vec![];
        // Byte by byte: no place is a bad one to be cut at.
        for byte in data {
            decoder.push(&[*byte])?;
            assert!(decoder.batch(false)?.is_none());
        }
        while let Some(batch) = decoder.batch(true)? {
            let a = batch.column(0).as_primitive::<Int32Type>();
            let b = batch.column(1).as_string_view();
            for i in 0..batch.num_rows() {
                rows.push((
                    a.is_valid(i).then(|| a.value(i)),
                    b.is_valid(i).then(|| b.value(i).to_owned()),
                ));
            }
        }
        Ok(rows)
    }

    fn row(a: impl Into<Option<i32>>, b: &str) -> (Option<i32>, Option<String>) {
        (a.into(), Some(b.to_owned()))
    }

    #[test]
    fn text_is_read_up_to_the_end_marker() {
        let rows = read(options(CopyFormat::Text), b"1\ta\\nb\n\\N\t\\N\n3\t\n\\.\nrest").unwrap();
        assert_eq!(rows, [row(1, "a\nb"), (None, None), row(3, "")]);
        let rows = read(options(CopyFormat::Text), b"1\tno newline at the end").unwrap();
        assert_eq!(rows, [row(1, "no newline at the end")]);
    }

    #[test]
    fn csv_tells_null_from_an_empty_string() {
        let rows = read(options(CopyFormat::Csv), b"1,\"x\n\"\"y\"\"\"\n,\"\"\n3,\n").unwrap();
        assert_eq!(rows, [row(1, "x\n\"y\""), row(None, ""), (Some(3), None)]);
        let forced =
            CopyOptions { force_not_null: vec![1], header: true, ..options(CopyFormat::Csv) };
        assert_eq!(read(forced, b"a,b\n3,\n").unwrap(), [row(3, "")]);
        let forced = CopyOptions { force_null: vec![1], ..options(CopyFormat::Csv) };
        assert_eq!(read(forced, b"3,\"\"\n").unwrap(), [(Some(3), None)]);
    }

    #[test]
    fn errors_tell_the_line_and_the_column() {
        let error = |format, data: &[u8]| {
            let e = read(options(format), data).unwrap_err();
            (e.code, e.message, e.context.unwrap_or_default())
        };
        assert_eq!(
            error(CopyFormat::Text, b"1\ta\nx\tb\n"),
            (
                "22P02",
                "invalid input syntax for type integer: \"x\"".to_owned(),
                "COPY t, line 2, column a: \"x\"".to_owned()
            )
        );
        assert_eq!(
            error(CopyFormat::Text, b"1\n"),
            (
                "22P04",
                "missing data for column \"b\"".to_owned(),
                "COPY t, line 1: \"1\"".to_owned()
            )
        );
        assert_eq!(error(CopyFormat::Csv, b"1,2,3\n").1, "extra data after last expected column");
        assert_eq!(error(CopyFormat::Csv, b"1,\"2\n").1, "unterminated CSV quoted field");
        assert_eq!(error(CopyFormat::Text, b"1\t\xff\n").0, "22021");
    }

    #[test]
    fn a_header_that_has_to_match_is_compared() {
        let matching =
            || CopyOptions { header_match: true, header: true, ..options(CopyFormat::Csv) };
        assert_eq!(read(matching(), b"a,b\n1,x\n").unwrap(), [row(1, "x")]);
        assert_eq!(
            read(matching(), b"a,c\n1,x\n").unwrap_err().message,
            "column name mismatch in header line field 2: got \"c\", expected \"b\""
        );
        assert_eq!(
            read(matching(), b"a\n1,x\n").unwrap_err().message,
            "wrong number of fields in header line: got 1, expected 2"
        );
    }

    #[test]
    fn binary_rows_have_a_header_and_a_trailer() {
        let mut data = binary::SIGNATURE.to_vec();
        data.extend_from_slice(&[0; 8]);
        data.extend_from_slice(b"\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x01x");
        data.extend_from_slice(b"\0\x02\xff\xff\xff\xff\xff\xff\xff\xff");
        let mut whole = data.clone();
        whole.extend_from_slice(b"\xff\xff");
        assert_eq!(read(options(CopyFormat::Binary), &whole).unwrap(), [row(7, "x"), (None, None)]);
        assert_eq!(read(options(CopyFormat::Binary), &data[..30]).unwrap_err().code, "22P04");
        assert_eq!(
            read(options(CopyFormat::Binary), b"PGDUMP").unwrap_err().message,
            "COPY file signature not recognized"
        );
    }
}
