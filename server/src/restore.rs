//! Makes a data directory of a backup.

use std::path::Path;

use chronos_catalog::CommitTs;
use chronos_catalog::raft::{Applier, Finding, Image};
use chronos_sql_ext::instant::display;
use chronos_storage::{Backup, BackupStore, Store, StoreOptions};

use crate::config::Config;
use crate::engine::{Engine, EngineResult, Error};
use crate::offline::runtime;

/// Writes a backup of a data directory that no server has open.
///
/// # Errors
/// A server runs on it, or one of the stores fails.
pub(crate) fn backup(config: &Config, url: &str) -> EngineResult<String> {
    if !config.data_dir.join("log").is_dir() {
        let path = config.data_dir.display();
        return Err(Error::Refused(format!("directory \"{path}\" is no data directory")));
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|source| {
        Error::from(chronos_catalog::Error::Io { action: "start".to_owned(), source })
    })?;
    runtime.block_on(async {
        let engine = Engine::open(config).await.map_err(|error| match error {
            Error::Catalog(chronos_catalog::Error::InUse { path }) => Error::Refused(format!(
                "a server runs on \"{path}\": send it BACKUP DATABASE TO '{url}'"
            )),
            other => other,
        })?;
        let written = engine.backup(url).await;
        engine.shutdown().await?;
        let (commit, size) = written?;
        Ok(format!(
            "backup as of {}: {} objects, {} of them new ({} bytes)",
            display(commit),
            size.objects,
            size.copied,
            size.bytes
        ))
    })
}

/// Reads everything of the backups at a URL.
///
/// # Errors
/// The store cannot be read; damage is a finding.
pub(crate) fn verify(url: &str) -> EngineResult<Vec<Finding>> {
    let backups = BackupStore::open(url)?;
    Ok(runtime()?.block_on(backups.verify())?)
}

/// Makes the data directory, which is empty or not there, of the newest backup at a URL; with an
/// instant, of the database as it was then.
///
/// # Errors
/// The directory or the store holds something, there is no such backup, or it is damaged.
pub(crate) fn restore(config: &Config, url: &str, as_of: Option<CommitTs>) -> EngineResult<String> {
    if !is_empty(&config.data_dir) {
        let path = config.data_dir.display();
        return Err(Error::Refused(format!("directory \"{path}\" is not empty")));
    }
    runtime()?.block_on(async {
        let backups = BackupStore::open(url)?;
        let all = backups.list().await?;
        let backup = choose(&all, as_of)?;
        let image = Image::decode(backups.image(backup).await?, backup.name())?;
        let store = Store::open(StoreOptions::new(config.store_url())).await?;
        if !store.is_empty().await? {
            let message = format!("store \"{}\" is not empty", config.store_url());
            return Err(Error::Refused(message));
        }
        backups.copy_back(backup, &store).await?;
        let (image, commit) = match as_of {
            Some(at) if at < image.state.last_commit => {
                store.restore(&image.state, image.rows.clone())?;
                let state = store.cut_off(&image.state, at).await?;
                // The copies of what was cut.
                store.collect_orphans(&state).await?;
                (image.with(state, Store::nothing_in_memory()?), at)
            }
            _ => {
                let commit = image.state.last_commit;
                (image, commit)
            }
        };
        image.install(&config.data_dir).await?;
        Ok(format!("restored \"{}\" as of {}", config.data_dir.display(), display(commit)))
    })
}

/// The newest backup, or the first that holds the instant: the less has to be cut off.
fn choose(all: &[Backup], as_of: Option<CommitTs>) -> EngineResult<&Backup> {
    let newest = all.last().ok_or_else(|| Error::Refused("there is no backup".to_owned()))?;
    let Some(at) = as_of else { return Ok(newest) };
    all.iter().find(|b| b.commit >= at).map_or_else(
        // Nothing may have been committed between the last backup and the instant, but nobody
        // knows.
        || {
            Err(Error::Refused(format!(
                "the newest backup is of {}, before {}",
                display(newest.commit),
                display(at)
            )))
        },
        Ok,
    )
}

fn is_empty(dir: &Path) -> bool {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}
