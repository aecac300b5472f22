//! Rolling updates.

use rand::seq::SliceRandom;
use tokio::time::sleep;

use crate::chaos::{cluster::Cluster, shape::Tier};

/// Replaces each pod. The new one is ready and listed before the old one stops.
pub(crate) async fn all(cluster: &mut Cluster, tier: Tier) -> anyhow::Result<()> {
    let mut old = cluster.running(tier);
    old.shuffle(&mut cluster.rng);
    for pod in old {
        cluster.scale_up(tier).await?;
        cluster.scale_down(pod).await?;
        sleep(cluster.shape.interval).await;
    }
    cluster.end_fault();
    Ok(())
}
