//! A batch that kills exporters.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Request, header};
use mesh_net::http_client::HttpClient;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::chaos::{
    cluster::{Cluster, HTTP},
    shape::Tier,
};

/// Name of the service whose push kills exporters.
const POISON: &str = "service-that-kills-exporters";

const POLL: Duration = Duration::from_millis(20);
const AWAY: Duration = Duration::from_secs(2);
/// Maximum time until the gateway gives the batch up.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Deaths until then: one or more together with other batches, and three alone.
const DEATHS: std::ops::RangeInclusive<usize> = 3..=6;

/// Pushes a batch that kills each exporter that gets it, until the gateway drops it.
pub(crate) async fn batch(cluster: &mut Cluster) -> anyhow::Result<()> {
    let gateway = cluster.pick(Tier::Gateway)?;
    for link in cluster.pods[gateway].links.values() {
        link.set_trap(POISON.as_bytes());
    }
    let url = format!("http://{}/v1/metrics", cluster.pods[gateway].at(HTTP));
    let _push = AbortOnDropHandle::new(tokio::spawn(push(url)));
    let (began, mut deaths) = (Instant::now(), 0);
    while dropped(cluster, gateway).await? == 0.0 {
        ensure!(
            began.elapsed() < TIMEOUT,
            "the batch was not dropped after {deaths} deaths"
        );
        if let Some(exporter) = victim(cluster, gateway) {
            deaths += 1;
            cluster.kill(exporter).await?;
            sleep(AWAY).await;
            cluster.restart(exporter).await?;
        }
        sleep(POLL).await;
    }
    ensure!(
        DEATHS.contains(&deaths),
        "{deaths} exporters died of one batch"
    );
    cluster.end_fault();
    Ok(())
}

/// Exporter that was sent the batch.
fn victim(cluster: &Cluster, gateway: usize) -> Option<usize> {
    let links = cluster.pods[gateway].links.iter();
    let mut trapped = links.filter(|(_, link)| link.take_trapped() > 0);
    let (number, _) = trapped.next()?;
    cluster.pods.iter().position(|pod| pod.number == *number)
}

/// Samples that a gateway has given up because exporters died of them.
async fn dropped(cluster: &Cluster, gateway: usize) -> anyhow::Result<f64> {
    let metrics = cluster.pods[gateway].service.metrics().await;
    let metrics = metrics.context("metrics of the gateway")?;
    let name = "promesh_gateway_outbox_samples_expired_total";
    Ok(metrics.sum_where(name, "reason=\"poison\""))
}

/// Pushes the batch, until it is answered.
async fn push(url: String) -> anyhow::Result<()> {
    let resource = format!(
        r#"{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{POISON}"}}}}]}}"#
    );
    let now_ns = mesh_base::clock::Clock::system().now_ms() * 1_000_000;
    let points = format!(r#"[{{"timeUnixNano":"{now_ns}","asDouble":1}}]"#);
    let metrics = format!(r#"[{{"name":"poison","gauge":{{"dataPoints":{points}}}}}]"#);
    let body = format!(
        r#"{{"resourceMetrics":[{{"resource":{resource},"scopeMetrics":[{{"metrics":{metrics}}}]}}]}}"#
    );
    let client = HttpClient::new(&Default::default())?;
    let request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body))?;
    client.request(request).await?;
    // The client must not disconnect: its batch would be withdrawn.
    Ok(())
}
