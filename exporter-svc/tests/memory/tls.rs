//! Mutual TLS between senders and exporters, with certificates replaced under load.

use std::path::PathBuf;

use mesh_balance::ExporterTlsArgs;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;
use crate::wire::{Wire, count};

/// Certificate files of both sides.
struct Files(tempfile::TempDir);

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

// === impl Authority ===

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }
}

// === impl Files ===

impl Files {
    /// Creates files for both sides, signed by `authority`, which both trust.
    fn new(authority: &Authority) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.trust("ca", &[authority]);
        files.trust("client-ca", &[authority]);
        files.certify("server", authority);
        files.certify("client", authority);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces a file by renaming, as a mounted secret changes.
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path("aside"), text).unwrap();
        std::fs::rename(self.path("aside"), self.path(name)).unwrap();
    }

    fn trust(&self, name: &str, authorities: &[&Authority]) {
        let pems: String = authorities.iter().map(|one| one.pem.as_str()).collect();
        self.write(name, &pems);
    }

    fn certify(&self, name: &str, by: &Authority) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["exporter".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &by.issuer).unwrap();
        self.write(&format!("{name}.key"), &key.serialize_pem());
        self.write(name, &certificate.pem());
    }

    /// Flags of the exporter.
    fn server(&self) -> Vec<String> {
        let flag =
            |flag: &str, name: &str| format!("--grpc.tls.{flag}={}", self.path(name).display());
        vec![
            flag("cert-file", "server"),
            flag("key-file", "server.key"),
            flag("client-ca-file", "client-ca"),
            "--grpc.max-connection-age=5".to_owned(),
        ]
    }

    /// Flags of a sender.
    fn client(&self) -> ExporterTlsArgs {
        ExporterTlsArgs {
            exporter_ca_file: Some(self.path("ca")),
            exporter_client_cert_file: Some(self.path("client")),
            exporter_key_file: Some(self.path("client.key")),
            exporter_server_name: None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rotates_certificates_and_authorities_under_load() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new(&old);
    let wire = Wire::start(&files.server(), &files.client()).await;
    let start = Instant::now();
    let rotation = async {
        let at = |second| sleep_until(start + Duration::from_secs(second));
        at(15).await;
        // Both sides trust both authorities before the certificates change.
        files.trust("ca", &[&old, &new]);
        files.trust("client-ca", &[&old, &new]);
        at(30).await;
        files.certify("server", &new);
        files.certify("client", &new);
        at(45).await;
        files.trust("ca", &[&new]);
        files.trust("client-ca", &[&new]);
    };
    tokio::join!(scrape(&wire.outbox, start, 0, 90), rotation);
    let (sender, exporter) = (wire.sender(), wire.exporter());
    assert!(wire.connections() > 15, "{}", wire.connections());
    assert_eq!(
        count(&sender, "exporter_connect_failures_total{reason=\"tls\"}"),
        0
    );
    assert_eq!(count(&sender, "exports_total{outcome=\"unknown\"}"), 0);
    assert!(count(&exporter, "connections_accepted_total{listener=\"grpc\"}") > 15);
    let backend = wire.backend.clone();
    assert_delivered(wire.workers, 90, &backend).await;
    assert_eq!(backend.repeated.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn rejects_untrusted_peers_and_counts_the_reason() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    let files = Files::new(&authority);
    // The senders do not trust the exporter.
    files.certify("server", &stranger);
    let wire = Wire::start(&files.server(), &files.client()).await;
    scrape(&wire.outbox, Instant::now(), 0, 10).await;
    assert!(wire.backend.stored().is_empty());
    assert!(
        count(
            &wire.sender(),
            "exporter_connect_failures_total{reason=\"tls\"}"
        ) > 0
    );
    let refused = "tls_handshake_failures_total{listener=\"grpc\",reason=\"refused_by_client\"}";
    assert!(count(&wire.exporter(), refused) > 0);
    // Samples flow after the exporter presents a trusted certificate.
    files.certify("server", &authority);
    assert_delivered(wire.workers, 10, &wire.backend).await;

    // The exporter does not trust one sender, and the other has no certificate.
    for (has_certificate, reason) in [(true, "unknown_issuer"), (false, "no_certificate")] {
        let files = Files::new(&authority);
        files.certify("client", &stranger);
        let client = if has_certificate {
            files.client()
        } else {
            ExporterTlsArgs {
                exporter_client_cert_file: None,
                exporter_key_file: None,
                ..files.client()
            }
        };
        let wire = Wire::start(&files.server(), &client).await;
        scrape(&wire.outbox, Instant::now(), 0, 10).await;
        assert!(wire.backend.stored().is_empty(), "{reason}");
        assert!(
            count(
                &wire.sender(),
                "exporter_connect_failures_total{reason=\"tls\"}"
            ) > 0,
            "{reason}"
        );
        let refused =
            format!("tls_handshake_failures_total{{listener=\"grpc\",reason=\"{reason}\"}}");
        assert!(count(&wire.exporter(), &refused) > 0, "{reason}");
    }
}

#[tokio::test]
async fn rejects_mismatched_tls_files_at_start() {
    let authority = Authority::new("ours");
    let files = Files::new(&authority);
    files.write("client.key", "no key");
    let connector = mesh_net::connector::plaintext();
    assert!(files.client().over(connector).is_err());
    let alone = ["exporter-svc", "--grpc.tls.cert-file=cert.pem"];
    let error = Args::try_parse_from(alone).unwrap_err();
    assert!(error.to_string().contains("--grpc.tls.key-file"), "{error}");
}
