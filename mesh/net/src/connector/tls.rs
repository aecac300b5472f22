//! TLS on top of another connector.

use std::{io, sync::Arc, time::Duration};

use mesh_base::watched_file::WatchedFile;
use mesh_model::config::http::TlsConfig;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Connector, Io};
use crate::tls::{TlsError, files, h2_client_config, host_name};

/// Maximum time to wait for the server's first bytes. Some servers send nothing before the
/// client does.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_millis(300);

/// Wraps `inner` in TLS for HTTP/2, and re-reads the files when they change. `what` is the name
/// of the settings in log lines. Servers' certificates must be valid for `name`, or else for the
/// host of the address. Needs a tokio runtime.
///
/// # Errors
/// Returns an error if a file cannot be read or parsed.
pub fn over_tls(
    inner: Connector,
    what: &'static str,
    settings: TlsConfig,
    name: Option<ServerName<'static>>,
) -> Result<Connector, TlsError> {
    let paths = files(&settings).map(Into::into).collect();
    let read = move || h2_client_config(&settings);
    let config = WatchedFile::watch(what, paths, read)?;
    Ok(Connector::new(move |address| {
        let (inner, config, name) = (inner.clone(), config.load(), name.clone());
        async move { handshake(&inner, config, name, &address).await }
    }))
}

/// Parses the name that a server's certificate must be valid for, for a flag.
///
/// # Errors
/// Returns an error if the text is neither a DNS name nor an IP address.
pub fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    let name = ServerName::try_from(text.to_owned());
    name.map_err(|_| format!("{text:?} is neither a DNS name nor an IP address"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_an_invalid_server_name() {
        assert!(server_name("not a name").is_err());
    }
}
