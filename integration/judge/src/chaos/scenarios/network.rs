//! Partitions and black holes.

use std::time::Duration;

use mesh_base::clock::Clock;
use rand::Rng;
use tokio::time::sleep;

use crate::chaos::{shape::Tier, world::World};

/// Longer than a deadline, so that Exports under way are sent again while it lasts.
const CUT: std::ops::Range<u64> = 8_000..15_000;

/// Cuts all links of one pod that lead towards the backend.
pub(crate) async fn cut(world: &mut World, tier: Tier) -> anyhow::Result<()> {
    let pod = world.any(tier)?;
    world.pods[pod].cut(true);
    for_a_while(world).await;
    world.pods[pod].cut(false);
    world.mended();
    Ok(())
}

/// Lets a pod stand still.
pub(crate) async fn freeze(world: &mut World, tier: Tier) -> anyhow::Result<()> {
    let pod = world.any(tier)?;
    world.absent(pod, Clock::system().now_ms());
    world.pods[pod].service.freeze().await?;
    for_a_while(world).await;
    world.pods[pod].service.thaw().await?;
    world.replaced(pod, Clock::system().now_ms());
    world.mended();
    Ok(())
}

/// Lets all packets to one exporter vanish.
pub(crate) async fn black_hole(world: &mut World) -> anyhow::Result<()> {
    let pod = world.any(Tier::Exporter)?;
    let exporter = world.pods[pod].number;
    let links = |world: &World, cut: bool| {
        for link in world.pods.iter().filter_map(|pod| pod.links.get(&exporter)) {
            if cut { link.cut() } else { link.mend() }
        }
    };
    links(world, true);
    for_a_while(world).await;
    links(world, false);
    world.mended();
    Ok(())
}

async fn for_a_while(world: &mut World) {
    sleep(Duration::from_millis(world.rng.random_range(CUT))).await;
}
