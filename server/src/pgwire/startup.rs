//! From the first byte of a connection until it is ready for queries.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::backend;
use super::cancel::{CancelHandle, CancelRegistry};
use super::frontend::Reader;
use super::io::{Flow, Io};
use super::listener::StartupParameters;
use super::tls::Tls;
use crate::error::{PgError, PgResult};
use crate::session::api::Executor;

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// The first byte of a TLS handshake; no startup packet is as long.
const HANDSHAKE: u8 = 0x16;
/// The newest minor version of protocol 3 that is spoken here.
const NEWEST_MINOR: u32 = 0;

/// Reads packets up to the one that starts a session. `None` when there is nothing to start: a
/// CancelRequest, or the client went away.
pub(super) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut Io<S>,
    cancels: &CancelRegistry,
    tls: Option<&Tls>,
) -> Flow<Option<StartupParameters>> {
    let mut session = None;
    let (mut ssl_asked, mut gss_asked) = (false, false);
    if io.first_byte().await? == Some(HANDSHAKE) {
        // Without a certificate there is nothing to answer that such a client would understand.
        let Some(tls) = tls else { return Ok(None) };
        session = Some(io.secure(tls, true).await?);
        ssl_asked = true;
    }
    loop {
        let Some((code, body)) = io.startup_packet().await? else { return Ok(None) };
        match code {
            SSL_REQUEST if !ssl_asked => {
                ssl_asked = true;
                io.out.extend_from_slice(if tls.is_some() { b"S" } else { b"N" });
                io.flush().await?;
                if let Some(tls) = tls {
                    session = Some(io.secure(tls, false).await?);
                }
            }
            GSSENC_REQUEST if !gss_asked && session.is_none() => {
                gss_asked = true;
                io.out.extend_from_slice(b"N");
                io.flush().await?;
            }
            CANCEL_REQUEST => {
                let mut r = Reader(body);
                let (process_id, secret) = (r.i32()?, r.i32()?);
                cancels.cancel(process_id, secret);
                return Ok(None);
            }
            code if code >> 16 == 3 => {
                let (mut parameters, unknown) = parse(body)?;
                parameters.tls = session;
                if code & 0xffff > NEWEST_MINOR || !unknown.is_empty() {
                    backend::negotiate(&mut io.out, NEWEST_MINOR as i32, &unknown);
                }
                return Ok(Some(parameters));
            }
            code => {
                return Err(PgError::fatal(
                    "0A000",
                    format!(
                        "unsupported frontend protocol {}.{}: server supports 3.0 to 3.0",
                        code >> 16,
                        code & 0xffff
                    ),
                )
                .into());
            }
        }
    }
}

/// The parameters of a startup packet, and its protocol options that are not known here.
fn parse(body: Bytes) -> PgResult<(StartupParameters, Vec<String>)> {
    let mut r = Reader(body);
    let mut startup = StartupParameters::default();
    let (mut own, mut unknown) = (Vec::new(), Vec::new());
    loop {
        let name = r.string()?;
        if name.is_empty() {
            break;
        }
        let value = r.string()?;
        match name.as_str() {
            "user" => startup.user = value,
            "database" => startup.database = value,
            "options" => startup.settings = options(&value)?,
            "replication" => {
                if !matches!(value.to_ascii_lowercase().as_str(), "false" | "off" | "no" | "0") {
                    return Err(fatal(PgError::unsupported("the replication protocol")));
                }
            }
            // Some drivers send it in SQL's quotes.
            "client_encoding" => own.push((name, value.trim_matches('\'').to_owned())),
            _ if name.starts_with("_pq_.") => unknown.push(name),
            _ => own.push((name, value)),
        }
    }
    if startup.user.is_empty() {
        return Err(PgError::fatal("28000", "no PostgreSQL user name specified in startup packet"));
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    startup.settings.append(&mut own);
    Ok((startup, unknown))
}

/// The settings of `options`: `-c name=value`, `-cname=value` or `--name=value`, separated by
/// blanks; a backslash takes the blank after it into the value.
fn options(text: &str) -> PgResult<Vec<(String, String)>> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let refused = |word: &str| {
        PgError::fatal("42601", format!("invalid command-line argument for server process: {word}"))
    };
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = match word.as_str() {
            "-c" => words.next().ok_or_else(|| refused(&word))?,
            w if w.starts_with("-c") || w.starts_with("--") => w[2..].to_owned(),
            w => return Err(refused(w)),
        };
        let Some((name, value)) = setting.split_once('=') else {
            return Err(PgError::fatal("42601", format!("-c {setting} requires a value")));
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

/// Any error before the session exists ends the connection.
pub(super) fn fatal(mut error: PgError) -> PgError {
    error.severity = crate::error::Severity::Fatal;
    error
}

/// Writes what a client is told when its session has begun, up to ReadyForQuery.
pub(super) fn greet<E: Executor>(
    out: &mut bytes::BytesMut,
    executor: &mut E,
    startup: &StartupParameters,
    cancel: &CancelHandle,
) {
    let settings = executor.text_settings();
    let application = startup
        .settings
        .iter()
        .rev()
        .find(|(name, _)| name.eq_ignore_ascii_case("application_name"))
        .map_or("", |(_, value)| value.as_str());
    let mut reported: Vec<(String, String)> = [
        ("application_name", application),
        ("client_encoding", "UTF8"),
        ("DateStyle", &settings.date_style),
        ("default_transaction_read_only", "off"),
        ("in_hot_standby", "off"),
        ("integer_datetimes", "on"),
        ("IntervalStyle", &settings.interval_style),
        ("is_superuser", "on"),
        ("server_encoding", "UTF8"),
        ("server_version", super::SERVER_VERSION),
        ("session_authorization", &startup.user),
        ("standard_conforming_strings", "on"),
        ("TimeZone", settings.time_zone.name()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    // What the session says of a setting replaces what is assumed of it.
    for (name, value) in executor.take_parameter_changes() {
        match reported.iter_mut().find(|(n, _)| *n == name) {
            Some(known) => known.1 = value,
            None => reported.push((name, value)),
        }
    }
    for (name, value) in &reported {
        backend::parameter_status(out, name, value);
    }
    backend::backend_key(out, cancel.process_id, cancel.secret);
    for notice in executor.take_notices() {
        backend::error(out, &notice);
    }
    backend::ready(out, executor.status());
}

/// The parameters of a startup packet together with who sent it.
pub(super) fn known(
    startup: StartupParameters,
    peer: Option<SocketAddr>,
    process_id: i32,
) -> StartupParameters {
    StartupParameters { peer, process_id, ..startup }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_settings_and_a_backslash_keeps_a_blank() {
        let settings = options(r"-c search_path=a,b -cstatement_timeout=5 --time-zone=Asia\ X");
        assert_eq!(
            settings.unwrap(),
            [("search_path", "a,b"), ("statement_timeout", "5"), ("time_zone", "Asia X")]
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
        assert_eq!(options("-x").unwrap_err().code, "42601");
    }

    #[test]
    fn the_database_is_named_like_the_user_unless_told() {
        let (startup, unknown) =
            parse(Bytes::from_static(b"user\0ann\0_pq_.x\x001\0client_encoding\0'utf-8'\0\0"))
                .unwrap();
        assert_eq!(startup.database, "ann");
        assert_eq!(startup.settings, [("client_encoding".to_owned(), "utf-8".to_owned())]);
        assert_eq!(unknown, ["_pq_.x"]);
    }
}
