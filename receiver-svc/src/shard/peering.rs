//! Flags of the port on which the receivers of a group call each other.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use mesh_model::config::http::{PemSource, TlsConfig};
use mesh_net::{
    bearer::{BearerTokens, TokensError},
    connector::{Connector, over_tls, plaintext, plaintext_from, server_name},
    listen::ListenAddress,
    server::{DiscardLimits, Limits, Protocol, ServeMetrics, Server, ServerTlsError, TlsArgs},
    tls::TlsError,
};
use rustls_pki_types::ServerName;

use crate::handover::Access;

/// Flags of the calls between receivers.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Sharing targets")]
pub struct PeeringArgs {
    /// Address on which this receiver serves the other receivers of its group (gRPC). Default:
    /// the port of --shard.self on all interfaces.
    #[arg(
        long = "shard.listen-address",
        env = "PROMESH_SHARD_LISTEN_ADDRESS",
        requires = "self_address"
    )]
    pub listen_address: Option<ListenAddress>,

    /// File with the tokens of the group, one per line. A receiver sends the first one to the
    /// others and accepts all of them. It re-reads the file after a change: to rotate a token, add
    /// the new one as the second line everywhere, then swap the lines, then remove the old
    /// one. Without a token file and without --shard.tls.*, a receiver serves the addresses that
    /// --shard.members lists, or has listed within --shard.away-timeout.
    #[arg(
        long = "shard.token-file",
        env = "PROMESH_SHARD_TOKEN_FILE",
        requires = "self_address"
    )]
    pub token_file: Option<PathBuf>,

    /// PEM file with the certificate of this receiver and its chain, for serving and calling
    /// the others (mTLS). This and the other TLS files are re-read when they change.
    #[arg(
        id = "shard_cert_file",
        long = "shard.tls.cert-file",
        env = "PROMESH_SHARD_TLS_CERT_FILE",
        requires_all = ["shard_key_file", "shard_ca_file", "self_address"]
    )]
    pub cert_file: Option<PathBuf>,

    /// PEM file with the private key of that certificate.
    #[arg(
        id = "shard_key_file",
        long = "shard.tls.key-file",
        env = "PROMESH_SHARD_TLS_KEY_FILE",
        requires = "shard_cert_file"
    )]
    pub key_file: Option<PathBuf>,

    /// PEM file with the CA certificates that sign the certificates of all receivers of the
    /// group. Use a CA that signs nothing else: each of its certificates is served.
    #[arg(
        id = "shard_ca_file",
        long = "shard.tls.ca-file",
        env = "PROMESH_SHARD_TLS_CA_FILE",
        requires = "shard_cert_file"
    )]
    pub ca_file: Option<PathBuf>,

    /// Name that the receivers' certificates must be valid for. Default: the host of the
    /// receiver's address, which is an IP address with Kubernetes and DNS discovery.
    #[arg(
        id = "shard_server_name",
        long = "shard.tls.server-name",
        env = "PROMESH_SHARD_TLS_SERVER_NAME",
        value_parser = server_name,
        requires = "shard_ca_file"
    )]
    pub server_name: Option<ServerName<'static>>,

    /// Maximum number of open connections from other receivers; further ones wait.
    #[arg(
        long = "shard.max-connections",
        env = "PROMESH_SHARD_MAX_CONNECTIONS",
        default_value_t = 2048
    )]
    pub max_connections: usize,

    /// Maximum number of open connections from other receivers per address; further ones are
    /// closed.
    #[arg(
        long = "shard.max-connections-per-client",
        env = "PROMESH_SHARD_MAX_CONNECTIONS_PER_CLIENT",
        default_value_t = 64
    )]
    pub max_connections_per_client: usize,

    /// Maximum number of requests of other receivers in flight. Further ones are answered with
    /// 503.
    #[arg(
        long = "shard.max-requests",
        env = "PROMESH_SHARD_MAX_REQUESTS",
        default_value_t = 1024
    )]
    pub max_requests: usize,
}

/// The port for other receivers cannot be secured.
#[derive(Debug, thiserror::Error)]
pub enum PeeringError {
    /// The file of tokens is not usable.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The TLS files are not usable for serving.
    #[error("--shard.tls.*: {0}")]
    Server(#[from] ServerTlsError),
    /// The TLS files are not usable for calling.
    #[error("--shard.tls.*: {0}")]
    Client(#[from] TlsError),
}

/// Requests of other receivers in flight on one connection. A receiver sends one at a time.
const MAX_STREAMS: u32 = 8;
/// Timeout of a connection's TLS handshake and first request, and of an unread response.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
/// Age at which a connection is closed, and time for its requests in flight.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Interval of HTTP/2 pings, and the timeout of each ping.
const KEEPALIVE: Duration = Duration::from_secs(10);

// === impl PeeringArgs ===

impl PeeringArgs {
    /// Address to listen on for the receiver of this name.
    pub fn listen_address(&self, own: &str) -> ListenAddress {
        let port = || own.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let all = || ListenAddress::All {
            port: port().unwrap_or_default(),
        };
        self.listen_address.clone().unwrap_or_else(all)
    }

    /// Loads the tokens, if any. Needs a tokio runtime, which watches the file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or has no token.
    pub fn access(&self) -> Result<Access, PeeringError> {
        let watch = |path| BearerTokens::watch("--shard.token-file", path);
        Ok(Access {
            tokens: self.token_file.clone().map(watch).transpose()?,
            has_certificates: self.ca_file.is_some(),
        })
    }

    /// Returns a connector to the other receivers, over `network` or TCP. TCP connections come
    /// from the address of this receiver's name, since the others may compare it.
    ///
    /// # Errors
    /// Returns an error if a TLS file cannot be used.
    pub fn connector(
        &self,
        network: Option<Connector>,
        own: Option<&str>,
    ) -> Result<Connector, PeeringError> {
        let own = own.and_then(|own| own.parse::<SocketAddr>().ok());
        let own = own.map(|own| own.ip()).filter(|ip| !ip.is_unspecified());
        let tcp = || own.map_or_else(plaintext, plaintext_from);
        let network = network.unwrap_or_else(tcp);
        let Some(ca) = &self.ca_file else {
            return Ok(network);
        };
        let file = |path: &Option<PathBuf>| path.clone().map(PemSource::File);
        let settings = TlsConfig {
            ca: Some(PemSource::File(ca.clone())),
            cert: file(&self.cert_file),
            key: file(&self.key_file),
            ..TlsConfig::default()
        };
        let name = self.server_name.clone();
        Ok(over_tls(network, "TLS of other receivers", settings, name)?)
    }

    /// Builds the server for other receivers.
    ///
    /// # Errors
    /// Returns an error if a TLS file cannot be used.
    pub fn server<L>(
        &self,
        listener: L,
        metrics: &ServeMetrics,
    ) -> Result<Server<L>, PeeringError> {
        let limits = Limits {
            max_connections: self.max_connections,
            max_connections_per_client: self.max_connections_per_client,
            max_concurrent_streams: MAX_STREAMS,
            max_requests: self.max_requests,
            response_timeout: IO_TIMEOUT,
            // HTTP/2 resets the stream instead.
            discard: DiscardLimits::default(),
            max_connection_age: MAX_AGE,
            max_connection_age_grace: IO_TIMEOUT,
            header_timeout: IO_TIMEOUT,
            keepalive_interval: KEEPALIVE,
            keepalive_timeout: KEEPALIVE,
        };
        let tls = TlsArgs {
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            client_ca_file: self.ca_file.clone(),
        };
        Ok(Server {
            listener,
            protocol: Protocol::Http2,
            tls: tls.server(&["h2"])?,
            metrics: metrics.for_listener("shard", &limits),
            limits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listens_on_the_port_of_its_name_by_default() {
        let mut args = PeeringArgs::default();
        for own in ["10.0.0.1:9095", "[fd00::1]:9095", "receiver-0.ns:9095"] {
            assert_eq!(args.listen_address(own), ListenAddress::All { port: 9095 });
        }
        let other = "127.0.0.1:1".parse::<ListenAddress>().unwrap();
        args.listen_address = Some(other.clone());
        assert_eq!(args.listen_address("10.0.0.1:9095"), other);
    }
}
