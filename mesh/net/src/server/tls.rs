//! TLS settings of a listener: its certificate, and optionally a CA for client certificates.
//! The files are reloaded when they change.

use std::{path::PathBuf, sync::Arc};

use mesh_base::watched_file::WatchedFile;
use mesh_model::config::http::PemSource;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier, sign::SingleCertAndKey};
use tokio_rustls::TlsAcceptor;

use crate::tls::{TlsError, certificates, identity, provider};

/// Flags for the TLS settings of a listener.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// PEM file with the server certificate and its chain. Reloaded when it changes. Without
    /// this flag the server does not use TLS.
    #[arg(
        long = "tls.cert-file",
        env = "PROMESH_TLS_CERT_FILE",
        requires = "key_file"
    )]
    pub cert_file: Option<PathBuf>,

    /// PEM file with the key of the server certificate.
    #[arg(
        long = "tls.key-file",
        env = "PROMESH_TLS_KEY_FILE",
        requires = "cert_file"
    )]
    pub key_file: Option<PathBuf>,

    /// PEM file with the CA certificates for client certificates. With this flag the server
    /// requires a client certificate (mTLS).
    #[arg(
        long = "tls.client-ca-file",
        env = "PROMESH_TLS_CLIENT_CA_FILE",
        requires = "cert_file"
    )]
    pub client_ca_file: Option<PathBuf>,
}

/// TLS settings of a listener, reloaded when the files change. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls(WatchedFile<ServerConfig>);

/// Error of a listener's TLS settings.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file cannot be read or is invalid.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The CA certificates for clients are not usable.
    #[error("client CA certificates: {0}")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
}

// === impl TlsArgs ===

impl TlsArgs {
    /// Builds the TLS settings with these ALPN protocols. Returns `None` if the flags do not
    /// enable TLS. Must be called in a tokio runtime, which watches the files.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read, is invalid, or if the key does not match the
    /// certificate.
    pub fn server(&self, alpn: &[&str]) -> Result<Option<ServerTls>, ServerTlsError> {
        let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) else {
            return Ok(None);
        };
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let files = [Some(cert), Some(key), self.client_ca_file.as_ref()];
        let files = files.into_iter().flatten().cloned().collect();
        let (cert, key) = (PemSource::File(cert.clone()), PemSource::File(key.clone()));
        let client_ca = self.client_ca_file.clone().map(PemSource::File);
        let read = move || server_config(&cert, &key, client_ca.as_ref(), &alpn);
        WatchedFile::watch("TLS", files, read).map(|config| Some(ServerTls(config)))
    }
}

// === impl ServerTls ===

impl ServerTls {
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load())
    }
}

fn server_config(
    cert: &PemSource,
    key: &PemSource,
    client_ca: Option<&PemSource>,
    alpn: &[Vec<u8>],
) -> Result<ServerConfig, ServerTlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::from)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(client_ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("client_ca", client_ca)? {
                roots.add(certificate).map_err(TlsError::from)?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let identity = SingleCertAndKey::from(identity(("cert", cert), ("key", key))?);
    let mut config = builder.with_cert_resolver(Arc::new(identity));
    config.alpn_protocols = alpn.to_vec();
    Ok(config)
}
