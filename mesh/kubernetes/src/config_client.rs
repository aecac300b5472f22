//! A client with a configuration of kube: of the pod's own cluster, or of a kubeconfig.

use std::time::Duration;

use http::{HeaderValue, Request, header::USER_AGENT};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt, retry::RetryPolicy},
};
use tower::{BoxError, ServiceBuilder, retry::RetryLayer, service_fn};

use super::transport::{AGENT, with_timeouts};
use mesh_model::config::http::ProxyConfig;
use mesh_net::http_client::Connect;

const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Creates a client that rotates tokens and certificates as kube does.
///
/// It uses our connections, since kube's do not detect a dead API server.
pub(super) fn client(mut config: Config) -> kube::Result<Client> {
    let agent = HeaderValue::from_static(AGENT);
    config.headers.push((USER_AGENT, agent));
    let proxy = config.proxy_url.as_ref().map(ToString::to_string);
    let connect = Connect::new(
        &ProxyConfig {
            url: proxy.and_then(|url| url.parse().ok()),
            ..ProxyConfig::default()
        },
        None,
    );
    let https = config.rustls_https_connector_with_connector(connect)?;
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_timer(TokioTimer::new())
        .build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(service_fn(move |request: Request<Body>| {
            with_timeouts(http.request(request))
        }));
    Ok(Client::new(service, config.default_namespace))
}
