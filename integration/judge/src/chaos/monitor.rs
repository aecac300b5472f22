//! Repeated checks of running services: accounts and memory.

use std::collections::BTreeSet;

use super::{cluster::Cluster, pod::Pod, shape::Tier};
use harness::account::Account;

/// Results of the checks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Monitor {
    violations: BTreeSet<String>,
}

// === impl Monitor ===

impl Monitor {
    /// Checks all senders that respond: their accounts balance, and their outboxes are
    /// within the limit.
    pub(crate) async fn check(&mut self, cluster: &Cluster) {
        let senders = cluster
            .pods
            .iter()
            .filter(|pod| pod.is_sender() && pod.is_running());
        for pod in senders {
            if let Some(violation) = violation(pod).await {
                self.violations.insert(violation);
            }
        }
    }

    /// Descriptions of all broken laws.
    pub(crate) fn violations(self) -> Vec<String> {
        self.violations.into_iter().collect()
    }
}

async fn violation(pod: &Pod) -> Option<String> {
    // A service that does not respond now is checked again later.
    let metrics = pod.service.metrics().await.ok()?;
    let prefix = match pod.tier {
        Tier::Gateway => "promesh_gateway",
        _ => "promesh_receiver",
    };
    let name = &pod.service.name;
    let account = Account::of_metrics(&metrics, prefix);
    if !account.balances() {
        return Some(format!("{name}: the account does not balance: {account:?}"));
    }
    let bytes = metrics.sum(&format!("{prefix}_outbox_bytes"));
    let limit = metrics.sum(&format!("{prefix}_outbox_bytes_limit"));
    (bytes > limit).then(|| format!("{name}: the outbox has {bytes} bytes, the limit is {limit}"))
}
