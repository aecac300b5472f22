//! TLS configurations for clients, built from `tls_config`.

mod no_verification;
mod system;
mod trust;
mod unsupported;
mod words;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use mesh_model::config::http::{PemSource, TlsConfig, TlsVersion};
use rustls::{
    ClientConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use self::trust::TrustVerifier;
pub use self::unsupported::unsupported;
pub(crate) use self::words::words;

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
    /// A document contains nothing that can be used.
    #[error("{document}: no usable {expected} in it, expected PEM with -----BEGIN {expected}-----")]
    Unusable {
        /// Key of the document, such as `ca_file`, and its path.
        document: String,
        /// Label of the PEM block that it should have.
        expected: &'static str,
    },
    /// The key does not belong to the certificate.
    #[error("{key} is not the key of {cert}: their public keys differ")]
    Mismatch {
        /// Key of the certificate's document, such as `cert_file`, and its path.
        cert: String,
        /// Key of the private key's document and its path.
        key: String,
    },
    /// rustls rejects the combination of certificates, key and versions.
    #[error("{}", words(.0))]
    Rustls(#[from] rustls::Error),
    /// The system's root certificates cannot be read.
    #[error("system certificates: {0}")]
    NativeRoots(std::io::Error),
    /// The maximum version is TLS 1.1 or older, which rustls does not support.
    #[error("max_version: only TLS 1.2 and 1.3 are supported")]
    TooOld,
}

/// Label of the PEM block of a certificate.
const CERTIFICATE: &str = "CERTIFICATE";

/// Returns the crypto provider that all TLS connections use: ring.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Builds the configuration of a TLS client. Clients without settings of their own share the
/// system's certificates and the session cache.
///
/// # Errors
/// Returns an error if a document cannot be read or is invalid, or if the key does not match
/// the certificate.
pub fn client_config(config: &TlsConfig) -> Result<ClientConfig, TlsError> {
    let with_defaults = TlsConfig {
        server_name: config.server_name.clone(),
        ..TlsConfig::default()
    };
    if *config == with_defaults {
        return system::client_config().map_err(TlsError::NativeRoots);
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions(config)?)?;
    let builder = if config.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(no_verification::verifier(provider()))
    } else {
        let trusted = match &config.ca {
            Some(ca) => trust(ca)?,
            None => TrustVerifier::of_the_system(provider()).map_err(TlsError::NativeRoots)?,
        };
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trusted))
    };
    match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => {
            let identity = identity(("cert", cert), ("key", key))?;
            let identity = SingleCertAndKey::from(identity);
            Ok(builder.with_client_cert_resolver(Arc::new(identity)))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// Returns the errors of the documents that a `tls_config` refers to: missing files, files without
/// a certificate or key, and a key that does not belong to its certificate.
pub fn check(config: &TlsConfig) -> Vec<TlsError> {
    let ca = config.ca.as_ref().map(|ca| trust(ca).map(|_| ()));
    let identity = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => Some(identity(("cert", cert), ("key", key)).map(|_| ())),
        _ => None,
    };
    let outcomes = [ca, identity].into_iter().flatten();
    outcomes.filter_map(Result::err).collect()
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

/// Reads the certificates to trust.
fn trust(ca: &PemSource) -> Result<TrustVerifier, TlsError> {
    let trusted = TrustVerifier::new(certificates("ca", ca)?, provider());
    if trusted.is_empty() {
        return Err(TlsError::unusable("ca", ca, CERTIFICATE));
    }
    Ok(trusted)
}

/// Reads a certificate chain and its key. The texts are the keys of the two documents.
pub(crate) fn identity(
    (cert_key, cert): (&'static str, &PemSource),
    (key_key, key): (&'static str, &PemSource),
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(cert_key, cert)?;
    let unusable = || TlsError::unusable(key_key, key, "PRIVATE KEY");
    let der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| unusable())?;
    match CertifiedKey::from_der(chain, der, &provider()) {
        Ok(identity) => Ok(identity),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            cert: document(cert_key, cert),
            key: document(key_key, key),
        }),
        Err(rustls::Error::InvalidCertificate(_)) => {
            Err(TlsError::unusable(cert_key, cert, CERTIFICATE))
        }
        Err(_) => Err(unusable()),
    }
}

/// Reads the certificates of a document. Ignores blocks that are not certificates, as Go does.
pub(crate) fn certificates(
    key: &'static str,
    source: &PemSource,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(source)?;
    let valid = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let certificates: Vec<_> = valid.collect();
    if certificates.is_empty() {
        return Err(TlsError::unusable(key, source, CERTIFICATE));
    }
    Ok(certificates)
}

fn read(source: &PemSource) -> Result<Vec<u8>, TlsError> {
    match source {
        PemSource::Inline(pem) => Ok(pem.expose().as_bytes().to_vec()),
        PemSource::File(path) => std::fs::read(path).map_err(|source| TlsError::Unreadable {
            path: path.clone(),
            source,
        }),
    }
}

/// Names a document by its key in the configuration, and its path if it is a file.
fn document(key: &str, source: &PemSource) -> String {
    match source {
        PemSource::Inline(_) => key.to_owned(),
        PemSource::File(path) => format!("{key}_file {}", path.display()),
    }
}

// === impl TlsError ===

impl TlsError {
    fn unusable(key: &str, source: &PemSource, expected: &'static str) -> Self {
        Self::Unusable {
            document: document(key, source),
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mesh_model::config::Secret;

    use super::*;

    #[test]
    fn names_the_documents_that_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            Some(PemSource::File(path))
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned()];
        let parameters = rcgen::CertificateParams::new(names).unwrap();
        let certificate = parameters.self_signed(&key).unwrap().pem();
        let broken = "-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----\n";
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let found = |ca, cert, key| {
            let config = TlsConfig {
                ca,
                cert,
                key,
                ..TlsConfig::default()
            };
            let found: Vec<_> = check(&config).iter().map(ToString::to_string).collect();
            let found = found.join("; ");
            found.replace(&format!("{}/", folder.path().display()), "")
        };
        let expected = |document: &str, label: &str| {
            format!(
                "{document}: no usable {label} in it, expected PEM with -----BEGIN {label}-----"
            )
        };
        let good = |name: &str| write(name, &certificate);
        assert_eq!(
            found(good("ca"), good("cert"), write("key", &key.serialize_pem())),
            ""
        );
        let mixed = format!("{broken}{certificate}");
        assert_eq!(found(write("ca", &mixed), None, None), "");
        let inline = Some(PemSource::Inline(Secret::new("junk")));
        assert_eq!(found(inline, None, None), expected("ca", CERTIFICATE));
        for junk in ["", "junk", broken, not_der, &key.serialize_pem()] {
            let at = |key| expected(key, CERTIFICATE);
            assert_eq!(
                found(write("ca", junk), None, None),
                at("ca_file ca"),
                "{junk}"
            );
            let pair = found(
                None,
                write("cert", junk),
                write("key", &key.serialize_pem()),
            );
            assert_eq!(pair, at("cert_file cert"), "{junk}");
        }
        assert_eq!(
            found(None, good("cert"), good("key")),
            expected("key_file key", "PRIVATE KEY")
        );
        assert_eq!(
            found(None, good("cert"), write("key", &other.serialize_pem())),
            "key_file key is not the key of cert_file cert: their public keys differ"
        );
        let missing = Some(PemSource::File(folder.path().join("missing")));
        let error = found(missing, None, None);
        assert_eq!(error, "missing: No such file or directory (os error 2)");
    }

    #[test]
    fn uses_the_host_of_an_address() {
        let name = |address| host_name(address).unwrap().to_str().into_owned();
        assert_eq!(name("exporter:4317"), "exporter");
        assert_eq!(name("10.0.0.1:4317"), "10.0.0.1");
        assert_eq!(name("[fd00::1]:4317"), "fd00::1");
        assert!(host_name("not a name:1").is_err());
    }
}
