//! Where targets play: a proxy that answers the n-th scrape of each scraper with
//! the same body.
//!
//! Both scrapers reach their targets through it, so that labels are those of the
//! target. A recorded target is answered for; a live one is asked once for each
//! scrape, by whoever comes first, and both get that answer.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

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
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use super::{known, recording::Capture, script::Answer};

/// Which scrape of a live target fails.
const FAILING: usize = 3;
/// How long a live target may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// A running stage. It stops when it is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    addresses: Vec<SocketAddr>,
    play: Arc<Play>,
    _servers: JoinSet<()>,
}

#[derive(Debug)]
struct Play {
    /// Recorded targets by host.
    recorded: HashMap<String, Vec<Answer>>,
    live: Live,
    client: HttpClient,
    roles: Mutex<HashMap<Part, Arc<Role>>>,
}

/// How live targets are recorded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Live {
    /// For so many scrapes.
    pub(super) scrapes: usize,
    /// OpenMetrics without its `_created` samples.
    pub(super) without_created: bool,
}

/// A job's number and the URL that it scrapes: jobs may share a target.
type Part = (usize, String);

/// One target.
#[derive(Debug, Default)]
struct Role {
    /// What the live target answered so far.
    fetched: tokio::sync::Mutex<Vec<Answer>>,
    /// Scrapes of Prometheus and of promesh.
    served: Mutex<[usize; 2]>,
}

// === impl Stage ===

impl Stage {
    /// Starts a stage for so many jobs, with these recorded targets; every other one
    /// is live.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub(super) async fn start(
        jobs: usize,
        recorded: HashMap<String, Vec<Answer>>,
        live: Live,
    ) -> anyhow::Result<Self> {
        let play = Arc::new(Play {
            recorded,
            live,
            client: HttpClient::new(&Default::default())?,
            roles: Mutex::default(),
        });
        let (mut addresses, mut servers) = (Vec::new(), JoinSet::new());
        for job in 0..jobs {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.push(listener.local_addr()?);
            let router = Router::new()
                .fallback(answer)
                .with_state((job, play.clone()));
            servers.spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "Stage stopped");
                }
            });
        }
        Ok(Self {
            addresses,
            play,
            _servers: servers,
        })
    }

    /// The proxy that each job has to use.
    pub(super) fn proxy_urls(&self) -> impl Iterator<Item = String> {
        let addresses = self.addresses.iter();
        addresses.map(|address| format!("http://{address}"))
    }

    /// How many scrapes of a target there are at most.
    pub(super) fn longest(&self) -> usize {
        let recorded = self.play.recorded.values().map(Vec::len);
        recorded.max().unwrap_or(0).max(self.play.live.scrapes)
    }

    /// How many targets somebody has scraped, and which of them have not been
    /// scraped to the end by both. A scraper has stored a scrape once it comes for
    /// the next one.
    pub(super) fn progress(&self) -> (usize, Vec<String>) {
        let roles = self.play.roles();
        let waiting = roles.iter().filter_map(|((_, url), role)| {
            let (served, scrapes) = (*role.served(), self.play.scrapes_of(url));
            let done = served.iter().all(|served| *served > scrapes);
            let [theirs, ours] = served;
            (!done).then(|| format!("{url} (by Prometheus {theirs} times, by promesh {ours})"))
        });
        (roles.len(), waiting.collect())
    }
}

// === impl Play ===

impl Play {
    /// Targets by who scrapes them where.
    fn roles(&self) -> MutexGuard<'_, HashMap<Part, Arc<Role>>> {
        // No code that holds the lock can leave the map half changed.
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scrapes_of(&self, url: &str) -> usize {
        self.recorded
            .get(host(url))
            .map_or(self.live.scrapes, Vec::len)
    }

    async fn answer(&self, job: usize, url: &str, headers: &HeaderMap) -> Answer {
        let part = (job, url.to_owned());
        let role = self.roles().entry(part).or_default().clone();
        let scraper = usize::from(!is_prometheus(headers));
        let scrape = {
            let mut served = role.served();
            served[scraper] += 1;
            // What comes after the end is not compared.
            (served[scraper] - 1).min(self.scrapes_of(url).saturating_sub(1))
        };
        match self.recorded.get(host(url)) {
            Some(answers) => answers[scrape].clone(),
            None => self.record(&role, scrape, url, headers).await,
        }
    }

    async fn record(&self, role: &Role, scrape: usize, url: &str, headers: &HeaderMap) -> Answer {
        let mut fetched = role.fetched.lock().await;
        while fetched.len() <= scrape {
            let answer = match fetched.len() {
                FAILING => Answer::failure(),
                _ => self.fetch(url, headers).await.unwrap_or_else(|error| {
                    tracing::warn!(url, %error, "Target not reached");
                    Answer::failure()
                }),
            };
            fetched.push(answer);
        }
        fetched[scrape].clone()
    }

    async fn fetch(&self, url: &str, headers: &HeaderMap) -> anyhow::Result<Answer> {
        let mut request = http::Request::get(url).body(Bytes::new())?;
        *request.headers_mut() = headers.clone();
        // The body is passed on as it is.
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
        Ok(Answer {
            status: head.status,
            ..Answer::whole(&capture)
        })
    }
}

// === impl Role ===

impl Role {
    fn served(&self) -> MutexGuard<'_, [usize; 2]> {
        // Counting cannot leave it half changed.
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State((job, play)): State<(usize, Arc<Play>)>, request: Request) -> Response {
    let answer = play
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

/// The host of a URL, without its port.
fn host(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let end = after.find([':', '/', '?']).unwrap_or(after.len());
    &after[..end]
}

fn is_prometheus(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT);
    agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Prometheus/"))
}
