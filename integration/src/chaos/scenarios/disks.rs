//! Disks that fail under the outboxes of receivers while the backend is away.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;

use crate::{
    amp::Fault,
    chaos::{
        shape::{Disk, Shape, Tier},
        world::World,
    },
};

const AWAY: Duration = Duration::from_secs(20);

/// A mesh with such disks, whose receivers have more to spill than there is room.
pub(crate) fn shape(disk: Disk) -> Shape {
    Shape {
        groups: 1,
        targets: 24,
        disk,
        ..Shape::default()
    }
}

/// The backend is away until disks have failed for this reason.
pub(crate) async fn fails(world: &mut World, reason: &str) -> anyhow::Result<()> {
    let faults = world.amp.backend().faults().clone();
    faults.always(Some(Fault::status(503, "told to fail")));
    sleep(AWAY).await;
    let mut errors = 0.0;
    for pod in world.of(Tier::Receiver(0)) {
        let metrics = world.pods[pod].service.metrics().await?;
        let name = "promesh_receiver_outbox_spill_errors_total";
        errors += metrics.sum_where(name, &format!("reason=\"{reason}\""));
    }
    ensure!(errors > 0.0, "no disk has failed ({reason})");
    faults.always(None);
    world.mended();
    Ok(())
}
