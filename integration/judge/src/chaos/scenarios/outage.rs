//! Long outages of the backend.

use std::time::Duration;

use tokio::time::sleep;

use crate::chaos::{shape::Shape, world::World};

const MINUTE: Duration = Duration::from_secs(60);
/// A minute of the hastened outage: the five from an outbox' bound to the backend's
/// are still more than a deadline, which is not hastened.
const HASTENED_MINUTE: Duration = Duration::from_secs(3);
const MINUTES: u32 = 70;

/// A mesh at a twentieth of all times: a scrape a minute, an outbox that keeps batches
/// for 55 minutes, a backend that takes samples of the last hour. The heartbeat, whose
/// ten seconds cannot be hastened, is off.
pub(crate) fn hastened(shape: Shape) -> Shape {
    Shape {
        interval: HASTENED_MINUTE,
        max_sample_age: HASTENED_MINUTE * 60,
        max_batch_age: HASTENED_MINUTE * 55,
        receiver_flags: vec!["--ha.heartbeat-interval=0".to_owned()],
        ..shape
    }
}

/// Ten minutes.
pub(crate) async fn ten_minutes(world: &mut World) -> anyhow::Result<()> {
    down(world, MINUTE * 10).await
}

/// Seventy minutes, hastened.
pub(crate) async fn seventy_minutes(world: &mut World) -> anyhow::Result<()> {
    down(world, HASTENED_MINUTE * MINUTES).await
}

async fn down(world: &mut World, time: Duration) -> anyhow::Result<()> {
    world.lose_backend();
    sleep(time).await;
    world.heal_backend();
    Ok(())
}
