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

use crate::config::{Config, ConfigError};
use crate::engine::{self, Engine};
use crate::http;
use crate::pgwire::listener::{Limits, serve_with};
use crate::session::Sessions;

/// The stack of a thread that plans statements: deep expressions recurse in the planner.
const STACK_BYTES: usize = 64 << 20;

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
    let filter = EnvFilter::try_new(format!("openraft=warn,{level}"))
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
    let name = signals.next().await;
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
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// A node that serves.
#[derive(Debug)]
pub struct Node {
    engine: Arc<Engine>,
    listen: SocketAddr,
    http: Option<SocketAddr>,
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
        let engine = Engine::open(&config).await?;
        // Of sessions that ended with the server.
        crate::engine::drop_temporary(&engine, None).await?;
        match Self::listen(&config, &engine).await {
            Ok(node) => Ok(node),
            Err(error) => {
                if let Err(stop) = engine.shutdown().await {
                    warn!(error = %stop, "could not stop cleanly");
                }
                Err(error)
            }
        }
    }

    async fn listen(config: &Config, engine: &Arc<Engine>) -> Result<Node, Error> {
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
        let sessions = Sessions::new(Arc::clone(engine));
        let shutdown = CancellationToken::new();
        let answering = http_listener.map(|listener| {
            tokio::spawn(http::serve(listener, Arc::clone(engine), shutdown.clone()))
        });
        let limits = Limits { connections: config.connections_max, ..Limits::default() };
        let accepting = tokio::spawn(serve_with(listener, sessions, limits, shutdown.clone()));
        let engine = Arc::clone(engine);
        Ok(Node { engine, listen, http, shutdown, accepting, answering })
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

async fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, flag, source })
}
