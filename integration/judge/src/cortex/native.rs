//! A target with a native histogram that gets two observations per scrape.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, extract::State, http::header, routing::get};
use mesh_model::labels::METRIC_NAME;
use prost::Message;
use proto::{
    exposition::{BucketSpan, Histogram, Metric, MetricFamily, MetricType},
    v1,
};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use harness::arrivals;
use stand_ins::amp::{Arrival, Value};

/// A running target. It stops when dropped.
#[derive(Debug)]
pub(super) struct NativeApp {
    address: SocketAddr,
    served: Arc<AtomicU64>,
    _server: AbortOnDropHandle<()>,
}

const NAME: &str = "native_requests";
const JOB: &str = "native";
const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
/// Maximum number of scrapes in flight at the end: one for each group.
const IN_FLIGHT: u64 = 2;

// === impl NativeApp ===

impl NativeApp {
    /// Starts a target on a free loopback port.
    ///
    /// # Errors
    /// Returns an error if it cannot listen.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, served) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let router = Router::new()
            .route("/metrics", get(metrics))
            .with_state(served.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "Native histogram target stopped");
            }
        });
        Ok(Self {
            address,
            served,
            _server: AbortOnDropHandle::new(server),
        })
    }

    /// Scrape configuration of the target.
    pub(super) fn job(&self) -> String {
        format!(
            "- job_name: {JOB}\n  scrape_native_histograms: true\n  static_configs: \
             [{{targets: ['{}']}}]\n",
            self.address
        )
    }

    /// Describes wrong, repeated and missing histograms. Up to `may_miss` may be missing.
    pub(super) fn violations(&self, arrivals: &[Arrival], may_miss: usize) -> Vec<String> {
        let mut violations = Vec::new();
        let mut scrapes: BTreeMap<(&str, i64), u64> = BTreeMap::new();
        let of_app = |arrival: &&Arrival| arrival.labels.get(METRIC_NAME) == Some(NAME);
        for arrival in arrivals.iter().filter(of_app) {
            let number = number(&arrival.value);
            let key = (arrivals::replica(arrival), arrival.timestamp);
            match number {
                Some(number) if *scrapes.entry(key).or_insert(number) == number => {}
                _ => violations.push(format!("{NAME} is {:?}", arrival.value)),
            }
        }
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for number in scrapes.values() {
            *times.entry(*number).or_default() += 1;
        }
        let again = times.iter().filter(|(_, times)| **times > 1);
        violations.extend(again.map(|(n, times)| format!("{NAME} {n} arrived {times} times")));
        let served = self.served.load(Ordering::Relaxed);
        let missing = (1..=served.saturating_sub(IN_FLIGHT)).filter(|n| !times.contains_key(n));
        let missing: Vec<_> = missing.collect();
        if times.is_empty() || missing.len() > may_miss {
            violations.push(format!(
                "{NAME}: of {served} scrapes, these are missing: {missing:?}"
            ));
        }
        violations
    }
}

async fn metrics(
    State(served): State<Arc<AtomicU64>>,
) -> ([(header::HeaderName, &'static str); 1], Vec<u8>) {
    let number = served.fetch_add(1, Ordering::Relaxed) + 1;
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body(number))
}

fn body(number: u64) -> Vec<u8> {
    let span = |offset| BucketSpan {
        offset: Some(offset),
        length: Some(1),
    };
    let histogram = Histogram {
        sample_count: Some(2 * number),
        sample_sum: Some(sum(number)),
        schema: Some(3),
        zero_threshold: Some(1e-128),
        zero_count: Some(0),
        positive_span: vec![span(0), span(4)],
        positive_delta: deltas(number).to_vec(),
        ..Default::default()
    };
    let family = MetricFamily {
        name: Some(NAME.to_owned()),
        help: Some("Requests".to_owned()),
        r#type: Some(MetricType::Histogram.into()),
        metric: vec![Metric {
            histogram: Some(histogram),
            ..Default::default()
        }],
        ..Default::default()
    };
    family.encode_length_delimited_to_vec()
}

fn sum(number: u64) -> f64 {
    number as f64 * 1.5
}

/// Deltas for one observation per scrape in each bucket.
fn deltas(number: u64) -> [i64; 2] {
    [number as i64, 0]
}

/// Number of the scrape with this value. `None` if no scrape has it.
fn number(value: &Value) -> Option<u64> {
    let Value::Histogram(histogram) = value else {
        return None;
    };
    let Some(v1::histogram::Count::CountInt(count)) = histogram.count else {
        return None;
    };
    let number = count / 2;
    let same = histogram.schema == 3
        && count % 2 == 0
        && histogram.sum.to_bits() == sum(number).to_bits()
        && histogram.positive_deltas == deltas(number);
    same.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stand_ins::amp::Outcome;

    fn arrival(timestamp: i64, number: u64) -> Arrival {
        let histogram = v1::Histogram {
            count: Some(v1::histogram::Count::CountInt(2 * number)),
            sum: sum(number),
            schema: 3,
            positive_deltas: deltas(number).to_vec(),
            ..Default::default()
        };
        Arrival {
            request: 1,
            at_ms: timestamp,
            labels: [(METRIC_NAME, NAME), ("__replica__", "a")]
                .into_iter()
                .collect(),
            timestamp,
            value: Value::Histogram(Box::new(histogram)),
            outcome: Outcome::Stored,
        }
    }

    #[tokio::test]
    async fn requires_each_histogram_once_and_unchanged() {
        let app = NativeApp::start().await.unwrap();
        app.served.store(4, Ordering::Relaxed);
        let all = [arrival(1, 1), arrival(2, 2), arrival(2, 2)];
        assert!(app.violations(&all, 0).is_empty());
        assert_eq!(app.violations(&all[..1], 0).len(), 1);
        assert!(app.violations(&all[..1], 1).is_empty());
        let twice = [arrival(1, 1), arrival(2, 2), arrival(3, 2)];
        assert_eq!(app.violations(&twice, 0).len(), 1);
        let conflict = [arrival(1, 1), arrival(2, 2), arrival(2, 3)];
        assert_eq!(app.violations(&conflict, 0).len(), 1);
        let mut wrong = all.clone();
        if let Value::Histogram(histogram) = &mut wrong[0].value {
            histogram.sum += 1.0;
        }
        assert_eq!(app.violations(&wrong, 1).len(), 1);
    }
}
