//! EXPLAIN: the plan as lines of text.

use std::sync::Arc;
use std::time::Instant;

use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{collect, displayable};
use datafusion::sql::sqlparser::ast::{Statement, TableObject, UtilityOption};

use super::api::{FieldDescription, Response};
use super::session::Session;
use super::settings::parse_bool;
use super::views::Event;
use crate::error::{PgError, PgResult};

/// The column of EXPLAIN.
pub(super) fn fields() -> Arc<[FieldDescription]> {
    super::show::text_fields(&["QUERY PLAN"])
}

/// What EXPLAIN is asked for.
#[derive(Default)]
struct Options {
    analyze: bool,
    verbose: bool,
}

fn options(given: Option<&[UtilityOption]>, analyze: bool, verbose: bool) -> PgResult<Options> {
    let mut result = Options { analyze, verbose };
    for option in given.unwrap_or_default() {
        let on = match &option.arg {
            None => true,
            Some(arg) => parse_bool(arg.to_string().trim_matches('\'')).unwrap_or(true),
        };
        match option.name.value.to_ascii_lowercase().as_str() {
            "analyze" => result.analyze = on,
            "verbose" => result.verbose = on,
            "costs" | "buffers" | "timing" | "summary" | "settings" | "wal" => {}
            "format" => {
                let format = option.arg.as_ref().map(ToString::to_string).unwrap_or_default();
                if !format.trim_matches('\'').eq_ignore_ascii_case("text") {
                    return Err(PgError::unsupported(format!("EXPLAIN (FORMAT {format})")));
                }
            }
            other => {
                let message = format!("unrecognized EXPLAIN option \"{other}\"");
                return Err(PgError::new("42601", message));
            }
        }
    }
    Ok(result)
}

impl Session {
    pub(super) async fn explain(&mut self, sql: &Statement) -> PgResult<Response> {
        let Statement::Explain { analyze, verbose, statement, options: given, format, .. } = sql
        else {
            return Err(PgError::internal("not EXPLAIN"));
        };
        if format.is_some() {
            return Err(PgError::unsupported("EXPLAIN with a format"));
        }
        let options = options(given.as_deref(), *analyze, *verbose)?;
        let mut lines: Vec<String> = Vec::new();
        let planned = match statement.as_ref() {
            Statement::Query(query) if super::query::is_read(query) => self.plan(statement).await?,
            _ if options.analyze => {
                return Err(PgError::unsupported("EXPLAIN ANALYZE of a statement that writes"));
            }
            Statement::Insert(insert) => {
                let TableObject::TableName(name) = &insert.table else {
                    return Err(PgError::new("42601", "INSERT needs the name of a table"));
                };
                let (target, _) = self.write_target_through(name, Event::Insert)?;
                lines.push(format!("Insert on {}", target.name));
                match &insert.source {
                    Some(source) => self.plan(&Statement::Query(source.clone())).await?,
                    None => return super::show::text_rows(fields(), vec![lines], "EXPLAIN"),
                }
            }
            Statement::Update(update) => {
                let write = self.take_update(update, None, &[]).await?;
                lines.push(format!("Update on {}", write.target.name));
                self.plan_write(&write).await?
            }
            Statement::Delete(delete) => {
                let write = self.take_delete(delete, None, &[]).await?;
                lines.push(format!("Delete on {}", write.target.name));
                self.plan_write(&write).await?
            }
            _ => return Err(PgError::unsupported("EXPLAIN of this statement")),
        };
        let started = Instant::now();
        let physical = planned.state.create_physical_plan(&planned.plan).await?;
        let planning = started.elapsed();
        if options.analyze {
            let started = Instant::now();
            let batches = collect(Arc::clone(&physical), planned.state.task_ctx()).await?;
            let execution = started.elapsed();
            let rows: usize = batches.iter().map(|b| b.num_rows()).sum();
            let text =
                DisplayableExecutionPlan::with_metrics(physical.as_ref()).indent(options.verbose);
            lines.extend(text.to_string().lines().map(str::to_owned));
            lines.push(format!("Rows: {rows}"));
            lines.push(format!("Planning Time: {:.3} ms", planning.as_secs_f64() * 1e3));
            lines.push(format!("Execution Time: {:.3} ms", execution.as_secs_f64() * 1e3));
        } else {
            if options.verbose {
                let text = planned.plan.display_indent().to_string();
                lines.extend(text.lines().map(str::to_owned));
            }
            let text = displayable(physical.as_ref()).indent(options.verbose);
            lines.extend(text.to_string().lines().map(str::to_owned));
        }
        super::show::text_rows(fields(), vec![lines], "EXPLAIN")
    }
}
