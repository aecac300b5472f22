//! What goes wrong: scripted failures of the backend.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// One failure.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing is stored; this is answered.
    Status {
        /// The status code.
        code: u16,
        /// The body.
        body: String,
        /// Seconds of `Retry-After`.
        retry_after: Option<u64>,
    },
    /// Everything is stored, this much later.
    Slow(Duration),
    /// Everything is stored and nothing answered.
    StoreAndHang,
    /// Nothing is stored and nothing answered.
    Hang,
    /// Series of this metric name are refused, the rest is stored.
    RefuseMetric(String),
    /// New series are refused, the rest is stored.
    SeriesLimit,
}

/// The failures to come. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    next: VecDeque<Fault>,
    always: Option<Fault>,
}

// === impl Fault ===

impl Fault {
    /// A plain status.
    pub fn status(code: u16, body: &str) -> Self {
        Self::Status {
            code,
            body: body.to_owned(),
            retry_after: None,
        }
    }

    /// 429, and when to come again.
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
    /// Lets the next requests fail like this, one each, before anything else.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script().next.extend(faults);
    }

    /// Lets every request fail like this from now on, or none.
    pub fn always(&self, fault: Option<Fault>) {
        self.script().always = fault;
    }

    /// Forgets the scripted failures that are still to come.
    pub fn forget(&self) {
        self.script().next.clear();
    }

    /// How many scripted failures are still to come.
    pub fn remaining(&self) -> usize {
        self.script().next.len()
    }

    /// What every request meets from now on, if anything.
    pub(super) fn lasting(&self) -> Option<Fault> {
        self.script().always.clone()
    }

    pub(super) fn take(&self) -> Option<Fault> {
        let mut script = self.script();
        script.next.pop_front().or_else(|| script.always.clone())
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
