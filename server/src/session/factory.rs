//! Makes the sessions of connections.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnv;

use super::backends::Backends;
use super::memory::SessionPool;
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
            memory_pool: Arc::new(GreedyMemoryPool::new(engine.config().queries_bytes_max)),
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
        // What the client asks for wins over what the role begins with.
        let mut settings = self.settings_of(&startup.user);
        settings.extend(startup.settings);
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
        let identity = Identity {
            user: startup.user,
            database,
            process_id: startup.process_id,
            peer: startup.peer,
        };
        let mut settings = Settings::new(settings)?;
        let config = self.engine.config();
        settings.fix("max_connections", &config.connections_max.to_string());
        settings.fix("superuser_reserved_connections", &config.connections_reserved.to_string());
        settings.fix("ssl", if config.tls_files().is_some() { "on" } else { "off" });
        settings.fix("listen_addresses", &config.listen.ip().to_string());
        settings.fix("port", &config.listen.port().to_string());
        let all = Arc::clone(&self.runtime.memory_pool);
        let limit = self.engine.config().query_bytes_max;
        let runtime = RuntimeEnv {
            memory_pool: Arc::new(SessionPool::new(limit, all)),
            ..RuntimeEnv::clone(&self.runtime)
        };
        let session = Session::new(
            Arc::clone(&self.engine),
            Arc::new(runtime),
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
