//! A tier from two pods to five, and to one.

use std::time::Duration;

use rand::{Rng, seq::SliceRandom};
use tokio::time::sleep;

use crate::chaos::{shape::Tier, world::World};

const MOST: usize = 5;

/// Adds pods up to five, and takes them away down to one, in an order of chance: old
/// ones and new ones.
pub(crate) async fn two_five_one(world: &mut World, tier: Tier) -> anyhow::Result<()> {
    while world.of(tier).len() < MOST {
        world.scale_up(tier).await?;
        pause(world).await;
    }
    sleep(world.shape.interval * 2).await;
    let mut all = world.of(tier);
    all.shuffle(&mut world.rng);
    for pod in &all[1..] {
        world.scale_down(*pod).await?;
        pause(world).await;
    }
    world.mended();
    Ok(())
}

async fn pause(world: &mut World) {
    let most = world.shape.interval.as_millis() as u64;
    sleep(Duration::from_millis(world.rng.random_range(0..2 * most))).await;
}
