//! TLS of connections to exporters.

use std::path::PathBuf;

use mesh_model::config::http::{PemSource, TlsConfig};
use mesh_net::{
    connector::{Connector, over_tls, server_name},
    tls::TlsError,
};
use rustls_pki_types::ServerName;

/// Flags for TLS of connections to exporters.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ExporterTlsArgs {
    /// PEM file with the CA certificates that exporters' certificates are verified
    /// against. Enables TLS. This and the other TLS files are re-read when they change;
    /// new connections use the new files.
    #[arg(long = "exporter.tls.ca-file", env = "PROMESH_EXPORTER_TLS_CA_FILE")]
    pub exporter_ca_file: Option<PathBuf>,

    /// PEM file with the client certificate (mTLS) and its chain.
    #[arg(
        long = "exporter.tls.cert-file",
        env = "PROMESH_EXPORTER_TLS_CERT_FILE",
        requires_all = ["exporter_key_file", "exporter_ca_file"]
    )]
    pub exporter_client_cert_file: Option<PathBuf>,

    /// PEM file with the private key of the client certificate.
    #[arg(
        long = "exporter.tls.key-file",
        env = "PROMESH_EXPORTER_TLS_KEY_FILE",
        requires = "exporter_client_cert_file"
    )]
    pub exporter_key_file: Option<PathBuf>,

    /// Name that exporters' certificates must be valid for. Default: the host of the
    /// exporter's address. With Kubernetes discovery that is an IP address.
    #[arg(
        long = "exporter.tls.server-name",
        env = "PROMESH_EXPORTER_TLS_SERVER_NAME",
        value_parser = server_name,
        requires = "exporter_ca_file"
    )]
    pub exporter_server_name: Option<ServerName<'static>>,
}

// === impl ExporterTlsArgs ===

impl ExporterTlsArgs {
    /// Wraps `inner` in TLS. Returns `inner` itself if the flags do not enable TLS. Needs
    /// a tokio runtime.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or parsed.
    pub fn over(&self, inner: Connector) -> Result<Connector, TlsError> {
        let Some(ca) = &self.exporter_ca_file else {
            return Ok(inner);
        };
        let file = |path: &Option<PathBuf>| path.clone().map(PemSource::File);
        let settings = TlsConfig {
            ca: Some(PemSource::File(ca.clone())),
            cert: file(&self.exporter_client_cert_file),
            key: file(&self.exporter_key_file),
            ..TlsConfig::default()
        };
        let name = self.exporter_server_name.clone();
        over_tls(inner, "Exporters' TLS", settings, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_a_file_that_cannot_be_read() {
        let args = ExporterTlsArgs {
            exporter_ca_file: Some("/nowhere/ca.pem".into()),
            ..ExporterTlsArgs::default()
        };
        let error = args.over(mesh_net::connector::plaintext()).unwrap_err();
        assert!(
            error.to_string().starts_with("/nowhere/ca.pem: "),
            "{error}"
        );
    }
}
