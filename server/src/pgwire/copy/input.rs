//! COPY … FROM STDIN.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::PgError;
use crate::pgwire::connection::Connection;
use crate::pgwire::io::Flow;
use crate::session::api::{CopyIn, Executor};

impl<S: AsyncRead + AsyncWrite + Unpin + Send, E: Executor> Connection<S, E> {
    /// Takes the client's data and gives the statement's tag.
    pub(in crate::pgwire) async fn copy_in(&mut self, _sink: Box<dyn CopyIn>) -> Flow<String> {
        Err(PgError::unsupported("COPY FROM STDIN").into())
    }
}
