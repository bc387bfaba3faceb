//! One server per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::error::{Error, Result, io_error};
use crate::raft::log_files::create_dir;

/// Holds a data directory until it is dropped, or the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Locks `dir/LOCK`, making the directory if need be.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process (or another node in this one) holds it.
    pub fn acquire(dir: &Path) -> Result<DirLock> {
        create_dir(dir)?;
        let path = dir.join("LOCK");
        let action = || format!("lock \"{}\"", path.display());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error(action))?;
        match file.try_lock() {
            Ok(()) => Ok(DirLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { path: dir.display().to_string() }),
            Err(TryLockError::Error(source)) => Err(Error::Io { action: action(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_in_use_is_refused_until_released() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        assert!(matches!(DirLock::acquire(dir.path()), Err(Error::InUse { .. })));
        drop(lock);
        DirLock::acquire(dir.path()).unwrap();
    }
}
