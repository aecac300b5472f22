//! EndpointSlices that pods see late or never.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use crate::chaos::{cluster::Cluster, shape::Tier, views::Propagation};

/// Delay, in milliseconds.
const LATE: std::ops::Range<u64> = 10_000..14_000;
const AWAY: Duration = Duration::from_secs(12);

/// One receiver learns late that another one started and stopped. For some time two
/// receivers own the same targets, and later none does.
pub(crate) async fn receivers(cluster: &mut Cluster) -> anyhow::Result<()> {
    let tier = Tier::Receiver(0);
    let pod = cluster.pick(tier)?;
    let late = Duration::from_millis(cluster.rng.random_range(LATE));
    cluster.pods[pod].propagation = Some(Propagation::After(late));
    let new = cluster.scale_up(tier).await?;
    sleep(late + cluster.shape.interval * 2).await;
    cluster.scale_down(new).await?;
    sleep(late).await;
    cluster.pods[pod].propagation = None;
    cluster.end_fault();
    Ok(())
}

/// A receiver never learns that an exporter was replaced, until its last known exporter is
/// gone.
pub(crate) async fn exporters(cluster: &mut Cluster) -> anyhow::Result<()> {
    let group = cluster.rng.random_range(0..cluster.shape.groups);
    let blind = cluster.pick(Tier::Receiver(group))?;
    cluster.pods[blind].propagation = Some(Propagation::Never);
    let old = cluster.pick(Tier::Exporter)?;
    cluster.scale_up(Tier::Exporter).await?;
    cluster.scale_down(old).await?;
    sleep(AWAY).await;
    cluster.pods[blind].propagation = None;
    cluster.publish(Tier::Exporter);
    cluster.end_fault();
    Ok(())
}
