//! Whose a store is. What nothing of one database names may be another's, so objects are only
//! removed from a store that is known to be one's own.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::store::Store;

/// The object that names the database.
const OWNER: &str = "owner";

impl Store {
    /// Makes the store the database's of that identifier, unless it is that already.
    ///
    /// # Errors
    /// [`Error::NotOwner`]; [`Error::ObjectStore`] where the store cannot be reached.
    pub async fn own(&self, database: &str) -> Result<()> {
        let id = Bytes::copy_from_slice(database.as_bytes());
        match self.objects.create_once(OWNER, id).await {
            Err(Error::Corrupt { .. }) => Err(Error::NotOwner { url: self.options.url.clone() }),
            done => done,
        }
    }

    /// Whether it holds no table's objects and belongs to no database.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub async fn is_empty(&self) -> Result<bool> {
        let tables = self.objects.list("tables").await?;
        Ok(tables.is_empty() && !self.objects.exists(OWNER).await?)
    }
}
