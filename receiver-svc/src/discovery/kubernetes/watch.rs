//! One list and watch of a resource, which runs as long as it has subscribers.

use std::{mem, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};
use mesh_kubernetes::{WatchFailure, Watched};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::{
    metrics::{KubernetesMetrics, WatchMetrics},
    objects::Object,
    store::Store,
    watches::Scope,
};

/// A watch that runs until it is dropped, and the store that it fills.
#[derive(Debug)]
pub(super) struct Watch<K> {
    pub(super) store: Arc<Store<K>>,
    _task: AbortOnDropHandle<()>,
}

/// Task that runs a watch and fills its store.
struct WatchTask<K> {
    store: Arc<Store<K>>,
    scope: Scope,
    metrics: WatchMetrics,
    /// Objects of an incomplete list.
    listed: Vec<Arc<K>>,
    /// Reason of the current failure; `None` while requests succeed. A repeated reason is
    /// logged once.
    failure: Option<&'static str>,
}

// === impl Watch ===

impl<K: Object> Watch<K> {
    pub(super) fn start(client: Client, scope: Scope, metrics: &KubernetesMetrics) -> Self {
        let store = Arc::new(Store::default());
        let task = WatchTask {
            store: store.clone(),
            scope,
            metrics: metrics.watch(&K::plural(&())),
            listed: Vec::new(),
            failure: None,
        };
        Self {
            store,
            _task: AbortOnDropHandle::new(tokio::spawn(task.run(client))),
        }
    }
}

// === impl WatchTask ===

impl<K: Object> WatchTask<K> {
    /// Lists and watches until the task is aborted. The last objects stay until a new
    /// list is complete.
    async fn run(mut self, client: Client) {
        let config = watcher::Config {
            label_selector: non_empty(&self.scope.labels),
            field_selector: non_empty(&self.scope.fields),
            ..watcher::Config::default()
        };
        let namespace = self.scope.namespace.clone();
        let api = |client| match namespace {
            Some(namespace) => Api::namespaced_with(client, &namespace, &()),
            None => Api::all_with(client, &()),
        };
        let mut watched = mesh_kubernetes::watch(client, api, config);
        while let Some(item) = watched.next().await {
            match item {
                Ok(Watched::Event(event)) => self.handle(event),
                Ok(Watched::Recovered) => self.recovered(),
                Err(error) => self.failed(WatchFailure(&error)),
            }
        }
    }

    fn handle(&mut self, event: Event<K>) {
        let name = match event {
            Event::Init => {
                self.listed.clear();
                return;
            }
            Event::InitApply(object) => {
                self.listed.push(self.store.shared(object));
                return;
            }
            Event::InitDone => {
                self.store.replace_shared(mem::take(&mut self.listed));
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
    }

    fn recovered(&mut self) {
        self.failure = None;
        self.store.recover();
        self.metrics.recovered();
        info!(resource = %K::plural(&()), scope = %self.scope, "Kubernetes watch recovered");
    }

    fn failed(&mut self, failure: WatchFailure<'_>) {
        let reason = failure.reason();
        self.metrics.failed(reason);
        let resource = K::plural(&());
        self.store
            .fail(format!("{resource} in {}: {failure}", self.scope));
        if self.failure.replace(reason) != Some(reason) {
            warn!(%resource, scope = %self.scope, reason, error = %failure, "Kubernetes watch failed, keeping the last objects");
        }
    }
}

fn non_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}
