//! A real backend behind the stand-in, such as a Cortex: it answers, and the stand-in
//! notes what it was sent and what it said.
//!
//! The stand-in judges every request by its own rules as well, but for the election.
//! Where the two differ, the stand-in is wrong about real backends.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use mesh::http_client::HttpClient;
use tokio::time::timeout;
use url::Url;

use super::{Backend, decode::Incoming};

/// A real backend.
#[derive(Clone, Debug)]
pub struct Upstream {
    url: Url,
    tenant: String,
    client: HttpClient,
}

/// The header that names a tenant.
pub const TENANT: &str = "x-scope-orgid";

/// Longer than any exporter waits.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What is not passed on: it belongs to one connection.
const OWN: [HeaderName; 4] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

// === impl Upstream ===

impl Upstream {
    /// A backend's remote-write endpoint, and the tenant that writes.
    ///
    /// # Errors
    /// Where there can be no client.
    pub fn new(url: Url, tenant: &str) -> anyhow::Result<Self> {
        Ok(Self {
            url,
            tenant: tenant.to_owned(),
            client: HttpClient::new(&Default::default())?,
        })
    }

    /// Passes a request on, notes what the answer means, and returns it.
    pub(super) async fn ask(
        &self,
        backend: &Backend,
        headers: &HeaderMap,
        body: Bytes,
        incoming: Option<Incoming>,
    ) -> Response {
        let (upstream, backend) = (self.clone(), backend.clone());
        let headers = headers.clone();
        // Whoever asks may hang up; the backend has the request all the same.
        let asked = tokio::spawn(async move {
            let (status, headers, body) = match upstream.post(&headers, body).await {
                Ok(answer) => answer,
                // As a load balancer says it.
                Err(error) => {
                    return (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response();
                }
            };
            if let Some(incoming) = incoming {
                let said = String::from_utf8_lossy(&body);
                backend.note(&incoming, status, said.trim());
            }
            (status, headers, body).into_response()
        });
        asked
            .await
            .unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string()).into_response())
    }

    async fn post(
        &self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)> {
        let mut request = Request::post(self.url.as_str()).header(TENANT, &self.tenant);
        for (name, value) in headers.iter().filter(|(name, _)| !OWN.contains(name)) {
            request = request.header(name, value);
        }
        let request = request.body(body)?;
        let response = timeout(TIMEOUT, self.client.request(request)).await??;
        let (mut parts, body) = response.into_parts();
        for name in OWN {
            parts.headers.remove(name);
        }
        let body = timeout(TIMEOUT, body.collect()).await??.to_bytes();
        Ok((parts.status, parts.headers, body))
    }
}

// === impl Backend ===

impl Backend {
    /// Takes a request as the real backend has: nothing of it where that failed.
    fn note(&self, incoming: &Incoming, status: StatusCode, said: &str) {
        let refused = status == StatusCode::BAD_REQUEST;
        if !status.is_success() && !refused {
            return;
        }
        let elected = status != StatusCode::ACCEPTED;
        let expected = self.take(incoming, None, Some(elected));
        if expected.is_err() != refused {
            let expected = expected.map_or_else(|complaint| complaint, |code| code.to_string());
            let disagreement = format!("{status} {said} where the stand-in has {expected}");
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

    /// A stand-in, and another one in the place of the real backend with so much room.
    async fn both(max_series: usize) -> (Amp, Amp) {
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

    /// Writes a sample of these series as a replica.
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
                timestamp: mesh::clock::Clock::system().now_ms(),
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
    async fn the_real_backend_answers_and_the_stand_in_notes() {
        let (front, real) = both(10).await;
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
    async fn another_answer_than_the_stand_in_s_is_noted() {
        let (front, _real) = both(1).await;
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
    async fn nothing_is_noted_where_the_backend_fails() {
        let (front, real) = both(10).await;
        let fault = crate::amp::Fault::status(500, "unwell");
        real.backend().faults().next([fault]);
        let status = write(&front, "a", &["x"]).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        drop(real);
        assert_eq!(write(&front, "a", &["x"]).await, StatusCode::BAD_GATEWAY);
        assert_eq!(front.backend().totals().requests, 0);
        assert_eq!(front.backend().elections(), 0);
    }
}
