//! Failures of the second of two destinations. The first one must not notice them.

use std::time::Duration;

use anyhow::{Context, ensure};
use rand::Rng;
use tokio::time::{Instant, sleep};

use crate::chaos::cluster::{APP, Cluster};
use stand_ins::{amp::Fault, sample_app::SampleAppArgs};

/// Metric that only the bad target has, and that the second destination refuses.
pub(crate) const REFUSED: &str = "test_gauge1";

const LATENCY: Duration = Duration::from_secs(4);
const SHORT_MS: std::ops::Range<u64> = 12_000..20_000;
const FLAP_MS: std::ops::Range<u64> = 300..3_000;
const FLAPS: usize = 8;
/// Time without a valid token. Holding does not change after a minute.
const UNAUTHORIZED: Duration = Duration::from_secs(60);
/// Maximum time until senders remove a destination.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(60);

/// The destination was down from the start, and comes up.
pub(crate) async fn down_from_the_start(cluster: &mut Cluster) -> anyhow::Result<()> {
    fail(cluster, Fault::status(503, "unavailable"), SHORT_MS).await
}

/// The destination stores each request some seconds late.
pub(crate) async fn slow(cluster: &mut Cluster) -> anyhow::Result<()> {
    fail(cluster, Fault::Slow(LATENCY), SHORT_MS).await?;
    sleep(LATENCY).await;
    cluster.end_fault();
    Ok(())
}

/// The destination receives requests and answers none.
pub(crate) async fn hangs(cluster: &mut Cluster) -> anyhow::Result<()> {
    fail(cluster, Fault::Hang, SHORT_MS).await
}

/// The destination fails and works in turn.
pub(crate) async fn flaps(cluster: &mut Cluster) -> anyhow::Result<()> {
    for _ in 0..FLAPS {
        fail(cluster, Fault::status(503, "unavailable"), FLAP_MS).await?;
        sleep(Duration::from_millis(cluster.rng.random_range(FLAP_MS))).await;
    }
    cluster.end_fault();
    Ok(())
}

/// The destination refuses the token for a minute.
pub(crate) async fn unauthorized(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.fail_second(Some(Fault::status(401, "invalid token")));
    sleep(UNAUTHORIZED).await;
    cluster.fail_second(None);
    cluster.end_fault();
    Ok(())
}

/// The destination rejects whole requests because of one of twenty targets.
pub(crate) async fn rejects_whole_requests(cluster: &mut Cluster) -> anyhow::Result<()> {
    let fault = Fault::RejectMetricAndWholeRequests(REFUSED.to_owned());
    cluster.fail_second(Some(fault.clone()));
    cluster
        .add_target_with(SampleAppArgs { load: 2, ..APP })
        .await?;
    fail(cluster, fault, SHORT_MS).await
}

/// The exporters drop the destination while it is down and samples are pending for it.
pub(crate) async fn removed(cluster: &mut Cluster) -> anyhow::Result<()> {
    sleep(Duration::from_millis(cluster.rng.random_range(FLAP_MS))).await;
    ensure!(
        waiting(cluster).await? > 0.0,
        "nothing waits for the second destination"
    );
    cluster.remove_second().await?;
    let began = Instant::now();
    while waiting(cluster).await? > 0.0 {
        ensure!(
            began.elapsed() < REMOVAL_TIMEOUT,
            "samples still wait for the removed destination"
        );
        sleep(Duration::from_millis(500)).await;
    }
    cluster.end_fault();
    Ok(())
}

/// Samples that wait for the second destination at all senders.
async fn waiting(cluster: &Cluster) -> anyhow::Result<f64> {
    let mut waiting = 0.0;
    for pod in cluster.pods.iter().filter(|pod| pod.is_sender()) {
        let metrics = pod.service.metrics().await;
        let metrics = metrics.with_context(|| format!("metrics of {}", pod.service.name))?;
        for service in ["gateway", "receiver"] {
            let name = format!("promesh_{service}_outbox_destination_samples_waiting");
            waiting += metrics.sum_where(&name, "destination=\"second\"");
        }
    }
    Ok(waiting)
}

/// Applies a fault to every request for a random time.
async fn fail(
    cluster: &mut Cluster,
    fault: Fault,
    times_ms: std::ops::Range<u64>,
) -> anyhow::Result<()> {
    cluster.fail_second(Some(fault));
    sleep(Duration::from_millis(cluster.rng.random_range(times_ms))).await;
    cluster.fail_second(None);
    cluster.end_fault();
    Ok(())
}
