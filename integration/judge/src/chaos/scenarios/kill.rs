//! SIGKILL.

use std::time::Duration;

use rand::{Rng, seq::SliceRandom};
use tokio::time::sleep;

use crate::chaos::{shape::Tier, world::World};

const AWAY: Duration = Duration::from_secs(8);
/// How long a killed container takes to be seen, at most, in milliseconds.
const SEEN_MS: u64 = 2_000;
const KILLS: usize = 4;

/// Kills so many exporters at once. Chance has it whether they stay listed.
pub(crate) async fn exporters(world: &mut World, n: usize) -> anyhow::Result<()> {
    let mut all = world.of(Tier::Exporter);
    all.shuffle(&mut world.rng);
    let (killed, listed) = (&all[..n], world.rng.random_bool(0.5));
    for &pod in killed {
        world.kill(pod).await?;
        world.pods[pod].listed = listed;
    }
    world.publish(Tier::Exporter);
    sleep(AWAY).await;
    for &pod in killed {
        world.restart(pod).await?;
        world.pods[pod].listed = true;
    }
    world.publish(Tier::Exporter);
    world.mended();
    Ok(())
}

/// Kills a gateway.
pub(crate) async fn gateway(world: &mut World) -> anyhow::Result<()> {
    let pod = world.any(Tier::Gateway)?;
    world.kill(pod).await?;
    sleep(AWAY).await;
    world.restart(pod).await?;
    world.mended();
    Ok(())
}

/// Kills a receiver of either group. The others learn that it is gone, and later that
/// it is back at its address.
pub(crate) async fn receiver(world: &mut World) -> anyhow::Result<()> {
    let group = world.rng.random_range(0..world.shape.groups);
    let tier = Tier::Receiver(group);
    let pod = world.any(tier)?;
    world.kill(pod).await?;
    let seen = Duration::from_millis(world.rng.random_range(0..SEEN_MS));
    sleep(seen).await;
    world.pods[pod].listed = false;
    let told_ms = world.publish(tier);
    world.replaced(pod, told_ms);
    sleep(world.shape.interval * 3).await;
    world.restart(pod).await?;
    world.pods[pod].listed = true;
    world.publish(tier);
    world.mended();
    Ok(())
}

/// Kills a spilling receiver over and over, while the backend is away: each of its
/// processes finds what the ones before it have spilled.
pub(crate) async fn over_and_over(world: &mut World) -> anyhow::Result<()> {
    let pod = world.any(Tier::Receiver(0))?;
    world.lose_backend();
    for _ in 0..KILLS {
        let alive = Duration::from_millis(world.rng.random_range(3_000..8_000));
        sleep(alive).await;
        world.kill(pod).await?;
        world.restart(pod).await?;
    }
    world.heal_backend();
    Ok(())
}
