//! Clocks that are set.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use crate::chaos::{clock, shape::Tier, world::World};

const PAUSE: Duration = Duration::from_secs(10);

/// Sets one receiver's clock forward, then to where it belongs.
pub(crate) async fn steps(world: &mut World) -> anyhow::Result<()> {
    clock::library()?;
    let pod = world.any(Tier::Receiver(0))?;
    let folder = world.logs().join(&world.pods[pod].service.name);
    let step = world.rng.random_range(3..20);
    for seconds in [step, 0] {
        clock::set(&folder, seconds)?;
        sleep(PAUSE).await;
    }
    world.mended();
    Ok(())
}
