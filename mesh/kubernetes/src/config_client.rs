//! A client with a configuration of kube: of the pod's own cluster, or of a kubeconfig.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body_util::BodyExt;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
};
use rustls_pki_types::ServerName;
use tower::{BoxError, ServiceBuilder, service_fn};

use super::{
    connections::Connections,
    transport::{self, AGENT, Error},
};
use mesh_model::config::http::ProxyConfig;
use mesh_net::http_client::{Connect, Transport};

/// Creates a client that rotates tokens and certificates as kube does.
///
/// It uses our connections: kube does not detect a dead API server, and opens one connection
/// for each watch. Failed requests are not retried here: the caller counts and logs each failure.
pub(super) fn client(mut config: Config) -> kube::Result<Client> {
    let agent = HeaderValue::from_static(AGENT);
    config.headers.push((USER_AGENT, agent));
    let https = https(&config)?;
    let first = Transport::new(https.clone());
    let connections = Connections::new(first, move || Ok(Transport::new(https.clone())));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(service_fn(move |request| {
            send(connections.clone(), request)
        }));
    Ok(Client::new(service, config.default_namespace))
}

async fn send(
    connections: Connections<Transport>,
    request: Request<Body>,
) -> Result<Response<transport::Body>, Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let request = Request::from_parts(parts, body);
    let send = async |http: Transport, request| http.request(request).await;
    transport::send(&connections, request, send).await
}

/// Creates a connector for HTTP/1 and HTTP/2. kube's own connector offers only HTTP/1.
fn https(config: &Config) -> kube::Result<HttpsConnector<Connect>> {
    let proxy = config.proxy_url.as_ref().map(ToString::to_string);
    let connect = Connect::new(
        &ProxyConfig {
            url: proxy.and_then(|url| url.parse().ok()),
            ..ProxyConfig::default()
        },
        None,
    )
    .with_proxy_tls(Arc::new(config.rustls_client_config()?), None);
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http();
    let builder = match config.tls_server_name.clone() {
        Some(name) => {
            let name = ServerName::try_from(name).map_err(|error| {
                kube::Error::Service(format!("tls-server-name: {error}").into())
            })?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
        None => builder,
    };
    let builder = builder.enable_http1().enable_http2();
    Ok(builder.wrap_connector(connect))
}
