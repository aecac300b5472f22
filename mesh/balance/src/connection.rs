//! Background task that connects to one exporter, and reconnects.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::{
    HeaderValue, Method, Request, Uri,
    header::{CONTENT_TYPE, TE},
};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tonic::body::Body;
use tracing::{debug, info, warn};

use mesh_base::backoff::Backoff;
use mesh_net::{connector::Connector, describe};

use crate::{BalanceMetrics, connect_error};

/// Maximum size of the metadata of a response. It has the progress of up to 256 batches, and the
/// names of the destinations.
const MAX_HEAD_BYTES: u32 = 64 << 10;
/// Timeout of the HTTP/2 handshake, and of the first response after it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const PROBE_PATH: &str = "/grpc.health.v1.Health/Check";
/// Probe's URI for an address that is not a valid authority. Exporters ignore the
/// authority.
const PROBE_URI: &str = "http://exporter/grpc.health.v1.Health/Check";

/// Handle that sends requests on an HTTP/2 connection.
pub(crate) type Connection = http2::SendRequest<Body>;

/// Connects to one address whenever its connection is down.
pub(crate) struct Connecting {
    pub(crate) address: String,
    pub(crate) connector: Connector,
    pub(crate) ping_interval: Option<Duration>,
    /// Notified each time the connection is lost.
    pub(crate) changed: Arc<Notify>,
    pub(crate) metrics: BalanceMetrics,
}

// === impl Connecting ===

impl Connecting {
    /// Publishes the connection in `current` while it is up.
    pub(crate) async fn run(self, current: watch::Sender<Option<Connection>>) {
        let address = &self.address;
        let (mut backoff, mut last_error) = (Backoff::new(), String::new());
        loop {
            match open(address, &self.connector, self.ping_interval).await {
                Ok((connection, driver)) => {
                    info!(address, "Connected");
                    let connected = self.metrics.connected();
                    current.send_replace(Some(connection));
                    (backoff, last_error) = (Backoff::new(), String::new());
                    // Completes when no new request can be sent. hyper completes the
                    // requests in flight in a task of its own.
                    let ended = driver.await;
                    current.send_replace(None);
                    drop(connected);
                    self.changed.notify_waiters();
                    info!(
                        address,
                        error = ended.err().map(tracing::field::display),
                        "Disconnected"
                    );
                }
                Err(error) => {
                    let reason = connect_error::reason(&*error);
                    let error = describe(&*error);
                    self.metrics.connect_failed(reason);
                    // The same error again is logged at debug level only.
                    if error == last_error {
                        debug!(address, reason, error, "Not connected");
                    } else {
                        warn!(address, reason, error, "Not connected");
                    }
                    last_error = error;
                }
            }
            sleep(backoff.delay()).await;
        }
    }
}

type Driver = BoxFuture<'static, Result<(), hyper::Error>>;

/// Opens a connection and waits for the response to a first request. The kernel of a
/// frozen process accepts connections too, so only a response proves that the exporter is
/// alive.
async fn open(
    address: &str,
    connector: &Connector,
    ping_interval: Option<Duration>,
) -> Result<(Connection, Driver), Box<dyn std::error::Error + Send + Sync>> {
    let io = TokioIo::new(connector.connect(address).await?);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD_BYTES);
    if let Some(interval) = ping_interval {
        builder
            .keep_alive_interval(interval)
            .keep_alive_timeout(interval)
            .keep_alive_while_idle(true);
    }
    let (mut connection, driver) = timeout(CONNECT_TIMEOUT, builder.handshake(io)).await??;
    let mut driver: Driver = Box::pin(driver);
    let response = timeout(CONNECT_TIMEOUT, connection.send_request(probe(address)));
    tokio::select! {
        // Polled first: its error contains the cause, and the request's error does not.
        biased;
        ended = &mut driver => {
            ended?;
            return Err("connection closed before the first response".into());
        }
        response = response => response??,
    };
    Ok((connection, driver))
}

/// Health check request. Any gRPC server responds to it, at least with "unimplemented".
fn probe(address: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    let uri = format!("http://{address}{PROBE_PATH}").parse();
    *request.uri_mut() = uri.unwrap_or_else(|_| Uri::from_static(PROBE_URI));
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    request
}
