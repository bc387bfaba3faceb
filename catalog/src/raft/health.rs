//! Whether the node may go on; the first failure stays.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};

#[derive(Clone, Debug, Default)]
pub(crate) struct Health(Arc<OnceLock<String>>);

impl Health {
    /// Records what stopped the node. Later failures follow from the first.
    pub(crate) fn fail(&self, reason: String) {
        if self.0.set(reason.clone()).is_ok() {
            tracing::error!(reason, "the log stopped");
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some(reason) => Err(Error::NotLeader { reason: reason.clone() }),
        }
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}
