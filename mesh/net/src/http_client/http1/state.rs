//! Progress of the current exchange of a connection.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
};

/// Use of a connection and progress of its current exchange. Clones share it.
#[derive(Clone, Debug)]
pub(in super::super) struct ConnectionState(Arc<Shared>);

/// Progress of an HTTP/1 exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in super::super) enum Stage {
    /// No byte of the request was sent.
    Unsent,
    /// The server sent no byte of the response yet.
    Sent,
    /// The server has begun its response.
    Answered,
}

#[derive(Debug)]
struct Shared {
    http1: bool,
    used: AtomicBool,
    stage: AtomicU8,
    /// Maximum number of requests in flight over HTTP/2.
    max_streams: AtomicU32,
}

/// Maximum number of requests in flight on an HTTP/2 connection whose server names no limit, as
/// in Go.
const DEFAULT_MAX_STREAMS: u32 = 1000;

// === impl ConnectionState ===

impl ConnectionState {
    pub(super) fn new(http1: bool) -> Self {
        Self(Arc::new(Shared {
            http1,
            used: AtomicBool::new(false),
            stage: AtomicU8::new(Stage::Unsent as u8),
            max_streams: AtomicU32::new(DEFAULT_MAX_STREAMS),
        }))
    }

    /// Returns the progress of the current exchange, or `None` for HTTP/2.
    pub(in super::super) fn stage(&self) -> Option<Stage> {
        let stage = match self.0.stage.load(Ordering::Acquire) {
            0 => Stage::Unsent,
            1 => Stage::Sent,
            _ => Stage::Answered,
        };
        self.0.http1.then_some(stage)
    }

    /// Returns true if the connection carried a response.
    pub(in super::super) fn is_used(&self) -> bool {
        self.0.used.load(Ordering::Acquire)
    }

    /// Notes that the connection carried a response.
    pub(in super::super) fn mark_used(&self) {
        self.0.used.store(true, Ordering::Release);
    }

    /// Returns the maximum number of requests in flight: the HTTP/2 server's, or no limit for
    /// HTTP/1, where each has a connection of its own.
    pub(in super::super) fn max_in_flight(&self) -> usize {
        match self.0.http1 {
            true => usize::MAX,
            false => self.0.max_streams.load(Ordering::Acquire) as usize,
        }
    }

    /// Notes the limit of an HTTP/2 server.
    pub(super) fn set_max_streams(&self, limit: u32) {
        self.0.max_streams.store(limit, Ordering::Release);
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.0.stage.store(stage as u8, Ordering::Release);
    }

    /// Notes that `bytes` bytes of a request were sent.
    pub(super) fn sent(&self, bytes: usize) {
        if bytes > 0 && self.stage() == Some(Stage::Unsent) {
            self.enter(Stage::Sent);
        }
    }
}
