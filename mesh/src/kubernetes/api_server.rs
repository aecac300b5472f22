//! kube's client over ours.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Request, Response, Uri, header::USER_AGENT};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use kube::{
    Client,
    client::{Body, retry::RetryPolicy},
};
use tokio::time::timeout;
use tower::{ServiceBuilder, retry::RetryLayer, service_fn};
use url::Url;

use super::{AGENT, IDLE_TIMEOUT};
use crate::http_client::HttpClient;

/// As long as an API server lets a request run that is no watch.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client of the API server at `base`.
pub(super) fn client(http: HttpClient, base: Url) -> Client {
    let send = service_fn(move |request| send(http.clone(), base.clone(), request));
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .service(send);
    Client::new(service, "default")
}

async fn send(
    http: HttpClient,
    base: Url,
    request: Request<Body>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Error>>, Error> {
    let (mut parts, body) = request.into_parts();
    parts.uri = absolute(&base, &parts.uri)?;
    let agent = HeaderValue::from_static(AGENT);
    parts.headers.insert(USER_AGENT, agent);
    let body = body.collect().await?.to_bytes();
    let request = Request::from_parts(parts, body);
    let response = timeout(HEAD_TIMEOUT, http.request(request)).await??;
    Ok(response.map(bounded))
}

/// The path of a resource behind the API server's own.
fn absolute(base: &Url, resource: &Uri) -> Result<Uri, Error> {
    let base = base.as_str().trim_end_matches('/');
    Ok(format!("{base}{resource}").parse()?)
}

/// A body that fails once nothing has come for too long.
fn bounded(body: Incoming) -> impl http_body::Body<Data = Bytes, Error = Error> {
    let next = async |mut body: Incoming| -> Result<Option<(Frame<Bytes>, Incoming)>, Error> {
        match timeout(IDLE_TIMEOUT, body.frame()).await? {
            Some(frame) => Ok(Some((frame?, body))),
            None => Ok(None),
        }
    };
    StreamBody::new(stream::try_unfold(body, next))
}

#[cfg(test)]
mod tests {
    use axum::{
        Json, Router,
        http::{HeaderMap, StatusCode, header::AUTHORIZATION},
        response::IntoResponse,
        routing::get,
    };
    use k8s_openapi::api::core::v1::Namespace;
    use kube::Api;
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::http::{Auth, HttpClientConfig, SecretSource};

    /// An API server with one namespace for whoever has the token.
    async fn serve(token: &'static str) -> Url {
        let list = serde_json::json!({
            "metadata": {"resourceVersion": "1"},
            "items": [{"metadata": {"name": "n"}}],
        });
        let answer = move |headers: HeaderMap| {
            let known = headers[AUTHORIZATION] == format!("Bearer {token}");
            let agent = headers[USER_AGENT]
                .to_str()
                .unwrap()
                .starts_with("promesh/");
            std::future::ready(match known && agent {
                true => Json(list.clone()).into_response(),
                false => StatusCode::UNAUTHORIZED.into_response(),
            })
        };
        let app = Router::new().route("/k8s/c-1/api/v1/namespaces", get(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{address}/k8s/c-1/").parse().unwrap()
    }

    #[tokio::test]
    async fn http_settings_are_those_of_every_request() {
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

    #[test]
    fn a_resource_is_behind_the_servers_own_path() {
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
