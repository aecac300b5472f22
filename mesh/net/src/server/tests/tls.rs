//! Tests TLS, client certificates and the reload of certificates.

use std::path::Path;

use mesh_model::config::{
    Secret,
    http::{HttpClientConfig, PemSource, TlsConfig},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;
use crate::http_client::HttpClient;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
struct Pair(String, String);

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    fn pair(&self, expired: bool) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair(certificate.pem(), key.serialize_pem())
    }
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Returns the flags of a server with a certificate of `authority`. It requires client
/// certificates of `clients`, if given.
fn args(folder: &TempDir, authority: &Authority, clients: Option<&Authority>) -> TlsArgs {
    let folder = folder.path();
    let Pair(cert, key) = authority.pair(false);
    TlsArgs {
        cert_file: Some(write(folder, "cert.pem", &cert)),
        key_file: Some(write(folder, "key.pem", &key)),
        client_ca_file: clients.map(|ca| write(folder, "client-ca.pem", &ca.pem)),
    }
}

fn inline(pem: &str) -> Option<PemSource> {
    Some(PemSource::Inline(Secret::new(pem)))
}

/// Sends a request as a client that trusts `authority` and presents `pair`.
async fn send(
    server: &Running,
    authority: &Authority,
    pair: Option<&Pair>,
) -> Result<http::StatusCode, String> {
    let config = HttpClientConfig {
        tls: TlsConfig {
            ca: inline(&authority.pem),
            cert: pair.and_then(|pair| inline(&pair.0)),
            key: pair.and_then(|pair| inline(&pair.1)),
            ..Default::default()
        },
        ..Default::default()
    };
    let client = HttpClient::new(&config).unwrap();
    let url = format!("https://localhost:{}/", server.address.port());
    let request = Request::get(url).body(Bytes::new()).unwrap();
    server.respond.notify_one();
    let answer = client.request(request).await;
    answer
        .map(|answer| answer.status())
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn requires_a_valid_client_certificate() {
    let (authority, stranger) = (Authority::new("one"), Authority::new("other"));
    let folder = tempfile::tempdir().unwrap();
    let args = args(&folder, &authority, Some(&authority));
    let tls = args.server(&["h2", "http/1.1"]).unwrap();
    let server = Running::start(Protocol::Any, limits(), tls).await;
    let good = authority.pair(false);
    assert_eq!(
        send(&server, &authority, Some(&good)).await,
        Ok(200.try_into().unwrap())
    );
    let failed = |reason: &str| {
        format!("tls_handshake_failures_total{{listener=\"test\",reason=\"{reason}\"}} 1")
    };
    for (pair, reason) in [
        (None, "no_certificate"),
        (Some(authority.pair(true)), "expired_certificate"),
        (Some(stranger.pair(false)), "unknown_issuer"),
    ] {
        let refused = send(&server, &authority, pair.as_ref()).await;
        assert!(refused.is_err(), "{reason}");
        server.until(&failed(reason)).await;
    }
    // A client that does not trust the server, and one that does not use TLS.
    assert!(send(&server, &stranger, Some(&good)).await.is_err());
    server.until(&failed("refused_by_client")).await;
    let mut plain = server.connect().await;
    plain.write_all(REQUEST).await.unwrap();
    server.until(&failed("no_tls")).await;
    // Other clients are not affected.
    assert_eq!(
        send(&server, &authority, Some(&good)).await,
        Ok(200.try_into().unwrap())
    );
}

#[tokio::test]
async fn presents_a_replaced_certificate() {
    let (before, after) = (Authority::new("one"), Authority::new("other"));
    let folder = tempfile::tempdir().unwrap();
    let tls = args(&folder, &before, None).server(&["http/1.1"]).unwrap();
    let server = Running::start(Protocol::Any, limits(), tls).await;
    assert!(send(&server, &before, None).await.is_ok());
    assert!(send(&server, &after, None).await.is_err());
    let Pair(cert, key) = after.pair(false);
    write(folder.path(), "key.pem", &key);
    write(folder.path(), "cert.pem", &cert);
    let replaced = async {
        while send(&server, &after, None).await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), replaced).await;
    assert!(
        waited.is_ok(),
        "the server never presented the new certificate"
    );
}

#[tokio::test]
async fn rejects_files_that_do_not_match() {
    let authority = Authority::new("one");
    let folder = tempfile::tempdir().unwrap();
    let good = args(&folder, &authority, None);
    let other_key = write(folder.path(), "other.pem", &authority.pair(false).1);
    let nonsense = write(folder.path(), "nonsense.pem", "nonsense");
    let with = |change: &dyn Fn(&mut TlsArgs)| {
        let mut args = good.clone();
        change(&mut args);
        args.server(&[]).unwrap_err().to_string()
    };
    for (error, expected) in [
        (
            with(&|a| a.key_file = Some(other_key.clone())),
            "their public keys differ",
        ),
        (
            with(&|a| a.key_file = Some(nonsense.clone())),
            "no usable private key",
        ),
        (
            with(&|a| a.cert_file = Some("/nowhere".into())),
            "/nowhere: ",
        ),
        (
            with(&|a| a.client_ca_file = Some(nonsense.clone())),
            "client_ca_file ",
        ),
    ] {
        assert!(error.to_lowercase().contains(expected), "{error}");
    }
    assert!(TlsArgs::default().server(&[]).unwrap().is_none());
}
