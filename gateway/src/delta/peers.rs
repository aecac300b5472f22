//! Clients of the other gateways. Points of their streams are forwarded to them by an
//! ordinary OTLP Export.

use std::{collections::HashMap, io, path::PathBuf, sync::Arc, time::Duration};

use http::{Uri, uri::Authority};
use hyper_util::rt::TokioIo;
use mesh_contract::{report::ExportResponse, verdict::Verdict};
use mesh_model::config::http::{PemSource, TlsConfig};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
};
use parking_lot::Mutex;
use prost::Message;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Request,
    codec::CompressionEncoding,
    metadata::{AsciiMetadataValue, MetadataValue},
    transport::{Channel, Endpoint},
};
use tracing::warn;

use super::args::DeltaArgs;
use crate::{
    auth::Authenticator,
    push_error::{RetryCause, RetryLater},
};

/// Metadata key of a push that a gateway forwarded. The receiver does not forward it again.
pub(crate) const HOP_KEY: &str = "promesh-hop";

/// Clients of the other gateways. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    clients: Arc<Mutex<HashMap<Arc<str>, MetricsServiceClient<Channel>>>>,
    tls: Option<Arc<PeerTls>>,
    auth: Authenticator,
}

/// TLS settings for the other gateways. The files are read for each connection.
#[derive(Debug)]
struct PeerTls {
    config: TlsConfig,
    server_name: Option<String>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Maximum number of clients. Beyond it all are dropped, to remove those of former members.
const MAX_CLIENTS: usize = 256;

// === impl Peers ===

impl Peers {
    pub(crate) fn new(
        args: &DeltaArgs,
        own: (Option<PathBuf>, Option<PathBuf>),
        auth: Authenticator,
    ) -> Self {
        let tls = args.tls_ca_file.clone().map(|ca| {
            let config = TlsConfig {
                ca: Some(PemSource::File(ca)),
                cert: own.0.map(PemSource::File),
                key: own.1.map(PemSource::File),
                ..Default::default()
            };
            let server_name = args.tls_server_name.clone();
            Arc::new(PeerTls {
                config,
                server_name,
            })
        });
        Self {
            clients: Arc::default(),
            tls,
            auth,
        }
    }

    /// Forwards points to a peer. Returns its verdict and its error message, which is
    /// empty if it rejected nothing.
    ///
    /// # Errors
    /// Returns an error if the peer cannot be reached or asks for a retry.
    pub(crate) async fn forward(
        &self,
        peer: Arc<str>,
        request: ExportMetricsServiceRequest,
        points: u64,
        deadline: Instant,
    ) -> Result<Verdict, RetryLater> {
        let mut request = Request::new(request);
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        let metadata = request.metadata_mut();
        metadata.insert(HOP_KEY, AsciiMetadataValue::from_static("1"));
        let token = self.auth.own_token();
        let token = token.and_then(|t| MetadataValue::try_from(format!("Bearer {t}")).ok());
        if let Some(token) = token {
            metadata.insert("authorization", token);
        }
        let mut client = self
            .client(&peer)
            .ok_or(RetryLater::new(RetryCause::Peer))?;
        match client.export(request).await {
            Ok(response) => {
                let (metadata, response, _) = response.into_parts();
                let body = response.encode_to_vec().into();
                Ok(ExportResponse::read(&metadata, body).verdict)
            }
            Err(status) if status.code() == Code::InvalidArgument => {
                let mut verdict = Verdict::default();
                verdict.reject(mesh_contract::verdict::Reason::Refused, points);
                verdict.problem = Some(status.message().to_owned());
                Ok(verdict)
            }
            Err(status) => {
                warn!(peer = &*peer, %status, "Forwarding to another gateway failed");
                Err(RetryLater::new(RetryCause::Peer))
            }
        }
    }

    fn client(&self, peer: &Arc<str>) -> Option<MetricsServiceClient<Channel>> {
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(peer) {
            return Some(client.clone());
        }
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        let client = MetricsServiceClient::new(self.connect(peer)?)
            .send_compressed(CompressionEncoding::Zstd);
        clients.insert(peer.clone(), client.clone());
        Some(client)
    }

    fn connect(&self, peer: &str) -> Option<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{peer}")).ok()?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE);
        let Some(tls) = self.tls.clone() else {
            return Some(endpoint.connect_lazy());
        };
        let connect = move |address: Uri| {
            let tls = tls.clone();
            async move {
                let address = address.authority().map_or("", Authority::as_str);
                tls.connect(address).await.map(TokioIo::new)
            }
        };
        Some(endpoint.connect_with_connector_lazy(tower::service_fn(connect)))
    }
}

// === impl PeerTls ===

impl PeerTls {
    async fn connect(
        &self,
        address: &str,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let config = mesh_net::tls::h2_client_config(&self.config).map_err(io::Error::other)?;
        let name = match &self.server_name {
            Some(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
            None => mesh_net::tls::host_name(address)?,
        };
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}
