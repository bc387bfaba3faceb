//! Verifies every object that the manifests name.

use std::sync::Arc;

use chronos_catalog::raft::{Finding, Severity};
use chronos_catalog::{
    CommitTs, Manifest, Oid, Relation, RowEndsMeta, SegmentMeta, State, SystemTime, TableDef,
};
use futures::TryStreamExt;

use crate::error::{Error, Result};
use crate::keys::{KeyHashes, KeySpec};
use crate::lookup::{computed, place_spec};
use crate::orphans;
use crate::overlay::Overlay;
use crate::parts::Planner;
use crate::segment::Source;
use crate::segment::reader::{every_version, read_part};
use crate::store::Store;
use crate::table::TableStore;

/// Rows decoded at once.
const BATCH_ROWS: usize = 8192;

impl Store {
    /// Verifies every object that the state's manifests name: that it is there, its size and
    /// checksums, that every row can be read, that the key files agree with the rows, and that
    /// row ends name rows. One finding for each object that is not as it should be, and one with
    /// the count of the others.
    pub async fn check(&self, state: &State) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut good = 0_usize;
        let mut note = |result: Result<()>| match result {
            Ok(()) => good += 1,
            Err(error) => {
                let message = error.to_string();
                findings.push(Finding { severity: Severity::Damaged, message });
            }
        };
        for (&table, manifest) in &state.manifests {
            let defs: Vec<Arc<TableDef>> = state
                .objects
                .history(table)
                .iter()
                .filter_map(|v| match &v.object.relation {
                    Relation::Table(def) => Some(Arc::clone(def)),
                    _ => None,
                })
                .collect();
            let (objects, options) = (Arc::clone(&self.objects), Arc::clone(&self.options));
            let store = TableStore::new(table, objects, options);
            for def in &defs {
                store.inner.write().shapes.insert(def.schema_version, Arc::clone(def));
            }
            for meta in manifest.segments.values() {
                let rows = self.check_rows(&store, meta).await;
                let readable = rows.is_ok();
                note(rows);
                for (&key, file) in &meta.key_files {
                    let checked = match self.objects.verify(file).await {
                        // There is nothing to compare with where the rows cannot be read.
                        Ok(()) if !readable => Ok(()),
                        Ok(()) => self.check_keys(&store, &defs, meta, Oid(key)).await,
                        Err(error) => Err(error),
                    };
                    note(checked);
                }
            }
            for meta in &manifest.row_ends {
                note(self.check_row_ends(manifest, meta).await);
            }
        }
        let message = format!("{good} objects of the store are as they were written");
        findings.push(Finding { severity: Severity::Fine, message });
        findings
    }

    /// One finding for each object of tables that the state does not name: what a crash left, or
    /// what is being written.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn find_orphans(&self, state: &State) -> Result<Vec<Finding>> {
        let named = orphans::named(state);
        let all = self.objects.list("tables").await?;
        let orphans = all.into_iter().filter(|path| !named.contains(path.as_str()));
        let finding = |path| Finding {
            severity: Severity::Recoverable,
            message: format!("nothing names object \"{path}\""),
        };
        Ok(orphans.map(finding).collect())
    }

    async fn check_rows(&self, store: &TableStore, meta: &Arc<SegmentMeta>) -> Result<()> {
        self.objects.verify(&meta.file).await?;
        let def = store.shape(meta.schema_version)?;
        let columns: Vec<usize> = (0..def.columns.len()).collect();
        let spec = Arc::new(place_spec(store, &def, &columns, every_version()));
        let own = Overlay::default();
        let planner = Planner::new(store, &own, &def, SystemTime::All, CommitTs::MAX)?;
        let Some(part) = planner.whole_part(meta.id, Source::Cold(Arc::clone(meta)))? else {
            return Ok(());
        };
        let mut stream = read_part(spec, part, Arc::clone(&self.objects), None, BATCH_ROWS);
        let mut rows = 0;
        while let Some(batch) = stream.try_next().await? {
            rows += batch.num_rows();
        }
        if rows != meta.rows as usize {
            let reason = format!("it has {rows} rows, {} were expected", meta.rows);
            return Err(Error::Corrupt { path: meta.file.path.clone(), reason });
        }
        Ok(())
    }

    async fn check_keys(
        &self,
        store: &TableStore,
        defs: &[Arc<TableDef>],
        meta: &Arc<SegmentMeta>,
        key: Oid,
    ) -> Result<()> {
        let Some(file) = meta.key_files.get(&key.0) else { return Ok(()) };
        let found = self.objects.parsed(file, KeyHashes::decode).await?;
        // A key that no definition has any more is not looked at by any read.
        let spec = |def: &&Arc<TableDef>| KeySpec::of_constraint(store.oid(), def, key).ok();
        let Some(def) = defs.iter().rev().find(|def| spec(def).is_some()) else { return Ok(()) };
        let Some(spec) = spec(&def) else { return Ok(()) };
        let own = Overlay::default();
        let planner = Planner::new(store, &own, def, SystemTime::All, CommitTs::MAX)?;
        let rows = computed(&planner, meta.id, Source::Cold(Arc::clone(meta)), &spec).await?;
        if *found != rows {
            let reason = format!("its keys are not those of \"{}\"", meta.file.path);
            return Err(Error::Corrupt { path: file.path.clone(), reason });
        }
        Ok(())
    }

    async fn check_row_ends(&self, manifest: &Manifest, meta: &RowEndsMeta) -> Result<()> {
        self.objects.verify(&meta.file).await?;
        let sidecar = crate::row_ends::load(&self.objects, meta).await?;
        let corrupt = |reason| Err(Error::Corrupt { path: meta.file.path.clone(), reason });
        if sidecar.counts() != meta.segments {
            return corrupt("it has other row ends than the manifest says".to_owned());
        }
        for (id, last) in sidecar.last_positions() {
            // A compaction may have taken the segment away.
            if manifest.segments.get(&id).is_some_and(|segment| last >= segment.rows) {
                return corrupt(format!("it ends row {last} of segment {id}, which has fewer"));
            }
        }
        Ok(())
    }
}
