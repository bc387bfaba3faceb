//! One connection.
use super::listener::{SessionFactory, Shared};
use std::net::SocketAddr;
pub(super) async fn run<F: SessionFactory>(
    _socket: tokio::net::TcpStream,
    _peer: Option<SocketAddr>,
    _shared: &Shared<F>,
) -> std::io::Result<()> {
    Ok(())
}
