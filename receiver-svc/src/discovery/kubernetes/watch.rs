//! One list and watch of a resource, which runs as long as it has subscribers.

use std::{mem, pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};
use mesh_kubernetes::WatchFailure;
use tokio::time::{Instant, sleep_until};
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
    /// The current failure; `None` while requests succeed.
    failure: Option<CurrentFailure>,
}

/// A failure from which a watch has not recovered.
#[derive(Clone, Copy, Debug)]
struct CurrentFailure {
    /// Reason as a metric label. A repeated reason is logged once.
    reason: &'static str,
    /// Time of the last failed request.
    at: Instant,
}

/// Time without a failed request after which a watch without events has recovered. Longer
/// than the delay before a retry and the timeout of its start together.
const RECOVERY: Duration = Duration::from_secs(20);

// === impl Watch ===

impl<K: Object> Watch<K> {
    pub(super) fn start(client: Client, scope: Scope, metrics: &KubernetesMetrics) -> Self {
        let store = Arc::new(Store::default());
        let api = match &scope.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &()),
            None => Api::all_with(client, &()),
        };
        let task = WatchTask {
            store: store.clone(),
            scope,
            metrics: metrics.watch(&K::plural(&())),
            listed: Vec::new(),
            failure: None,
        };
        Self {
            store,
            _task: AbortOnDropHandle::new(tokio::spawn(task.run(api))),
        }
    }
}

// === impl WatchTask ===

impl<K: Object> WatchTask<K> {
    /// Lists and watches until the task is aborted. The last objects stay until a new
    /// list is complete.
    async fn run(mut self, api: Api<K>) {
        let config = watcher::Config {
            label_selector: non_empty(&self.scope.labels),
            field_selector: non_empty(&self.scope.fields),
            ..watcher::Config::default()
        };
        let mut events = pin!(mesh_kubernetes::watch(api, config));
        loop {
            let recovery = self.failure.map(|failure| failure.at + RECOVERY);
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                () = sleep_until(recovery.unwrap_or_else(Instant::now)), if recovery.is_some() => {
                    self.recovered();
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => self.handle(event),
                Some(Err(error)) => self.failed(WatchFailure(&error)),
                None => return,
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
        self.recovered();
    }

    fn recovered(&mut self) {
        if self.failure.take().is_some() {
            self.metrics.recovered();
            info!(resource = %K::plural(&()), scope = %self.scope, "Kubernetes watch recovered");
        }
    }

    fn failed(&mut self, failure: WatchFailure<'_>) {
        let reason = failure.reason();
        self.metrics.failed(reason);
        let resource = K::plural(&());
        self.store
            .fail(format!("{resource} in {}: {failure}", self.scope));
        let current = CurrentFailure {
            reason,
            at: Instant::now(),
        };
        let last = self.failure.replace(current);
        if last.is_none_or(|last| last.reason != reason) {
            warn!(%resource, scope = %self.scope, reason, error = %failure, "Kubernetes watch failed, keeping the last objects");
        }
    }
}

fn non_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}
