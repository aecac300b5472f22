//! Describes TLS errors in the words of Go programs, with what to do.

use std::fmt::Debug;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

const PLAIN: &str = "server gave HTTP response to HTTPS client, or one that is not TLS; if it serves plain HTTP, set scheme: http";
const VERSION: &str = "the server has no TLS version in common with promesh, which supports TLS 1.2 and 1.3 within min_version and max_version; TLS 1.0 and 1.1 are not supported";
const HANDSHAKE: &str = "the server refused all cipher suites and signature algorithms of promesh; P-521 certificates, CBC cipher suites, RSA key exchange, TLS 1.0 and TLS 1.1 are not supported; use an RSA, P-256, P-384 or Ed25519 certificate and TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305, or TLS 1.3";
const ALGORITHM: &str = "a certificate of the server has a key or signature that promesh does not support, such as P-521, SHA-1 or RSA below 2048 bits; use RSA, P-256, P-384 or Ed25519 with SHA-256 or later";
const CA: &str = "the server's certificate is a CA certificate (CA:TRUE), which is accepted only if exactly this certificate is in ca_file; add it there, or issue one with CA:FALSE";
const VERSION_1: &str = "the server's certificate is an X.509 version 1 certificate, which has no subjectAltName; issue a version 3 certificate with a subjectAltName";

/// Describes a TLS error. Adds what to do if that is known.
pub(crate) fn words(error: &Error) -> String {
    match error {
        // A record of another type than those of TLS.
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => PLAIN.to_owned(),
        Error::InvalidMessage(problem) => {
            format!(
                "tls: malformed message of the server ({})",
                separated(problem)
            )
        }
        Error::AlertReceived(alert) => alert_words(*alert),
        Error::PeerIncompatible(peer) => incompatible(peer),
        Error::InvalidCertificate(error) => {
            format!("tls: failed to verify certificate: {}", certificate(error))
        }
        Error::General(text) => format!("tls: {text}"),
        other => format!("tls: {other}"),
    }
}

fn alert_words(alert: AlertDescription) -> String {
    let advice = match alert {
        AlertDescription::ProtocolVersion => VERSION,
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => HANDSHAKE,
        AlertDescription::CertificateRequired => {
            "the server requires a client certificate; set cert_file and key_file"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => {
            "the server refused the client certificate; check cert_file, or set it if there is none"
        }
        _ => return format!("remote error: tls: {}", separated(&alert)),
    };
    format!("remote error: tls: {}: {advice}", separated(&alert))
}

fn incompatible(error: &PeerIncompatible) -> String {
    match error {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => VERSION.to_owned(),
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NoSignatureSchemesInCommon => HANDSHAKE.to_owned(),
        other => format!("tls: the server is not compatible ({})", separated(other)),
    }
}

#[allow(
    deprecated,
    reason = "rustls still returns the variants without context"
)]
fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "x509: certificate signed by unknown authority; put the certificate of its CA into ca_file".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "x509: certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "x509: certificate is not yet valid; compare the clocks".to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => not_valid_for(&expected.to_str(), presented),
        CertificateError::NotValidForName => "x509: certificate is not valid for the name of the server; set server_name to one that it has".to_owned(),
        CertificateError::BadEncoding => "x509: malformed certificate".to_owned(),
        CertificateError::Revoked => "x509: certificate has been revoked".to_owned(),
        CertificateError::UnhandledCriticalExtension => {
            "x509: unhandled critical extension".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "x509: certificate specifies an incompatible key usage; the certificate of a server needs serverAuth".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
        | CertificateError::BadSignature => ALGORITHM.to_owned(),
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::CaUsedAsEndEntity) => CA.to_owned(),
            Some(webpki::Error::UnsupportedCertVersion) => VERSION_1.to_owned(),
            Some(other) => format!("x509: {}", separated(other)),
            None => format!("x509: {other}"),
        },
        other => format!("x509: {other}"),
    }
}

/// Describes a certificate for other names. rustls writes a name as `DnsName("a")`.
fn not_valid_for(expected: &str, presented: &[String]) -> String {
    let names = presented.iter().map(|name| {
        let name = name.split_once('(').map_or(name.as_str(), |(_, name)| name);
        name.trim_matches(['(', ')', '"'])
    });
    let names: Vec<_> = names.collect();
    match names.is_empty() {
        true => format!(
            "x509: certificate has no names (subjectAltName), but the server's is {expected}; issue one with a subjectAltName"
        ),
        false => format!(
            "x509: certificate is valid for {}, not {expected}; use one of these names, or set server_name",
            names.join(", ")
        ),
    }
}

/// Writes the name of a variant as words: "bad certificate" for `BadCertificate`.
fn separated(variant: &dyn Debug) -> String {
    let name = format!("{variant:?}");
    let mut words = String::with_capacity(name.len() + 8);
    let mut last_is_upper = true;
    for c in name.chars() {
        if c.is_ascii_uppercase() && !last_is_upper {
            words.push(' ');
        }
        last_is_upper = c.is_ascii_uppercase();
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::ServerName;

    use super::*;

    #[test]
    fn says_what_is_wrong_with_a_certificate() {
        let of = |error| words(&Error::InvalidCertificate(error));
        let prefix = "tls: failed to verify certificate: x509: ";
        let unknown = of(CertificateError::UnknownIssuer);
        let expected = "certificate signed by unknown authority; ";
        assert!(
            unknown.starts_with(&format!("{prefix}{expected}")),
            "{unknown}"
        );
        let name = |presented: &[&str]| {
            of(CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("node-1").unwrap(),
                presented: presented.iter().map(|name| (*name).to_owned()).collect(),
            })
        };
        let names = name(&["DnsName(\"a.example\")", "IpAddress(127.0.0.1)"]);
        let expected = "certificate is valid for a.example, 127.0.0.1, not node-1; ";
        assert!(names.starts_with(&format!("{prefix}{expected}")), "{names}");
        assert!(name(&[]).contains("no names (subjectAltName)"));
        let used_as_ca = CertificateError::Other(rustls::OtherError(std::sync::Arc::new(
            webpki::Error::CaUsedAsEndEntity,
        )));
        assert!(of(used_as_ca).ends_with(CA));
    }

    #[test]
    fn says_what_the_server_refused() {
        let of = |alert| words(&Error::AlertReceived(alert));
        assert_eq!(
            of(AlertDescription::HandshakeFailure),
            format!("remote error: tls: handshake failure: {HANDSHAKE}")
        );
        assert_eq!(
            of(AlertDescription::InternalError),
            "remote error: tls: internal error"
        );
        let required = of(AlertDescription::CertificateRequired);
        assert!(
            required.contains("requires a client certificate"),
            "{required}"
        );
    }
}
