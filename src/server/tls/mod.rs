//! Encrypted connections: what `tls-*` ask for, as rustls has it. [`TlsStream`] is one connection.
//!
//! TLS 1.2 and 1.3, with the cipher suites that rustls has. As in Redis a peer's certificate must be signed by one of
//! `tls-ca-cert-file` and `tls-ca-cert-dir`, and may be made out to any name.

mod ciphers;
pub(crate) mod identity;
pub(crate) mod renewal;
mod trust;

use super::Server;
use super::config::{Config, TlsAuthClients};
use super::connection::Connection;
use super::connection::tls::TlsStream;
use mio::net::TcpStream;
use renewal::Renewal;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    NoServerSessionStorage, ServerSessionMemoryCache, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use trust::AnyName;

/// What encrypted connections are made with.
#[derive(Debug)]
pub struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// Why there can be no encrypted connections.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsError {
    NoCertificate,
    NoKey,
    /// Nobody may sign the certificates of others, although they are asked for them.
    NoAuthority,
    Certificate {
        file: String,
        reason: String,
    },
    PrivateKey {
        file: String,
        reason: String,
    },
    Authorities(String),
    /// `tls-protocols` names a version that there is not.
    UnknownVersion,
    /// `tls-protocols` leaves none.
    NoVersion,
    /// `tls-ciphers` leaves none.
    NoCipher(String),
    /// `tls-ciphersuites` leaves none.
    NoCiphersuite(String),
    /// The versions and the ciphers do not go together.
    Mismatch(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("No tls-cert-file configured!"),
            Self::NoKey => f.write_str("No tls-key-file configured!"),
            Self::NoAuthority => f.write_str(
                "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or \
                 tls-auth-clients are enabled!",
            ),
            Self::Certificate { file, reason } => {
                write!(f, "Failed to load certificate: {file}: {reason}")
            }
            Self::PrivateKey { file, reason } => {
                write!(f, "Failed to load private key: {file}: {reason}")
            }
            Self::Authorities(reason) => {
                write!(f, "Failed to configure CA certificate(s) file/directory: {reason}")
            }
            Self::UnknownVersion => f.write_str(
                "Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' and 'TLSv1.3'.",
            ),
            Self::NoVersion => f.write_str(
                "Invalid tls-protocols specified. Only 'TLSv1.2' and 'TLSv1.3' are supported.",
            ),
            Self::NoCipher(list) => write!(f, "Failed to configure ciphers: {list}"),
            Self::NoCiphersuite(list) => write!(f, "Failed to configure ciphersuites: {list}"),
            Self::Mismatch(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsError {}

impl Tls {
    /// Reads keys and certificates.
    ///
    /// # Errors
    /// If one of them is missing or can't be used.
    pub fn configure(config: &Config) -> Result<Tls, TlsError> {
        let cert = config.tls_cert_file.as_deref().ok_or(TlsError::NoCertificate)?;
        let key = config.tls_key_file.as_deref().ok_or(TlsError::NoKey)?;
        let has_peers = config.tls_replication || config.tls_cluster;
        let no_ca = config.tls_ca_cert_file.is_none() && config.tls_ca_cert_dir.is_none();
        if no_ca && (has_peers || config.tls_auth_clients != TlsAuthClients::No) {
            return Err(TlsError::NoAuthority);
        }
        let context = Context {
            provider: Arc::new(ciphers::provider(config)?),
            versions: ciphers::versions(config.tls_protocols.as_deref())?,
            roots: Arc::new(roots(config)?),
        };
        let identity = context.identity(cert, key)?;
        let server = context.server(config, Arc::clone(&identity))?;
        let identity = match (&config.tls_client_cert_file, &config.tls_client_key_file) {
            (Some(cert), Some(key)) => context.identity(cert, key)?,
            _ => identity,
        };
        Ok(Tls { server: Arc::new(server), client: Arc::new(context.client(identity)?) })
    }
}

/// Makes ready for encrypted connections, if the configuration asks for any.
///
/// # Errors
/// As [`Tls::configure`].
pub(crate) fn configure_tls(server: &mut Server) -> Result<(), TlsError> {
    let config = &server.config;
    let for_metrics = config.metrics_port != 0 && config.metrics_tls;
    if config.tls_port != 0 || config.tls_replication || config.tls_cluster || for_metrics {
        // As they are before they are read: what is renewed meanwhile is read once more.
        let renewal = Renewal::of(config, server.now_seconds());
        server.net.set_tls(Tls::configure(config)?, renewal);
    }
    Ok(())
}

/// A client or a node has connected where TLS is spoken.
///
/// # Errors
/// If there is no memory for it.
pub(crate) fn accept_tls(server: &Server, socket: TcpStream) -> io::Result<Connection> {
    let tls = server.net.tls().ok_or(io::ErrorKind::Unsupported)?;
    let session = ServerConnection::new(Arc::clone(&tls.server)).map_err(io::Error::other)?;
    Ok(Connection::Tls(Box::new(TlsStream::new(socket, session))))
}

/// Speaks TLS on a connection to another server.
///
/// # Errors
/// If it is not configured, or the host's name can't be one.
pub(crate) fn connect_tls(
    server: &Server,
    socket: TcpStream,
    host: &str,
) -> io::Result<Connection> {
    let tls = server.net.tls().ok_or(io::ErrorKind::Unsupported)?;
    let name = ServerName::try_from(host.to_string()).map_err(io::Error::other)?;
    let session = ClientConnection::new(Arc::clone(&tls.client), name).map_err(io::Error::other)?;
    Ok(Connection::Tls(Box::new(TlsStream::new(socket, session))))
}

/// What both sides have in common.
struct Context {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    roots: Arc<RootCertStore>,
}

impl Context {
    /// A certificate with what signed it, and its key.
    fn identity(&self, cert: &str, key: &str) -> Result<Arc<SingleCertAndKey>, TlsError> {
        let chain = certificates(Path::new(cert))
            .map_err(|reason| TlsError::Certificate { file: cert.to_string(), reason })?;
        let failed = |reason: String| TlsError::PrivateKey { file: key.to_string(), reason };
        let der = PrivateKeyDer::from_pem_file(key).map_err(|e| failed(e.to_string()))?;
        let signer = self.provider.key_provider.load_private_key(der);
        let identity = CertifiedKey::new(chain, signer.map_err(|e| failed(e.to_string()))?);
        // Certificates that can't be checked here may serve those who can.
        if let Err(
            error @ (rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)
            | rustls::Error::InvalidCertificate(CertificateError::BadEncoding)),
        ) = identity.keys_match()
        {
            return Err(failed(error.to_string()));
        }
        Ok(Arc::new(SingleCertAndKey::from(identity)))
    }

    fn server(
        &self,
        config: &Config,
        identity: Arc<SingleCertAndKey>,
    ) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .map_err(TlsError::Mismatch)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            Arc::clone(&self.provider),
        );
        let builder = match config.tls_auth_clients {
            TlsAuthClients::No => builder.with_no_client_auth(),
            wanted => {
                let verifier = match wanted {
                    TlsAuthClients::Optional => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                let verifier = verifier.build();
                let failed = |error: VerifierBuilderError| TlsError::Authorities(error.to_string());
                builder.with_client_cert_verifier(verifier.map_err(failed)?)
            }
        };
        let mut server = builder.with_cert_resolver(identity);
        server.ignore_client_order = config.tls_prefer_server_ciphers;
        server.session_storage = match config.tls_session_caching {
            true => ServerSessionMemoryCache::new(config.tls_session_cache_size as usize),
            false => Arc::new(NoServerSessionStorage {}),
        };
        Ok(server)
    }

    fn client(&self, identity: Arc<SingleCertAndKey>) -> Result<ClientConfig, TlsError> {
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .map_err(TlsError::Mismatch)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyName::new(
                Arc::clone(&self.roots),
                self.provider.signature_verification_algorithms,
            )))
            .with_client_cert_resolver(identity);
        client.resumption = Resumption::disabled();
        Ok(client)
    }
}

/// The certificates of a PEM file; at least one.
///
/// # Errors
/// A text.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match found {
        Ok(certificates) if certificates.is_empty() => Err("no certificate in it".to_string()),
        outcome => outcome.map_err(|error| error.to_string()),
    }
}

/// Who may sign the certificates of others.
fn roots(config: &Config) -> Result<RootCertStore, TlsError> {
    let failed = TlsError::Authorities;
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.tls_ca_cert_file {
        let (added, _) =
            roots.add_parsable_certificates(certificates(Path::new(file)).map_err(failed)?);
        if added == 0 {
            return Err(failed("no certificate in it can be read".to_string()));
        }
    }
    if let Some(dir) = &config.tls_ca_cert_dir {
        let entries = std::fs::read_dir(dir).map_err(|error| failed(error.to_string()))?;
        // Other things may lie there.
        for file in entries.flatten() {
            roots.add_parsable_certificates(certificates(&file.path()).unwrap_or_default());
        }
    }
    Ok(roots)
}
