//! Finds settings of a `tls_config` that promesh's TLS library does not support.

use mesh_model::config::http::{PemSource, TlsConfig, TlsVersion};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

use super::{certificates, read};

/// DER encoding of the object identifier of the curve P-521 (1.3.132.0.35).
const P521: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// Returns one warning for each setting that asks for what promesh does not support: TLS 1.0
/// and 1.1, and P-521 keys. Ignores files that cannot be read.
pub fn unsupported(config: &TlsConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(version) = config.min_version.filter(is_old) {
        let name = name(version);
        warnings.push(format!(
            "min_version {name}: TLS 1.0 and 1.1 are not supported, servers need TLS 1.2 or 1.3"
        ));
    }
    if let Some(version) = config.max_version.filter(is_old) {
        let name = name(version);
        warnings.push(format!(
            "max_version {name}: TLS 1.0 and 1.1 are not supported, every request fails; use TLS12 or TLS13"
        ));
    }
    let p521 = |key: &str, use_instead: &str| {
        format!("{key}: P-521 keys are not supported; {use_instead}")
    };
    let has = |source: &Option<PemSource>| source.as_ref().is_some_and(has_p521_certificate);
    if has(&config.ca) {
        warnings.push(p521(
            "ca_file",
            "certificates that this key signed are refused",
        ));
    }
    let key = config.key.as_ref().is_some_and(is_p521_key);
    if has(&config.cert) || key {
        warnings.push(p521(
            "cert_file and key_file",
            "use an RSA, P-256, P-384 or Ed25519 key",
        ));
    }
    warnings
}

fn is_old(version: &TlsVersion) -> bool {
    *version < TlsVersion::Tls12
}

fn name(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Tls10 => "TLS10",
        TlsVersion::Tls11 => "TLS11",
        TlsVersion::Tls12 => "TLS12",
        TlsVersion::Tls13 => "TLS13",
    }
}

fn has_p521_certificate(source: &PemSource) -> bool {
    let certificates = certificates("certificate", source).unwrap_or_default();
    certificates
        .iter()
        .any(|certificate| names_p521(certificate))
}

fn is_p521_key(source: &PemSource) -> bool {
    let key = read(source).map(|pem| PrivateKeyDer::from_pem_slice(&pem));
    matches!(key, Ok(Ok(key)) if names_p521(key.secret_der()))
}

fn names_p521(der: &[u8]) -> bool {
    der.windows(P521.len()).any(|window| window == P521)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use mesh_model::config::Secret;

    use super::*;

    /// Returns a PEM document that names the curve P-521 and nothing else.
    fn p521(kind: &str) -> String {
        let der = BASE64_STANDARD.encode(P521);
        format!("-----BEGIN {kind}-----\n{der}\n-----END {kind}-----\n")
    }

    fn inline(pem: &str) -> Option<PemSource> {
        Some(PemSource::Inline(Secret::new(pem)))
    }

    #[test]
    fn names_old_versions_and_p521_keys() {
        let config = TlsConfig {
            ca: inline(&p521("CERTIFICATE")),
            cert: inline(&p521("CERTIFICATE")),
            key: inline(&p521("PRIVATE KEY")),
            min_version: Some(TlsVersion::Tls10),
            max_version: Some(TlsVersion::Tls11),
            ..TlsConfig::default()
        };
        let warnings = unsupported(&config);
        let keys: Vec<_> = warnings
            .iter()
            .filter_map(|warning| warning.split_once(": "))
            .map(|(key, _)| key)
            .collect();
        let expected = [
            "min_version TLS10",
            "max_version TLS11",
            "ca_file",
            "cert_file and key_file",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn says_nothing_of_supported_settings() {
        let other = rcgen::generate_simple_self_signed(vec!["h".to_owned()]).unwrap();
        let config = TlsConfig {
            ca: inline(&other.cert.pem()),
            cert: inline(&other.cert.pem()),
            key: inline(&other.signing_key.serialize_pem()),
            min_version: Some(TlsVersion::Tls12),
            ..TlsConfig::default()
        };
        assert!(unsupported(&config).is_empty());
    }
}
