//! A watch of objects that never ends.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use kube::{
    Api, Client, Resource,
    client::Body,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use tower::service_fn;

use crate::{failure::WatchFailure, transport::is_watch};
use mesh_base::backoff::Backoff;

/// Delay before the first retry.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
/// Maximum delay between two retries. The state is known again soon after an outage.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Maximum delay between two retries if the API server asks for a longer one.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(8);
/// Duration after which an accepted watch has recovered without an event. An API server that
/// cannot serve a watch ends it sooner.
const SETTLED: Duration = Duration::from_secs(2);

/// Item of a [`watch()`].
#[derive(Debug)]
pub enum Watched<K> {
    /// A listed or a changed object, or the start or the end of a list.
    Event(Event<K>),
    /// Requests succeed again after a failure.
    Recovered,
}

struct Watch<K> {
    api: Api<K>,
    config: watcher::Config,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    /// Notified when the API server has accepted the request of the watch.
    accepted: Arc<Notify>,
    backoff: Backoff,
    /// Delay before the next attempt, after a failure.
    delay: Option<Duration>,
    /// Set if the API server no longer has the resource version of the watch.
    is_version_expired: bool,
    /// Set from a failure until the recovery.
    is_failing: bool,
    /// Time of the recovery if no request fails before.
    recovers_at: Option<Instant>,
}

/// Lists the objects of a resource and watches their changes, forever. `api` selects the
/// resource.
///
/// After a failure it retries with the last resource version. If the API server no longer
/// has that version, it starts again with a new list.
///
/// kube's watcher does most of this. But it does not list again if the response status
/// rejects the version of a watch, its own backoff restarts with each list, and it does not
/// tell that a watch without events has started.
pub fn watch<K>(
    client: Client,
    api: impl FnOnce(Client) -> Api<K>,
    config: watcher::Config,
) -> BoxStream<'static, watcher::Result<Watched<K>>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let accepted = Arc::default();
    let api = api(notify_accepted(client, &accepted));
    let watch = Watch {
        events: watcher(api.clone(), config.clone()).boxed(),
        api,
        config,
        accepted,
        backoff: Backoff::with_bounds(MIN_RETRY_DELAY, MAX_RETRY_DELAY),
        delay: None,
        is_version_expired: false,
        is_failing: false,
        recovers_at: None,
    };
    stream::unfold(watch, Watch::next).boxed()
}

/// Returns a client that notifies `accepted` when the API server accepts a watch.
fn notify_accepted(client: Client, accepted: &Arc<Notify>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let accepted = accepted.clone();
    let service = service_fn(move |request: http::Request<Body>| {
        let (client, accepted) = (client.clone(), accepted.clone());
        async move {
            let is_watch = is_watch(&request);
            let response = client.send(request).await?;
            if is_watch && response.status().is_success() {
                accepted.notify_one();
            }
            Ok::<_, kube::Error>(response)
        }
    });
    Client::new(service, namespace)
}

// === impl Watch ===

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    async fn next(mut self) -> Option<(watcher::Result<Watched<K>>, Self)> {
        if let Some(delay) = self.delay.take() {
            sleep(delay).await;
        }
        if self.is_version_expired {
            self.events = watcher(self.api.clone(), self.config.clone()).boxed();
            self.is_version_expired = false;
        }
        let event = loop {
            let recovers_at = self.recovers_at.filter(|_| self.is_failing);
            tokio::select! {
                biased;
                () = sleep_until(recovers_at.unwrap_or_else(Instant::now)), if recovers_at.is_some() => {
                    self.is_failing = false;
                    self.backoff.reset();
                    return Some((Ok(Watched::Recovered), self));
                }
                event = self.events.next() => break event?,
                () = self.accepted.notified() => self.recovers_at = Some(Instant::now() + SETTLED),
            }
        };
        match &event {
            // An incomplete list does not count as a success yet.
            Ok(Event::Init | Event::InitApply(_)) => {}
            Ok(_) => {
                self.backoff.reset();
                self.recovers_at = Some(Instant::now());
            }
            Err(error) => self.failed(&WatchFailure(error)),
        }
        Some((event.map(Watched::Event), self))
    }

    fn failed(&mut self, failure: &WatchFailure<'_>) {
        let asked = failure.retry_after().unwrap_or_default();
        self.delay = Some(self.backoff.delay().max(asked.min(MAX_RETRY_AFTER)));
        self.is_version_expired = failure.reason() == "gone";
        self.is_failing = true;
        self.recovers_at = None;
        // The API server may have accepted the request that failed now.
        let _ = self.accepted.notified().now_or_never();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use axum::{
        Router,
        body::Body as ResponseBody,
        http::{StatusCode, Uri},
        response::{IntoResponse, Response},
    };
    use k8s_openapi::api::core::v1::Namespace;
    use mesh_model::config::http::HttpClientConfig;
    use tokio::net::TcpListener;

    use super::*;
    use crate::ApiServer;

    /// Starts an API server that lists one namespace and answers the watch requests with
    /// `answer`, which gets their number.
    async fn client(answer: fn(usize) -> Response) -> Client {
        let watches = Arc::new(AtomicUsize::new(0));
        let respond = move |uri: Uri| {
            let is_watch = uri
                .query()
                .is_some_and(|query| query.contains("watch=true"));
            std::future::ready(if is_watch {
                answer(watches.fetch_add(1, Relaxed))
            } else {
                let item = r#"{"metadata": {"name": "n", "resourceVersion": "1"}}"#;
                let list =
                    format!(r#"{{"metadata": {{"resourceVersion": "1"}}, "items": [{item}]}}"#);
                list.into_response()
            })
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(respond);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let server = ApiServer::Url {
            url: url.parse().unwrap(),
            http: Box::new(HttpClientConfig::default()),
        };
        server.client().await.unwrap()
    }

    /// An accepted watch without events.
    fn quiet() -> Response {
        ResponseBody::from_stream(stream::pending::<Result<String, std::io::Error>>())
            .into_response()
    }

    /// Returns the first items of a watch: the names of events and of recoveries, and the
    /// reasons of failures.
    async fn items(client: Client, count: usize) -> Vec<String> {
        let watched = watch(client, Api::<Namespace>::all, watcher::Config::default());
        let named = watched.map(|item| match item {
            Ok(Watched::Event(event)) => event.to_string(),
            Ok(Watched::Recovered) => "recovered".to_owned(),
            Err(error) => WatchFailure(&error).reason().to_owned(),
        });
        named.take(count).collect().await
    }

    #[tokio::test]
    async fn a_watch_without_events_recovers() {
        let client = client(|watch| match watch {
            0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => quiet(),
        });
        let items = items(client.await, 5).await;
        assert_eq!(
            items,
            ["Init", "InitApply(n)", "InitDone", "server", "recovered"]
        );
    }

    #[tokio::test]
    async fn a_watch_that_ends_at_once_does_not_recover() {
        let client = client(|watch| match watch {
            0 | 1 => "".into_response(),
            2 => r#"{"type": "ERROR", "object": {"code": 500, "message": "m", "reason": "r"}}"#
                .into_response(),
            _ => quiet(),
        });
        let items = items(client.await, 7).await;
        let failures = ["connection", "connection", "server", "recovered"];
        assert_eq!(items[3..], failures);
    }

    #[tokio::test]
    async fn a_new_list_recovers() {
        let client = client(|watch| match watch {
            0 => StatusCode::GONE.into_response(),
            _ => quiet(),
        });
        let items = items(client.await, 8).await;
        let again = ["gone", "Init", "InitApply(n)", "InitDone", "recovered"];
        assert_eq!(items[3..], again);
    }
}
