//! Decides which failed requests are sent again.

use std::{error::Error, time::Duration};

use http::{Extensions, Method, Request};
use hyper_util::client::legacy;
use mesh_base::random;

use crate::http_client::http1::{ConnectionState, Stage};

/// Request extension: the server may process this request twice, although its method is not
/// safe.
#[derive(Clone, Copy, Debug)]
pub struct Replayable;

/// Attempts of one request.
#[derive(Debug)]
pub(super) struct Attempts {
    /// True if the server may process the request twice.
    replayable: bool,
    /// Number of attempts that an HTTP/2 server refused.
    refused: u32,
}

/// Reaction to a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decision {
    /// The request has failed.
    Fail,
    /// The request is sent again.
    Repeat {
        /// Pause before the next attempt.
        after: Duration,
        /// True if the server certainly did not process this attempt.
        unprocessed: bool,
    },
}

/// Maximum number of refused attempts over HTTP/2 after which a request is sent again.
const MAX_REFUSED: u32 = 7;
/// Fields by which a caller declares that a request may be processed twice.
const IDEMPOTENCY: [&str; 2] = ["idempotency-key", "x-idempotency-key"];

// === impl Attempts ===

impl Attempts {
    pub(super) fn new<B>(request: &Request<B>) -> Self {
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE];
        let replayable = safe.contains(request.method())
            || IDEMPOTENCY
                .iter()
                .any(|n| request.headers().contains_key(*n))
            || request.extensions().get::<Replayable>().is_some();
        Self {
            replayable,
            refused: 0,
        }
    }

    /// Decides what follows a failed attempt.
    pub(super) fn decide(&mut self, error: &legacy::Error) -> Decision {
        let Some(connected) = error.connect_info() else {
            return Decision::Fail;
        };
        let mut extras = Extensions::new();
        connected.get_extras(&mut extras);
        let Some(state) = extras.get::<ConnectionState>() else {
            return Decision::Fail;
        };
        let Some(stage) = state.stage() else {
            let decision = self.decide_http2(error, state);
            if decision != Decision::Fail && !is_refused_stream(error) {
                // The server wants no more requests on this connection.
                connected.poison();
            }
            return decision;
        };
        let unprocessed = stage == Stage::Unsent;
        // A server has no reason to close a new connection, so such a close is an error. Each
        // repetition uses up a connection of the pool, which bounds their number.
        if !state.is_used() || stage == Stage::Answered || !(unprocessed || self.replayable) {
            return Decision::Fail;
        }
        Decision::Repeat {
            after: Duration::ZERO,
            unprocessed,
        }
    }

    fn decide_http2(&mut self, error: &legacy::Error, state: &ConnectionState) -> Decision {
        let Some(error) = http2(error).filter(|error| error.is_remote()) else {
            return Decision::Fail;
        };
        let reason = error.reason();
        let unprocessed = if error.is_go_away() {
            // An immediate error would recur on the next connection. h2 fails only the
            // requests beyond the last one that the server processed.
            state.is_used() || reason == Some(h2::Reason::NO_ERROR)
        } else {
            reason == Some(h2::Reason::REFUSED_STREAM)
        };
        let reset = reason == Some(h2::Reason::PROTOCOL_ERROR) && !error.is_go_away();
        if self.refused == MAX_REFUSED || !(unprocessed || (reset && self.replayable)) {
            return Decision::Fail;
        }
        let after = match self.refused {
            0 => Duration::ZERO,
            n => Duration::from_secs(1 << (n - 1)).mul_f64(random::range(1.0..1.1)),
        };
        self.refused += 1;
        Decision::Repeat { after, unprocessed }
    }
}

fn is_refused_stream(error: &legacy::Error) -> bool {
    http2(error)
        .is_some_and(|error| error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// Returns the HTTP/2 error that caused a failure.
fn http2(error: &legacy::Error) -> Option<&h2::Error> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        source = error.source();
    }
    None
}
