//! Scripted failures of the backend.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};

/// One failure of the backend.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Stores nothing and answers with a status code.
    Status {
        /// Status code.
        code: u16,
        /// Response body.
        body: String,
        /// Value of the `Retry-After` header, in seconds.
        retry_after: Option<u64>,
    },
    /// Stores everything after this delay.
    Slow(Duration),
    /// Stores everything and never answers.
    StoreAndHang,
    /// Stores nothing and never answers.
    Hang,
    /// Rejects series of this metric name and stores the others.
    RejectMetric(String),
    /// Rejects new series and stores the others.
    SeriesLimit,
    /// Rejects a request as a whole if one of its samples is to be rejected, as Prometheus
    /// does with remote write 1.0. The ledger gets a rejected sample once it is alone.
    RejectWholeRequests,
    /// Rejects a request as a whole if it has a series of this metric name, as
    /// [`RejectWholeRequests`](Self::RejectWholeRequests) does.
    RejectMetricAndWholeRequests(String),
}

/// Script of the failures to come. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    next: VecDeque<Fault>,
    always: Option<Fault>,
}

// === impl Fault ===

impl Fault {
    /// Creates a failure with a status code and a body.
    pub fn status(code: u16, body: &str) -> Self {
        Self::Status {
            code,
            body: body.to_owned(),
            retry_after: None,
        }
    }

    /// Creates a 429 with `Retry-After`.
    pub fn throttle(seconds: u64) -> Self {
        Self::Status {
            code: 429,
            body: "ingestion rate limit (1000) exceeded while adding 1 samples".to_owned(),
            retry_after: Some(seconds),
        }
    }
}

// === impl Faults ===

impl Faults {
    /// Appends failures for the next requests, one each. They precede the fault of
    /// [`always`](Self::always).
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script().next.extend(faults);
    }

    /// Sets the fault of every request from now on; `None` ends it.
    pub fn always(&self, fault: Option<Fault>) {
        self.script().always = fault;
    }

    /// Removes the scripted failures that no request has consumed yet.
    pub fn clear(&self) {
        self.script().next.clear();
    }

    /// Number of scripted failures that no request has consumed yet.
    pub fn remaining(&self) -> usize {
        self.script().next.len()
    }

    /// Fault of every request, if any.
    pub(super) fn persistent(&self) -> Option<Fault> {
        self.script().always.clone()
    }

    /// Takes the fault of the next request.
    pub(super) fn take(&self) -> Option<Fault> {
        let mut script = self.script();
        script.next.pop_front().or_else(|| script.always.clone())
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock()
    }
}
