//! A real Prometheus server holds what was scraped.

use std::time::Duration;

use integration::{
    in_process,
    prometheus::Prometheus,
    sample_app::{SCRAPES, SampleApp, SampleAppArgs},
    validator::Report,
};
use tokio::time::{sleep, timeout};

const SCRAPED: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_holds_what_was_scraped() {
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
        while app.scrapes() < SCRAPED {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(60), scraped).await.unwrap();
    // Stopping delivers what was scraped.
    receiver.stop().await.unwrap();

    let stored = prometheus.select(r#"{job="app"}"#).await.unwrap();
    let instance = app.address().to_string();
    let mut report = Report::default();
    let added = [("job", "app"), ("instance", instance.as_str())];
    report.compare(&stored, &added, SCRAPES, |n| app.body(n));
    assert!(report.is_good(), "{:#?}", report.differences);
    // One scrape may have been cut off when the receiver stopped.
    assert!(report.scrapes >= SCRAPED - 1 && app.scrapes() - report.scrapes <= 1);
    exporter.stop().await.unwrap();
}
