//! Clock steps.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use crate::chaos::{cluster::Cluster, shape::Tier};

const STEP_MS: std::ops::Range<i64> = 3_000..20_000;
const PAUSE: Duration = Duration::from_secs(10);

/// Sets one receiver's clock forward or back, and then corrects it.
pub(crate) async fn steps(cluster: &mut Cluster) -> anyhow::Result<()> {
    let pod = cluster.pick(Tier::Receiver(0))?;
    let step_ms = cluster.rng.random_range(STEP_MS);
    let ahead = cluster.rng.random_bool(0.5);
    cluster.set_clock(pod, if ahead { step_ms } else { -step_ms })?;
    sleep(PAUSE).await;
    cluster.set_clock(pod, 0)?;
    // The fault ends once the clock shows new times.
    sleep(Duration::from_millis(step_ms.unsigned_abs())).await;
    cluster.end_fault();
    Ok(())
}
