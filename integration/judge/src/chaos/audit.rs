//! Looks at the accounts and the memory of living services, again and again.

use std::collections::BTreeSet;

use super::{pod::Pod, shape::Tier, world::World};
use harness::books::Account;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    complaints: BTreeSet<String>,
}

// === impl Audit ===

impl Audit {
    /// Looks at all senders that answer: their accounts balance at any time, and what
    /// waits is within its bound.
    pub(crate) async fn look(&mut self, world: &World) {
        let senders = world
            .pods
            .iter()
            .filter(|pod| pod.is_sender() && pod.runs());
        for pod in senders {
            if let Some(complaint) = complaint(pod).await {
                self.complaints.insert(complaint);
            }
        }
    }

    /// All that was wrong.
    pub(crate) fn complaints(self) -> Vec<String> {
        self.complaints.into_iter().collect()
    }
}

async fn complaint(pod: &Pod) -> Option<String> {
    // Whoever does not answer now is asked again later.
    let metrics = pod.service.metrics().await.ok()?;
    let prefix = match pod.tier {
        Tier::Gateway => "promesh_gateway",
        _ => "promesh_receiver",
    };
    let name = &pod.service.name;
    let account = Account::of_metrics(&metrics, prefix);
    if !account.balances() {
        return Some(format!("{name} does not balance: {account:?}"));
    }
    let bytes = metrics.sum(&format!("{prefix}_outbox_bytes"));
    let limit = metrics.sum(&format!("{prefix}_outbox_bytes_limit"));
    (bytes > limit).then(|| format!("{name} holds {bytes} bytes, {limit} are allowed"))
}
