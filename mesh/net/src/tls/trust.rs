//! Verifies server certificates against the trusted certificates.
//!
//! webpki refuses two server certificates that Go accepts, and that operators trust by name: a
//! self-signed one with `CA:TRUE`, which `openssl req -x509` makes, and one whose issuer is
//! unknown. Both are safe if the server shows exactly a certificate that is trusted.

use std::{collections::HashSet, io, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

/// Verifies that a trusted certificate signed the server's certificate, or that the server's
/// certificate is itself trusted.
#[derive(Debug)]
pub(super) struct TrustVerifier {
    roots: RootCertStore,
    /// SHA-256 digests of the trusted certificates.
    digests: HashSet<[u8; 32]>,
    algorithms: WebPkiSupportedAlgorithms,
}

// === impl TrustVerifier ===

impl TrustVerifier {
    /// Trusts these certificates. Ignores those that cannot be parsed, as Go does.
    pub(super) fn new(
        certificates: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let digests = certificates.iter().map(|c| digest(c)).collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        Self {
            roots,
            digests,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Trusts the certificates of the system.
    ///
    /// # Errors
    /// Returns an error if the system has no certificate.
    pub(super) fn of_the_system(provider: Arc<CryptoProvider>) -> io::Result<Self> {
        let loaded = rustls_native_certs::load_native_certs();
        let verifier = Self::new(loaded.certs, provider);
        if verifier.is_empty() {
            let errors: Vec<_> = loaded.errors.iter().map(ToString::to_string).collect();
            let why = match errors.is_empty() {
                true => "none found".to_owned(),
                false => errors.join("; "),
            };
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        Ok(verifier)
    }

    /// Returns true if both trust the same certificates.
    pub(super) fn trusts_the_same(&self, other: &Self) -> bool {
        self.digests == other.digests
    }

    /// Returns true if no certificate can be used.
    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    fn verify_issuer(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let verified = verify_server_cert_signed_by_trust_anchor(
            parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        match verified {
            Err(error)
                if is_about_issuer(&error) && self.digests.contains(&digest(certificate)) =>
            {
                Ok(())
            }
            verified => verified,
        }
    }
}

impl ServerCertVerifier for TrustVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        self.verify_issuer(certificate, &parsed, intermediates, now)?;
        verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn digest(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// Returns true if the error concerns the issuer only. webpki reports such errors after it has
/// checked the validity period, so an expired certificate is another error.
#[allow(
    deprecated,
    reason = "rustls still returns the variant without context"
)]
fn is_about_issuer(error: &Error) -> bool {
    let Error::InvalidCertificate(error) = error else {
        return false;
    };
    match error {
        CertificateError::UnknownIssuer
        | CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => true,
        CertificateError::Other(other) => matches!(
            other.0.downcast_ref::<webpki::Error>(),
            Some(webpki::Error::CaUsedAsEndEntity)
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
