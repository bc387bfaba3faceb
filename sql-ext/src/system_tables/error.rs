//! What goes wrong in system tables and functions.

use super::names::RegKind;

/// An error of a system table or function. Crosses DataFusion in
/// `DataFusionError::External`.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A name in a reg-type's input stands for nothing.
    #[error("{kind} \"{name}\" does not exist")]
    #[allow(private_interfaces)]
    Undefined {
        /// What was looked for.
        kind: RegKind,
        /// The name as given.
        name: String,
    },
    /// A privilege's name is unknown.
    #[error("unrecognized privilege type: \"{0}\"")]
    InvalidPrivilege(String),
    /// A text that should hold an object identifier does not.
    #[error("invalid input syntax for type oid: \"{0}\"")]
    InvalidOid(String),
    /// A subquery that stands for one value gave more rows than one.
    #[error("more than one row returned by a subquery used as an expression")]
    Cardinality,
}

impl SystemError {
    /// The SQLSTATE that a client is told.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            SystemError::Undefined { kind, .. } => kind.sqlstate(),
            SystemError::InvalidPrivilege(_) => "22023",
            SystemError::InvalidOid(_) => "22P02",
            SystemError::Cardinality => "21000",
        }
    }
}
