//! Encryption: the certificate, how it is renewed, and the handshake.

mod certificate;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

pub(super) use stream::{Prefixed, Wire};

/// The protocol's name where the client begins with the handshake (ALPN).
const ALPN: &[u8] = b"postgresql";

/// Why the files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds something else.
    #[error("could not load \"{path}\" (--{setting}): {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// The setting's flag.
        setting: &'static str,
        /// Why.
        reason: String,
    },
    /// The certificate and the key do not belong together, or are of an unknown kind.
    #[error("could not use the certificate and key (--tls-cert-file, --tls-key-file): {0}")]
    Pair(String),
}

/// The files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, with what leads to its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of clients' certificates.
    pub client_ca: Option<PathBuf>,
}

/// What an encrypted connection tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSession {
    /// The version, as `pg_stat_ssl` has it: `TLSv1.3`.
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
    /// Whether the client showed a certificate of a known authority.
    pub client_certificate: bool,
    /// The common name in it.
    pub client_name: Option<String>,
    /// The hash of the server's certificate, for channel binding.
    pub end_point: Option<Vec<u8>>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    end_point: Option<Vec<u8>>,
}

/// When the files were written, and their lengths.
type Stamp = Vec<Option<(SystemTime, u64)>>;

/// The certificate that is in use. A new one is taken for new connections.
pub struct Tls {
    files: TlsFiles,
    loaded: RwLock<Arc<Loaded>>,
    stamp: Mutex<Stamp>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Loads the files.
    ///
    /// # Errors
    /// What is wrong with them, and with which.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let stamp = files.stamp();
        let loaded = RwLock::new(Arc::new(files.load()?));
        Ok(Tls { files, loaded, stamp: Mutex::new(stamp) })
    }

    /// Loads the files again. What is in use stays where they are of no use.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.stamp.lock() = self.files.stamp();
        *self.loaded.write() = Arc::new(self.files.load()?);
        Ok(())
    }

    /// Loads the files again if they have changed. Gives whether they had.
    ///
    /// # Errors
    /// What is wrong with them; told once for each change.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        if *self.stamp.lock() == self.files.stamp() {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// The server's side of the handshake. `direct` is one that no SSLRequest went before.
    pub(super) async fn accept<S>(
        &self,
        stream: Prefixed<S>,
        direct: bool,
    ) -> io::Result<(Wire<S>, TlsSession)>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let loaded = Arc::clone(&self.loaded.read());
        let acceptor = TlsAcceptor::from(Arc::clone(&loaded.config));
        let stream = acceptor.accept(stream).await?;
        let connection = stream.get_ref().1;
        if direct && connection.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "direct TLS connection without ALPN protocol negotiation",
            ));
        }
        let client = connection.peer_certificates().and_then(<[_]>::first);
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        };
        let cipher = connection
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .map_or_else(String::new, |name| name.replacen("TLS13_", "TLS_", 1));
        let session = TlsSession {
            version: version.to_owned(),
            cipher,
            client_certificate: client.is_some(),
            client_name: client.and_then(|c| certificate::common_name(c)),
            end_point: loaded.end_point.clone(),
        };
        Ok((Wire::Tls(Box::new(stream)), session))
    }
}

impl TlsFiles {
    fn stamp(&self) -> Stamp {
        let stamp = |path: &PathBuf| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()]
            .into_iter()
            .flatten()
            .map(stamp)
            .collect()
    }

    fn load(&self) -> Result<Loaded, TlsError> {
        let error = |path: &PathBuf, setting, reason: String| TlsError::File {
            path: path.clone(),
            setting,
            reason,
        };
        let certificates = |path: &PathBuf, setting| -> Result<Vec<CertificateDer<'static>>, _> {
            let read = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|e| error(path, setting, reason(e)))?;
            let read: Vec<_> = read;
            if read.is_empty() {
                return Err(error(path, setting, "there is no certificate in it".to_owned()));
            }
            Ok(read)
        };
        let chain = certificates(&self.cert, "tls-cert-file")?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|e| error(&self.key, "tls-key-file", reason(e)))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::Pair(e.to_string()))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path, "tls-client-ca-file")? {
                    roots
                        .add(certificate)
                        .map_err(|e| error(path, "tls-client-ca-file", e.to_string()))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build()
                        .map_err(|e| error(path, "tls-client-ca-file", e.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let end_point = chain.first().and_then(|c| certificate::end_point(c));
        let mut config =
            builder.with_single_cert(chain, key).map_err(|e| TlsError::Pair(e.to_string()))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Loaded { config: Arc::new(config), end_point })
    }
}

fn reason(error: rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "there is no private key in it".to_owned(),
        other => other.to_string(),
    }
}
