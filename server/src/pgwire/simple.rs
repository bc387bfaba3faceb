//! The simple protocol: a query string, its statements' results as they finish.

use tokio::io::{AsyncRead, AsyncWrite};

use super::backend;
use super::connection::Connection;
use super::cursor::Cursor;
use super::io::Flow;
use crate::session::api::{Executor, Response};

/// How a statement ended.
pub(super) enum Ended {
    /// There was no statement.
    Empty,
    /// CommandComplete is due with this tag.
    Tag(String),
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send, E: Executor> Connection<S, E> {
    /// Carries out a query string; ReadyForQuery is left to the caller, as is the end of the
    /// implicit block when a statement fails.
    pub(super) async fn query(&mut self, sql: &str) -> Flow<()> {
        self.statements.remove("");
        self.portals.remove("");
        let statements = self.executor.parse_simple(sql)?;
        if statements.len() > 1 && !self.implicit {
            self.executor.begin_implicit().await?;
            self.implicit = true;
        }
        let Some((last, others)) = statements.split_last() else {
            self.end_implicit().await?;
            backend::bare(&mut self.io.out, b'I');
            return Ok(());
        };
        for statement in others {
            let ended = self.run(statement).await?;
            self.complete(&ended);
            // Results go out as they finish.
            self.io.relieve().await?;
        }
        let ended = self.run(last).await?;
        // The last statement is complete when its transaction is.
        self.end_implicit().await?;
        self.complete(&ended);
        Ok(())
    }

    async fn run(&mut self, statement: &E::Statement) -> Flow<Ended> {
        let response = self.executor.execute(statement, Vec::new()).await?;
        self.notices();
        Ok(match response {
            Response::Empty => Ended::Empty,
            Response::Complete(tag) => Ended::Tag(tag),
            Response::Rows { fields, rows, tag } => {
                backend::row_description(&mut self.io.out, &fields, |_| 0);
                let mut cursor = Cursor::new(fields, rows, Vec::new());
                let settings = self.executor.text_settings();
                let sent = cursor.send(&mut self.io, &settings, &self.token, u64::MAX).await?;
                Ended::Tag(format!("{tag} {}", sent.rows))
            }
            Response::MovePortal { name, rows } => Ended::Tag(self.move_portal(&name, rows).await?),
            Response::CopyIn(sink) => Ended::Tag(self.copy_in(sink).await?),
            Response::CopyOut { fields, rows, options } => {
                Ended::Tag(self.copy_out(fields, rows, options).await?)
            }
        })
    }

    pub(super) fn complete(&mut self, ended: &Ended) {
        self.notices();
        match ended {
            Ended::Empty => backend::bare(&mut self.io.out, b'I'),
            Ended::Tag(tag) => backend::complete(&mut self.io.out, tag),
        }
    }
}
