//! Watching objects for as long as it takes.

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

use super::WatchFailure;
use mesh_base::backoff::Backoff;

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(15);

struct Watch<K> {
    api: Api<K>,
    config: watcher::Config,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    backoff: Backoff,
    /// What to wait before the next attempt.
    delay: Option<Duration>,
    /// The version that was watched from is forgotten.
    gone: bool,
}

/// The objects of a resource and their changes, for ever: after a failure there is
/// another attempt, from where the last one was or, where the API server knows that
/// no longer, from a new list.
///
/// kube's watcher sees to most of that. But it never lists again where a watch is
/// refused for its version by the status of the response, and its own back-off
/// begins anew with each attempt to list.
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
        backoff: Backoff::with_bounds(FIRST_RETRY, LONGEST_RETRY),
        delay: None,
        gone: false,
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
        if self.gone {
            self.events = watcher(self.api.clone(), self.config.clone()).boxed();
            self.gone = false;
        }
        let event = self.events.next().await?;
        match &event {
            // A list that begins is no success yet.
            Ok(Event::Init) => {}
            Ok(_) => self.backoff.reset(),
            Err(error) => {
                self.delay = Some(self.backoff.delay());
                self.gone = WatchFailure(error).reason() == "gone";
            }
        }
        Some((event, self))
    }
}
