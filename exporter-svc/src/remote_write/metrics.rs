//! What a destination's requests count.

use std::time::Duration;

use http::StatusCode;
use mesh::verdict::{Reason, Verdict};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tracing::info;

use super::{Outcome, client::PostError, piece::Piece, verdict::Answer};

/// The families of all destinations.
#[derive(Clone, Debug)]
pub struct Families {
    samples: Family<SampleLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    latency: Family<DestinationLabels, Histogram, fn() -> Histogram>,
    bytes: Family<DestinationLabels, Counter>,
    in_flight: Family<DestinationLabels, Gauge>,
    window: Family<DestinationLabels, Gauge>,
    probes: Family<RequestLabels, Counter>,
}

/// The metrics of one destination.
#[derive(Debug)]
pub struct Metrics {
    families: Families,
    destination: String,
    stored: Counter,
    deduplicated: Counter,
    /// One for each reason, in the order of [`Reason::ALL`].
    rejected: Vec<Counter>,
    returned: Counter,
    dropped: Counter,
    latency: Histogram,
    bytes: Counter,
    /// Requests in flight.
    pub in_flight: Gauge,
    /// Requests that may be in flight for now.
    pub window: Gauge,
}

/// The labels of what is counted per destination.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct DestinationLabels {
    /// The destination's name.
    pub destination: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SampleLabels {
    destination: String,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    destination: String,
    code: Code,
}

/// A status code, or why there was none.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Code {
    Status(u16),
    None(&'static str),
}

/// Seconds.
const LATENCY_BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

// === impl Families ===

impl Families {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let families = Self {
            samples: Family::default(),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS)),
            bytes: Family::default(),
            in_flight: Family::default(),
            window: Family::default(),
            probes: Family::default(),
        };
        registry.register(
            "samples",
            "What became of samples, in the unit of their sender's ledger",
            families.samples.clone(),
        );
        registry.register(
            "requests",
            "Remote-write requests by status code",
            families.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "How long posts took",
            Unit::Seconds,
            families.latency.clone(),
        );
        registry.register_with_unit(
            "request",
            "Size of requests before compression",
            Unit::Bytes,
            families.bytes.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests in flight",
            families.in_flight.clone(),
        );
        registry.register(
            "requests_window",
            "Requests that may be in flight for now",
            families.window.clone(),
        );
        registry.register(
            "probes",
            "Empty requests by status code, sent while posts wait for an answer",
            families.probes.clone(),
        );
        families
    }

    /// The metrics of one destination.
    pub fn of(&self, destination: &str) -> Metrics {
        let samples = |outcome, reason| {
            let destination = destination.to_owned();
            let labels = SampleLabels {
                destination,
                outcome,
                reason,
            };
            self.samples.get_or_create(&labels).clone()
        };
        let labels = DestinationLabels {
            destination: destination.to_owned(),
        };
        Metrics {
            latency: self.latency.get_or_create(&labels).clone(),
            bytes: self.bytes.get_or_create(&labels).clone(),
            in_flight: self.in_flight.get_or_create(&labels).clone(),
            window: self.window.get_or_create(&labels).clone(),
            families: self.clone(),
            stored: samples("stored", ""),
            deduplicated: samples("deduplicated", ""),
            rejected: Reason::ALL
                .map(|reason| samples("rejected", reason.as_str()))
                .into(),
            returned: samples("returned", ""),
            dropped: samples("dropped", "relabel"),
            destination: labels.destination,
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Counts a request of these pieces.
    pub fn requested<'a>(&self, pieces: impl Iterator<Item = &'a Piece>) {
        self.bytes
            .inc_by(pieces.map(|piece| piece.bytes.len() as u64).sum());
    }

    /// Counts an answer, or that there was none.
    pub fn answered(&self, answer: &Result<(StatusCode, Answer), PostError>, took: Duration) {
        self.latency.observe(took.as_secs_f64());
        let labels = self.request_labels(answer.as_ref().map(|(status, _)| *status));
        self.families.requests.get_or_create(&labels).inc();
    }

    /// Counts what an empty request was answered, or that it was not.
    pub fn probed(&self, answer: &Result<StatusCode, PostError>) {
        let labels = self.request_labels(answer.as_ref().copied());
        self.families.probes.get_or_create(&labels).inc();
    }

    fn request_labels(&self, answer: Result<StatusCode, &PostError>) -> RequestLabels {
        RequestLabels {
            destination: self.destination.clone(),
            code: match answer {
                Ok(status) => Code::Status(status.as_u16()),
                Err(error) => Code::None(error.kind()),
            },
        }
    }

    /// Counts what became of a piece.
    pub fn settled(&self, outcome: &Outcome, piece: &Piece) {
        match outcome {
            Outcome::Stored => {
                self.stored.inc_by(piece.units);
            }
            Outcome::Deduplicated => {
                self.deduplicated.inc_by(piece.units);
            }
            Outcome::Rejected { reason, units, .. } => {
                self.reject(*reason, *units);
                self.stored.inc_by(piece.units.saturating_sub(*units));
            }
            Outcome::Retry(_) => self.returned(piece.units),
        }
    }

    /// Counts what is given back to its senders.
    pub fn returned(&self, units: u64) {
        self.returned.inc_by(units);
    }

    /// Counts what was refused, or dropped by relabeling, before anything was sent.
    pub fn withheld(&self, verdict: &Verdict, dropped: u64) {
        self.dropped.inc_by(dropped);
        for (reason, units) in &verdict.rejected {
            self.reject(*reason, *units);
        }
    }

    fn reject(&self, reason: Reason, units: u64) {
        let all = Reason::ALL.iter().zip(&self.rejected);
        for (_, counter) in all.filter(|(other, _)| **other == reason) {
            counter.inc_by(units);
        }
    }

    /// Logs what became of samples so far.
    pub fn log_ledger(&self) {
        info!(
            destination = self.destination,
            stored = self.stored.get(),
            deduplicated = self.deduplicated.get(),
            rejected = self.rejected.iter().map(Counter::get).sum::<u64>(),
            dropped = self.dropped.get(),
            returned = self.returned.get(),
            "Ledger of samples"
        );
    }
}

// === impl Code ===

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Status(status) => EncodeLabelValue::encode(&u64::from(*status), encoder),
            Self::None(why) => EncodeLabelValue::encode(why, encoder),
        }
    }
}
