//! Foreign keys that are checked when the transaction ends: DEFERRABLE and SET CONSTRAINTS.

use std::collections::HashMap;

use chronos_catalog::{Constraint, Oid, Relation};
use datafusion::arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{filter_record_batch, take_record_batch};
use datafusion::sql::sqlparser::ast::ObjectName;

use super::keys::renamed;
use super::{Parts, Referring, parts};
use crate::error::{PgError, PgResult};
use crate::session::session::Session;
use crate::session::transaction::Block;

/// Keys to look at when the transaction ends.
pub(in crate::session) struct Deferred {
    pub(super) child: Oid,
    pub(super) constraint: Oid,
    /// In the order of the constraint; the parent's where they are gone, the child's otherwise.
    pub(super) keys: RecordBatch,
    /// The parent lost them; otherwise the child got them.
    pub(super) gone: bool,
}

/// What SET CONSTRAINTS said in this transaction.
#[derive(Default)]
pub(in crate::session) struct ConstraintModes {
    all: Option<bool>,
    named: HashMap<Oid, bool>,
}

impl ConstraintModes {
    fn of(&self, constraint: Oid) -> Option<bool> {
        self.named.get(&constraint).copied().or(self.all)
    }
}

impl Session {
    /// Whether a constraint waits for the end of the transaction.
    pub(super) fn is_deferred(&self, constraint: &Constraint) -> bool {
        let Some(Parts { deferrable: Some(initially), .. }) = parts(constraint) else {
            return false;
        };
        // Alone, a statement is the transaction.
        self.block != Block::None
            && self.shared.constraint_modes.lock().of(constraint.oid).unwrap_or(initially)
    }

    /// SET CONSTRAINTS; no names stand for ALL.
    pub(in crate::session) async fn set_constraints(
        &mut self,
        names: &[ObjectName],
        deferred: bool,
    ) -> PgResult<String> {
        if self.block == Block::None {
            let message = "SET CONSTRAINTS can only be used in transaction blocks";
            self.notice(PgError::warning("25P01", message));
            return Ok("SET CONSTRAINTS".to_owned());
        }
        self.open_transaction().await?;
        if names.is_empty() {
            *self.shared.constraint_modes.lock() =
                ConstraintModes { all: Some(deferred), named: HashMap::new() };
        }
        for name in names {
            let name = self.relation_name(name)?;
            let scope = self.scope()?;
            let schemas = match &name.schema {
                Some(schema) => vec![schema.clone()],
                None => scope.path.clone(),
            };
            let mut found = false;
            for schema in schemas {
                let Some(namespace) = scope.lookup().schema(&schema) else { continue };
                for (_, object) in scope.objects.iter(scope.at) {
                    let Relation::Table(def) = &object.relation else { continue };
                    if object.namespace != Some(namespace) {
                        continue;
                    }
                    for c in def.constraints.iter().filter(|c| c.name == name.name) {
                        if parts(c).and_then(|p| p.deferrable).is_none() {
                            let message = format!("constraint \"{}\" is not deferrable", c.name);
                            return Err(PgError::new("42809", message));
                        }
                        self.shared.constraint_modes.lock().named.insert(c.oid, deferred);
                        found = true;
                    }
                }
                if found {
                    break;
                }
            }
            if !found {
                let message = format!("constraint \"{}\" does not exist", name.name);
                return Err(PgError::new("42704", message));
            }
        }
        if !deferred {
            self.finish_deferred(false).await?;
        }
        Ok("SET CONSTRAINTS".to_owned())
    }

    /// Looks at the keys that waited: all of them at the end of the transaction, otherwise those
    /// that wait no longer.
    ///
    /// # Errors
    /// 23503
    pub(in crate::session) async fn finish_deferred(&mut self, all: bool) -> PgResult<()> {
        let waiting = std::mem::take(&mut *self.shared.deferred.lock());
        for deferred in waiting {
            let Some(referring) = self.foreign_key(deferred.child, deferred.constraint)? else {
                continue;
            };
            if !all && self.is_deferred(&referring.constraint) {
                self.shared.deferred.lock().push(deferred);
            } else if deferred.gone {
                self.check_not_referred(&referring, deferred.keys).await?;
            } else {
                self.check_still_standing(&referring, deferred.keys).await?;
            }
        }
        Ok(())
    }

    /// Keys of rows that were new, which may be gone again.
    pub(super) async fn check_still_standing(
        &mut self,
        from: &Referring,
        keys: RecordBatch,
    ) -> PgResult<()> {
        let Some(Parts { parent, referenced, columns, .. }) = parts(&from.constraint) else {
            return Ok(());
        };
        let parent = self.target_of(parent)?;
        let sought = renamed(&keys, &parent.def, referenced)?;
        let missing = self.missing_keys(&parent, referenced, &sought).await?;
        if !missing.is_empty() {
            let rows = UInt32Array::from_iter_values(missing.iter().map(|&i| i as u32));
            let lost = take_record_batch(&keys, &rows)?;
            let mut reference = self.reference_to_gone(from, lost.clone(), true)?;
            reference.keys = renamed(&lost, &from.child.def, columns)?;
            if self.referred_row(from, &reference).await?.is_some() {
                // The message is that of the new row.
                return self.check_references(from, lost).await;
            }
        }
        let stands: BooleanArray =
            (0..keys.num_rows()).map(|i| Some(!missing.contains(&i))).collect();
        self.check_references(from, filter_record_batch(&keys, &stands)?).await
    }

    /// Forgets what waits and what SET CONSTRAINTS said: the transaction ends.
    pub(in crate::session) fn forget_deferred(&mut self) {
        self.shared.deferred.lock().clear();
        *self.shared.constraint_modes.lock() = ConstraintModes::default();
    }
}
