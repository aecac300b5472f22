//! The heartbeat of an HA pair (law 7).
//!
//! The backend elects one replica of a cluster, notes when it wrote at most every
//! twenty seconds, and takes the other one thirty seconds after that. A replica
//! that is scraped once a minute would lose its election between two scrapes, to a
//! replica that is no better, and each change costs samples. So while nothing else
//! of a receiver is answered it writes one sample of a series of its own.
//!
//! The heartbeat says "my scrapes reach their targets and arrive here", so a
//! receiver that cannot say so is silent ([`Status::is_scraping`]): before its
//! first scrape, without targets of its own, when none of them answers, when it
//! acquires nothing because the outbox is full, and from the moment it stops.
//! A target that it takes over counts by the last scrape of the receiver before, until
//! it is scraped here: where all targets of a group move, as in a rolling update, the
//! group would be silent until one has its next slot, though nothing is wrong with it.
//! What was scraped is sent in any case, `up` 0 too: that is data, and where the
//! targets themselves are down both replicas say the same.
//!
//! [`Status::is_scraping`]: crate::scrape::Status::is_scraping

use std::{sync::Arc, time::Duration};

use mesh::{
    batch::{Batch, Facts, Ha},
    clock::Clock,
    outbox::{Outbox, Outcome},
};
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

/// The series that a heartbeat is a sample of.
pub const SERIES: &str = "promesh_replica_heartbeat";
/// Its `job`.
pub const JOB: &str = "promesh";

/// The heartbeat, as flags.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "HA pair")]
pub struct HeartbeatArgs {
    /// Seconds without an answer of the backend after which a healthy receiver of
    /// an HA pair writes a sample of promesh_replica_heartbeat, so that its group
    /// stays elected; 0 for never. The backend needs a request every 10 s.
    #[arg(
        id = "heartbeat_interval",
        long = "ha.heartbeat-interval",
        env = "PROMESH_HA_HEARTBEAT_INTERVAL",
        default_value_t = 3
    )]
    pub seconds: u64,
}

/// Keeps the replica group elected while it is healthy and otherwise silent.
#[derive(Debug)]
pub struct Heartbeat {
    interval: Duration,
    outbox: Outbox,
    clock: Clock,
    facts: watch::Receiver<Arc<Facts>>,
    instance: String,
    /// Series of their own, in lanes of their own: one lane may have to wait for
    /// the deadline of an exporter that died.
    beats: [Beat; 2],
    metrics: HeartbeatMetrics,
}

/// One series of heartbeats; at most one of them is under way.
#[derive(Debug, Default)]
struct Beat {
    key: u64,
    told: Option<oneshot::Receiver<Outcome>>,
    /// The time of the last one, in milliseconds since the Unix epoch.
    last_ms: i64,
}

/// What heartbeats count.
#[derive(Clone, Debug)]
pub struct HeartbeatMetrics {
    sent: Family<OutcomeLabels, Counter>,
    healthy: gauge::Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

// === impl HeartbeatArgs ===

impl HeartbeatArgs {
    /// How long nothing has to be answered.
    pub fn interval(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

// === impl Heartbeat ===

impl Heartbeat {
    /// The heartbeat of the receiver `instance`, after every `interval` in which
    /// the backend answered nothing else; never where that is zero, and never for
    /// samples that are of no HA pair.
    pub fn new(
        interval: Duration,
        outbox: Outbox,
        clock: Clock,
        facts: watch::Receiver<Arc<Facts>>,
        instance: &str,
        metrics: HeartbeatMetrics,
    ) -> Self {
        // Neighbours are in different lanes.
        let key = xxhash_rust::xxh3::xxh3_64(instance.as_bytes());
        let beats = [0, 1].map(|n| Beat {
            key: key.wrapping_add(n),
            told: None,
            last_ms: 0,
        });
        Self {
            interval,
            outbox,
            clock,
            facts,
            instance: instance.to_owned(),
            beats,
            metrics,
        }
    }

    /// Beats while `is_healthy`, given the time in milliseconds since the Unix
    /// epoch, says so. It never ends.
    pub async fn run(mut self, is_healthy: impl Fn(i64) -> bool) {
        if self.interval.is_zero() {
            return std::future::pending().await;
        }
        let (mut answered, mut since) = (self.answered(), Instant::now());
        loop {
            sleep(self.interval / 8).await;
            self.hear();
            let now = self.answered();
            if now != answered {
                (answered, since) = (now, Instant::now());
            }
            let healthy = is_healthy(self.clock.now_ms());
            self.metrics.healthy.set(healthy.into());
            if healthy && since.elapsed() >= self.interval && self.beat() {
                since = Instant::now();
            }
        }
    }

    /// How many samples the backend has answered for.
    fn answered(&self) -> u64 {
        let account = self.outbox.account();
        account.stored + account.deduplicated
    }

    /// Notes what became of heartbeats.
    fn hear(&mut self) {
        for beat in &mut self.beats {
            match beat.told.as_mut().map(oneshot::Receiver::try_recv) {
                None | Some(Err(TryRecvError::Empty)) => continue,
                Some(Ok(outcome)) => self.metrics.count(&outcome),
                // Nobody will tell any more: the process stops.
                Some(Err(TryRecvError::Closed)) => {}
            }
            beat.told = None;
        }
    }

    /// Sends one, unless as many as may be are under way.
    fn beat(&mut self) -> bool {
        let facts = self.facts.borrow().clone();
        let Some(ha) = &facts.ha else {
            return false;
        };
        let free = (0..).zip(&mut self.beats).find(|(_, b)| b.told.is_none());
        let Some((lane, beat)) = free else {
            return false;
        };
        // The clock may have been set back.
        let time_ms = self.clock.now_ms().max(beat.last_ms + 1);
        beat.last_ms = time_ms;
        let batch = Batch {
            key: beat.key,
            payload: payload(&self.instance, ha, lane, time_ms),
            samples: 1,
            time_ms,
            facts: Arc::clone(&facts),
        };
        // Closed only where the process stops.
        beat.told = self.outbox.push_and_tell(batch).ok();
        beat.told.is_some()
    }
}

/// One sample, in the form that scraped samples have.
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
            "Heartbeats of the replica group by what became of them",
            it.sent.clone(),
        );
        registry.register(
            "healthy",
            "1 while any target of this receiver was scraped of late, which its heartbeat tells",
            it.healthy.clone(),
        );
        it
    }

    fn count(&self, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Judged(verdict) if verdict.deduplicated > 0 => "deduplicated",
            Outcome::Judged(verdict) if verdict.rejected_total() > 0 => "rejected",
            Outcome::Judged(_) => "stored",
            Outcome::Expired(_) => "expired",
        };
        self.sent.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}
