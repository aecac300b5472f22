//! Disks that fail under the outboxes of receivers while the backend is away.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{sleep, timeout};

use crate::chaos::{ shape::{Disk, Shape, Tier}, world::World, };
use harness::child::Service;

/// How long the backend is away after all disks have failed.
const AWAY: Duration = Duration::from_secs(5);
/// How long it may take until they have.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(500);
const ERRORS: &str = "promesh_receiver_outbox_spill_errors_total";

/// A mesh with such disks, whose receivers have more to spill than there is room.
pub(crate) fn shape(disk: Disk) -> Shape {
    Shape {
        groups: 1,
        targets: 24,
        disk,
        ..Shape::default()
    }
}

/// The backend is away until the disks of all receivers have failed for this reason.
pub(crate) async fn fails(world: &mut World, reason: &str) -> anyhow::Result<()> {
    world.lose_backend();
    for pod in world.of(Tier::Receiver(0)) {
        let service = &world.pods[pod].service;
        let failed = timeout(PATIENCE, has_failed(service, reason)).await;
        failed
            .with_context(|| format!("the disk of {} never failed: {reason}", service.name))??;
    }
    sleep(AWAY).await;
    world.heal_backend();
    Ok(())
}

async fn has_failed(service: &Service, reason: &str) -> anyhow::Result<()> {
    let label = format!("reason=\"{reason}\"");
    while service.metrics().await?.sum_where(ERRORS, &label) == 0.0 {
        sleep(POLL).await;
    }
    Ok(())
}
