//! What can be wrong with a statement, as SQLSTATE, message, detail and hint.

use datafusion::error::DataFusionError;

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What is wrong with a statement.
///
/// Crosses DataFusion as [`DataFusionError::External`]; [`Error::find`] gets it back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not SQL.
    #[error("{message}")]
    Syntax {
        /// What was found.
        message: String,
        /// What was expected.
        detail: Option<String>,
        /// Where, in characters from 1 in the query string.
        position: Option<usize>,
    },
    /// A limit that protects the server from one statement.
    #[error("{message}")]
    TooComplex {
        /// Which limit.
        message: String,
        /// Where, in characters from 1 in the query string.
        position: Option<usize>,
    },
    /// Something that is not there yet.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// AS OF an instant that has not come.
    #[error("cannot read as of {0}: it is in the future")]
    FutureInstant(String),
    /// AS OF NULL, or a period with a NULL bound.
    #[error("the instant of a read must not be null")]
    NullInstant,
    /// AS OF something that is not an instant.
    #[error("invalid instant: {0}")]
    MalformedInstant(String),
    /// A period whose end is not after its start.
    #[error("the end of a period must not be before its start")]
    EmptyPeriod,
    /// AS OF an expression that names a column.
    #[error("the instant of a read must not name columns")]
    InstantWithColumns,
    /// A windowed aggregate whose time column cannot be told.
    #[error("{message}")]
    WindowTime {
        /// Why.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Any other error that PostgreSQL has a code for.
    #[error("{message}")]
    Postgres {
        /// SQLSTATE
        code: &'static str,
        /// The message.
        message: String,
        /// More about it.
        detail: Option<String>,
        /// What to do.
        hint: Option<String>,
    },
}

impl Error {
    /// An error of that SQLSTATE without detail and hint.
    pub fn postgres(code: &'static str, message: impl Into<String>) -> Self {
        Error::Postgres { code, message: message.into(), detail: None, hint: None }
    }

    /// A feature that is not there (0A000).
    pub fn unsupported(what: impl std::fmt::Display) -> Self {
        Error::Unsupported(what.to_string())
    }

    /// Adds a detail to a [`Error::Postgres`].
    #[must_use]
    pub fn with_detail(mut self, text: impl Into<String>) -> Self {
        if let Error::Postgres { detail, .. } = &mut self {
            *detail = Some(text.into());
        }
        self
    }

    /// Adds a hint to a [`Error::Postgres`].
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Error::Postgres { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Five characters of SQLSTATE.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Error::Syntax { .. } => "42601",
            Error::TooComplex { .. } => "54001",
            Error::Unsupported(_) => "0A000",
            Error::FutureInstant(_) | Error::EmptyPeriod => "22023",
            Error::NullInstant => "22004",
            Error::MalformedInstant(_) => "22007",
            Error::InstantWithColumns => "42P10",
            Error::WindowTime { .. } => "42P18",
            Error::Postgres { code, .. } => code,
        }
    }

    /// More about it, in sentences.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Error::Postgres { detail, .. } | Error::Syntax { detail, .. } => detail.as_deref(),
            _ => None,
        }
    }

    /// What to do, in sentences.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::Postgres { hint, .. } => hint.as_deref(),
            Error::WindowTime { hint, .. } => Some(hint),
            Error::TooComplex { .. } => {
                Some("Split the statement, or put long lists of values into a table.")
            }
            _ => None,
        }
    }

    /// Where, in characters from 1 in the query string.
    pub fn position(&self) -> Option<usize> {
        match self {
            Error::Syntax { position, .. } | Error::TooComplex { position, .. } => *position,
            _ => None,
        }
    }

    /// The error of this crate inside one of DataFusion, if that is what it carries.
    pub fn find(error: &DataFusionError) -> Option<&Error> {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(inner) = source {
            if let Some(found) = inner.downcast_ref::<Error>() {
                return Some(found);
            }
            if let Some(DataFusionError::External(boxed)) = inner.downcast_ref::<DataFusionError>()
                && let Some(found) = boxed.downcast_ref::<Error>()
            {
                return Some(found);
            }
            source = inner.source();
        }
        None
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}
