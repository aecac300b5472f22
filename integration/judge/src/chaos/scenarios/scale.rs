//! Scaling of a tier from two pods to five, then to one.

use std::time::Duration;

use rand::{Rng, seq::SliceRandom};
use tokio::time::sleep;

use crate::chaos::{cluster::Cluster, shape::Tier};

const MOST: usize = 5;

/// Adds pods up to five, then removes random ones until one is left.
pub(crate) async fn up_and_down(cluster: &mut Cluster, tier: Tier) -> anyhow::Result<()> {
    while cluster.running(tier).len() < MOST {
        cluster.scale_up(tier).await?;
        pause(cluster).await;
    }
    sleep(cluster.shape.interval * 2).await;
    let mut all = cluster.running(tier);
    all.shuffle(&mut cluster.rng);
    for pod in &all[1..] {
        cluster.scale_down(*pod).await?;
        pause(cluster).await;
    }
    cluster.end_fault();
    Ok(())
}

async fn pause(cluster: &mut Cluster) {
    let most = cluster.shape.interval.as_millis() as u64;
    sleep(Duration::from_millis(cluster.rng.random_range(0..2 * most))).await;
}
