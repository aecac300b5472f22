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
//! With several destinations, each of them gets a heartbeat while it acknowledges nothing else. One
//! that is down does not silence the others: heartbeats for them wait for it, too.
//!
//! Scraped samples are sent in any case, including `up` 0. If the targets are down, both replicas
//! report the same.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

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
    /// Destinations by name; one without a name until the exporters have named several.
    destinations: BTreeMap<String, DestinationState>,
    metrics: HeartbeatMetrics,
}

/// Acknowledgements of one destination.
#[derive(Debug)]
struct DestinationState {
    /// Number of samples that it has acknowledged.
    acknowledged: u64,
    /// Time of the last acknowledgement or heartbeat.
    since: Instant,
    /// Heartbeats since the last acknowledgement.
    unanswered: usize,
}

/// One heartbeat series. At most one of its samples is in flight to a destination.
#[derive(Debug, Default)]
struct HeartbeatSeries {
    key: u64,
    /// Outcomes of the samples that a destination has not answered.
    outcomes: VecDeque<oneshot::Receiver<Outcome>>,
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
            outcomes: VecDeque::new(),
            last_ms: 0,
        });
        Self {
            interval,
            outbox,
            clock,
            context,
            instance: instance.to_owned(),
            series,
            destinations: BTreeMap::new(),
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
        loop {
            self.collect_outcomes();
            self.observe_destinations();
            let healthy = is_healthy(self.clock.now_ms());
            self.metrics.healthy.set(healthy.into());
            if sends && healthy && self.is_due() && self.send() {
                for destination in self.destinations.values_mut() {
                    destination.since = Instant::now();
                    destination.unanswered += 1;
                }
            }
            sleep(pause).await;
        }
    }

    /// Follows what each destination has acknowledged.
    fn observe_destinations(&mut self) {
        let mut accounts = self.outbox.destinations();
        if accounts.is_empty() {
            accounts.insert(String::new(), self.outbox.account());
        }
        self.destinations
            .retain(|name, _| accounts.contains_key(name));
        for (name, account) in accounts {
            let acknowledged = account.stored + account.deduplicated;
            let new = || DestinationState {
                acknowledged,
                since: Instant::now(),
                unanswered: 0,
            };
            let destination = self.destinations.entry(name).or_insert_with(new);
            if destination.acknowledged != acknowledged {
                *destination = new();
            }
        }
    }

    /// Returns true if a destination has acknowledged nothing for the interval. One that does
    /// not answer heartbeats either gets no more of them, unless all others are answered.
    fn is_due(&self) -> bool {
        let is_free = self.series.iter().any(|series| series.outcomes.is_empty());
        self.destinations.values().any(|destination| {
            destination.since.elapsed() >= self.interval
                && (is_free || destination.unanswered < self.series.len())
        })
    }

    /// Counts the outcomes of the samples that were in flight.
    fn collect_outcomes(&mut self) {
        for series in &mut self.series {
            series
                .outcomes
                .retain_mut(|outcome| match outcome.try_recv() {
                    Err(TryRecvError::Empty) => true,
                    Ok(outcome) => {
                        self.metrics.count(&outcome);
                        false
                    }
                    // The outbox is closed: the process stops.
                    Err(TryRecvError::Closed) => false,
                });
        }
    }

    /// Sends a sample of the series that has the fewest in flight. Returns false while the
    /// receiver belongs to no HA pair, and once the outbox is closed.
    fn send(&mut self) -> bool {
        let context = self.context.borrow().clone();
        let Some(ha) = &context.ha else {
            return false;
        };
        let series = (0..).zip(&mut self.series);
        let Some((lane, series)) = series.min_by_key(|(_, it)| it.outcomes.len()) else {
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
        let outcome = self.outbox.push_with_outcome(batch).ok();
        let is_sent = outcome.is_some();
        series.outcomes.extend(outcome);
        is_sent
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
    use parking_lot::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reports_the_health_without_heartbeats() {
        let exports = tower::service_fn(async |_: Export| -> Result<ExportResponse, ExportError> {
            panic!("no heartbeat is sent")
        });
        let (outbox, _workers) = Outbox::new(&OutboxArgs::default(), Clock::system(), exports);
        let (_sender, contexts) = watch::channel(context());
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

    fn context() -> Arc<BatchContext> {
        Arc::new(BatchContext {
            ha: Some(Ha {
                cluster: "c".to_owned(),
                replica: "a".to_owned(),
            }),
            ..BatchContext::default()
        })
    }

    /// Seconds at which `good` gets heartbeats while `down` gets none.
    async fn heartbeats_beside_a_dead_destination() -> Vec<u64> {
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let (times, began) = (arrived.clone(), Instant::now());
        let exports = tower::service_fn(move |export: Export| {
            let is_good = export.destination.as_deref() != Some("down");
            if is_good {
                times.lock().push(began.elapsed().as_secs());
            }
            let destinations = vec!["good".to_owned(), "down".to_owned()];
            std::future::ready(if is_good {
                Ok(ExportResponse {
                    destinations,
                    ..ExportResponse::default()
                })
            } else {
                Err(ExportError::Unsent("down".into()))
            })
        });
        let clock = Clock::tokio(1_700_000_000_000);
        let (outbox, _workers) = Outbox::new(&OutboxArgs::default(), clock.clone(), exports);
        let (_sender, contexts) = watch::channel(context());
        let metrics = HeartbeatMetrics::register(&mut Registry::default());
        let interval = Duration::from_secs(3);
        let heartbeat = Heartbeat::new(interval, outbox, clock, contexts, "r:1", metrics);
        tokio::spawn(heartbeat.run(|_| true));
        sleep(Duration::from_secs(120)).await;
        arrived.lock().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_is_down_silences_no_other() {
        let arrived = heartbeats_beside_a_dead_destination().await;
        let gaps = arrived.windows(2).map(|two| two[1] - two[0]);
        assert!(gaps.max().unwrap() <= 4, "{arrived:?}");
        assert!((30..=41).contains(&arrived.len()), "{arrived:?}");
    }
}
