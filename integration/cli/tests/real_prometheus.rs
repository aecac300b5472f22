//! Writes scrapes to a real Prometheus server and compares what it stores.

use std::time::Duration;

use harness::{in_process, prometheus::Prometheus};
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
        change_interval: 0,
    };
    let app = SampleApp::start(&args).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n- job_name: app\n  static_configs: [{{targets: ['{}']}}]\n\
         remote_write:\n- url: {}\n",
        app.address(),
        prometheus.remote_write_url(),
    );
    std::fs::write(&config, text).unwrap();
    let config = format!("--config.file={}", config.display());
    let mut flags = in_process::own_ports(&["grpc", "web"]);
    flags.push(config.clone());
    let exporter = in_process::exporter(&flags).await.unwrap();
    let mut flags = in_process::own_ports(&["web"]);
    flags.extend([
        config,
        format!("--exporter.endpoints={}", exporter.addresses.grpc),
    ]);
    let receiver = in_process::receiver(&flags).await.unwrap();
    let scraped = async {
        while app.scrapes() < SCRAPES_WANTED {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(60), scraped).await.unwrap();
    // On shutdown the receiver delivers its backlog.
    receiver.stop().await.unwrap();

    let stored = prometheus.select(r#"{job="app"}"#).await.unwrap();
    let instance = app.address().to_string();
    let mut report = Report::default();
    let added = [("job", "app"), ("instance", instance.as_str())];
    report.compare(&stored, &added, SCRAPES, |n| app.body(n));
    assert!(report.is_good(), "{:#?}", report.differences);
    // The shutdown may have interrupted one scrape.
    assert!(report.scrapes >= SCRAPES_WANTED - 1 && app.scrapes() - report.scrapes <= 1);
    exporter.stop().await.unwrap();
}
