//! Encrypted connections, with certificates made for each test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::listener::Limits;
use super::super::tests::Server;
use super::*;

const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];

/// A directory with an authority's certificate, and a server's and a client's key and
/// certificate.
struct Certificates(PathBuf);

impl Certificates {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("chronos-tls-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        let this = Certificates(dir);
        this.issue();
        this
    }

    fn issue(&self) {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(self.0.join("ca.pem"), authority.pem()).unwrap();
        for (file, name) in [("server", "localhost"), ("client", "named")] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            std::fs::write(self.0.join(format!("{file}.pem")), certificate.pem()).unwrap();
            std::fs::write(self.0.join(format!("{file}.key")), key.serialize_pem()).unwrap();
        }
    }

    fn files(&self) -> TlsFiles {
        let file = |name: &str| self.0.join(name);
        TlsFiles {
            cert: file("server.pem"),
            key: file("server.key"),
            client_ca: Some(file("ca.pem")),
        }
    }

    fn connector(&self, alpn: bool, certificate: bool) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.0.join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = if certificate {
            let own = CertificateDer::from_pem_file(self.0.join("client.pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(self.0.join("client.key")).unwrap();
            builder.with_client_auth_cert(vec![own], key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        if alpn {
            config.alpn_protocols = vec![ALPN.to_vec()];
        }
        TlsConnector::from(Arc::new(config))
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn server(certificates: &Certificates) -> (Server, Arc<Tls>) {
    let tls = Arc::new(Tls::load(certificates.files()).unwrap());
    (Server::start_secured(Limits::default(), Some(Arc::clone(&tls))).await, tls)
}

async fn encrypted(
    server: &Server,
    connector: &TlsConnector,
    direct: bool,
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut socket = server.socket().await;
    if !direct {
        socket.write_all(SSL_REQUEST).await?;
        assert_eq!(socket.read_u8().await?, b'S');
    }
    connector.connect(ServerName::try_from("localhost").unwrap(), socket).await
}

/// Starts a session, and gives the first message up to one of these types.
async fn start<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    user: &str,
    last: &[u8],
) -> std::io::Result<(u8, Vec<u8>)> {
    let packet = format!("user\0{user}\0\0");
    let mut bytes = (packet.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend_from_slice(&196_608u32.to_be_bytes());
    bytes.extend_from_slice(packet.as_bytes());
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    loop {
        let kind = stream.read_u8().await?;
        let length = stream.read_u32().await? as usize;
        let mut body = vec![0; length - 4];
        stream.read_exact(&mut body).await?;
        if last.contains(&kind) {
            return Ok((kind, body));
        }
    }
}

#[tokio::test]
async fn a_connection_is_encrypted_when_asked_for() {
    let certificates = Certificates::new();
    let (server, _) = server(&certificates).await;
    for (alpn, direct) in [(false, false), (true, false), (true, true)] {
        let connector = certificates.connector(alpn, false);
        let mut stream = encrypted(&server, &connector, direct).await.unwrap();
        assert_eq!(start(&mut stream, "test", b"Z").await.unwrap().0, b'Z');
    }
    // Plain ones still are.
    assert_eq!(start(&mut server.socket().await, "test", b"Z").await.unwrap().0, b'Z');
}

#[tokio::test]
async fn a_direct_handshake_needs_the_protocols_name() {
    let certificates = Certificates::new();
    let (server, _) = server(&certificates).await;
    let connector = certificates.connector(false, false);
    let mut stream = encrypted(&server, &connector, true).await.unwrap();
    assert!(start(&mut stream, "test", b"Z").await.is_err());
}

#[tokio::test]
async fn what_comes_in_plain_text_before_the_handshake_is_not_taken() {
    let certificates = Certificates::new();
    let (server, _) = server(&certificates).await;
    let mut socket = server.socket().await;
    let mut bytes = SSL_REQUEST.to_vec();
    bytes.extend_from_slice(b"Q\0\0\0\x0ccount 1\0");
    socket.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await.expect("an end in time");
    assert_eq!(answer[0], b'S');
    assert!(answer[1..].windows(5).any(|w| w == b"08P01"), "{answer:?}");
}

#[tokio::test]
async fn a_certificate_tells_who_the_client_is() {
    let certificates = Certificates::new();
    let (server, _) = server(&certificates).await;
    for (user, certificate, answer) in
        [("named", true, b'Z'), ("named", false, b'E'), ("other", true, b'Z')]
    {
        let connector = certificates.connector(false, certificate);
        let mut stream = encrypted(&server, &connector, false).await.unwrap();
        assert_eq!(start(&mut stream, user, b"EZ").await.unwrap().0, answer, "{user}");
    }
    // One of another authority is none.
    let other = Certificates::new();
    std::fs::copy(other.0.join("client.pem"), certificates.0.join("client.pem")).unwrap();
    std::fs::copy(other.0.join("client.key"), certificates.0.join("client.key")).unwrap();
    let connector = certificates.connector(false, true);
    if let Ok(mut stream) = encrypted(&server, &connector, false).await {
        assert!(start(&mut stream, "named", b"EZ").await.is_err());
    }
}

#[tokio::test]
async fn channel_binding_is_offered_where_the_connection_is_encrypted() {
    let certificates = Certificates::new();
    let (server, _) = server(&certificates).await;
    let connector = certificates.connector(false, false);
    let mut stream = encrypted(&server, &connector, false).await.unwrap();
    let (_, body) = start(&mut stream, "scram", b"R").await.unwrap();
    assert_eq!(body, b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let certificates = Certificates::new();
    let (server, tls) = server(&certificates).await;
    let old = certificates.connector(false, false);
    let mut kept = encrypted(&server, &old, false).await.unwrap();
    std::fs::write(certificates.0.join("server.pem"), "nonsense").unwrap();
    let error = tls.refresh().unwrap_err().to_string();
    assert!(error.contains("server.pem") && error.contains("--tls-cert-file"), "{error}");
    assert!(!tls.refresh().unwrap(), "the same fault is told once");
    encrypted(&server, &old, false).await.unwrap();
    certificates.issue();
    assert!(tls.refresh().unwrap());
    assert!(encrypted(&server, &old, false).await.is_err(), "of another authority now");
    encrypted(&server, &certificates.connector(false, false), false).await.unwrap();
    assert_eq!(start(&mut kept, "test", b"Z").await.unwrap().0, b'Z');
}

#[test]
fn bad_files_are_named_with_their_setting() {
    let certificates = Certificates::new();
    let files = certificates.files();
    let with = |f: fn(&mut TlsFiles)| {
        let mut files = files.clone();
        f(&mut files);
        Tls::load(files).unwrap_err().to_string()
    };
    assert!(with(|f| f.cert = "/no/such".into()).contains("\"/no/such\" (--tls-cert-file)"));
    assert!(with(|f| f.key = f.cert.clone()).contains("(--tls-key-file): there is no private key"));
    assert!(with(|f| f.client_ca = Some(f.key.clone())).contains("(--tls-client-ca-file)"));
    assert!(with(|f| f.key = f.cert.with_file_name("client.key")).contains("--tls-key-file"));
}
