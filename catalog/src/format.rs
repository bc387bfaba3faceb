//! The bytes of a command in the log: MessagePack with field names, so that a later release can
//! add a field (`#[serde(default)]`) and still read what an earlier one wrote.

use bytes::Bytes;

use crate::command::Command;
use crate::error::{Error, Result};

/// A command's bytes.
///
/// # Errors
/// [`Error::Corrupt`] for a command that cannot be written down: a bug.
pub fn encode_command(command: &Command) -> Result<Bytes> {
    rmp_serde::to_vec_named(command).map(Bytes::from).map_err(|e| Error::Corrupt {
        what: "command".to_owned(),
        reason: format!("it has no encoding: {e}"),
    })
}

/// The command that bytes stand for.
///
/// # Errors
/// [`Error::Corrupt`], for instance for a command of a later release.
pub fn decode_command(bytes: &[u8]) -> Result<Command> {
    rmp_serde::from_slice(bytes).map_err(|e| Error::Corrupt {
        what: "command in the log".to_owned(),
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests;
