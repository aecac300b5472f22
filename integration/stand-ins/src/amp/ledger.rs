//! Records every sample that arrives, and its outcome.

use std::collections::BTreeMap;

use mesh_model::labels::Labels;

use super::decode::Value;

/// Outcome of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Stored.
    Stored,
    /// The store already has the same value for this time: 200.
    Duplicate,
    /// The store has another value for this time: 400.
    Conflict,
    /// Older than the newest sample of the series, outside the window: 400.
    OutOfOrder,
    /// Older than the maximum age of samples: 400.
    TooOld,
    /// Sent by a replica that is not elected: 202.
    Deduplicated,
    /// Rejected for another reason, such as the series limit: 400.
    Refused,
}

/// One sample that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Number of the request that carried the sample.
    pub request: u64,
    /// Time of arrival, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Labels as sent, including the HA labels.
    pub labels: Labels,
    /// Timestamp of the sample, in milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Value of the sample.
    pub value: Value,
    /// Outcome of the sample.
    pub outcome: Outcome,
}

/// Counts of everything that arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Number of decoded requests with at least one series.
    pub requests: u64,
    /// Number of samples by outcome.
    pub samples: BTreeMap<Outcome, u64>,
}

/// Record of every sample that arrived.
#[derive(Debug)]
pub struct Ledger {
    totals: Totals,
    arrivals: Vec<Arrival>,
    max_arrivals: usize,
}

// === impl Outcome ===

impl Outcome {
    /// Name of the outcome, in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::OutOfOrder => "out_of_order",
            Self::TooOld => "too_old",
            Self::Deduplicated => "deduplicated",
            Self::Refused => "refused",
        }
    }
}

// === impl Totals ===

impl Totals {
    /// Number of samples with this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.samples.get(&outcome).copied().unwrap_or(0)
    }
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn new(max_arrivals: usize) -> Self {
        Self {
            totals: Totals::default(),
            arrivals: Vec::new(),
            max_arrivals,
        }
    }

    /// Counts a request and returns its number.
    pub(super) fn begin_request(&mut self) -> u64 {
        self.totals.requests += 1;
        self.totals.requests
    }

    pub(super) fn record(&mut self, arrival: Arrival) {
        *self.totals.samples.entry(arrival.outcome).or_default() += 1;
        if self.arrivals.len() < self.max_arrivals {
            self.arrivals.push(arrival);
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals.clone()
    }

    pub(super) fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }
}
