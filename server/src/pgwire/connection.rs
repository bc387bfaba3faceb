//! One connection: reads messages in order and has each dealt with.
//!
//! Invariants:
//! - Between two ReadyForQuery messages an error is sent at most once; after one in the extended
//!   protocol everything up to Sync is skipped.
//! - Nothing is sent before Sync or Flush unless there is much of it.
//! - A portal never outlives the transaction that it was made in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::cancel::CancelHandle;
use super::extended::{Portal, Prepared};
use super::frontend::Frontend;
use super::io::{Failure, Flow, Io};
use super::listener::{SessionFactory, Shared};
use super::{authenticate, backend, startup};
use crate::error::{PgError, Severity};
use crate::session::api::{Executor, TransactionStatus};

/// Serves a client until it leaves, has to leave or is lost.
pub(super) async fn run<F: SessionFactory, S>(
    socket: S,
    peer: Option<SocketAddr>,
    shared: &Shared<F>,
) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut io = Io::new(socket, shared.limits.message_bytes, shared.shutdown.clone());
    let begun = tokio::select! {
        begun = tokio::time::timeout(shared.limits.startup_timeout, begin(&mut io, peer, shared)) => {
            begun.unwrap_or_else(|_| {
                Err(PgError::new("57014", "canceling authentication due to timeout").into())
            })
        }
        () = shared.shutdown.cancelled() => Err(shutting_down().into()),
    };
    // The slot is held as long as the connection lives.
    let (executor, cancel, _slot) = match begun {
        Ok(Some(begun)) => begun,
        Ok(None) => return Ok(()),
        Err(Failure::Lost(error)) => return Err(error),
        Err(Failure::Told(error)) => {
            backend::error(&mut io.out, &startup::fatal(error));
            return io.close().await;
        }
    };
    // Ends with the node, or when another session ends this one.
    let shutdown = shared.shutdown.child_token();
    let mut executor = executor;
    executor.attach(shutdown.clone());
    let mut connection = Connection {
        io,
        executor,
        token: cancel.start(),
        cancel,
        shutdown,
        statements: HashMap::new(),
        portals: HashMap::new(),
        implicit: false,
        failed: false,
        skipping: false,
        busy: false,
    };
    match connection.serve().await {
        Ok(()) => connection.io.close().await,
        Err(Failure::Lost(error)) => Err(error),
        Err(Failure::Told(error)) => {
            backend::error(&mut connection.io.out, &startup::fatal(error));
            connection.io.close().await
        }
    }
}

type Begun<'a, E> = (E, CancelHandle, tokio::sync::SemaphorePermit<'a>);

async fn begin<'a, F: SessionFactory, S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut Io<S>,
    peer: Option<SocketAddr>,
    shared: &'a Shared<F>,
) -> Flow<Option<Begun<'a, F::Session>>> {
    let tls = shared.tls.as_deref();
    let Some(parameters) = startup::receive(io, &shared.cancels, tls).await? else {
        return Ok(None);
    };
    let Ok(slot) = shared.slots.try_acquire() else {
        return Err(PgError::new("53300", "sorry, too many clients already").into());
    };
    let cancel = Arc::clone(&shared.cancels).register();
    let parameters = startup::known(parameters, peer, cancel.process_id);
    let challenge = shared.factory.challenge(&parameters)?;
    authenticate::prove(io, &challenge, &parameters).await?;
    let mut executor = shared.factory.connect(parameters.clone()).await?;
    if shared.slots.available_permits() < shared.limits.reserved && !executor.may_use_reserve() {
        let message = "remaining connection slots are reserved for non-replication superuser \
                       connections";
        return Err(PgError::new("53300", message).into());
    }
    startup::greet(&mut io.out, &mut executor, &parameters, &cancel);
    io.flush().await?;
    Ok(Some((executor, cancel, slot)))
}

fn shutting_down() -> PgError {
    PgError::fatal("57P01", "terminating connection due to administrator command")
}

/// A connection whose session has begun.
pub(super) struct Connection<S, E: Executor> {
    pub(super) io: Io<S>,
    pub(super) executor: E,
    /// Cancelled when what runs is to stop.
    pub(super) token: CancellationToken,
    cancel: CancelHandle,
    shutdown: CancellationToken,
    pub(super) statements: HashMap<String, Prepared<E::Statement>>,
    pub(super) portals: HashMap<String, Portal<E::Statement>>,
    /// Whether an implicit block is open that ends with Sync.
    pub(super) implicit: bool,
    /// Whether a statement of the implicit block failed.
    failed: bool,
    /// Whether messages are skipped up to Sync.
    skipping: bool,
    /// Whether something came since the last ReadyForQuery.
    busy: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send, E: Executor> Connection<S, E> {
    async fn serve(&mut self) -> Flow<()> {
        loop {
            let Some((kind, body)) = self.next().await? else { return Ok(()) };
            // Data of a COPY that failed may come when all is said.
            if !self.busy && !matches!(kind, b'd' | b'c' | b'f') {
                self.busy = true;
                self.token = self.cancel.start();
                self.executor.watch(self.token.clone());
            }
            let done = match Frontend::decode(kind, body) {
                Ok(Frontend::Terminate) => return Ok(()),
                Ok(message) => self.dispatch(message).await,
                Err(error) if self.skipping && error.severity == Severity::Error => Ok(()),
                Err(error) => Err(error.into()),
            };
            match done {
                Ok(()) => {}
                Err(Failure::Told(error))
                    if error.code == "57014" && self.shutdown.is_cancelled() =>
                {
                    return Err(shutting_down().into());
                }
                Err(Failure::Told(error)) if error.severity != Severity::Fatal => {
                    self.tell(error).await?;
                    if kind == b'Q' || kind == b'F' {
                        if let Err(error) = self.end_implicit().await {
                            tracing::warn!(%error, "could not roll back an implicit transaction");
                        }
                        self.ready().await?;
                    } else {
                        self.skipping = kind != b'S';
                    }
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// The next message. While there is none, notifications go out.
    async fn next(&mut self) -> Flow<Option<(u8, Bytes)>> {
        loop {
            if self.busy {
                // In the middle of a pipeline: nothing but messages, and no flush.
                return tokio::select! {
                    biased;
                    message = self.io.message() => message,
                    () = self.shutdown.cancelled() => Err(shutting_down().into()),
                };
            }
            let idle = self.executor.idle_limit();
            let limit = idle.as_ref().map(|(limit, _)| *limit);
            let (sender, channel, payload) = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(shutting_down().into()),
                message = self.io.message() => return message,
                notification = self.executor.next_notification() => notification,
                () = crate::session::elapsed(limit) => {
                    let error = idle.map(|(_, error)| error);
                    return Err(error.unwrap_or_else(shutting_down).into());
                }
            };
            backend::notification(&mut self.io.out, sender, &channel, &payload);
            self.io.flush().await?;
        }
    }

    async fn dispatch(&mut self, message: Frontend) -> Flow<()> {
        match message {
            Frontend::Sync => {
                self.skipping = false;
                return self.sync().await;
            }
            // What a COPY that failed left behind, and passwords nobody asked for.
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => {
                // It is no reason for another ReadyForQuery.
                return Ok(());
            }
            _ if self.skipping => return Ok(()),
            Frontend::Query(sql) => {
                self.query(&sql).await?;
                return self.ready().await;
            }
            Frontend::Parse { name, sql, types } => self.parse(name, &sql, &types).await?,
            Frontend::Bind(bind) => self.bind(bind)?,
            Frontend::DescribeStatement(name) => self.describe_statement(&name)?,
            Frontend::DescribePortal(name) => self.describe_portal(&name)?,
            Frontend::Execute { portal, max_rows } => self.execute(&portal, max_rows).await?,
            Frontend::CloseStatement(name) => {
                self.statements.remove(&name);
                self.executor.prepared(&name, None);
                backend::bare(&mut self.io.out, b'3');
            }
            Frontend::ClosePortal(name) => {
                self.portals.remove(&name);
                backend::bare(&mut self.io.out, b'3');
            }
            Frontend::Flush => self.io.flush().await?,
            Frontend::FunctionCall => {
                return Err(PgError::unsupported("the function call protocol").into());
            }
            Frontend::Password => {
                return Err(PgError::fatal("08P01", "unexpected password message").into());
            }
            Frontend::Terminate => {}
        }
        self.io.relieve().await?;
        Ok(())
    }

    /// Sends an error and lets the transaction fail.
    async fn tell(&mut self, error: PgError) -> Flow<()> {
        self.executor.failed();
        self.failed = self.implicit;
        self.notices();
        backend::error(&mut self.io.out, &error);
        if self.executor.status() != TransactionStatus::InBlock {
            self.portals.clear();
        }
        // The client may be waiting for it without a Sync, as in COPY.
        self.io.flush().await?;
        Ok(())
    }

    async fn sync(&mut self) -> Flow<()> {
        // What the portals still read has to end before its transaction does.
        if self.executor.status() != TransactionStatus::InBlock {
            self.portals.clear();
        }
        if let Err(error) = self.end_implicit().await {
            self.tell(error).await?;
        }
        self.ready().await
    }

    /// Ends the implicit block if one is open.
    pub(super) async fn end_implicit(&mut self) -> Result<(), PgError> {
        if !std::mem::take(&mut self.implicit) {
            return Ok(());
        }
        let failed = std::mem::take(&mut self.failed);
        self.executor.end_implicit(failed).await
    }

    pub(super) fn notices(&mut self) {
        for notice in self.executor.take_notices() {
            backend::error(&mut self.io.out, &notice);
        }
    }

    /// ReadyForQuery and what goes before it.
    async fn ready(&mut self) -> Flow<()> {
        self.notices();
        for name in self.executor.take_deallocated() {
            match name {
                Some(name) => drop(self.statements.remove(&name)),
                None => self.statements.clear(),
            }
        }
        for (name, value) in self.executor.take_parameter_changes() {
            backend::parameter_status(&mut self.io.out, &name, &value);
        }
        let status = self.executor.status();
        if status != TransactionStatus::InBlock {
            self.portals.clear();
        }
        self.executor.rest();
        for (sender, channel, payload) in self.executor.take_notifications() {
            backend::notification(&mut self.io.out, sender, &channel, &payload);
        }
        backend::ready(&mut self.io.out, status);
        self.busy = false;
        self.io.flush().await?;
        Ok(())
    }
}
