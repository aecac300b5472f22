//! Metrics of the delay.

use prometheus_client::{encoding::text::encode, registry::Registry};

use super::*;

/// Returns the value of a series of the outbox, as its metrics page shows it.
fn value(outbox: &Outbox, series: &str) -> f64 {
    let (mut registry, mut text) = (Registry::default(), String::new());
    registry.register_collector(Box::new(outbox.collector()));
    encode(&mut text, &registry).unwrap();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {series} in {text}"));
    value.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn shows_how_late_samples_are() {
    let oldest = r#"outbox_oldest_sample_age_seconds{destination=""}"#;
    let highest = r#"outbox_highest_stored_timestamp_seconds{destination=""}"#;
    let count =
        |le: &str| format!(r#"outbox_delivery_delay_seconds_bucket{{le="{le}",destination=""}}"#);
    let exporter = Exporter::scripted([
        Reply::RetryAfter(Duration::from_secs(20)),
        Reply::Reject(10),
    ]);
    let (outbox, _workers) = outbox(OutboxArgs::default(), &exporter);
    assert_eq!(
        (value(&outbox, oldest), value(&outbox, highest)),
        (0.0, 0.0)
    );
    outbox.push(batch(1, "rejected")).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(value(&outbox, oldest), 10.0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    // A rejected sample is not stored, and waits no longer.
    assert_eq!(
        (value(&outbox, oldest), value(&outbox, highest)),
        (0.0, 0.0)
    );
    assert_eq!(value(&outbox, &count("+Inf")), 0.0);
    outbox.push(batch(1, "stored")).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(value(&outbox, highest), START_MS as f64 / 1000.0);
    // The batch is as old as the test.
    assert_eq!(value(&outbox, &count("30.0")), 0.0);
    assert_eq!(value(&outbox, &count("60.0")), 1.0);
}
