//! A client of an API server at a URL, with the HTTP settings of a scrape.

use http::{HeaderValue, Request, Response, Uri, header::USER_AGENT};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use tower::service_fn;
use url::Url;

use super::{
    connections::Connections,
    transport::{self, AGENT, Error},
};
use mesh_net::http_client::HttpClient;

/// Creates a client of the API server at `base`. Failed requests are not retried here: the
/// caller counts and logs each failure.
pub(super) fn client(http: HttpClient, base: Url) -> Client {
    let another = http.clone();
    let connections = Connections::new(http, move || Ok(another.with_own_connections()?));
    let service = service_fn(move |request| send(connections.clone(), base.clone(), request));
    Client::new(service, "default")
}

async fn send(
    connections: Connections<HttpClient>,
    base: Url,
    request: Request<Body>,
) -> Result<Response<transport::Body>, Error> {
    let (mut parts, body) = request.into_parts();
    parts.uri = absolute(&base, &parts.uri)?;
    let agent = HeaderValue::from_static(AGENT);
    parts.headers.insert(USER_AGENT, agent);
    let body = body.collect().await?.to_bytes();
    let request = Request::from_parts(parts, body);
    let send = async |http: HttpClient, request| http.request(request).await;
    transport::send(&connections, request, send).await
}

/// Appends the path of a resource to the URL of the API server.
fn absolute(base: &Url, resource: &Uri) -> Result<Uri, Error> {
    let base = base.as_str().trim_end_matches('/');
    Ok(format!("{base}{resource}").parse()?)
}

#[cfg(test)]
mod tests {
    use axum::{
        Json, Router,
        http::{HeaderMap, StatusCode, header::AUTHORIZATION},
        response::IntoResponse,
        routing::get,
    };
    use futures::StreamExt;
    use k8s_openapi::api::core::v1::Namespace;
    use kube::{Api, api::WatchParams};
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };
    use tokio::net::TcpListener;

    use super::*;
    use mesh_model::config::http::{Auth, HttpClientConfig, SecretSource};

    /// Starts an API server that lists one namespace to clients with this token.
    async fn serve(token: &'static str) -> Url {
        let list = serde_json::json!({
            "metadata": {"resourceVersion": "1"},
            "items": [{"metadata": {"name": "n"}}],
        });
        let respond = move |headers: HeaderMap| {
            let known = headers[AUTHORIZATION] == format!("Bearer {token}");
            let agent = headers[USER_AGENT]
                .to_str()
                .unwrap()
                .starts_with("promesh/");
            std::future::ready(if known && agent {
                Json(list.clone()).into_response()
            } else {
                StatusCode::UNAUTHORIZED.into_response()
            })
        };
        let app = Router::new().route("/k8s/c-1/api/v1/namespaces", get(respond));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{address}/k8s/c-1/").parse().unwrap()
    }

    #[tokio::test]
    async fn applies_the_http_settings_to_each_request() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "old").unwrap();
        let http = HttpClientConfig {
            auth: Some(Auth::Authorization {
                scheme: "Bearer".to_owned(),
                credentials: SecretSource::File(file.clone()),
            }),
            ..HttpClientConfig::default()
        };
        let http = HttpClient::new(&http).unwrap();
        let client = client(http, serve("new").await);
        let namespaces = Api::<Namespace>::all(client);
        let refused = namespaces.list(&Default::default()).await.unwrap_err();
        assert!(matches!(refused, kube::Error::Api(status) if status.code == 401));
        std::fs::write(&file, "new").unwrap();
        let listed = namespaces.list(&Default::default()).await.unwrap();
        assert_eq!(listed.items[0].metadata.name.as_deref(), Some("n"));
    }

    #[tokio::test]
    async fn reports_each_refused_request() {
        for code in [429, 503, 504] {
            let requests = Arc::new(AtomicUsize::new(0));
            let counted = requests.clone();
            let app = Router::new().fallback(move || {
                counted.fetch_add(1, Relaxed);
                std::future::ready(StatusCode::from_u16(code).unwrap())
            });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
            let http = HttpClient::new(&HttpClientConfig::default()).unwrap();
            let namespaces = Api::<Namespace>::all(client(http, base.parse().unwrap()));
            let refused = namespaces.list(&Default::default()).await.unwrap_err();
            assert!(matches!(refused, kube::Error::Api(status) if status.code == code));
            assert_eq!(requests.load(Relaxed), 1);
        }
    }

    #[tokio::test]
    async fn a_watch_that_ends_at_once_fails() {
        let app = Router::new().fallback(|| std::future::ready(""));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let http = HttpClient::new(&HttpClientConfig::default()).unwrap();
        let namespaces = Api::<Namespace>::all(client(http, base.parse().unwrap()));
        let events = namespaces
            .watch(&WatchParams::default(), "1")
            .await
            .unwrap();
        let event = events.boxed().next().await.unwrap();
        let error = event.unwrap_err();
        let error = mesh_net::describe(&error);
        assert!(error.contains("ended the watch at once"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_causes_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let http = HttpClient::new(&HttpClientConfig::default()).unwrap();
        let client = client(http, base.parse().unwrap());
        let namespaces = Api::<Namespace>::all(client);
        let silent = namespaces.list(&Default::default()).await.unwrap_err();
        assert!(matches!(silent, kube::Error::Service(_)), "{silent}");
    }

    #[test]
    fn appends_the_resource_to_the_path_of_the_server() {
        for (base, expected) in [
            ("https://api:6443", "https://api:6443/api/v1/pods?limit=500"),
            (
                "http://h/k8s/c-1/",
                "http://h/k8s/c-1/api/v1/pods?limit=500",
            ),
        ] {
            let resource = Uri::from_static("/api/v1/pods?limit=500");
            let uri = absolute(&base.parse().unwrap(), &resource).unwrap();
            assert_eq!(uri.to_string(), expected);
        }
    }
}
