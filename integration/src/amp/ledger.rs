//! Every sample that arrived, and what became of it.

use std::collections::BTreeMap;

use mesh::labels::Labels;

use super::decode::Value;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Stored.
    Stored,
    /// Had already: the same value for the same time.
    Duplicate,
    /// Another value for a time that has one: 400.
    Conflict,
    /// Older than the series' newest, outside the window: 400.
    OutOfOrder,
    /// Older than the backend takes: 400.
    TooOld,
    /// Another replica is elected: 202.
    Deduplicated,
    /// Refused for another reason.
    Refused,
}

/// One sample that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Number of the request it came in.
    pub request: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The series as sent, with the HA labels.
    pub labels: Labels,
    /// The sample's time.
    pub timestamp: i64,
    /// The sample's value.
    pub value: Value,
    /// What became of it.
    pub outcome: Outcome,
}

/// What arrived, in sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were decoded.
    pub requests: u64,
    /// Samples by what became of them.
    pub samples: BTreeMap<Outcome, u64>,
}

/// Every sample that arrived.
#[derive(Debug)]
pub struct Ledger {
    totals: Totals,
    arrivals: Vec<Arrival>,
    max_arrivals: usize,
}

// === impl Outcome ===

impl Outcome {
    /// The outcome's name.
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
    /// How many samples had this outcome.
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

    /// Begins a request and returns its number.
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
