//! One LIST and WATCH, for as long as somebody follows it.

use std::{mem, pin::pin, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event, watcher},
};
use mesh::kubernetes::{WatchFailure, backoff};
use tokio::{task::AbortHandle, time::sleep};
use tracing::{info, warn};

use super::{
    metrics::{KubernetesMetrics, WatchMetrics},
    objects::Object,
    store::Store,
    watches::Scope,
};

/// A watch that runs until it is dropped, and the objects it knows.
#[derive(Debug)]
pub(super) struct Watch<K> {
    pub(super) store: Arc<Store<K>>,
    task: AbortHandle,
}

/// What a running watch writes to.
struct Watching<K> {
    store: Arc<Store<K>>,
    scope: Scope,
    metrics: WatchMetrics,
    /// The objects of a list that is not complete yet.
    listed: Vec<K>,
    /// Why it does not work, where it does not: the same reason is told once.
    failing: Option<&'static str>,
}

// === impl Watch ===

impl<K: Object> Watch<K> {
    pub(super) fn start(client: Client, scope: Scope, metrics: &KubernetesMetrics) -> Self {
        let store = Arc::new(Store::default());
        let api = match &scope.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &()),
            None => Api::all_with(client, &()),
        };
        let watching = Watching {
            store: store.clone(),
            scope,
            metrics: metrics.watch(&K::plural(&())),
            listed: Vec::new(),
            failing: None,
        };
        Self {
            store,
            task: tokio::spawn(watching.run(api)).abort_handle(),
        }
    }
}

impl<K> Drop for Watch<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Watching ===

impl<K: Object> Watching<K> {
    /// Lists and watches for ever. A watch that ends goes on where it was, and
    /// begins anew with a list where the API server no longer knows that; until
    /// that list is complete the objects known last stay.
    async fn run(mut self, api: Api<K>) {
        let config = watcher::Config {
            label_selector: non_empty(&self.scope.labels),
            field_selector: non_empty(&self.scope.fields),
            ..watcher::Config::default()
        };
        let mut events = pin!(watcher(api, config));
        let mut backoff = backoff();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if self.take(event) {
                        self.succeeded();
                        backoff.reset();
                    }
                }
                Err(error) => {
                    self.failed(WatchFailure(&error));
                    sleep(backoff.delay()).await;
                }
            }
        }
    }

    /// Takes up an event; `false` where it says nothing new.
    fn take(&mut self, event: Event<K>) -> bool {
        let name = match event {
            Event::Init => {
                self.listed.clear();
                return false;
            }
            Event::InitApply(mut object) => {
                object.strip();
                self.listed.push(object);
                return false;
            }
            Event::InitDone => {
                self.store.replace(mem::take(&mut self.listed));
                "listed"
            }
            Event::Apply(object) => {
                self.store.apply(object);
                "applied"
            }
            Event::Delete(object) => {
                self.store.delete(&object.key());
                "deleted"
            }
        };
        self.metrics.event(name, self.store.len());
        true
    }

    fn succeeded(&mut self) {
        if self.failing.take().is_some() {
            info!(resource = %K::plural(&()), scope = %self.scope, "Kubernetes objects watched again");
        }
    }

    fn failed(&mut self, failure: WatchFailure<'_>) {
        let reason = failure.reason();
        self.metrics.failed(reason);
        if self.failing.replace(reason) != Some(reason) {
            warn!(resource = %K::plural(&()), scope = %self.scope, reason, error = %failure, "Kubernetes objects not watched, the last ones stay");
        }
    }
}

fn non_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}
