//! Failures of the backend.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use crate::chaos::cluster::Cluster;
use stand_ins::amp::{Fault, Keys};

/// Metric of the targets that the backend refuses.
pub(crate) const REFUSED: &str = "test_gauge0";

const LATENCY: Duration = Duration::from_secs(10);
const SHORT_MS: std::ops::Range<u64> = 5_000..9_000;
const LONG_MS: std::ops::Range<u64> = 12_000..20_000;

/// The backend throttles (429) for a few seconds.
pub(crate) async fn throttle(cluster: &mut Cluster) -> anyhow::Result<()> {
    fail(cluster, Fault::throttle(1), SHORT_MS).await
}

/// The backend fails (500) for a few seconds.
pub(crate) async fn errors(cluster: &mut Cluster) -> anyhow::Result<()> {
    fail(cluster, Fault::status(500, "internal error"), SHORT_MS).await
}

/// The backend stores requests without a response, for less than an export's deadline.
pub(crate) async fn time_out(cluster: &mut Cluster) -> anyhow::Result<()> {
    fail(cluster, Fault::StoreAndHang, SHORT_MS).await
}

/// The backend stores requests without a response, for longer than an export's deadline.
pub(crate) async fn hang(cluster: &mut Cluster) -> anyhow::Result<()> {
    fail(cluster, Fault::StoreAndHang, LONG_MS).await
}

/// The backend rejects one metric and stores the others.
pub(crate) async fn reject_metric(cluster: &mut Cluster) -> anyhow::Result<()> {
    fail(cluster, Fault::RejectMetric(REFUSED.to_owned()), SHORT_MS).await
}

/// The backend stores each request ten seconds late.
pub(crate) async fn slow(cluster: &mut Cluster) -> anyhow::Result<()> {
    fail(cluster, Fault::Slow(LATENCY), LONG_MS).await?;
    // The backend still takes its time for requests that it has received.
    sleep(LATENCY).await;
    cluster.end_fault();
    Ok(())
}

/// The backend refuses new series while two targets are new.
pub(crate) async fn series_limit(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.fail_backend(Fault::SeriesLimit);
    for _ in 0..2 {
        cluster.add_target().await?;
    }
    sleep(Duration::from_millis(cluster.rng.random_range(SHORT_MS))).await;
    cluster.restore_backend();
    Ok(())
}

/// The keys become invalid. Some seconds later the exporters get new ones.
pub(crate) async fn rotated_credentials(cluster: &mut Cluster) -> anyhow::Result<()> {
    let keys = Keys {
        access_key: "AKIDROTATED".to_owned(),
        secret_key: "another+secret/key".to_owned(),
        ..Keys::example()
    };
    cluster.amp.backend().rotate(keys.clone());
    sleep(Duration::from_millis(cluster.rng.random_range(SHORT_MS))).await;
    cluster.rotate_credentials(&keys)?;
    cluster.end_fault();
    Ok(())
}

/// Applies a fault to every request for a random time.
async fn fail(
    cluster: &mut Cluster,
    fault: Fault,
    times_ms: std::ops::Range<u64>,
) -> anyhow::Result<()> {
    cluster.fail_backend(fault);
    sleep(Duration::from_millis(cluster.rng.random_range(times_ms))).await;
    cluster.restore_backend();
    Ok(())
}
