//! Explains failed TLS handshakes in words that help an operator.

use std::error::Error as StdError;

use mesh_base::error::causes;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

const VERSION: &str = "the server has no TLS version in common with promesh, which supports TLS 1.2 and 1.3 within min_version and max_version; TLS 1.0 and 1.1 are not supported";
const HANDSHAKE: &str = "the server refused all cipher suites and signature algorithms of promesh; P-521 certificates, CBC cipher suites, RSA key exchange, TLS 1.0 and TLS 1.1 are not supported; use an RSA, P-256, P-384 or Ed25519 certificate and TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305, or TLS 1.3";
const ALGORITHM: &str = "a certificate of the server has a key or signature that promesh does not support, such as P-521, SHA-1 or RSA below 2048 bits; use RSA, P-256, P-384 or Ed25519 with SHA-256 or later";
const CA: &str = "the server's certificate is a CA certificate (CA:TRUE), which is accepted only if exactly this certificate is in ca_file; add it there, or issue one with CA:FALSE";
const VERSION_1: &str = "the server's certificate is an X.509 version 1 certificate, which has no subjectAltName; issue a version 3 certificate with a subjectAltName";

/// Returns the reason of a failed TLS handshake and what to do, if the error is one whose own
/// message does not say it.
pub fn explain(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let error = causes(error).find_map(|cause| cause.downcast_ref::<Error>())?;
    match error {
        Error::AlertReceived(AlertDescription::ProtocolVersion) => Some(VERSION),
        Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        ) => Some(HANDSHAKE),
        Error::PeerIncompatible(peer) => incompatible(peer),
        Error::InvalidCertificate(certificate) => certificate_error(certificate),
        _ => None,
    }
}

fn incompatible(error: &PeerIncompatible) -> Option<&'static str> {
    match error {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => Some(VERSION),
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NoSignatureSchemesInCommon => Some(HANDSHAKE),
        _ => None,
    }
}

#[allow(
    deprecated,
    reason = "rustls still returns the variants without context"
)]
fn certificate_error(error: &CertificateError) -> Option<&'static str> {
    match error {
        CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
        | CertificateError::BadSignature => Some(ALGORITHM),
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>()? {
            webpki::Error::CaUsedAsEndEntity => Some(CA),
            webpki::Error::UnsupportedCertVersion => Some(VERSION_1),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn explains_a_handshake_error_within_other_errors() {
        let explained = |error: Error| {
            let error = io::Error::other(error);
            explain(&error)
        };
        let alert = Error::AlertReceived(AlertDescription::HandshakeFailure);
        assert_eq!(explained(alert), Some(HANDSHAKE));
        let alert = Error::AlertReceived(AlertDescription::ProtocolVersion);
        assert_eq!(explained(alert), Some(VERSION));
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(explained(unknown), None);
        assert_eq!(explain(&io::Error::other("odd")), None);
    }
}
