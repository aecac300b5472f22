//! What a pod knows of the others: a Kubernetes API server of its own, which may be
//! told late.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use mesh_base::clock::Clock;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use stand_ins::kube_api::{KubeApi, endpoint_slice, with_unready};

/// The namespace of all services.
pub(crate) const NAMESPACE: &str = "mesh";

/// How soon a pod learns of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// After this long.
    After(Duration),
    /// Not at all, until it sees again.
    Never,
}

/// The endpoints of a service.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints<T> {
    /// Those that are ready.
    pub ready: Vec<T>,
    /// Those that start, end or have been killed.
    pub unready: Vec<T>,
}

/// What one pod sees.
#[derive(Debug)]
pub(crate) struct View {
    kubeconfig: PathBuf,
    /// What it is told, and when: in this order, whatever is due first.
    news: mpsc::UnboundedSender<(Instant, Value)>,
    server: JoinHandle<()>,
}

// === impl Endpoints ===

impl<T> Endpoints<T> {
    /// Those that somebody sees, as it sees them.
    pub(crate) fn seen<U>(&self, see: impl Fn(&T) -> Option<U>) -> Endpoints<U> {
        Endpoints {
            ready: self.ready.iter().filter_map(&see).collect(),
            unready: self.unready.iter().filter_map(&see).collect(),
        }
    }
}

// === impl View ===

impl View {
    /// Starts the server of a pod.
    ///
    /// # Errors
    /// Where it cannot listen or its file not be written.
    pub(crate) async fn start(folder: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let api = KubeApi::start().await?;
        let kubeconfig = api.write_kubeconfig(&folder)?;
        let (news, mut told) = mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            while let Some((due, slice)) = told.recv().await {
                sleep_until(due).await;
                api.apply(slice);
            }
        });
        Ok(Self {
            kubeconfig,
            news,
            server,
        })
    }

    /// The file that leads a service to it.
    pub(crate) fn kubeconfig(&self) -> String {
        self.kubeconfig.display().to_string()
    }

    /// Tells who stands behind a service. Returns when the pod is told, in
    /// milliseconds since the Unix epoch; `None` where it is not.
    pub(crate) fn tell(
        &self,
        service: &str,
        endpoints: &Endpoints<IpAddr>,
        sight: Sight,
    ) -> Option<i64> {
        let Sight::After(delay) = sight else {
            return None;
        };
        let slice = endpoint_slice(NAMESPACE, service, &endpoints.ready);
        let slice = with_unready(slice, &endpoints.unready);
        self.news.send((Instant::now() + delay, slice)).ok()?;
        Some(Clock::system().now_ms() + delay.as_millis() as i64)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.server.abort();
    }
}
