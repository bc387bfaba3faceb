//! Commit timestamps, read timestamps and system periods.
//!
//! ```text
//! commit      1        3        5            CommitTs: unique, strictly increasing
//! row a       [1 ----- 3)                    a version lives from its commit to the commit
//! row a'               [3 ------------- ∞)   that ended it: half-open
//! AS OF 2     a
//! AS OF 3              a'                    inclusive below, exclusive above
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

/// The instant of a commit: microseconds since the Unix epoch, unique and strictly increasing
/// over all commits of the database cluster. [`CommitTs::ZERO`] is before every commit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CommitTs(pub i64);

impl CommitTs {
    /// Before every commit.
    pub const ZERO: CommitTs = CommitTs(0);
    /// After every commit.
    pub const MAX: CommitTs = CommitTs(i64::MAX);

    /// Microseconds since the Unix epoch.
    pub fn micros(self) -> i64 {
        self.0
    }
}

impl fmt::Display for CommitTs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The instant a read sees: every commit at or before it, none after.
pub type ReadTs = CommitTs;

/// A half-open period `[from, to)` of system time; `to` is `None` while current (SQL:2011).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SystemPeriod {
    /// The commit that began it.
    pub from: CommitTs,
    /// The commit that ended it, if any.
    pub to: Option<CommitTs>,
}

impl SystemPeriod {
    /// Whether the instant lies in the period.
    pub fn contains(&self, t: ReadTs) -> bool {
        self.from <= t && self.to.is_none_or(|to| t < to)
    }
}

/// Which row versions a read of one table sees, in system time (SQL:2011).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SystemTime {
    /// `AS OF t`: the versions whose period contains `t`. A plain read is as of its [`ReadTs`].
    AsOf(ReadTs),
    /// `FROM a TO b`: versions whose period overlaps `[a, b)`.
    FromTo(CommitTs, CommitTs),
    /// `BETWEEN a AND b`: versions whose period overlaps `[a, b]`.
    Between(CommitTs, CommitTs),
    /// `CONTAINED IN (a, b)`: versions that began and ended within `[a, b]`.
    ContainedIn(CommitTs, CommitTs),
    /// `ALL`: every version up to the transaction's [`ReadTs`].
    All,
}
