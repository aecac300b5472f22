//! Two destinations of one exporter, of which one fails for a while.

use std::time::Duration;

use harness::{in_process::InProcess, metrics::Metrics, topology::Topology};
use stand_ins::{
    amp::{Amp, AmpOptions, Fault, Outcome},
    sample_app::{SampleApp, SampleAppArgs},
};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(90);

/// Timestamps of the series `up` that a destination has stored.
fn scrapes(amp: &Amp) -> Vec<i64> {
    let stored = amp.backend().select("up").unwrap();
    let samples = stored.iter().flat_map(|series| &series.samples);
    samples.map(|sample| sample.timestamp).collect()
}

async fn until(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, reached).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_down_from_the_start_costs_the_other_nothing() {
    let unsigned = || AmpOptions {
        keys: None,
        ..AmpOptions::default()
    };
    let (good, down) = (
        Amp::start(unsigned()).await.unwrap(),
        Amp::start(unsigned()).await.unwrap(),
    );
    let unavailable = Fault::status(503, "down");
    down.backend().faults().always(Some(unavailable));
    let args = SampleAppArgs {
        load: 5,
        change_interval: Duration::ZERO,
    };
    let app = SampleApp::start(&args).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs: [{{job_name: app, static_configs: [{{targets: ['{}']}}]}}]\n\
         remote_write: [{{name: good, url: '{}'}}, {{name: down, url: '{}'}}]\n",
        app.address(),
        good.remote_write_url(),
        down.remote_write_url(),
    );
    std::fs::write(&config, text).unwrap();
    let mesh = Topology::with_config_file(&config)
        .exporters(1)
        .receivers(1);
    let mut mesh = mesh.start(&InProcess).await.unwrap();

    until(|| scrapes(&good).len() >= 8).await;
    assert!(scrapes(&down).is_empty());
    let receiver = Metrics::fetch(mesh.receivers[0].addresses.web)
        .await
        .unwrap();
    let waiting = "promesh_receiver_outbox_destination_samples_waiting";
    assert!(receiver.sum_where(waiting, "destination=\"down\"") > 0.0);

    down.backend().faults().clear();
    down.backend().faults().always(None);
    mesh.stop_senders().await.unwrap();
    assert_eq!(scrapes(&good), scrapes(&down));
    assert!(scrapes(&good).is_sorted_by(|a, b| a < b));
    for amp in [&good, &down] {
        let totals = amp.backend().totals();
        assert_eq!(totals.of(Outcome::OutOfOrder), 0, "{totals:?}");
    }
    mesh.stop().await.unwrap();
}
