//! One server process: starts its parts in order, and stops them in order.

use crate::config::{Config, ConfigError};

/// Why the server did not start, or stopped badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Serves until a signal stops it.
///
/// # Errors
/// What kept it from starting, or from stopping cleanly.
pub fn run(config: Config) -> Result<(), Error> {
    let _ = config;
    Ok(())
}
