//! Admits the requests of one connection and hands them to the handler.

use std::{convert::Infallible, sync::Arc};

use bytes::Buf;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, HOST, RETRY_AFTER},
    uri::Authority,
};
use http_body::Body;
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    Peer, RequestBody, ServeMetrics,
    metrics::CloseReason,
    request_body::Discard,
    responses::{ResponseBody, Responses},
};

/// Requests of one connection.
#[derive(Debug)]
pub(super) struct Requests<H> {
    pub(super) peer: Peer,
    pub(super) handler: H,
    /// Permits of requests in flight on all connections.
    pub(super) permits: Arc<Semaphore>,
    pub(super) discard: Arc<Discard>,
    pub(super) responses: Responses,
    /// Set to true by the first request.
    pub(super) has_request: watch::Sender<bool>,
    pub(super) metrics: ServeMetrics,
}

type Answer<B> = Response<Either<ResponseBody<B>, Empty<<B as Body>::Data>>>;

// === impl Requests ===

impl<H, F, B> Requests<H>
where
    H: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response<B>>,
    B: Body + Unpin,
{
    /// Handles a request, or refuses it.
    pub(super) fn respond(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Answer<B>, Infallible>> + use<H, F, B> {
        self.has_request.send_replace(true);
        let mut request = RequestBody::wrap(request, &self.discard);
        request.extensions_mut().insert(self.peer);
        let admitted = self.admit(&request);
        let admitted = admitted.map(|permit| (permit, (self.handler)(request)));
        let responses = self.responses.clone();
        async move {
            let (permit, response) = match admitted {
                Ok(admitted) => admitted,
                Err(refusal) => return Ok(refusal.map(Either::Right)),
            };
            let response = response.await;
            Ok(response.map(|body| Either::Left(responses.follow(body, permit))))
        }
    }

    fn admit<D: Buf>(
        &self,
        request: &Request<RequestBody>,
    ) -> Result<OwnedSemaphorePermit, Response<Empty<D>>> {
        if !has_valid_host(request) {
            self.metrics.closed(CloseReason::Broken);
            let close = (CONNECTION, HeaderValue::from_static("close"));
            return Err(refusal(StatusCode::BAD_REQUEST, close));
        }
        let permit = self.permits.clone().try_acquire_owned();
        permit.map_err(|_| {
            self.metrics.request_refused();
            let after = (RETRY_AFTER, HeaderValue::from_static("1"));
            refusal(StatusCode::SERVICE_UNAVAILABLE, after)
        })
    }
}

fn refusal<D: Buf>(
    status: StatusCode,
    (name, value): (http::HeaderName, HeaderValue),
) -> Response<Empty<D>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    response.headers_mut().insert(name, value);
    response
}

/// Checks the `Host` header as RFC 9112, section 3.2, demands. A proxy in front may have
/// understood another host than this server.
fn has_valid_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() != Version::HTTP_11,
        (Some(host), None) => host.is_empty() || Authority::try_from(host.as_bytes()).is_ok(),
        (Some(_), Some(_)) => false,
    }
}
