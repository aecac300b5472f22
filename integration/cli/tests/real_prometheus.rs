//! Writes scrapes to a real Prometheus server and compares what it stores.

use std::time::Duration;

use harness::{
    in_process::InProcess,
    prometheus::Prometheus,
    topology::{Config, RemoteWrite, Topology},
};
use stand_ins::{
    sample_app::{SCRAPES, SampleApp, SampleAppArgs},
    validator::Report,
};
use tokio::time::{sleep, timeout};

/// Number of scrapes before the receiver stops.
const SCRAPES_WANTED: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_stores_every_scrape() {
    let prometheus = Prometheus::start().await.unwrap();
    let args = SampleAppArgs {
        load: 5,
        change_interval: Duration::ZERO,
    };
    let app = SampleApp::start(&args).await.unwrap();
    let job = format!(
        "- job_name: app\n  static_configs: [{{targets: ['{}']}}]\n",
        app.address()
    );
    let config = Config::default()
        // A scrape times out after an interval. Long enough for a busy machine.
        .interval("4s")
        .jobs(&job)
        .remote_write(RemoteWrite::new(&prometheus.remote_write_url()));
    let mesh = Topology::new(config).exporters(1).receivers(1);
    let mut mesh = mesh.start(&InProcess).await.unwrap();
    let scraped = async {
        while app.scrapes() < SCRAPES_WANTED {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(60), scraped).await.unwrap();
    // On shutdown the receiver delivers its backlog.
    mesh.stop_senders().await.unwrap();

    let stored = prometheus.select(r#"{job="app"}"#).await.unwrap();
    let instance = app.address().to_string();
    let mut report = Report::default();
    let added = [("job", "app"), ("instance", instance.as_str())];
    report.compare(&stored, &added, SCRAPES, |n| app.body(n));
    assert!(report.is_good(), "{:#?}", report.differences);
    // The shutdown may have interrupted one scrape.
    assert!(report.scrapes >= SCRAPES_WANTED - 1 && app.scrapes() - report.scrapes <= 1);
    mesh.stop().await.unwrap();
}
