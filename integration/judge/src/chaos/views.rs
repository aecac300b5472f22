//! View that a pod has of the others. Each pod has its own Kubernetes API server, which can
//! be late.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use mesh_base::clock::Clock;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use stand_ins::kube_api::{KubeApi, endpoint_slice, with_unready};

/// Namespace of all services.
pub(crate) const NAMESPACE: &str = "mesh";

/// Delay until a pod learns of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// After this time.
    After(Duration),
    /// Never, until the delay is reset.
    Never,
}

/// Endpoints of a service.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints<T> {
    /// Ready endpoints.
    pub ready: Vec<T>,
    /// Endpoints that are starting, stopping or killed.
    pub unready: Vec<T>,
}

/// Kubernetes API server of one pod.
#[derive(Debug)]
pub(crate) struct View {
    kubeconfig: PathBuf,
    /// Updates with the times at which they are due. They are applied in this order.
    updates: mpsc::UnboundedSender<(Instant, Value)>,
    _server: AbortOnDropHandle<()>,
}

// === impl Endpoints ===

impl<T> Endpoints<T> {
    /// Endpoints as one pod sees them. `see` returns `None` for an endpoint that the pod
    /// cannot reach.
    pub(crate) fn seen<U>(&self, see: impl Fn(&T) -> Option<U>) -> Endpoints<U> {
        Endpoints {
            ready: self.ready.iter().filter_map(&see).collect(),
            unready: self.unready.iter().filter_map(&see).collect(),
        }
    }
}

// === impl View ===

impl View {
    /// Starts the API server of a pod.
    ///
    /// # Errors
    /// Returns an error if it cannot listen or its kubeconfig cannot be written.
    pub(crate) async fn start(folder: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let api = KubeApi::start().await?;
        let kubeconfig = api.write_kubeconfig(&folder)?;
        let (updates, mut updates_due) = mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            while let Some((due, slice)) = updates_due.recv().await {
                sleep_until(due).await;
                api.apply(slice);
            }
        });
        Ok(Self {
            kubeconfig,
            updates,
            _server: AbortOnDropHandle::new(server),
        })
    }

    /// Path of the kubeconfig file.
    pub(crate) fn kubeconfig(&self) -> String {
        self.kubeconfig.display().to_string()
    }

    /// Sends the endpoints of a service. Returns the time at which the pod learns of them,
    /// in milliseconds since the Unix epoch, or `None` if it does not.
    pub(crate) fn update(
        &self,
        service: &str,
        endpoints: &Endpoints<IpAddr>,
        propagation: Propagation,
    ) -> Option<i64> {
        let Propagation::After(delay) = propagation else {
            return None;
        };
        let slice = endpoint_slice(NAMESPACE, service, &endpoints.ready);
        let slice = with_unready(slice, &endpoints.unready);
        self.updates.send((Instant::now() + delay, slice)).ok()?;
        Some(Clock::system().now_ms() + delay.as_millis() as i64)
    }
}
