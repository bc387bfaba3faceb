//! Makes the sessions of connections.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnv;

use super::backends::Backends;
use super::session::Session;
use super::settings::Settings;
use super::shared::Identity;
use crate::auth::Challenge;
use crate::engine::Engine;
use crate::error::{PgError, PgResult};
use crate::pgwire::listener::{SessionFactory, StartupParameters};

/// The one database of a server.
pub const DATABASE: &str = "chronos";

/// Its other name: what PostgreSQL's tools connect to when they are told no database.
const MAINTENANCE_DATABASE: &str = "postgres";

/// Bytes that the queries of all sessions may hold for sorts, joins and groups before they spill.
const QUERY_MEMORY: usize = 2 << 30;

/// Makes sessions on one engine.
#[derive(Clone)]
pub struct Sessions {
    pub(super) engine: Arc<Engine>,
    runtime: Arc<RuntimeEnv>,
    pub(super) backends: Arc<Backends>,
    /// What the salts of roles without a password come from.
    pub(super) nobody: Arc<[u8; 32]>,
}

impl Sessions {
    /// Sessions on that engine.
    pub fn new(engine: Arc<Engine>) -> Self {
        let runtime = RuntimeEnv {
            memory_pool: Arc::new(FairSpillPool::new(QUERY_MEMORY)),
            ..RuntimeEnv::default()
        };
        let nobody = Arc::new(rand::random());
        Sessions { engine, runtime: Arc::new(runtime), backends: Arc::default(), nobody }
    }

    /// A session of a role.
    ///
    /// # Errors
    /// 28000 for an unknown role or one that may not log in, 53300 for one that has too many
    /// connections, 3D000 for an unknown database, what SET answers for a setting.
    pub fn session(&self, startup: StartupParameters) -> PgResult<Session> {
        self.admit(&startup.user)?;
        let mut settings = startup.settings;
        // `db@2026-11-20T09:00Z` reads at that instant.
        let database = match startup.database.split_once('@') {
            Some((database, instant)) => {
                settings.push(("chronos.as_of".to_owned(), instant.to_owned()));
                database.to_owned()
            }
            None => startup.database,
        };
        if ![DATABASE, MAINTENANCE_DATABASE].contains(&database.as_str()) {
            let message = format!("database \"{database}\" does not exist");
            return Err(PgError::fatal("3D000", message));
        }
        let identity = Identity { user: startup.user, database, process_id: startup.process_id };
        let settings = Settings::new(settings)?;
        let session = Session::new(
            Arc::clone(&self.engine),
            Arc::clone(&self.runtime),
            &self.backends,
            identity,
            settings,
        );
        session.session_as_of()?;
        Ok(session)
    }
}

#[async_trait]
impl SessionFactory for Sessions {
    type Session = Session;

    fn challenge(&self, startup: &StartupParameters) -> PgResult<Challenge> {
        self.challenge_of(startup)
    }

    async fn connect(&self, startup: StartupParameters) -> PgResult<Session> {
        self.session(startup)
    }
}
