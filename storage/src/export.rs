//! Unflushed rows and row ends, as the Raft snapshot holds them.

use bytes::Bytes;
use chronos_catalog::State;

use crate::error::{Error, Result};
use crate::store::Store;

impl Store {
    pub(crate) fn export_hot(&self, _state: &State) -> Result<Bytes> {
        Err(Error::Unsupported("snapshot".to_owned()))
    }

    pub(crate) fn restore_hot(&self, _state: &State, _exported: &Bytes) -> Result<()> {
        Err(Error::Unsupported("snapshot".to_owned()))
    }
}
