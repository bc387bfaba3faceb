//! One server process: starts its parts in order, and stops them in the opposite order.
//!
//! ```text
//! settings -> data directory (lock, log, rows) -> listeners -> "ready" -> ... signal
//! signal -> no new connections -> running statements end -> flush, snapshot -> log -> exit
//! ```

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::auth::hba::Rules;
use crate::config::{Config, ConfigError};
use crate::engine::{self, Engine};
use crate::http;
use crate::pgwire::listener::{Limits, serve_with};
use crate::pgwire::tls::{Tls, TlsError};
use crate::session::Sessions;

/// The stack of a thread that plans statements: deep expressions recurse in the planner.
const STACK_BYTES: usize = 64 << 20;

/// How often the files of the certificate are looked at.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5);

/// Why the server did not start, or stopped badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be made.
    #[error("could not create data directory \"{path}\" (--data-dir): {source}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The filter of log messages is malformed.
    #[error("invalid log level \"{level}\" (--log-level): {reason}")]
    LogLevel {
        /// The level as given.
        level: String,
        /// What is wrong.
        reason: String,
    },
    /// An address is taken or not this machine's.
    #[error("could not listen on {address} ({flag}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag's name.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The certificate is of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A network would find a server that nobody can log in to, or anybody.
    #[error(
        "refusing to listen on {address} (--listen): no role has a password; set CHRONOS_PASSWORD, \
         or start with a loopback address and give one with ALTER ROLE chronos PASSWORD '…'"
    )]
    NoPassword {
        /// The address.
        address: SocketAddr,
    },
    /// The operating system refused threads or signals.
    #[error("could not start: {0}")]
    Start(io::Error),
    /// The listening socket failed.
    #[error("could not accept connections: {0}")]
    Accept(io::Error),
    /// The engine did not open or stop.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

/// Serves until a signal stops it.
///
/// # Errors
/// What kept it from starting, or from stopping cleanly.
pub fn run(config: Config) -> Result<(), Error> {
    start_logging(&config)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().thread_name("chronos-worker").thread_stack_size(STACK_BYTES);
    if config.worker_threads > 0 {
        runtime.worker_threads(config.worker_threads);
    }
    let runtime = runtime.build().map_err(Error::Start)?;
    // On a worker and not on the main thread, whose stack the operating system chose.
    let served = runtime.block_on(async { tokio::spawn(serve(config)).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    served.unwrap_or_else(|error| Err(Error::Start(io::Error::other(error))))
}

fn start_logging(config: &Config) -> Result<(), Error> {
    use tracing_subscriber::EnvFilter;
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| config.log_level.clone());
    // The consensus library tells every step at INFO; who wants that asks for it by name.
    // A node that becomes the leader tells so as a warning, at every start.
    let quiet = "openraft=warn,openraft::core::raft_core=error";
    let filter = EnvFilter::try_new(format!("{quiet},{level}"))
        .map_err(|e| Error::LogLevel { level: level.clone(), reason: e.to_string() })?;
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    if logging.try_init().is_err() {
        // A test runs several nodes in one process; the first one's logging stays.
        info!("logging was started before");
    }
    Ok(())
}

async fn serve(config: Config) -> Result<(), Error> {
    // Before anything else, so that a signal during the start is not lost.
    let mut signals = Signals::new().map_err(Error::Start)?;
    let node = Node::start(config).await?;
    announce(&node);
    let name = loop {
        match signals.next().await {
            "SIGHUP" => node.reload(),
            name => break name,
        }
    };
    info!(signal = name, "stopping");
    node.stop().await
}

fn announce(node: &Node) {
    // For whoever started the process, whatever the log level.
    eprintln!(
        "chronos ready: listening on {}, data in {}",
        node.listen,
        node.engine.config().data_dir.display()
    );
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

/// A node that serves.
#[derive(Debug)]
pub struct Node {
    engine: Arc<Engine>,
    listen: SocketAddr,
    http: Option<SocketAddr>,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
    accepting: tokio::task::JoinHandle<io::Result<()>>,
    answering: Option<tokio::task::JoinHandle<()>>,
}

impl Node {
    /// Opens the data directory and listens. Port 0 takes a free one.
    ///
    /// # Errors
    /// What kept it from starting; nothing is left running then.
    pub async fn start(config: Config) -> Result<Node, Error> {
        if let Err(source) = tokio::fs::create_dir_all(&config.data_dir).await {
            return Err(Error::DataDir { path: config.data_dir.clone(), source });
        }
        // A bad certificate is told before anything is opened.
        let tls = config.tls_files().map(Tls::load).transpose()?.map(Arc::new);
        let engine = Engine::open(&config).await?;
        // Of sessions that ended with the server.
        crate::engine::drop_temporary(&engine, None).await?;
        match Self::listen(&config, &engine, tls).await {
            Ok(node) => Ok(node),
            Err(error) => {
                if let Err(stop) = engine.shutdown().await {
                    warn!(error = %stop, "could not stop cleanly");
                }
                Err(error)
            }
        }
    }

    async fn listen(
        config: &Config,
        engine: &Arc<Engine>,
        tls: Option<Arc<Tls>>,
    ) -> Result<Node, Error> {
        let sessions = Sessions::new(Arc::clone(engine));
        let has_password = sessions.first_password().await?;
        if config.open_to_network() && !has_password && config.hba == Rules::default() {
            return Err(Error::NoPassword { address: config.listen });
        }
        let listener = bind(config.listen, "--listen").await?;
        let listen = listener.local_addr().map_err(Error::Accept)?;
        let http_listener = match config.http {
            Some(address) => Some(bind(address, "--http").await?),
            None => None,
        };
        let http = match &http_listener {
            Some(listener) => Some(listener.local_addr().map_err(Error::Accept)?),
            None => None,
        };
        let shutdown = CancellationToken::new();
        let answering = http_listener.map(|listener| {
            tokio::spawn(http::serve(listener, Arc::clone(engine), shutdown.clone()))
        });
        let limits = Limits {
            connections: config.connections_max,
            reserved: config.connections_reserved,
            startup_timeout: config.authentication_timeout,
            message_bytes: config.message_bytes_max,
        };
        if let Some(tls) = &tls {
            tokio::spawn(renew(Arc::clone(tls), shutdown.clone()));
        }
        let serving = serve_with(listener, sessions, limits, tls.clone(), shutdown.clone());
        let accepting = tokio::spawn(serving);
        let engine = Arc::clone(engine);
        Ok(Node { engine, listen, http, tls, shutdown, accepting, answering })
    }

    /// Loads the certificate again, whether or not its files have changed.
    fn reload(&self) {
        match self.tls.as_ref().map(|tls| tls.reload()) {
            Some(Ok(())) => info!("loaded the certificate again"),
            Some(Err(error)) => warn!(%error, "the certificate in use stays"),
            None => info!("there is no certificate to load again"),
        }
    }

    /// The address of the PostgreSQL protocol.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// The address of the HTTP endpoints.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// What it serves.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Stops: no new connections, sessions end, everything is flushed.
    ///
    /// # Errors
    /// What went wrong on the way; what was acknowledged is durable in any case.
    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.cancel();
        let Node { engine, mut accepting, answering, .. } = self;
        let wait = engine.config().shutdown_timeout;
        let accepted = match timeout(wait, &mut accepting).await {
            Ok(Ok(result)) => result.map_err(Error::Accept),
            Ok(Err(panic)) => Err(Error::Accept(io::Error::other(panic))),
            Err(_) => {
                warn!(waited = ?wait, "ending the statements that still run");
                accepting.abort();
                // Its connections end with it; that it was aborted is no news.
                let _aborted = accepting.await;
                Ok(())
            }
        };
        if let Some(answering) = answering {
            answering.abort();
        }
        engine.shutdown().await?;
        info!("stopped");
        accepted
    }
}

/// Takes a certificate into use when its files have changed.
async fn renew(tls: Arc<Tls>, shutdown: CancellationToken) {
    let mut look = tokio::time::interval(RENEWAL_INTERVAL);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = look.tick() => {}
        }
        match tls.refresh() {
            Ok(true) => info!("loaded the new certificate"),
            Ok(false) => {}
            Err(error) => warn!(%error, "the certificate in use stays"),
        }
    }
}

async fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, flag, source })
}
