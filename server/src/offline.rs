//! What works on a data directory while no server does.

use chronos_catalog::raft::{Finding, Severity, check_with_state};
use chronos_catalog::{CommitTs, Relation, State};
use chronos_sql_ext::instant::display;
use chronos_storage::{Store, StoreOptions};

use crate::config::Config;
use crate::engine::{self, EngineResult};

/// Verifies the log, the snapshots and every object that they name.
///
/// # Errors
/// A server runs on the directory, or it or the store cannot be opened. Damage is a finding.
pub(crate) fn check(config: &Config) -> EngineResult<Vec<Finding>> {
    let (mut findings, state) = read(config)?;
    let Some(state) = state else {
        let message = "the store was not looked at: what it should hold is not known".to_owned();
        findings.push(Finding { severity: Severity::Recoverable, message });
        return Ok(findings);
    };
    let runtime = runtime()?;
    let options = StoreOptions::new(config.store_url());
    let store = runtime.block_on(Store::open(options))?;
    findings.extend(runtime.block_on(store.check(&state)));
    findings.extend(runtime.block_on(store.find_orphans(&state))?);
    Ok(findings)
}

fn read(config: &Config) -> EngineResult<(Vec<Finding>, Option<State>)> {
    if !config.data_dir.is_dir() {
        let message = format!("there is no directory \"{}\"", config.data_dir.display());
        return Ok((vec![Finding { severity: Severity::Damaged, message }], None));
    }
    Ok(check_with_state(&config.data_dir)?)
}

/// A runtime for one task.
pub(crate) fn runtime() -> EngineResult<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| {
        engine::Error::from(chronos_catalog::Error::Io { action: "start".to_owned(), source })
    })
}

/// Tells what a data directory holds, a line each; the findings where it cannot be told.
///
/// # Errors
/// A server runs on the directory, or it cannot be read.
pub(crate) fn inspect(config: &Config) -> EngineResult<Result<Vec<String>, Vec<Finding>>> {
    let (findings, state) = read(config)?;
    let damaged = findings.iter().any(|f| f.severity == Severity::Damaged);
    let Some(state) = state.filter(|_| !damaged) else { return Ok(Err(findings)) };
    let mut lines = vec![format!("data directory  {}", config.data_dir.display())];
    lines.push(format!("store           {}", config.store_url()));
    lines.extend(findings.into_iter().map(|f| f.message));
    let last = match state.last_commit {
        CommitTs::ZERO => "none".to_owned(),
        last => display(last),
    };
    lines.push(format!("last commit     {last}"));
    lines.push(String::new());
    lines.push(format!(
        "{:<32} {:>8} {:>12} {:>12} {:>14} {:>9}  history from",
        "table", "segments", "live rows", "ended rows", "bytes", "hot rows"
    ));
    for (&oid, manifest) in &state.manifests {
        let Some(version) = state.objects.history(oid).last() else { continue };
        let (object, Relation::Table(_)) = (&version.object, &version.object.relation) else {
            continue;
        };
        let schema = object.namespace.and_then(|n| state.objects.history(n).last());
        let schema = schema.map_or("chronos", |v| v.object.name.as_str());
        let dropped = if version.period.to.is_some() { " (dropped)" } else { "" };
        let files = manifest.segments.values();
        let bytes: u64 = files
            .flat_map(|m| m.key_files.values().chain([&m.file]))
            .chain(manifest.row_ends.iter().map(|m| &m.file))
            .map(|file| file.size)
            .sum();
        let hot = manifest.sealed.values().copied().chain(manifest.open.map(|(_, rows)| rows));
        lines.push(format!(
            "{:<32} {:>8} {:>12} {:>12} {:>14} {:>9}  {}",
            format!("{schema}.{}{dropped}", object.name),
            manifest.segments.len(),
            manifest.rows_written.saturating_sub(manifest.rows_ended),
            manifest.rows_ended,
            bytes,
            hot.map(u64::from).sum::<u64>(),
            manifest.horizon.map_or_else(|| "the beginning".to_owned(), display),
        ));
    }
    Ok(Ok(lines))
}
