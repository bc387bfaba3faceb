//! Who may connect: the list of rules, passwords and how they are proven. It knows no messages
//! of the protocol and no catalog.

pub mod hba;
pub mod scram;
mod secret;

pub use secret::Secret;

/// How a client has to prove who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Not at all.
    Trust,
    /// By its password in plain text.
    Password(scram::Verifier),
    /// By SCRAM-SHA-256, with channel binding where the connection allows for it.
    Scram(scram::Verifier),
}
