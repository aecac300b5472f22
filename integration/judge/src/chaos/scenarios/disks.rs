//! Disks that fail under the receivers' outboxes while the backend is down.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{sleep, timeout};

use crate::chaos::{
    cluster::Cluster,
    shape::{Disk, Shape, Tier},
};
use harness::process::Process;

/// Time that the backend stays down after all disks have failed.
const AWAY: Duration = Duration::from_secs(5);
/// Maximum time until all disks have failed.
const TIMEOUT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(500);
const ERRORS: &str = "promesh_receiver_outbox_spill_errors_total";

/// Mesh with failing disks. Its receivers spill more than the disks hold.
pub(crate) fn shape(disk: Disk) -> Shape {
    Shape {
        groups: 1,
        targets: 24,
        disk,
        ..Shape::default()
    }
}

/// Keeps the backend down until the disks of all receivers have failed for this reason.
pub(crate) async fn fails(cluster: &mut Cluster, reason: &str) -> anyhow::Result<()> {
    cluster.stop_backend();
    for pod in cluster.running(Tier::Receiver(0)) {
        let service = &cluster.pods[pod].service;
        let failed = timeout(TIMEOUT, has_failed(service, reason)).await;
        failed.with_context(|| {
            format!("the disk of {} did not fail with {reason}", service.name)
        })??;
    }
    sleep(AWAY).await;
    cluster.restore_backend();
    Ok(())
}

async fn has_failed(service: &Process, reason: &str) -> anyhow::Result<()> {
    let label = format!("reason=\"{reason}\"");
    while service.metrics().await?.sum_where(ERRORS, &label) == 0.0 {
        sleep(POLL).await;
    }
    Ok(())
}
