//! TLS of a listener: a certificate, and a CA for clients where theirs are asked
//! for. The files are read again when they change.

use std::{path::PathBuf, sync::Arc};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use crate::tls::{TlsError, certificates, provider, read};
use mesh_base::watched_file::WatchedFile;
use mesh_model::config::http::PemSource;

/// TLS of a listener, as flags.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// PEM file with the certificate that clients are shown, and its chain. It is
    /// read again when it has changed. Without it there is no TLS.
    #[arg(
        long = "tls.cert-file",
        env = "PROMESH_TLS_CERT_FILE",
        requires = "key_file"
    )]
    pub cert_file: Option<PathBuf>,

    /// PEM file with the certificate's key.
    #[arg(
        long = "tls.key-file",
        env = "PROMESH_TLS_KEY_FILE",
        requires = "cert_file"
    )]
    pub key_file: Option<PathBuf>,

    /// PEM file with the authorities of clients' certificates. With it a client has
    /// to show one (mTLS).
    #[arg(
        long = "tls.client-ca-file",
        env = "PROMESH_TLS_CLIENT_CA_FILE",
        requires = "cert_file"
    )]
    pub client_ca_file: Option<PathBuf>,
}

/// Speaks TLS with what the files hold by now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls(WatchedFile<ServerConfig>);

/// A listener's TLS files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file, or what it holds.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The authorities make no verifier.
    #[error("clients' authorities: {0}")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
}

// === impl TlsArgs ===

impl TlsArgs {
    /// TLS as the flags say, with these protocols offered by ALPN; `None` where
    /// they ask for none. Needs a runtime.
    ///
    /// # Errors
    /// Where a file cannot be read or they do not go together.
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
    let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|source| TlsError::Pem {
        what: "key",
        source,
    })?;
    let mut config = builder
        .with_single_cert(certificates("cert", cert)?, key)
        .map_err(TlsError::from)?;
    config.alpn_protocols = alpn.to_vec();
    Ok(config)
}
