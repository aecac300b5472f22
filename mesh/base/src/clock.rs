//! The wall clock, which tests and simulations can replace.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// A source of the current time, in milliseconds since the Unix epoch. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

// === impl Clock ===

impl Clock {
    /// Returns the system clock.
    pub fn system() -> Self {
        Self(Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map_or(0, |since| since.as_millis() as i64)
        }))
    }

    /// Returns a clock whose time is the result of `read`, in milliseconds since the Unix
    /// epoch.
    pub fn new(read: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns a clock that shows `start_ms` now and advances with tokio's time. It stops
    /// when a test pauses tokio's time.
    pub fn tokio(start_ms: i64) -> Self {
        let started = tokio::time::Instant::now();
        Self(Arc::new(move || {
            start_ms + started.elapsed().as_millis() as i64
        }))
    }

    /// Returns the current time in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now_ms())
    }
}
