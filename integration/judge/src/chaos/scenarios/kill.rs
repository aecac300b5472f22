//! Kills (SIGKILL).

use std::time::Duration;

use rand::{Rng, seq::SliceRandom};
use tokio::time::sleep;

use crate::chaos::{cluster::Cluster, shape::Tier};

const AWAY: Duration = Duration::from_secs(8);
/// Maximum time until Kubernetes notices a killed container, in milliseconds.
const DETECTION_MS: u64 = 2_000;
const KILLS: usize = 4;

/// Kills `n` exporters at once. They stay listed with a probability of one half.
pub(crate) async fn exporters(cluster: &mut Cluster, n: usize) -> anyhow::Result<()> {
    let mut all = cluster.running(Tier::Exporter);
    all.shuffle(&mut cluster.rng);
    let (killed, listed) = (&all[..n], cluster.rng.random_bool(0.5));
    for &pod in killed {
        cluster.kill(pod).await?;
        cluster.pods[pod].listed = listed;
    }
    cluster.publish(Tier::Exporter);
    sleep(AWAY).await;
    for &pod in killed {
        cluster.restart(pod).await?;
        cluster.pods[pod].listed = true;
    }
    cluster.publish(Tier::Exporter);
    cluster.end_fault();
    Ok(())
}

/// Kills a gateway.
pub(crate) async fn gateway(cluster: &mut Cluster) -> anyhow::Result<()> {
    let pod = cluster.pick(Tier::Gateway)?;
    cluster.kill(pod).await?;
    sleep(AWAY).await;
    cluster.restart(pod).await?;
    cluster.end_fault();
    Ok(())
}

/// Kills a receiver of a random group. The others learn that it is gone, and later that it
/// is back at its address.
pub(crate) async fn receiver(cluster: &mut Cluster) -> anyhow::Result<()> {
    let group = cluster.rng.random_range(0..cluster.shape.groups);
    let tier = Tier::Receiver(group);
    let pod = cluster.pick(tier)?;
    cluster.kill(pod).await?;
    let seen = Duration::from_millis(cluster.rng.random_range(0..DETECTION_MS));
    sleep(seen).await;
    cluster.pods[pod].listed = false;
    let last_update_ms = cluster.publish(tier);
    cluster.end_absence(pod, last_update_ms);
    sleep(cluster.shape.interval * 3).await;
    cluster.restart(pod).await?;
    cluster.pods[pod].listed = true;
    cluster.publish(tier);
    cluster.end_fault();
    Ok(())
}

/// Kills a spilling receiver repeatedly while the backend is down. Each process replays
/// what the earlier ones spilled.
pub(crate) async fn repeatedly(cluster: &mut Cluster) -> anyhow::Result<()> {
    let pod = cluster.pick(Tier::Receiver(0))?;
    cluster.stop_backend();
    for _ in 0..KILLS {
        let alive = Duration::from_millis(cluster.rng.random_range(3_000..8_000));
        sleep(alive).await;
        cluster.kill(pod).await?;
        cluster.restart(pod).await?;
    }
    cluster.restore_backend();
    Ok(())
}
