//! EndpointSlices that are seen late, or not at all.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use crate::chaos::{shape::Tier, views::Sight, world::World};

/// As late as this, in milliseconds.
const LATE: std::ops::Range<u64> = 10_000..14_000;
const AWAY: Duration = Duration::from_secs(12);

/// One receiver sees late that another one came, and late that it went: for some
/// time two of them own the same targets, then nobody does.
pub(crate) async fn receivers(world: &mut World) -> anyhow::Result<()> {
    let tier = Tier::Receiver(0);
    let pod = world.any(tier)?;
    let late = Duration::from_millis(world.rng.random_range(LATE));
    world.pods[pod].sight = Some(Sight::After(late));
    let new = world.scale_up(tier).await?;
    sleep(late + world.shape.interval * 2).await;
    world.scale_down(new).await?;
    sleep(late).await;
    world.pods[pod].sight = None;
    world.mended();
    Ok(())
}

/// A receiver sees neither that an exporter went nor that one came, until the last of
/// those it knows is gone.
pub(crate) async fn exporters(world: &mut World) -> anyhow::Result<()> {
    let group = world.rng.random_range(0..world.shape.groups);
    let blind = world.any(Tier::Receiver(group))?;
    world.pods[blind].sight = Some(Sight::Never);
    let old = world.any(Tier::Exporter)?;
    world.scale_up(Tier::Exporter).await?;
    world.scale_down(old).await?;
    sleep(AWAY).await;
    world.pods[blind].sight = None;
    world.publish(Tier::Exporter);
    world.mended();
    Ok(())
}
