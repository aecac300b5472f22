//! A client with a configuration of kube: of the pod's own cluster, or of a kubeconfig.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body_util::BodyExt;
use kube::{
    Client, Config,
    client::{Body, ConfigExt, retry::RetryPolicy},
};
use tower::{BoxError, ServiceBuilder, retry::RetryLayer, service_fn};

use super::transport::{self, AGENT, Error, with_timeouts};
use mesh_model::config::http::ProxyConfig;
use mesh_net::http_client::{Connect, Transport};

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
    )
    .with_proxy_tls(Arc::new(config.rustls_client_config()?), None);
    let https = config.rustls_https_connector_with_connector(connect)?;
    let http = Transport::new(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(service_fn(move |request| send(http.clone(), request)));
    Ok(Client::new(service, config.default_namespace))
}

async fn send(http: Transport, request: Request<Body>) -> Result<Response<transport::Body>, Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    with_timeouts(http.request(Request::from_parts(parts, body))).await
}
