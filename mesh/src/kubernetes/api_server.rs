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
    use super::*;

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
