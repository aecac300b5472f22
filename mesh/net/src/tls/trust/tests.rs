use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose,
    IsCa, KeyPair,
};

use super::*;
use crate::tls;

/// Parameters of a certificate for `localhost`.
fn parameters(is_ca: bool) -> CertificateParams {
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    if is_ca {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    parameters
}

fn self_signed(parameters: CertificateParams) -> Certificate {
    parameters
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap()
}

fn verify(trusted: &Certificate, server: &Certificate, name: &str) -> Result<(), Error> {
    let verifier = TrustVerifier::new(vec![trusted.der().clone()], tls::provider());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let verified = verifier.verify_server_cert(server.der(), &[], &name, &[], UnixTime::now());
    verified.map(|_| ())
}

#[test]
fn trusts_a_self_signed_ca_certificate_that_the_server_shows() {
    let server = self_signed(parameters(true));
    verify(&server, &server, "localhost").unwrap();
    let error = verify(&server, &server, "other").unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    let other = self_signed(parameters(true));
    verify(&other, &server, "localhost").unwrap_err();
}

#[test]
fn trusts_exactly_the_certificate_of_an_unknown_issuer() {
    let key = KeyPair::generate().unwrap();
    let issuer = CertifiedIssuer::self_signed(parameters(true), key).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = parameters(false).signed_by(&key, &issuer).unwrap();
    verify(&server, &server, "localhost").unwrap();
    verify(issuer.as_ref(), &server, "localhost").unwrap();
    let sibling = parameters(false).signed_by(&key, &issuer).unwrap();
    verify(&sibling, &server, "localhost").unwrap_err();
}

#[test]
fn refuses_a_trusted_certificate_that_is_expired_or_for_another_purpose() {
    let mut expired = parameters(true);
    expired.not_after = (std::time::SystemTime::now() - Duration::from_secs(1)).into();
    let expired = self_signed(expired);
    let error = verify(&expired, &expired, "localhost").unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    let mut client = parameters(false);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client = self_signed(client);
    verify(&client, &client, "localhost").unwrap_err();
}

#[test]
fn ignores_a_trusted_certificate_that_cannot_be_parsed() {
    let server = self_signed(parameters(false));
    let trusted = vec![CertificateDer::from(vec![0]), server.der().clone()];
    let verifier = TrustVerifier::new(trusted, tls::provider());
    let name = ServerName::try_from("localhost").unwrap();
    verifier
        .verify_server_cert(server.der(), &[], &name, &[], UnixTime::now())
        .unwrap();
}
