//! Partitions, stopped processes and lost packets.

use std::time::Duration;

use mesh_base::clock::Clock;
use rand::Rng;
use tokio::time::sleep;

use crate::chaos::{cluster::Cluster, shape::Tier};

/// Duration in milliseconds. It is longer than a deadline, so that exports in flight are
/// retried meanwhile.
const CUT: std::ops::Range<u64> = 8_000..15_000;

/// Cuts all links of one pod towards the backend.
pub(crate) async fn cut(cluster: &mut Cluster, tier: Tier) -> anyhow::Result<()> {
    let pod = cluster.pick(tier)?;
    cluster.pods[pod].cut(true);
    for_a_while(cluster).await;
    cluster.pods[pod].cut(false);
    cluster.end_fault();
    Ok(())
}

/// Stops a pod's process (SIGSTOP), and lets it continue.
pub(crate) async fn freeze(cluster: &mut Cluster, tier: Tier) -> anyhow::Result<()> {
    let pod = cluster.pick(tier)?;
    cluster.start_absence(pod, Clock::system().now_ms());
    cluster.pods[pod].service.freeze().await?;
    for_a_while(cluster).await;
    cluster.pods[pod].service.thaw().await?;
    cluster.end_absence(pod, Clock::system().now_ms());
    cluster.end_fault();
    Ok(())
}

/// Drops all packets to one exporter.
pub(crate) async fn black_hole(cluster: &mut Cluster) -> anyhow::Result<()> {
    let pod = cluster.pick(Tier::Exporter)?;
    let exporter = cluster.pods[pod].number;
    let links = |cluster: &Cluster, cut: bool| {
        for link in cluster
            .pods
            .iter()
            .filter_map(|pod| pod.links.get(&exporter))
        {
            if cut { link.cut() } else { link.restore() }
        }
    };
    links(cluster, true);
    for_a_while(cluster).await;
    links(cluster, false);
    cluster.end_fault();
    Ok(())
}

async fn for_a_while(cluster: &mut Cluster) {
    sleep(Duration::from_millis(cluster.rng.random_range(CUT))).await;
}
