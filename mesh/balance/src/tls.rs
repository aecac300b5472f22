//! TLS of connections to exporters.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use mesh_base::watched_file::WatchedFile;
use mesh_model::config::http::{PemSource, TlsConfig};
use mesh_net::connector::{Connector, Io};
use mesh_net::tls::{TlsError, files, h2_client_config, host_name};

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

/// Maximum time to wait for the server's first bytes. Some servers send nothing before the
/// client does.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_millis(300);

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
        let paths = files(&settings).map(Into::into).collect();
        let read = move || h2_client_config(&settings);
        let config = WatchedFile::watch("Exporters' TLS", paths, read)?;
        let name = self.exporter_server_name.clone();
        Ok(Connector::new(move |address| {
            let (inner, config, name) = (inner.clone(), config.load(), name.clone());
            async move { handshake(&inner, config, name, &address).await }
        }))
    }
}

async fn handshake(
    inner: &Connector,
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    address: &str,
) -> io::Result<impl Io + use<>> {
    let name = match name {
        Some(name) => name,
        None => host_name(address)?,
    };
    let stream = inner.connect(address).await?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    let mut stream = BufReader::new(stream);
    // In TLS 1.3 the server verifies the client certificate after the client's handshake
    // has completed. Its first bytes are HTTP/2 settings or a TLS alert. A client that
    // writes before it reads them may see a reset connection instead of the alert.
    if let Ok(first) = timeout(FIRST_BYTES_TIMEOUT, stream.fill_buf()).await {
        first?;
    }
    Ok(stream)
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    let name = ServerName::try_from(text.to_owned());
    name.map_err(|_| format!("{text:?} is neither a DNS name nor an IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_an_invalid_server_name() {
        assert!(server_name("not a name").is_err());
    }

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
