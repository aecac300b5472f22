//! Proxy that gives the same response to the n-th scrape of each scraper.
//!
//! Both scrapers reach their targets through it, so that their labels are those of the
//! targets. The proxy itself responds for a recorded target. It fetches a live target once
//! per scrape, when the first scraper asks, and sends that response to both.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use mesh_net::http_client::HttpClient;
use parking_lot::{Mutex, MutexGuard};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use super::{known, recording::Capture, script::Reply};

/// Index of the scrape of a live target that fails.
const FAILED_SCRAPE: usize = 3;
/// Timeout of a request to a live target.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// A running proxy. It stops when dropped.
#[derive(Debug)]
pub(super) struct ReplayProxy {
    addresses: Vec<SocketAddr>,
    state: Arc<ProxyState>,
    _servers: JoinSet<()>,
}

#[derive(Debug)]
struct ProxyState {
    /// Recorded targets by host.
    recorded: HashMap<String, Vec<Reply>>,
    live: LiveOptions,
    client: HttpClient,
    targets: Mutex<HashMap<TargetKey, Arc<TargetState>>>,
}

/// Options of live targets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LiveOptions {
    /// Number of scrapes.
    pub(super) scrapes: usize,
    /// Set if `_created` samples are removed from OpenMetrics bodies.
    pub(super) without_created: bool,
}

/// Index of a job, and URL. Jobs may share a target.
type TargetKey = (usize, String);

/// State of one target.
#[derive(Debug, Default)]
struct TargetState {
    /// Responses of the live target so far.
    fetched: tokio::sync::Mutex<Vec<Reply>>,
    /// Number of scrapes by Prometheus, and by promesh.
    served: Mutex<[usize; 2]>,
}

// === impl ReplayProxy ===

impl ReplayProxy {
    /// Starts a proxy for each job. A target without recorded responses is live.
    ///
    /// # Errors
    /// Returns an error if it cannot listen.
    pub(super) async fn start(
        jobs: usize,
        recorded: HashMap<String, Vec<Reply>>,
        live: LiveOptions,
    ) -> anyhow::Result<Self> {
        let state = Arc::new(ProxyState {
            recorded,
            live,
            client: HttpClient::new(&Default::default())?,
            targets: Mutex::default(),
        });
        let (mut addresses, mut servers) = (Vec::new(), JoinSet::new());
        for job in 0..jobs {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.push(listener.local_addr()?);
            let router = Router::new()
                .fallback(answer)
                .with_state((job, state.clone()));
            servers.spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "ReplayProxy stopped");
                }
            });
        }
        Ok(Self {
            addresses,
            state,
            _servers: servers,
        })
    }

    /// Proxy URL of each job.
    pub(super) fn proxy_urls(&self) -> impl Iterator<Item = String> {
        let addresses = self.addresses.iter();
        addresses.map(|address| format!("http://{address}"))
    }

    /// Maximum number of scrapes of a target.
    pub(super) fn longest(&self) -> usize {
        let recorded = self.state.recorded.values().map(Vec::len);
        recorded.max().unwrap_or(0).max(self.state.live.scrapes)
    }

    /// Number of targets that were scraped, and a description of each that was not yet
    /// scraped to the end by both. A scraper has stored a scrape when it makes the next
    /// one.
    pub(super) fn progress(&self) -> (usize, Vec<String>) {
        let targets = self.state.targets();
        let waiting = targets.iter().filter_map(|((_, url), target)| {
            let (served, scrapes) = (*target.served(), self.state.scrapes_of(url));
            let done = served.iter().all(|served| *served > scrapes);
            let [theirs, ours] = served;
            (!done).then(|| format!("{url} (by Prometheus {theirs} times, by promesh {ours})"))
        });
        (targets.len(), waiting.collect())
    }
}

// === impl ProxyState ===

impl ProxyState {
    /// State of all targets.
    fn targets(&self) -> MutexGuard<'_, HashMap<TargetKey, Arc<TargetState>>> {
        self.targets.lock()
    }

    fn scrapes_of(&self, url: &str) -> usize {
        self.recorded
            .get(host(url))
            .map_or(self.live.scrapes, Vec::len)
    }

    async fn answer(&self, job: usize, url: &str, headers: &HeaderMap) -> Reply {
        let key = (job, url.to_owned());
        let target = self.targets().entry(key).or_default().clone();
        let scraper = usize::from(!is_prometheus(headers));
        let scrape = {
            let mut served = target.served();
            served[scraper] += 1;
            // Scrapes after the last response are not compared.
            (served[scraper] - 1).min(self.scrapes_of(url).saturating_sub(1))
        };
        match self.recorded.get(host(url)) {
            Some(replies) => replies[scrape].clone(),
            None => self.record(&target, scrape, url, headers).await,
        }
    }

    async fn record(
        &self,
        target: &TargetState,
        scrape: usize,
        url: &str,
        headers: &HeaderMap,
    ) -> Reply {
        let mut fetched = target.fetched.lock().await;
        while fetched.len() <= scrape {
            let answer = match fetched.len() {
                FAILED_SCRAPE => Reply::failure(),
                _ => self.fetch(url, headers).await.unwrap_or_else(|error| {
                    tracing::warn!(url, %error, "Request to target failed");
                    Reply::failure()
                }),
            };
            fetched.push(answer);
        }
        fetched[scrape].clone()
    }

    async fn fetch(&self, url: &str, headers: &HeaderMap) -> anyhow::Result<Reply> {
        let mut request = http::Request::get(url).body(Bytes::new())?;
        *request.headers_mut() = headers.clone();
        // The proxy forwards the body without decompression.
        request.headers_mut().remove(header::ACCEPT_ENCODING);
        let response = timeout(FETCH_TIMEOUT, self.client.request(request)).await??;
        let (head, body) = response.into_parts();
        let content_type = head.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.map(|value| value.to_str().map(str::to_owned));
        let body = timeout(FETCH_TIMEOUT, body.collect()).await??.to_bytes();
        let mut capture = Capture {
            content_type: content_type.transpose()?,
            body,
        };
        if self.live.without_created && capture.is_openmetrics() {
            capture.body = known::without_created(&capture.body);
        }
        Ok(Reply {
            status: head.status,
            ..Reply::whole(&capture)
        })
    }
}

// === impl TargetState ===

impl TargetState {
    fn served(&self) -> MutexGuard<'_, [usize; 2]> {
        // No code that holds the lock can leave the counts in an invalid state.
        self.served.lock()
    }
}

async fn answer(
    State((job, state)): State<(usize, Arc<ProxyState>)>,
    request: Request,
) -> Response {
    let answer = state
        .answer(job, &request.uri().to_string(), request.headers())
        .await;
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    let content_type = answer.content_type.map(TryInto::try_into);
    match content_type.transpose() {
        Ok(Some(content_type)) => {
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, content_type);
        }
        Ok(None) => {}
        Err(_) => *response.status_mut() = StatusCode::BAD_GATEWAY,
    }
    response
}

/// Host of a URL, without the port.
fn host(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let end = after.find([':', '/', '?']).unwrap_or(after.len());
    &after[..end]
}

fn is_prometheus(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT);
    agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Prometheus/"))
}
