//! The messages by which a client proves who it is.

use ::pgwire::messages::startup::Authentication;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::backend;
use super::frontend::Reader;
use super::io::{Flow, Io};
use super::listener::StartupParameters;
use crate::auth::Challenge;
use crate::auth::scram::{self, Exchange, Verifier};
use crate::error::{PgError, PgResult};

/// The longest message taken from somebody unknown.
const MESSAGE_BYTES: usize = 10_000;

/// Has the client prove who it is, and tells it that it has.
///
/// # Errors
/// 28P01 where it has not.
pub(super) async fn prove<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut Io<S>,
    challenge: &Challenge,
    startup: &StartupParameters,
) -> Flow<()> {
    let proven = match challenge {
        Challenge::Trust => true,
        Challenge::Password(verifier) => password(io, verifier).await?,
        Challenge::Scram(verifier) => {
            let end_point = startup.tls.as_ref().and_then(|tls| tls.end_point.as_deref());
            sasl(io, verifier, end_point).await?
        }
    };
    if !proven {
        let message = format!("password authentication failed for user \"{}\"", startup.user);
        tracing::info!(user = %startup.user, peer = ?startup.peer, "wrong password");
        return Err(PgError::fatal("28P01", message).into());
    }
    backend::put(&mut io.out, &Authentication::Ok);
    Ok(())
}

/// What the client answers.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(io: &mut Io<S>) -> Flow<Bytes> {
    io.flush().await?;
    match io.message_within(MESSAGE_BYTES).await? {
        Some((b'p', body)) => Ok(body),
        Some((other, _)) => {
            let message = format!("expected password response, got message type {other}");
            Err(PgError::fatal("08P01", message).into())
        }
        // It went away to ask its user.
        None => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
    }
}

async fn password<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut Io<S>,
    verifier: &Verifier,
) -> Flow<bool> {
    backend::put(&mut io.out, &Authentication::CleartextPassword);
    let mut body = Reader(answer(io).await?);
    let password = body.string()?;
    Ok(!password.is_empty() && verifier.fits(&password))
}

async fn sasl<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut Io<S>,
    verifier: &Verifier,
    end_point: Option<&[u8]>,
) -> Flow<bool> {
    let offered = end_point.map(|_| scram::PLUS).into_iter().chain([scram::PLAIN]);
    let offered = offered.map(str::to_owned).collect();
    backend::put(&mut io.out, &Authentication::SASL(offered));
    let (mechanism, first) = initial(answer(io).await?)?;
    let exchange = Exchange::begin(verifier.clone(), &mechanism, &first, end_point)?;
    let server_first = exchange.server_first.clone().into();
    backend::put(&mut io.out, &Authentication::SASLContinue(server_first));
    let last = text(answer(io).await?)?;
    let Some(last) = exchange.finish(&last)? else { return Ok(false) };
    backend::put(&mut io.out, &Authentication::SASLFinal(last.into()));
    Ok(true)
}

/// The mechanism and the client's first message.
fn initial(body: Bytes) -> PgResult<(String, String)> {
    let mut r = Reader(body);
    let mechanism = r.string()?;
    let length = r.i32()?;
    if usize::try_from(length).ok() != Some(r.0.len()) {
        return Err(PgError::fatal("08P01", "malformed SASL response"));
    }
    Ok((mechanism, text(r.0)?))
}

fn text(body: Bytes) -> PgResult<String> {
    String::from_utf8(body.into())
        .map_err(|_| PgError::fatal("08P01", "malformed SCRAM message").detail("It is no text."))
}
