//! COPY … TO STDOUT.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::PgError;
use crate::pgwire::connection::Connection;
use crate::pgwire::io::Flow;
use crate::session::api::{CopyOptions, Executor, FieldDescription, RowStream};

impl<S: AsyncRead + AsyncWrite + Unpin + Send, E: Executor> Connection<S, E> {
    /// Sends rows as COPY data and gives the statement's tag.
    pub(in crate::pgwire) async fn copy_out(
        &mut self,
        _fields: Arc<[FieldDescription]>,
        _rows: RowStream,
        _options: CopyOptions,
    ) -> Flow<String> {
        Err(PgError::unsupported("COPY TO STDOUT").into())
    }
}
