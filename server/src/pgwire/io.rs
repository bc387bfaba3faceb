//! The two directions of a connection's byte stream, buffered.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::tls::{Prefixed, Tls, TlsSession, Wire};
use crate::error::PgError;

/// Output beyond this is sent on even where the protocol does not ask for it, so that a result
/// never piles up in memory: a client that reads slowly slows the query down.
const FLUSH_BYTES: usize = 64 << 10;

/// Why a message could not be dealt with.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives for one message")]
pub(super) enum Failure {
    /// The client is told; a FATAL one ends the connection.
    Told(PgError),
    /// The connection is gone.
    Lost(io::Error),
}

/// The result of dealing with a message.
pub(super) type Flow<T> = Result<T, Failure>;

impl From<PgError> for Failure {
    fn from(error: PgError) -> Self {
        Failure::Told(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Lost(error)
    }
}

/// A stream of bytes to and from a client.
pub(super) struct Io<S> {
    stream: Wire<S>,
    input: BytesMut,
    /// What is to be sent.
    pub(super) out: BytesMut,
    limit: usize,
    shutdown: CancellationToken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    pub(super) fn new(stream: S, limit: usize, shutdown: CancellationToken) -> Self {
        let (input, out) = (BytesMut::with_capacity(8 << 10), BytesMut::with_capacity(8 << 10));
        Io { stream: Wire::Plain(stream), input, out, limit, shutdown }
    }

    /// Has the client encrypt what follows. `direct` is a handshake that the client began with,
    /// whose first bytes have been read; otherwise nothing may have come before it.
    pub(super) async fn secure(&mut self, tls: &Tls, direct: bool) -> Flow<TlsSession> {
        if !direct && !self.input.is_empty() {
            // Somebody in between could have put them there (CVE-2021-23222).
            let message = "received unencrypted data after SSL request";
            return Err(PgError::fatal("08P01", message)
                .detail(
                    "This could be either a client-software bug or evidence of an attempted \
                     man-in-the-middle attack.",
                )
                .into());
        }
        let Wire::Plain(stream) = std::mem::replace(&mut self.stream, Wire::Closed) else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        let prefix = std::mem::take(&mut self.input);
        let (wire, session) = tls.accept(Prefixed { prefix, stream }, direct).await?;
        self.stream = wire;
        Ok(session)
    }

    /// The first byte that the client sends; it stays where it is.
    pub(super) async fn first_byte(&mut self) -> Flow<Option<u8>> {
        while self.input.is_empty() {
            if !self.fill(1).await? {
                return Ok(None);
            }
        }
        Ok(self.peek())
    }

    /// The next message's type and body, `None` at the end of the stream. Cancel safe.
    pub(super) async fn message(&mut self) -> Flow<Option<(u8, Bytes)>> {
        self.message_within(self.limit).await
    }

    /// [`Io::message`] with a limit to its length.
    pub(super) async fn message_within(&mut self, limit: usize) -> Flow<Option<(u8, Bytes)>> {
        loop {
            let mut want = 5;
            if self.input.len() >= 5 {
                let length = self.length_at(1, 4, limit)?;
                want = length + 1;
                if self.input.len() >= want {
                    let mut message = self.input.split_to(want).freeze();
                    let kind = message.get_u8();
                    message.advance(4);
                    return Ok(Some((kind, message)));
                }
            }
            if !self.fill(want).await? {
                return Ok(None);
            }
        }
    }

    /// A packet without a type byte, as startup has them: its code and what follows it.
    pub(super) async fn startup_packet(&mut self) -> Flow<Option<(u32, Bytes)>> {
        /// PostgreSQL's own limit.
        const LIMIT: usize = 10_000;
        loop {
            let mut want = 4;
            if self.input.len() >= 4 {
                want = self.length_at(0, 8, LIMIT)?;
                if self.input.len() >= want {
                    let mut packet = self.input.split_to(want).freeze();
                    packet.advance(4);
                    return Ok(Some((packet.get_u32(), packet)));
                }
            }
            if !self.fill(want).await? {
                return Ok(None);
            }
        }
    }

    /// The type of the next message if it is here already.
    pub(super) fn peek(&self) -> Option<u8> {
        self.input.first().copied()
    }

    fn length_at(&self, at: usize, least: usize, most: usize) -> Flow<usize> {
        let length = (&self.input[at..at + 4]).get_u32() as usize;
        if length < least || length > most {
            return Err(PgError::fatal("08P01", "invalid message length").into());
        }
        Ok(length)
    }

    /// Reads more; false at the end of the stream.
    async fn fill(&mut self, want: usize) -> Flow<bool> {
        /// What is reserved at once: a length that is only claimed costs no memory.
        const STEP: usize = 256 << 10;
        let missing = want.saturating_sub(self.input.len());
        self.input.reserve(missing.clamp(4 << 10, STEP));
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }

    /// Sends what there is.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            tokio::select! {
                biased;
                written = self.stream.write_buf(&mut self.out) => {
                    if written? == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                }
                // A client that does not read must not hold up the shutdown.
                () = self.shutdown.cancelled() => {
                    self.stream.write_all_buf(&mut self.out).now_or_lost()?;
                }
            }
        }
        if self.out.capacity() > 4 * FLUSH_BYTES {
            self.out = BytesMut::with_capacity(8 << 10);
        }
        self.stream.flush().await
    }

    /// Sends what there is if it is much.
    pub(super) async fn relieve(&mut self) -> io::Result<()> {
        if self.out.len() >= FLUSH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Sends what there is and ends the stream.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await
    }
}

trait NowOrLost {
    fn now_or_lost(self) -> io::Result<()>;
}

impl<F: Future<Output = io::Result<()>>> NowOrLost for F {
    /// What the socket takes at once is sent; the rest is given up.
    fn now_or_lost(self) -> io::Result<()> {
        futures::FutureExt::now_or_never(self)
            .unwrap_or_else(|| Err(io::ErrorKind::ConnectionAborted.into()))
    }
}
