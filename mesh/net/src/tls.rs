//! TLS configurations for clients, built from `tls_config`.

mod explain;
mod no_verification;
mod trust;
mod unsupported;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use mesh_model::config::http::{PemSource, TlsConfig, TlsVersion};
use rustls::{
    ClientConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use self::trust::TrustVerifier;
pub use self::{explain::explain, unsupported::unsupported};

/// Error of a `tls_config`.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A document is not valid PEM of the expected kind.
    #[error("{what}: {source}")]
    Pem {
        /// Name of the document, such as `ca` or `key`.
        what: &'static str,
        /// Cause.
        source: rustls_pki_types::pem::Error,
    },
    /// rustls rejects the combination of certificates, key and versions.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// The system's root certificates cannot be read.
    #[error("system certificates: {0}")]
    NativeRoots(std::io::Error),
    /// The maximum version is TLS 1.1 or older, which rustls does not support.
    #[error("max_version: only TLS 1.2 and 1.3 are supported")]
    TooOld,
}

/// Returns the crypto provider that all TLS connections use: ring.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Builds the configuration of a TLS client.
///
/// # Errors
/// Returns an error if a document cannot be read or is invalid, or if the key does not match
/// the certificate.
pub fn client_config(config: &TlsConfig) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions(config)?)?;
    let builder = if config.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(no_verification::verifier(provider()))
    } else {
        let trusted = match &config.ca {
            Some(ca) => TrustVerifier::new(certificates("ca", ca)?, provider()),
            None => TrustVerifier::of_the_system(provider()).map_err(TlsError::NativeRoots)?,
        };
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trusted))
    };
    match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => {
            let key =
                PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|source| TlsError::Pem {
                    what: "key",
                    source,
                })?;
            Ok(builder.with_client_auth_cert(certificates("cert", cert)?, key)?)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// Builds the configuration of a TLS client for services of the mesh, which use HTTP/2.
///
/// # Errors
/// Returns the same errors as [`client_config`].
pub fn h2_client_config(config: &TlsConfig) -> Result<ClientConfig, TlsError> {
    let mut client = client_config(config)?;
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok(client)
}

/// Returns the default server name for an address: the host of `HOST:PORT`.
///
/// # Errors
/// Returns an error if the host is neither a DNS name nor an IP address.
pub fn host_name(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']).to_owned();
    ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Returns the paths of the files that a `tls_config` refers to.
pub fn files(config: &TlsConfig) -> impl Iterator<Item = &Path> {
    let sources = [&config.ca, &config.cert, &config.key];
    sources
        .into_iter()
        .flatten()
        .filter_map(|source| match source {
            PemSource::File(path) => Some(path.as_path()),
            PemSource::Inline(_) => None,
        })
}

fn versions(config: &TlsConfig) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let min = config.min_version.unwrap_or(TlsVersion::Tls12);
    let max = config.max_version.unwrap_or(TlsVersion::Tls13);
    let all = [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)];
    let versions: Vec<_> = all
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(version))
        .map(|(_, version)| version)
        .collect();
    if versions.is_empty() {
        return Err(TlsError::TooOld);
    }
    Ok(versions)
}

pub(crate) fn certificates(
    what: &'static str,
    source: &PemSource,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(&read(source)?)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { what, source })
}

pub(crate) fn read(source: &PemSource) -> Result<Vec<u8>, TlsError> {
    match source {
        PemSource::Inline(pem) => Ok(pem.expose().as_bytes().to_vec()),
        PemSource::File(path) => std::fs::read(path).map_err(|source| TlsError::Unreadable {
            path: path.clone(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_the_host_of_an_address() {
        let name = |address| host_name(address).unwrap().to_str().into_owned();
        assert_eq!(name("exporter:4317"), "exporter");
        assert_eq!(name("10.0.0.1:4317"), "10.0.0.1");
        assert_eq!(name("[fd00::1]:4317"), "fd00::1");
        assert!(host_name("not a name:1").is_err());
    }
}
