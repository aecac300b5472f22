//! Rolling updates.

use rand::seq::SliceRandom;
use tokio::time::sleep;

use crate::chaos::{shape::Tier, world::World};

/// A new pod for each old one: it is ready and listed before the old one is told to
/// stop.
pub(crate) async fn all(world: &mut World, tier: Tier) -> anyhow::Result<()> {
    let mut old = world.of(tier);
    old.shuffle(&mut world.rng);
    for pod in old {
        world.scale_up(tier).await?;
        world.scale_down(pod).await?;
        sleep(world.shape.interval).await;
    }
    world.mended();
    Ok(())
}
