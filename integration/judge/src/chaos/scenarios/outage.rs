//! Long outages of the backend.

use std::time::Duration;

use tokio::time::sleep;

use crate::chaos::{cluster::Cluster, shape::Shape};

const MINUTE: Duration = Duration::from_secs(60);
/// A minute of the scaled outage. The outbox expires batches 5 of these minutes before the
/// backend refuses them. That is still longer than the deadline, which is not scaled.
const SCALED_MINUTE: Duration = Duration::from_secs(3);
const MINUTES: u32 = 70;

/// A mesh with all times divided by twenty: a scrape per minute, an outbox that keeps
/// batches for 55 minutes, and a backend that accepts samples of the last hour. The
/// heartbeat is off, since its ten seconds cannot be scaled.
pub(crate) fn time_scaled(shape: Shape) -> Shape {
    Shape {
        interval: SCALED_MINUTE,
        max_sample_age: SCALED_MINUTE * 60,
        max_batch_age: SCALED_MINUTE * 55,
        receiver_flags: vec!["--ha.heartbeat-interval=0".to_owned()],
        ..shape
    }
}

/// An outage of ten minutes.
pub(crate) async fn ten_minutes(cluster: &mut Cluster) -> anyhow::Result<()> {
    down(cluster, MINUTE * 10).await
}

/// An outage of seventy scaled minutes.
pub(crate) async fn seventy_minutes(cluster: &mut Cluster) -> anyhow::Result<()> {
    down(cluster, SCALED_MINUTE * MINUTES).await
}

async fn down(cluster: &mut Cluster, time: Duration) -> anyhow::Result<()> {
    cluster.stop_backend();
    sleep(time).await;
    cluster.restore_backend();
    Ok(())
}
