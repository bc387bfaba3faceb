//! Accepts connections, limits how many there are, and gives each a session of its own.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cancel::CancelRegistry;
use super::connection;
use super::tls::{Tls, TlsSession};
use crate::auth::Challenge;
use crate::error::PgResult;
use crate::session::api::Executor;

/// How long a connection is silent before the other machine is asked whether it is there, and
/// how often then.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// What a client says of itself when it connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartupParameters {
    /// The role.
    pub user: String,
    /// The database; the role's name where the client named none.
    pub database: String,
    /// Settings (`application_name`, `TimeZone`, …) in the order to apply them: those of
    /// `options=-c name=value` first, then those that the client gave by themselves.
    pub settings: Vec<(String, String)>,
    /// Where the client is.
    pub peer: Option<SocketAddr>,
    /// The process id that the session shows (`pg_backend_pid()`).
    pub process_id: i32,
    /// How the connection is encrypted, if it is.
    pub tls: Option<TlsSession>,
}

/// Makes the sessions of connections.
#[async_trait]
pub trait SessionFactory: Send + Sync + 'static {
    /// What carries out a connection's statements.
    type Session: Executor + 'static;

    /// How the client has to prove who it is.
    ///
    /// # Errors
    /// FATAL towards the client: 28000 for who may not connect from there.
    fn challenge(&self, _startup: &StartupParameters) -> PgResult<Challenge> {
        Ok(Challenge::Trust)
    }

    /// Makes the session of a connection and applies its settings.
    ///
    /// # Errors
    /// FATAL towards the client, whatever their severity: 28000 for an unknown role, 3D000 for
    /// an unknown database, what SET answers for a setting.
    async fn connect(&self, startup: StartupParameters) -> PgResult<Self::Session>;
}

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more are refused with 53300.
    pub connections: usize,
    /// How many of them only superusers may have.
    pub reserved: usize,
    /// How long a client may take until it is connected.
    pub startup_timeout: Duration,
    /// The longest message taken from a client, in bytes.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 200,
            reserved: 3,
            startup_timeout: Duration::from_secs(60),
            message_bytes: 1 << 30,
        }
    }
}

/// What the connections of a node share.
pub(super) struct Shared<F> {
    pub(super) factory: F,
    pub(super) limits: Limits,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) cancels: Arc<CancelRegistry>,
    pub(super) slots: Arc<Semaphore>,
    pub(super) shutdown: CancellationToken,
}

/// Serves connections with the default [`Limits`] until `shutdown` is cancelled, then waits
/// until they are gone.
///
/// # Errors
/// Those of the listening socket itself.
pub async fn serve<F: SessionFactory>(
    listener: TcpListener,
    factory: F,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    serve_with(listener, factory, Limits::default(), None, shutdown).await
}

/// [`serve`] with limits of one's own, and with encryption for clients that ask for it.
///
/// # Errors
/// Those of the listening socket itself.
pub async fn serve_with<F: SessionFactory>(
    listener: TcpListener,
    factory: F,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let shared = Arc::new(Shared {
        factory,
        limits,
        tls,
        cancels: CancelRegistry::new(shutdown.clone()),
        slots: Arc::new(Semaphore::new(limits.connections)),
        shutdown: shutdown.clone(),
    });
    let mut tasks = JoinSet::new();
    loop {
        let (socket, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) if transient(&error) => {
                    // Out of file descriptors, mostly: others have to close first.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        while tasks.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            let run = AssertUnwindSafe(one(socket, peer, &shared)).catch_unwind();
            match run.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%peer, %error, "connection lost"),
                Err(panic) => tracing::error!(%peer, reason = reason(&*panic), "session panicked"),
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn one<F: SessionFactory>(
    socket: TcpStream,
    peer: SocketAddr,
    shared: &Shared<F>,
) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    // A client whose machine is gone would hold its locks and its place for ever.
    let alive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(&socket).set_tcp_keepalive(&alive)?;
    connection::run(socket, Some(peer), shared).await
}

fn transient(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, OutOfMemory,
    };
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | OutOfMemory
    ) || matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

fn reason(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}
