//! Heartbeat of an HA pair (law 7).
//!
//! The backend elects one replica of a cluster and records the time of its last write at most
//! every 20 s. It elects the other replica 30 s after that. A replica with a scrape interval of
//! one minute would lose the election between two scrapes, and each change costs samples.
//! Therefore a healthy receiver writes one sample of a series of its own while the backend
//! acknowledges nothing else from it.
//!
//! A heartbeat states that scrapes succeed and that samples arrive. A receiver sends none if
//! that is not true, see `Status::is_scraping`: before its first scrape, without targets of its
//! own, when no target answers, when the outbox is full, and once it stops.
//!
//! A target that was taken over counts by the last scrape of its previous owner until it is
//! scraped here. Otherwise a rolling update, which moves all targets of a group, would silence a
//! healthy group until the next slot of a target.
//!
//! Scraped samples are sent in any case, including `up` 0. If the targets are down, both replicas
//! report the same.

use std::{sync::Arc, time::Duration};

use mesh_base::clock::Clock;
use mesh_contract::batch::{Batch, BatchContext, Ha};
use mesh_model::flags;
use mesh_outbox::{Outbox, Outcome};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge},
    registry::Registry,
};
use prost::Message;
use tokio::{
    sync::{
        oneshot::{self, error::TryRecvError},
        watch,
    },
    time::{Instant, sleep},
};

/// Name of the heartbeat series.
pub const SERIES: &str = "promesh_replica_heartbeat";
/// Interval at which the health is reported if heartbeats are disabled.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// Label `job` of the heartbeat series.
pub const JOB: &str = "promesh";

/// Flags of the heartbeat.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "HA pair")]
pub struct HeartbeatArgs {
    /// Time without a response of the backend after which a healthy receiver of an HA pair
    /// writes a sample of promesh_replica_heartbeat, so that its group stays elected. 0 disables
    /// the heartbeat. The backend needs a request every 10 s.
    #[arg(
        id = "heartbeat_interval",
        long = "ha.heartbeat-interval",
        env = "PROMESH_HA_HEARTBEAT_INTERVAL",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "3s"
    )]
    pub interval: Duration,
}

/// Task that keeps a healthy replica group elected while it has nothing else to send.
#[derive(Debug)]
pub struct Heartbeat {
    interval: Duration,
    outbox: Outbox,
    clock: Clock,
    context: watch::Receiver<Arc<BatchContext>>,
    instance: String,
    /// Two series in two lanes, since one lane may have to wait for the deadline of a dead
    /// exporter.
    series: [HeartbeatSeries; 2],
    metrics: HeartbeatMetrics,
}

/// One heartbeat series. At most one of its samples is in flight.
#[derive(Debug, Default)]
struct HeartbeatSeries {
    key: u64,
    /// Outcome of the sample in flight, if there is one.
    outcome: Option<oneshot::Receiver<Outcome>>,
    /// Time of the last sample, in milliseconds since the Unix epoch.
    last_ms: i64,
}

/// Metrics of the heartbeat.
#[derive(Clone, Debug)]
pub struct HeartbeatMetrics {
    sent: Family<OutcomeLabels, Counter>,
    healthy: gauge::Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

// === impl Heartbeat ===

impl Heartbeat {
    /// Creates the heartbeat of the receiver `instance`.
    ///
    /// It sends a sample after each `interval` in which the backend acknowledged nothing else.
    /// It sends none if `interval` is zero or if the receiver belongs to no HA pair.
    pub fn new(
        interval: Duration,
        outbox: Outbox,
        clock: Clock,
        context: watch::Receiver<Arc<BatchContext>>,
        instance: &str,
        metrics: HeartbeatMetrics,
    ) -> Self {
        // Each key has lanes of its own.
        let key = xxhash_rust::xxh3::xxh3_64(instance.as_bytes());
        let series = [0, 1].map(|n| HeartbeatSeries {
            key: key.wrapping_add(n),
            outcome: None,
            last_ms: 0,
        });
        Self {
            interval,
            outbox,
            clock,
            context,
            instance: instance.to_owned(),
            series,
            metrics,
        }
    }

    /// Sends heartbeats while `is_healthy` returns true for the current time, in milliseconds
    /// since the Unix epoch. Reports the health without heartbeats too. Never completes.
    pub async fn run(mut self, is_healthy: impl Fn(i64) -> bool) {
        let sends = !self.interval.is_zero();
        let pause = if sends {
            self.interval / 8
        } else {
            HEALTH_INTERVAL
        };
        let (mut acknowledged, mut since) = (self.acknowledged(), Instant::now());
        loop {
            sleep(pause).await;
            self.collect_outcomes();
            let now = self.acknowledged();
            if now != acknowledged {
                (acknowledged, since) = (now, Instant::now());
            }
            let healthy = is_healthy(self.clock.now_ms());
            self.metrics.healthy.set(healthy.into());
            if sends && healthy && since.elapsed() >= self.interval && self.send() {
                since = Instant::now();
            }
        }
    }

    /// Number of samples that the backend has acknowledged.
    fn acknowledged(&self) -> u64 {
        let account = self.outbox.account();
        account.stored + account.deduplicated
    }

    /// Counts the outcomes of the samples that were in flight.
    fn collect_outcomes(&mut self) {
        for series in &mut self.series {
            match series.outcome.as_mut().map(oneshot::Receiver::try_recv) {
                None | Some(Err(TryRecvError::Empty)) => continue,
                Some(Ok(outcome)) => self.metrics.count(&outcome),
                // The outbox is closed: the process stops.
                Some(Err(TryRecvError::Closed)) => {}
            }
            series.outcome = None;
        }
    }

    /// Sends a sample of a series that has none in flight. Returns false if there is no such
    /// series.
    fn send(&mut self) -> bool {
        let context = self.context.borrow().clone();
        let Some(ha) = &context.ha else {
            return false;
        };
        let mut series = (0..).zip(&mut self.series);
        let Some((lane, series)) = series.find(|(_, it)| it.outcome.is_none()) else {
            return false;
        };
        // The clock may have been set back.
        let time_ms = self.clock.now_ms().max(series.last_ms + 1);
        series.last_ms = time_ms;
        let batch = Batch {
            key: series.key,
            payload: payload(&self.instance, ha, lane, time_ms),
            samples: 1,
            time_ms,
            context: Arc::clone(&context),
        };
        // Fails only while the process stops.
        series.outcome = self.outbox.push_with_outcome(batch).ok();
        series.outcome.is_some()
    }
}

/// Encodes one sample in the same form as scraped samples.
fn payload(instance: &str, ha: &Ha, lane: u8, time_ms: i64) -> bytes::Bytes {
    let lane = lane.to_string();
    let attributes = [
        ("instance", instance),
        ("job", JOB),
        ("lane", &lane),
        ("replica", &ha.replica),
    ];
    let point = NumberDataPoint {
        attributes: attributes.map(|(name, value)| text(name, value)).into(),
        time_unix_nano: u64::try_from(time_ms).unwrap_or_default() * 1_000_000,
        value: Some(number_data_point::Value::AsDouble(1.0)),
        ..NumberDataPoint::default()
    };
    let metric = Metric {
        name: SERIES.to_owned(),
        description: "1 whenever a healthy receiver had nothing else to write.".to_owned(),
        metadata: vec![text("prometheus.type", "gauge")],
        data: Some(Data::Gauge(Gauge {
            data_points: vec![point],
        })),
        ..Metric::default()
    };
    let resource_metrics = ResourceMetrics {
        scope_metrics: vec![ScopeMetrics {
            metrics: vec![metric],
            ..ScopeMetrics::default()
        }],
        ..ResourceMetrics::default()
    };
    Batch::frame(&resource_metrics.encode_to_vec())
}

fn text(name: &str, value: &str) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

// === impl HeartbeatMetrics ===

impl HeartbeatMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let it = Self {
            sent: Family::default(),
            healthy: gauge::Gauge::default(),
        };
        for outcome in ["stored", "deduplicated", "rejected", "expired"] {
            let _ = it.sent.get_or_create(&OutcomeLabels { outcome });
        }
        registry.register(
            "heartbeats",
            "Heartbeats of the replica group by outcome",
            it.sent.clone(),
        );
        registry.register(
            "healthy",
            "1 if any target of this receiver was scraped successfully in its last two intervals, so that \
             heartbeats are sent",
            it.healthy.clone(),
        );
        it
    }

    fn count(&self, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Verdict(verdict) if verdict.deduplicated > 0 => "deduplicated",
            Outcome::Verdict(verdict) if verdict.rejected_total() > 0 => "rejected",
            Outcome::Verdict(_) => "stored",
            Outcome::Expired(_) => "expired",
        };
        self.sent.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}

#[cfg(test)]
mod tests {
    use mesh_contract::export::{Export, ExportError};
    use mesh_contract::report::ExportResponse;
    use mesh_outbox::OutboxArgs;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reports_the_health_without_heartbeats() {
        let exports = tower::service_fn(async |_: Export| -> Result<ExportResponse, ExportError> {
            panic!("no heartbeat is sent")
        });
        let (outbox, _workers) = Outbox::new(&OutboxArgs::default(), Clock::system(), exports);
        let context = BatchContext {
            ha: Some(Ha {
                cluster: "c".to_owned(),
                replica: "a".to_owned(),
            }),
            ..BatchContext::default()
        };
        let (_sender, contexts) = watch::channel(Arc::new(context));
        let metrics = HeartbeatMetrics::register(&mut Registry::default());
        let healthy = metrics.healthy.clone();
        let heartbeat = Heartbeat::new(
            Duration::ZERO,
            outbox,
            Clock::system(),
            contexts,
            "r:1",
            metrics,
        );
        let task = tokio::spawn(heartbeat.run(|_| true));
        sleep(HEALTH_INTERVAL * 20).await;
        assert_eq!(healthy.get(), 1);
        assert!(!task.is_finished());
    }
}
