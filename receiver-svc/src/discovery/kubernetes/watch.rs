//! One LIST and WATCH, for as long as somebody follows it.

use std::{mem, pin::pin, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};
use mesh::kubernetes::WatchFailure;
use tokio::task::AbortHandle;
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
    /// Lists and watches for ever. Until a list is complete the objects known last
    /// stay.
    async fn run(mut self, api: Api<K>) {
        let config = watcher::Config {
            label_selector: non_empty(&self.scope.labels),
            field_selector: non_empty(&self.scope.fields),
            ..watcher::Config::default()
        };
        let mut events = pin!(mesh::kubernetes::watch(api, config));
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event),
                Err(error) => self.failed(WatchFailure(&error)),
            }
        }
    }

    fn take(&mut self, event: Event<K>) {
        let name = match event {
            Event::Init => {
                self.listed.clear();
                return;
            }
            Event::InitApply(mut object) => {
                object.strip();
                self.listed.push(object);
                return;
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
        if self.failing.take().is_some() {
            info!(resource = %K::plural(&()), scope = %self.scope, "Kubernetes objects watched again");
        }
    }

    fn failed(&mut self, failure: WatchFailure<'_>) {
        let reason = failure.reason();
        self.metrics.failed(reason);
        let resource = K::plural(&());
        self.store
            .fail(format!("{resource} in {}: {failure}", self.scope));
        if self.failing.replace(reason) != Some(reason) {
            warn!(%resource, scope = %self.scope, reason, error = %failure, "Kubernetes objects not watched, the last ones stay");
        }
    }
}

fn non_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}
