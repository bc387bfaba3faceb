//! COPY: rows from and to the client. The protocol side reads and writes the data's text.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast::{
    CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopySource, CopyTarget, Ident, ObjectName,
    SelectItem, Statement,
};

use super::api::{CopyFormat, CopyIn, CopyOptions, FieldDescription, Response};
use super::build;
use super::names::fold;
use super::session::Session;
use super::shared::Shared;
use super::transaction::Block;
use super::write::WriteTarget;
use crate::error::{PgError, PgResult};

/// The options as given; what is not given depends on the format.
#[derive(Default)]
struct Given {
    format: Option<CopyFormat>,
    delimiter: Option<char>,
    null: Option<String>,
    header: bool,
    quote: Option<char>,
    escape: Option<char>,
    force_quote: Vec<Ident>,
    force_not_null: Vec<Ident>,
    force_null: Vec<Ident>,
}

fn modern(given: &mut Given, options: &[CopyOption]) -> PgResult<()> {
    for option in options {
        match option {
            CopyOption::Format(name) => {
                given.format = Some(match fold(name).as_str() {
                    "text" => CopyFormat::Text,
                    "csv" => CopyFormat::Csv,
                    "binary" => CopyFormat::Binary,
                    other => {
                        let message = format!("COPY format \"{other}\" not recognized");
                        return Err(PgError::new("22023", message));
                    }
                });
            }
            CopyOption::Freeze(_) => {}
            CopyOption::Delimiter(c) => given.delimiter = Some(*c),
            CopyOption::Null(text) => given.null = Some(text.clone()),
            CopyOption::Header(on) => given.header = *on,
            CopyOption::Quote(c) => given.quote = Some(*c),
            CopyOption::Escape(c) => given.escape = Some(*c),
            CopyOption::ForceQuote(columns) => given.force_quote.clone_from(columns),
            CopyOption::ForceNotNull(columns) => given.force_not_null.clone_from(columns),
            CopyOption::ForceNull(columns) => given.force_null.clone_from(columns),
            CopyOption::Encoding(name) => {
                let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
                if !plain.eq_ignore_ascii_case("utf8") {
                    return Err(PgError::unsupported(format!("COPY with encoding \"{name}\"")));
                }
            }
        }
    }
    Ok(())
}

/// The options without parentheses, which psql's `\copy` sends.
fn legacy(given: &mut Given, options: &[CopyLegacyOption]) -> PgResult<()> {
    for option in options {
        match option {
            CopyLegacyOption::Binary => given.format = Some(CopyFormat::Binary),
            CopyLegacyOption::Delimiter(c) => given.delimiter = Some(*c),
            CopyLegacyOption::Null(text) => given.null = Some(text.clone()),
            CopyLegacyOption::Header => given.header = true,
            CopyLegacyOption::Csv(options) => {
                given.format = Some(CopyFormat::Csv);
                for option in options {
                    match option {
                        CopyLegacyCsvOption::Header => given.header = true,
                        CopyLegacyCsvOption::Quote(c) => given.quote = Some(*c),
                        CopyLegacyCsvOption::Escape(c) => given.escape = Some(*c),
                        CopyLegacyCsvOption::ForceQuote(columns) => {
                            given.force_quote.clone_from(columns);
                        }
                        CopyLegacyCsvOption::ForceNotNull(columns) => {
                            given.force_not_null.clone_from(columns);
                        }
                    }
                }
            }
            other => {
                let message = format!("option \"{other}\" not recognized");
                return Err(PgError::new("42601", message));
            }
        }
    }
    Ok(())
}

fn byte(c: char, what: &str) -> PgResult<u8> {
    match u8::try_from(c) {
        Ok(b) if b.is_ascii() => Ok(b),
        _ => Err(PgError::new("0A000", format!("COPY {what} must be a single one-byte character"))),
    }
}

/// The places of columns among those that are copied.
fn places(columns: &[Ident], fields: &[FieldDescription]) -> PgResult<Vec<usize>> {
    if let [all] = columns
        && all.value == "*"
    {
        return Ok((0..fields.len()).collect());
    }
    columns
        .iter()
        .map(|c| {
            let name = fold(c);
            fields
                .iter()
                .position(|f| f.name == name)
                .ok_or_else(|| PgError::new("42703", format!("column \"{name}\" does not exist")))
        })
        .collect()
}

impl Given {
    fn finish(self, fields: &[FieldDescription]) -> PgResult<CopyOptions> {
        let format = self.format.unwrap_or(CopyFormat::Text);
        let csv = format == CopyFormat::Csv;
        let only_csv = [
            (self.quote.is_some(), "quote"),
            (self.escape.is_some(), "escape"),
            (!self.force_quote.is_empty(), "force quote"),
            (!self.force_not_null.is_empty(), "force not null"),
            (!self.force_null.is_empty(), "force null"),
        ];
        if !csv && let Some((_, what)) = only_csv.iter().find(|(given, _)| *given) {
            return Err(PgError::new("0A000", format!("COPY {what} available only in CSV mode")));
        }
        if format == CopyFormat::Binary
            && (self.delimiter.is_some() || self.null.is_some() || self.header)
        {
            let message = "cannot specify DELIMITER, NULL or HEADER in BINARY mode";
            return Err(PgError::new("42601", message));
        }
        let quote = byte(self.quote.unwrap_or('"'), "quote")?;
        Ok(CopyOptions {
            format,
            delimiter: byte(self.delimiter.unwrap_or(if csv { ',' } else { '\t' }), "delimiter")?,
            null: self.null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() }),
            header: self.header,
            header_match: false,
            quote,
            escape: match self.escape {
                Some(c) => byte(c, "escape")?,
                None => quote,
            },
            force_quote: places(&self.force_quote, fields)?,
            force_not_null: places(&self.force_not_null, fields)?,
            force_null: places(&self.force_null, fields)?,
        })
    }
}

impl Session {
    pub(super) async fn copy(&mut self, sql: &Statement) -> PgResult<Response> {
        let Statement::Copy { source, to, target, options, legacy_options, .. } = sql else {
            return Err(PgError::internal("not COPY"));
        };
        match target {
            CopyTarget::Stdin | CopyTarget::Stdout => {}
            CopyTarget::File { .. } | CopyTarget::Program { .. } => {
                return Err(PgError::unsupported("COPY with a file or program of the server")
                    .hint("Use COPY … STDIN or STDOUT, or psql's \\copy."));
            }
        }
        let mut given = Given::default();
        modern(&mut given, options)?;
        legacy(&mut given, legacy_options)?;
        if *to {
            return self.copy_out(source, given).await;
        }
        match source {
            CopySource::Table { table_name, columns } => self.copy_in(table_name, columns, given),
            CopySource::Query(_) => Err(PgError::new("42601", "COPY FROM needs a table")),
        }
    }

    async fn copy_out(&mut self, source: &CopySource, given: Given) -> PgResult<Response> {
        let query = match source {
            CopySource::Query(query) => {
                if !super::query::is_read(query) {
                    return Err(PgError::unsupported("COPY of a statement that writes"));
                }
                query.as_ref().clone()
            }
            CopySource::Table { table_name, columns } => {
                let items = if columns.is_empty() {
                    vec![SelectItem::Wildcard(Default::default())]
                } else {
                    columns
                        .iter()
                        .map(|c| SelectItem::UnnamedExpr(build::column(&fold(c))))
                        .collect()
                };
                let from = build::table_named(table_name.clone());
                build::select(items, vec![from], None)
            }
        };
        let planned = self.plan(&Statement::Query(Box::new(query))).await?;
        let fields = Arc::clone(&planned.fields);
        let options = given.finish(&fields)?;
        let rows = self.stream(planned).await?;
        Ok(Response::CopyOut { fields, rows, options })
    }

    fn copy_in(
        &mut self,
        name: &ObjectName,
        columns: &[Ident],
        given: Given,
    ) -> PgResult<Response> {
        let target = self.write_target(name)?;
        if self.shared.row_security(target.oid)?.is_some() {
            let message = "COPY FROM not supported with row-level security";
            return Err(PgError::new("0A000", message).hint("Use INSERT statements instead."));
        }
        let mut places = Vec::with_capacity(columns.len());
        for column in columns {
            let name = fold(column);
            let place = target.column(&name)?;
            if target.def.columns[place].generated.is_some() {
                let message = format!("column \"{name}\" is a generated column");
                return Err(PgError::new("42P10", message)
                    .detail("Generated columns cannot be used in COPY."));
            }
            if places.contains(&place) {
                let message = format!("column \"{name}\" specified more than once");
                return Err(PgError::new("42701", message));
            }
            places.push(place);
        }
        if columns.is_empty() {
            let all = target.def.columns.iter().enumerate();
            places.extend(all.filter(|(_, c)| c.generated.is_none()).map(|(i, _)| i));
        }
        let fields: Vec<FieldDescription> = places
            .iter()
            .map(|&p| {
                let column = &target.def.columns[p];
                FieldDescription {
                    name: column.name.clone(),
                    table_oid: target.oid.0,
                    column: i16::try_from(column.id.0).unwrap_or(0),
                    ty: column.ty.clone(),
                }
            })
            .collect();
        self.require(&target, 'a', Some(&places))?;
        let options = given.finish(&fields)?;
        Ok(Response::CopyIn(Box::new(CopyRows {
            commit: self.block == Block::None,
            shared: Arc::clone(&self.shared),
            session: self.companion(),
            target,
            places,
            fields,
            options,
            count: 0,
            finished: false,
        })))
    }
}

/// COPY … FROM STDIN under way.
struct CopyRows {
    shared: Arc<Shared>,
    /// Completes rows on behalf of the connection's session, in the same transaction.
    session: Session,
    target: WriteTarget,
    places: Vec<usize>,
    fields: Vec<FieldDescription>,
    options: CopyOptions,
    /// Whether the statement is a transaction of its own.
    commit: bool,
    count: u64,
    finished: bool,
}

#[async_trait]
impl CopyIn for CopyRows {
    fn relation(&self) -> &str {
        &self.target.name
    }

    fn fields(&self) -> &[FieldDescription] {
        &self.fields
    }

    fn options(&self) -> &CopyOptions {
        &self.options
    }

    async fn rows(&mut self, batch: RecordBatch) -> PgResult<()> {
        let n = batch.num_rows();
        let mut arrays = Vec::with_capacity(self.places.len());
        for (place, array) in self.places.iter().zip(batch.columns()) {
            let column = &self.target.def.columns[*place];
            arrays.push(self.session.assign_column(array, Some(&column.ty), false, column)?);
        }
        let rows = self.session.complete(&self.target, &self.places, arrays, n).await?;
        self.session.check(&self.target, &rows).await?;
        self.session.insert_rows(&self.target, rows).await?;
        self.count += n as u64;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> PgResult<String> {
        self.session.finish_foreign_keys().await?;
        self.finished = true;
        if self.commit {
            self.session.finish_deferred(true).await?;
            self.session.settle_temporary().await?;
            self.shared.commit().await?;
        }
        Ok(format!("COPY {}", self.count))
    }
}

impl Drop for CopyRows {
    fn drop(&mut self) {
        if self.commit && !self.finished {
            self.shared.abandon();
        }
    }
}
