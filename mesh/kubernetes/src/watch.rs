//! A watch of objects that never ends.

use std::{fmt::Debug, time::Duration};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use kube::{
    Api, Resource,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::failure::WatchFailure;
use mesh_base::backoff::Backoff;

/// Delay before the first retry.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
/// Maximum delay between two retries. The state is known again soon after an outage.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Maximum delay between two retries if the API server asks for a longer one.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(8);

struct Watch<K> {
    api: Api<K>,
    config: watcher::Config,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    backoff: Backoff,
    /// Delay before the next attempt, after a failure.
    delay: Option<Duration>,
    /// Set if the API server no longer has the resource version of the watch.
    is_version_expired: bool,
}

/// Lists the objects of a resource and watches their changes, forever.
///
/// After a failure it retries with the last resource version. If the API server no longer
/// has that version, it starts again with a new list.
///
/// kube's watcher does most of this. But it does not list again if the response status
/// rejects the version of a watch, and its own backoff restarts with each list.
pub fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let watch = Watch {
        events: watcher(api.clone(), config.clone()).boxed(),
        api,
        config,
        backoff: Backoff::with_bounds(MIN_RETRY_DELAY, MAX_RETRY_DELAY),
        delay: None,
        is_version_expired: false,
    };
    stream::unfold(watch, Watch::next)
}

// === impl Watch ===

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    async fn next(mut self) -> Option<(watcher::Result<Event<K>>, Self)> {
        if let Some(delay) = self.delay.take() {
            sleep(delay).await;
        }
        if self.is_version_expired {
            self.events = watcher(self.api.clone(), self.config.clone()).boxed();
            self.is_version_expired = false;
        }
        let event = self.events.next().await?;
        match &event {
            // The start of a list does not count as a success yet.
            Ok(Event::Init) => {}
            Ok(_) => self.backoff.reset(),
            Err(error) => {
                let failure = WatchFailure(error);
                let asked = failure.retry_after().unwrap_or_default();
                self.delay = Some(self.backoff.delay().max(asked.min(MAX_RETRY_AFTER)));
                self.is_version_expired = failure.reason() == "gone";
            }
        }
        Some((event, self))
    }
}
