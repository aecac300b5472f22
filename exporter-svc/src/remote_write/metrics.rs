//! Metrics of a destination's requests and samples.

use std::time::Duration;

use http::StatusCode;
use mesh_contract::verdict::{Reason, Verdict};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tracing::info;

use super::{
    PartOutcome,
    client::{Answered, PostError},
    delivery::Decided,
    knowledge::Knowledge,
    part::RequestPart,
    table::Extent,
};
use crate::metrics::DestinationLabels;

/// Metric families of all destinations.
#[derive(Clone, Debug)]
pub struct Families {
    samples: Family<SampleLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    latency: Family<DestinationLabels, Histogram, fn() -> Histogram>,
    bytes: Family<DestinationLabels, Counter>,
    in_flight: Family<DestinationLabels, Gauge>,
    window: Family<DestinationLabels, Gauge>,
    probes: Family<RequestLabels, Counter>,
    splits: Family<DestinationLabels, Counter>,
    hold_status: Family<DestinationLabels, Gauge>,
    answered: Family<DestinationLabels, Gauge>,
    fallback: Family<DestinationLabels, Gauge>,
    whole_requests: Family<DestinationLabels, Gauge>,
}

/// Metrics of one destination.
#[derive(Debug)]
pub struct Metrics {
    families: Families,
    destination: String,
    stored: Counter,
    deduplicated: Counter,
    /// One counter per reason, in the order of [`Reason::ALL`].
    rejected: Vec<Counter>,
    returned: Counter,
    dropped: Counter,
    latency: Histogram,
    bytes: Counter,
    splits: Counter,
    /// Status code for which the destination is on hold; 0 if it is not.
    pub hold_status: Gauge,
    answered: Gauge,
    fallback: Gauge,
    whole_requests: Gauge,
    /// Number of requests in flight.
    pub in_flight: Gauge,
    /// Current maximum number of requests in flight.
    pub window: Gauge,
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

/// Status code of a response, or the kind of error without one.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Code {
    Status(u16),
    None(&'static str),
}

/// Codes whose series exist from the start, so that `rate` sees their first increment.
const USUAL_CODES: [Code; 12] = [
    Code::Status(200),
    Code::Status(204),
    Code::Status(400),
    Code::Status(401),
    Code::Status(403),
    Code::Status(404),
    Code::Status(413),
    Code::Status(429),
    Code::Status(500),
    Code::Status(503),
    Code::None("connect"),
    Code::None("deadline"),
];

/// Buckets of the request duration in seconds.
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
            splits: Family::default(),
            hold_status: Family::default(),
            answered: Family::default(),
            fallback: Family::default(),
            whole_requests: Family::default(),
        };
        registry.register(
            "samples",
            "Samples by outcome, as the sender counts them",
            families.samples.clone(),
        );
        registry.register(
            "requests",
            "Remote-write requests by status code",
            families.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "Duration of remote-write requests",
            Unit::Seconds,
            families.latency.clone(),
        );
        registry.register_with_unit(
            "request",
            "Size of remote-write requests before compression",
            Unit::Bytes,
            families.bytes.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Remote-write requests in flight",
            families.in_flight.clone(),
        );
        registry.register(
            "requests_window",
            "Current maximum of remote-write requests in flight",
            families.window.clone(),
        );
        registry.register(
            "probes",
            "Health probes of slow backends by status code",
            families.probes.clone(),
        );
        registry.register(
            "requests_split",
            "Requests that a backend refused as a whole and that were posted in parts",
            families.splits.clone(),
        );
        registry.register(
            "hold_status",
            "Status code for which a destination is on hold, 0 if it is not",
            families.hold_status.clone(),
        );
        registry.register(
            "destination_answered",
            "1 once a destination has answered since the start, else 0",
            families.answered.clone(),
        );
        registry.register(
            "protocol_fallback",
            "1 while remote write 1.0 is used for a destination that is configured for 2.0",
            families.fallback.clone(),
        );
        registry.register(
            "rejects_whole_requests",
            "1 if a destination last refused a request as a whole, 0 if it stored the rest",
            families.whole_requests.clone(),
        );
        families
    }

    /// Metrics of the destination with this name.
    pub fn for_destination(&self, destination: &str) -> Metrics {
        let samples = |outcome, reason| {
            let destination = destination.to_owned();
            let labels = SampleLabels {
                destination,
                outcome,
                reason,
            };
            self.samples.get_or_create(&labels).clone()
        };
        for code in USUAL_CODES {
            let destination = destination.to_owned();
            let labels = RequestLabels { destination, code };
            let _ = self.requests.get_or_create(&labels);
            let _ = self.probes.get_or_create(&labels);
        }
        let labels = DestinationLabels {
            destination: destination.to_owned(),
        };
        Metrics {
            latency: self.latency.get_or_create(&labels).clone(),
            bytes: self.bytes.get_or_create(&labels).clone(),
            splits: self.splits.get_or_create(&labels).clone(),
            hold_status: self.hold_status.get_or_create(&labels).clone(),
            answered: self.answered.get_or_create(&labels).clone(),
            fallback: self.fallback.get_or_create(&labels).clone(),
            whole_requests: self.whole_requests.get_or_create(&labels).clone(),
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
    /// Counts the bytes of a request with these parts.
    pub fn record_request<'a>(&self, parts: impl Iterator<Item = &'a RequestPart>) {
        self.bytes
            .inc_by(parts.map(|part| part.bytes.len() as u64).sum());
    }

    /// Counts the response or the error of a post, and observes its duration.
    pub fn record_response(&self, response: &Result<Answered, PostError>, took: Duration) {
        self.latency.observe(took.as_secs_f64());
        let labels = self.request_labels(response.as_ref().map(|answered| answered.status));
        self.families.requests.get_or_create(&labels).inc();
    }

    /// Sets the gauges to what is known of the backend.
    pub fn record_knowledge(&self, knowledge: &Knowledge) {
        self.answered.set(knowledge.has_answered().into());
        self.fallback.set(knowledge.has_fallen_back().into());
        let rejects_whole = knowledge.extent() == Extent::WholeRequest;
        self.whole_requests.set(rejects_whole.into());
    }

    /// Counts a request that a backend refused as a whole.
    pub fn record_split(&self) {
        self.splits.inc();
    }

    /// Counts the response or the error of a probe.
    pub fn record_probe(&self, response: &Result<StatusCode, PostError>) {
        let labels = self.request_labels(response.as_ref().copied());
        self.families.probes.get_or_create(&labels).inc();
    }

    fn request_labels(&self, response: Result<StatusCode, &PostError>) -> RequestLabels {
        RequestLabels {
            destination: self.destination.clone(),
            code: match response {
                Ok(status) => Code::Status(status.as_u16()),
                Err(error) => Code::None(error.kind()),
            },
        }
    }

    /// Counts the samples of a part by outcome.
    pub fn record_outcome(&self, outcome: &PartOutcome, part: &RequestPart) {
        match outcome {
            PartOutcome::Stored => {
                self.stored.inc_by(part.units);
            }
            PartOutcome::Deduplicated => {
                self.deduplicated.inc_by(part.units);
            }
            PartOutcome::Rejected(verdict) => self.record_verdict(verdict, part.units),
            PartOutcome::Retry(_) => self.record_returned(part.units),
            PartOutcome::Undecided { decided, .. } => self.record_decided(decided, part),
        }
    }

    /// Counts the decided samples of a part, and the others as returned.
    fn record_decided(&self, decided: &Decided, part: &RequestPart) {
        let units = part.units_in(0..decided.series);
        self.record_verdict(&decided.verdict, units);
        self.record_returned(part.units - units);
    }

    /// Counts `units` samples, of which `verdict` has those that were not stored.
    fn record_verdict(&self, verdict: &Verdict, units: u64) {
        for (reason, n) in &verdict.rejected {
            self.reject(*reason, *n);
        }
        self.deduplicated.inc_by(verdict.deduplicated);
        let not_stored = verdict.rejected_total() + verdict.deduplicated;
        self.stored.inc_by(units.saturating_sub(not_stored));
    }

    /// Counts samples that were returned to their senders for a retry.
    pub fn record_returned(&self, units: u64) {
        self.returned.inc_by(units);
    }

    /// Counts samples that the exporter rejected, or that relabeling dropped, before
    /// sending.
    pub fn record_local_rejections(&self, verdict: &Verdict, dropped: u64) {
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

    /// Logs the number of samples by outcome.
    pub fn log_totals(&self) {
        info!(
            destination = self.destination,
            stored = self.stored.get(),
            deduplicated = self.deduplicated.get(),
            rejected = self.rejected.iter().map(Counter::get).sum::<u64>(),
            dropped = self.dropped.get(),
            returned = self.returned.get(),
            "Sample totals"
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
