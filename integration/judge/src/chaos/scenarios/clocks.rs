//! Clocks that are set.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use crate::chaos::{shape::Tier, world::World};

const STEP_MS: std::ops::Range<i64> = 3_000..20_000;
const PAUSE: Duration = Duration::from_secs(10);

/// Sets one receiver's clock ahead or back, then to where it belongs.
pub(crate) async fn steps(world: &mut World) -> anyhow::Result<()> {
    let pod = world.any(Tier::Receiver(0))?;
    let step_ms = world.rng.random_range(STEP_MS);
    let ahead = world.rng.random_bool(0.5);
    world.set_clock(pod, if ahead { step_ms } else { -step_ms })?;
    sleep(PAUSE).await;
    world.set_clock(pod, 0)?;
    // It is mended once the clock shows new times.
    sleep(Duration::from_millis(step_ms.unsigned_abs())).await;
    world.mended();
    Ok(())
}
