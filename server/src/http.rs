//! `/health` and `/health/ready`, for process managers and load balancers.
//!
//! One request a connection, GET and HEAD only: enough for a probe, and nothing to exploit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::engine::Engine;

/// The longest request that is read.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// How long a client may take for its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that are answered at a time.
const REQUESTS_MAX: usize = 64;

/// Answers until `shutdown` is cancelled.
pub async fn serve(listener: TcpListener, engine: Arc<Engine>, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                debug!(%error, "could not accept an HTTP connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let engine = Arc::clone(&engine);
        tokio::spawn(async move {
            let _slot = slot;
            match timeout(REQUEST_TIMEOUT, answer(socket, &engine)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "HTTP connection lost"),
                Err(_) => debug!("HTTP client took too long"),
            }
        });
    }
}

async fn answer(mut socket: TcpStream, engine: &Engine) -> io::Result<()> {
    let mut request = Vec::new();
    // The head must be read to its end: closing with unread bytes would reset the connection.
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        if request.len() >= REQUEST_BYTES_MAX {
            return reply(&mut socket, 431, "request too large\n", true).await;
        }
        if socket.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(request.split(|&b| b == b'\r').next().unwrap_or_default());
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method != "GET" && method != "HEAD" {
        return reply(&mut socket, 405, "only GET and HEAD are answered\n", true).await;
    }
    let (status, body) = respond(target, engine);
    reply(&mut socket, status, &body, method == "GET").await
}

fn respond(target: &str, engine: &Engine) -> (u16, String) {
    match target.split('?').next().unwrap_or_default() {
        // The process answers; that is all that is asked.
        "/health" => (200, "ok\n".to_owned()),
        "/health/ready" => match engine.ready() {
            Ok(()) => (200, "ready\n".to_owned()),
            Err(error) => (503, format!("not ready: {error}\n")),
        },
        _ => (404, "not found\n".to_owned()),
    }
}

async fn reply(socket: &mut TcpStream, status: u16, body: &str, with_body: bool) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    if with_body {
        socket.write_all(body.as_bytes()).await?;
    }
    socket.shutdown().await
}
