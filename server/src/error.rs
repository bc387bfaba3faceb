//! What a client is told when something goes wrong: PostgreSQL's ErrorResponse fields.

use std::fmt;

/// The server's result towards a client.
pub type PgResult<T> = std::result::Result<T, PgError>;

/// An error or notice as PostgreSQL's protocol carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgError {
    /// `ERROR`, `FATAL`, `NOTICE`, `WARNING`, ….
    pub severity: Severity,
    /// Five characters of SQLSTATE.
    pub code: &'static str,
    /// Lower case, no full stop.
    pub message: String,
    /// Sentences.
    pub detail: Option<String>,
    /// What to do, in sentences.
    pub hint: Option<String>,
    /// Where it happened, a line each: `COPY t, line 3, column x: "…"`.
    pub context: Option<String>,
    /// Where in the query text, in characters from 1.
    pub position: Option<usize>,
    /// The schema, table, column, data type and constraint concerned.
    pub schema: Option<String>,
    /// The table.
    pub table: Option<String>,
    /// The column.
    pub column: Option<String>,
    /// The data type.
    pub data_type: Option<String>,
    /// The constraint.
    pub constraint: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
    /// Worth a look.
    Warning,
    /// For information.
    Notice,
}

impl Severity {
    /// The word that the protocol carries.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Warning => "WARNING",
            Severity::Notice => "NOTICE",
        }
    }
}

impl PgError {
    /// An error of that SQLSTATE.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        PgError {
            severity: Severity::Error,
            code,
            message: message.into(),
            detail: None,
            hint: None,
            context: None,
            position: None,
            schema: None,
            table: None,
            column: None,
            data_type: None,
            constraint: None,
        }
    }

    /// An error that ends the session.
    pub fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        PgError { severity: Severity::Fatal, ..Self::new(code, message) }
    }

    /// A notice (SQLSTATE 00000).
    pub fn notice(message: impl Into<String>) -> Self {
        PgError { severity: Severity::Notice, ..Self::new("00000", message) }
    }

    /// A warning of that SQLSTATE.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        PgError { severity: Severity::Warning, ..Self::new(code, message) }
    }

    /// A feature that is not there (0A000).
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new("0A000", format!("{what} is not supported"))
    }

    /// Our own bug (XX000).
    pub fn internal(what: impl fmt::Display) -> Self {
        Self::new("XX000", format!("internal error: {what}"))
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where it happened.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }
}

impl fmt::Display for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.severity.as_str(), self.message, self.code)
    }
}

impl std::error::Error for PgError {}
