//! Forwards requests to a real backend, such as Cortex, and records its responses.
//!
//! The stand-in ingests every request by its own rules too, except for the election. A
//! difference between the two responses means that the stand-in does not behave like a real
//! backend.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use mesh_net::http_client::HttpClient;
use tokio::time::timeout;
use url::Url;

use super::{Backend, decode::Incoming};

/// A real backend that answers instead of the stand-in.
#[derive(Clone, Debug)]
pub struct Upstream {
    url: Url,
    tenant: String,
    client: HttpClient,
}

/// Header that names the tenant.
pub const TENANT: &str = "x-scope-orgid";

/// Timeout of a request to the real backend. Longer than any exporter's timeout.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Headers of a single connection, which are not forwarded.
const HOP_BY_HOP: [HeaderName; 4] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

// === impl Upstream ===

impl Upstream {
    /// Creates an upstream from its remote-write URL and the tenant to write for.
    ///
    /// # Errors
    /// Returns an error if the HTTP client cannot be built.
    pub fn new(url: Url, tenant: &str) -> anyhow::Result<Self> {
        Ok(Self {
            url,
            tenant: tenant.to_owned(),
            client: HttpClient::new(&Default::default())?,
        })
    }

    /// Forwards a request, records the response and returns it.
    pub(super) async fn forward(
        &self,
        backend: &Backend,
        headers: &HeaderMap,
        body: Bytes,
        incoming: Option<Incoming>,
    ) -> Response {
        let (upstream, backend) = (self.clone(), backend.clone());
        let headers = headers.clone();
        // A client that disconnects must not cancel the request: the backend has it already.
        let forwarded = tokio::spawn(async move {
            let (status, headers, body) = match upstream.post(&headers, body).await {
                Ok(response) => response,
                // The status of a load balancer without a reachable backend.
                Err(error) => {
                    return (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response();
                }
            };
            if let Some(incoming) = incoming {
                let message = String::from_utf8_lossy(&body);
                backend.record_response(&incoming, status, message.trim());
            }
            (status, headers, body).into_response()
        });
        forwarded
            .await
            .unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string()).into_response())
    }

    async fn post(
        &self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)> {
        let mut request = Request::post(self.url.as_str()).header(TENANT, &self.tenant);
        for (name, value) in headers
            .iter()
            .filter(|(name, _)| !HOP_BY_HOP.contains(name))
        {
            request = request.header(name, value);
        }
        let request = request.body(body)?;
        let response = timeout(TIMEOUT, self.client.request(request)).await??;
        let (mut parts, body) = response.into_parts();
        for name in HOP_BY_HOP {
            parts.headers.remove(name);
        }
        let body = timeout(TIMEOUT, body.collect()).await??.to_bytes();
        Ok((parts.status, parts.headers, body))
    }
}

// === impl Backend ===

impl Backend {
    /// Ingests a request as the real backend did: not at all after a 5xx or another failure.
    fn record_response(&self, incoming: &Incoming, status: StatusCode, message: &str) {
        let rejected = status == StatusCode::BAD_REQUEST;
        if !status.is_success() && !rejected {
            return;
        }
        let elected = status != StatusCode::ACCEPTED;
        let expected = self.ingest(incoming, None, Some(elected));
        if expected.is_err() != rejected {
            let expected = expected.map_or_else(|error| error, |code| code.to_string());
            let disagreement = format!("{status} {message}, but the stand-in answers {expected}");
            self.state().disagreements.push(disagreement);
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use proto::v1;

    use super::*;
    use crate::amp::{Amp, AmpOptions, Outcome};

    /// Starts a stand-in in front of another one, which plays the real backend with a limit
    /// of `max_series`.
    async fn front_and_real(max_series: usize) -> (Amp, Amp) {
        let plain = AmpOptions {
            keys: None,
            ..AmpOptions::default()
        };
        let real = Amp::start(AmpOptions {
            max_series,
            ..plain.clone()
        });
        let real = real.await.unwrap();
        let url = real.remote_write_url().parse().unwrap();
        let front = Amp::start(AmpOptions {
            upstream: Some(Upstream::new(url, "tenant").unwrap()),
            ..plain
        });
        (front.await.unwrap(), real)
    }

    /// Writes one sample of each series as a replica.
    async fn write(amp: &Amp, replica: &str, names: &[&str]) -> StatusCode {
        let label = |(name, value): (&str, &str)| v1::Label {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let series = names.iter().map(|name| v1::TimeSeries {
            labels: [
                ("__name__", *name),
                ("__replica__", replica),
                ("cluster", "c"),
            ]
            .map(label)
            .into(),
            samples: vec![v1::Sample {
                value: 1.0,
                timestamp: mesh_base::clock::Clock::system().now_ms(),
            }],
            ..Default::default()
        });
        let request = v1::WriteRequest {
            timeseries: series.collect(),
            metadata: vec![],
        };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec());
        let request = Request::post(amp.remote_write_url()).body(body.unwrap().into());
        let client = HttpClient::new(&Default::default()).unwrap();
        client.request(request.unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn records_the_responses_of_the_real_backend() {
        let (front, real) = front_and_real(10).await;
        assert_eq!(write(&front, "a", &["x"]).await, StatusCode::OK);
        assert_eq!(write(&front, "b", &["x"]).await, StatusCode::ACCEPTED);
        for amp in [&front, &real] {
            let totals = amp.backend().totals();
            assert_eq!(totals.of(Outcome::Stored), 1);
            assert_eq!(totals.of(Outcome::Deduplicated), 1);
            assert_eq!(amp.backend().elections(), 1);
        }
        assert_eq!(front.backend().stored(), real.backend().stored());
        assert!(front.backend().disagreements().is_empty());
    }

    #[tokio::test]
    async fn reports_a_response_that_differs() {
        let (front, _real) = front_and_real(1).await;
        let status = write(&front, "a", &["x", "y"]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let disagreements = front.backend().disagreements();
        assert_eq!(disagreements.len(), 1);
        assert!(
            disagreements[0].contains("series limit of 1 exceeded"),
            "{disagreements:?}"
        );
    }

    #[tokio::test]
    async fn records_nothing_when_the_backend_fails() {
        let (front, real) = front_and_real(10).await;
        let fault = crate::amp::Fault::status(500, "internal error");
        real.backend().faults().next([fault]);
        let status = write(&front, "a", &["x"]).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        drop(real);
        assert_eq!(write(&front, "a", &["x"]).await, StatusCode::BAD_GATEWAY);
        assert_eq!(front.backend().totals().requests, 0);
        assert_eq!(front.backend().elections(), 0);
    }
}
