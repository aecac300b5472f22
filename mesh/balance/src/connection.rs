//! A connection to one address that is kept up.

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

use super::{failure, metrics::BalanceMetrics};
use mesh_base::backoff::Backoff;
use mesh_net::connector::Connector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KNOCK_PATH: &str = "/grpc.health.v1.Health/Check";
/// For an address that is no authority: no peer of ours looks at it.
const KNOCK_URI: &str = "http://exporter/grpc.health.v1.Health/Check";

/// An HTTP/2 connection that requests can be sent on.
pub(super) type Connection = http2::SendRequest<Body>;

/// A connection to one address that is opened again and again.
pub(super) struct KeepUp {
    pub(super) address: String,
    pub(super) connector: Connector,
    pub(super) ping_interval: Option<Duration>,
    /// Notified each time it has come up.
    pub(super) came_up: Arc<Notify>,
    pub(super) metrics: BalanceMetrics,
}

// === impl KeepUp ===

impl KeepUp {
    /// Shows the connection in `slot` while it is up.
    pub(super) async fn run(self, slot: watch::Sender<Option<Connection>>) {
        let address = &self.address;
        let (mut backoff, mut told) = (Backoff::new(), String::new());
        loop {
            match open(address, &self.connector, self.ping_interval).await {
                Ok((connection, driver)) => {
                    info!(address, "Connected");
                    slot.send_replace(Some(connection));
                    self.came_up.notify_waiters();
                    (backoff, told) = (Backoff::new(), String::new());
                    // Resolves when no new request can be sent; those in flight are
                    // driven to their end by a task of hyper's.
                    let ended = driver.await;
                    slot.send_replace(None);
                    info!(
                        address,
                        error = ended.err().map(tracing::field::display),
                        "Disconnected"
                    );
                }
                Err(error) => {
                    let (reason, error) = (failure::reason(&*error), failure::chain(&*error));
                    self.metrics.not_connected(reason);
                    // Once is enough for as long as it stays the same.
                    match told == error {
                        true => debug!(address, reason, error, "Not connected"),
                        false => warn!(address, reason, error, "Not connected"),
                    }
                    told = error;
                }
            }
            sleep(backoff.delay()).await;
        }
    }
}

type Driver = BoxFuture<'static, Result<(), hyper::Error>>;

/// A connection whose peer has proven that it answers: a frozen process, or a
/// network that swallows what it is sent, has a system that accepts all the same.
async fn open(
    address: &str,
    connector: &Connector,
    ping_interval: Option<Duration>,
) -> Result<(Connection, Driver), Box<dyn std::error::Error + Send + Sync>> {
    let io = TokioIo::new(connector.connect(address).await?);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new());
    if let Some(interval) = ping_interval {
        builder
            .keep_alive_interval(interval)
            .keep_alive_timeout(interval)
            .keep_alive_while_idle(true);
    }
    let (mut connection, driver) = timeout(CONNECT_TIMEOUT, builder.handshake(io)).await??;
    let mut driver: Driver = Box::pin(driver);
    let answer = timeout(CONNECT_TIMEOUT, connection.send_request(knock(address)));
    tokio::select! {
        // The connection knows why it ended, the request only that it did.
        biased;
        ended = &mut driver => {
            ended?;
            return Err("closed before its first answer".into());
        }
        answer = answer => answer??,
    };
    Ok((connection, driver))
}

/// A request that any gRPC server answers, with its health or that it does not
/// know the method.
fn knock(address: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    let uri = format!("http://{address}{KNOCK_PATH}").parse();
    *request.uri_mut() = uri.unwrap_or_else(|_| Uri::from_static(KNOCK_URI));
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    request
}
