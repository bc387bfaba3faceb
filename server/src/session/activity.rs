//! What the sessions of a node do, for `pg_stat_activity`. No password is told.

use std::sync::Arc;

use chronos_sql_ext::access::{Access, RoleOption};
use chronos_sql_ext::system_tables::Activity;
use chronos_sql_ext::{Extension, Statement, StatementKind};

use super::shared::Shared;

/// What one session does.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// When it began, in microseconds since the Unix epoch, as the other times.
    pub started: i64,
    /// When its transaction began, if one is open.
    pub transaction: Option<i64>,
    /// The statement that runs or ran last, and when it began.
    pub statement: Option<(Arc<Statement>, i64)>,
    pub state: State,
}

/// Whether a session works or waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    Active,
    #[default]
    Idle,
    InTransaction,
    Failed,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Idle => "idle",
            State::InTransaction => "idle in transaction",
            State::Failed => "idle in transaction (aborted)",
        }
    }
}

/// A statement's text as others may see it.
fn told(statement: &Statement) -> String {
    if let StatementKind::Extension(Extension::Access(access)) = &statement.kind
        && let Access::CreateRole { options, .. } | Access::AlterRole { options, .. } =
            access.as_ref()
        && options.iter().any(|option| matches!(option, RoleOption::Password(Some(_))))
    {
        return format!("{} <password not shown>", access.tag());
    }
    statement.text.clone()
}

impl Shared {
    /// The session as others see it; without `whole` only that it is there.
    pub fn activity(&self, whole: bool) -> Activity {
        let bare = Activity {
            pid: self.identity.process_id,
            user: self.session_user(),
            database: self.identity.database.clone(),
            application_name: self.settings.read().known("application_name"),
            ..Activity::default()
        };
        if !whole {
            return Activity { query: "<insufficient privilege>".to_owned(), ..bare };
        }
        let live = self.live.lock();
        let query = live.statement.as_ref();
        Activity {
            client_address: self.identity.peer.map(|peer| peer.ip().to_canonical().to_string()),
            client_port: self.identity.peer.map(|peer| i32::from(peer.port())),
            session_start: live.started,
            transaction_start: live.transaction,
            query_start: query.map(|(_, at)| *at),
            state: live.state.as_str().to_owned(),
            query: query.map(|(statement, _)| told(statement)).unwrap_or_default(),
            ..bare
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_told() {
        let told = |sql: &str| told(&chronos_sql_ext::parse(sql).unwrap()[0]);
        assert_eq!(told("ALTER ROLE a PASSWORD 'open'"), "ALTER ROLE <password not shown>");
        assert_eq!(told("CREATE USER a PASSWORD 'open'"), "CREATE ROLE <password not shown>");
        assert_eq!(told("ALTER ROLE a LOGIN"), "ALTER ROLE a LOGIN");
        assert_eq!(told("SELECT 1 ; "), "SELECT 1");
    }
}
