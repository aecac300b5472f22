//! Secrets and ConfigMaps of the cluster, read by `get` and kept in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use mesh_monitors::{Data, Materials, Reference, Source};
use parking_lot::Mutex;
use tokio::time::timeout;

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of concurrent requests.
const CONCURRENCY: usize = 8;

/// Secrets and ConfigMaps that monitors refer to. `Debug` does not print their values.
#[derive(Debug)]
pub(super) struct Cached {
    known: BTreeMap<Reference, Result<Arc<Data>, String>>,
    /// References since the last call of [`Cached::forget_unused`].
    used: Mutex<BTreeSet<Reference>>,
}

/// Result of reading objects.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    /// The API server did not answer some request.
    pub(super) is_away: bool,
    /// Some value differs from the one before.
    pub(super) has_changed: bool,
}

/// A failed request.
enum Failure {
    /// The API server says that there is no such object, or forbids to read it.
    Refused(String),
    /// The API server did not answer as expected.
    Away(String),
}

impl Materials for Cached {
    fn find(&self, reference: &Reference) -> Result<Arc<Data>, String> {
        self.used.lock().insert(reference.clone());
        match self.known.get(reference) {
            Some(known) => known.clone(),
            None => Err("not read yet".to_owned()),
        }
    }
}

// === impl Cached ===

impl Cached {
    pub(super) fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            used: Mutex::default(),
        }
    }

    /// Returns the references that were looked up and have not been read.
    pub(super) fn missing(&self) -> Vec<Reference> {
        let used = self.used.lock();
        let unknown = used.iter().filter(|used| !self.known.contains_key(used));
        unknown.cloned().collect()
    }

    /// Returns all references that are known.
    pub(super) fn all(&self) -> Vec<Reference> {
        self.known.keys().cloned().collect()
    }

    /// Forgets objects that no monitor refers to any more.
    pub(super) fn forget_unused(&mut self) {
        let used = std::mem::take(&mut *self.used.lock());
        self.known.retain(|reference, _| used.contains(reference));
    }

    /// Reads objects. Values that were read before stay while the API server is away.
    pub(super) async fn read(&mut self, client: &Client, references: Vec<Reference>) -> Read {
        let reads = references.into_iter().map(|reference| async {
            let read = timeout(TIMEOUT, read(client, &reference)).await;
            let away = |_| Err(Failure::Away(format!("no answer within {TIMEOUT:?}")));
            (reference, read.unwrap_or_else(away))
        });
        let mut reads = stream::iter(reads).buffer_unordered(CONCURRENCY);
        let mut result = Read::default();
        while let Some((reference, read)) = reads.next().await {
            let known = match read {
                Ok(data) => Ok(Arc::new(data)),
                Err(Failure::Refused(why)) => Err(why),
                Err(Failure::Away(why)) => {
                    result.is_away = true;
                    match self.known.get(&reference) {
                        Some(Ok(known)) => Ok(known.clone()),
                        _ => Err(why),
                    }
                }
            };
            result.has_changed |= self.known.get(&reference) != Some(&known);
            self.known.insert(reference, known);
        }
        result
    }
}

async fn read(client: &Client, reference: &Reference) -> Result<Data, Failure> {
    let (namespace, name) = (&reference.namespace, &reference.name);
    let read = match reference.source {
        Source::Secret => {
            let api = Api::<Secret>::namespaced(client.clone(), namespace);
            api.get(name).await.map(|secret| {
                let data = secret.data.unwrap_or_default().into_iter();
                data.map(|(key, value)| (key, value.0)).collect()
            })
        }
        Source::ConfigMap => {
            let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
            api.get(name).await.map(|map| {
                let data = map.data.unwrap_or_default().into_iter();
                data.map(|(key, value)| (key, value.into_bytes())).collect()
            })
        }
    };
    read.map(Data).map_err(|error| match error {
        kube::Error::Api(status) if status.code == 404 => Failure::Refused("not found".to_owned()),
        kube::Error::Api(status) if status.code == 403 => Failure::Refused(format!(
            "{}; allow the service account to get it",
            status.message
        )),
        error => Failure::Away(error.to_string()),
    })
}
