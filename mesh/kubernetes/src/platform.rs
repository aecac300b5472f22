//! A client as kube's configuration has it: the pod's own cluster's, or that of a
//! kubeconfig.

#[cfg(test)]
mod tls_server;

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

use super::{AGENT, bounded::bounded};
use mesh_model::config::http::ProxyConfig;
use mesh_net::http_client::Connect;

const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// A client that reads tokens and certificates again as kube does, over our
/// connections: kube's own do not notice that the other side is gone.
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
            bounded(http.request(request))
        }));
    Ok(Client::new(service, config.default_namespace))
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use http::{Response, StatusCode, header::AUTHORIZATION};
    use k8s_openapi::api::core::v1::Namespace;
    use kube::Api;
    use serde_json::json;

    use super::tls_server;
    use crate::ApiServer;

    #[tokio::test]
    async fn a_kubeconfig_says_whom_to_trust_and_who_one_is() {
        let (port, certificate) = tls_server::serve(|request| {
            let known = request.headers()[AUTHORIZATION] == "Bearer secret";
            let list = json!({"metadata": {}, "items": [{"metadata": {"name": "n"}}]});
            let mut response = Response::new(list.to_string());
            if !known {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            response
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let client = async |authority: &str| {
            let kubeconfig = json!({
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {"token": "secret"}}],
                "clusters": [{"name": "c", "cluster": {
                    "server": format!("https://localhost:{port}"),
                    "certificate-authority-data": BASE64_STANDARD.encode(authority),
                }}],
            });
            std::fs::write(&path, kubeconfig.to_string()).unwrap();
            ApiServer::Kubeconfig(path.clone()).client().await.unwrap()
        };
        let list = async |authority| {
            let namespaces = Api::<Namespace>::all(client(authority).await);
            namespaces.list(&Default::default()).await
        };
        let listed = list(&certificate).await.unwrap();
        assert_eq!(listed.items[0].metadata.name.as_deref(), Some("n"));
        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let refused = list(&other.cert.pem()).await.unwrap_err();
        assert!(
            format!("{refused:?}").contains("InvalidCertificate"),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let error = async || {
            let client = ApiServer::Kubeconfig(path.clone()).client().await;
            client.err().unwrap().to_string()
        };
        let start = format!("{}: ", path.display());
        assert!(error().await.starts_with(&start), "{}", error().await);
        std::fs::write(&path, "clusters: oops").unwrap();
        assert!(error().await.starts_with(&start), "{}", error().await);
    }
}
