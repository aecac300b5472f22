//! Ejects an endpoint that fails repeatedly.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{FutureExt, future::BoxFuture};
use pin_project_lite::pin_project;
use tokio::time::timeout_at;
use tower::Service;

use mesh_contract::export::Export;

use crate::{
    Outcome,
    pool::{Health, Pool},
};

/// A [`Service`] that is not ready while its endpoint is ejected, unless no other endpoint
/// is healthy. Then requests have to find out whether this one has recovered.
pub(crate) struct Ejection<S> {
    inner: S,
    health: Arc<Health>,
    pool: Arc<Pool>,
    /// Completes when the ejection ends or another endpoint becomes less healthy.
    waiting: Option<BoxFuture<'static, ()>>,
}

pin_project! {
    /// Response of an [`Ejection`]. Dropped before it completes, it counts as a failure:
    /// the caller's deadline has passed.
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        inner: F,
        in_flight: InFlight,
    }
}

struct InFlight {
    health: Arc<Health>,
    pool: Arc<Pool>,
    is_recorded: bool,
}

// === impl Ejection ===

impl<S> Ejection<S> {
    pub(crate) fn new(inner: S, health: Arc<Health>, pool: Arc<Pool>) -> Self {
        Self {
            inner,
            health,
            pool,
            waiting: None,
        }
    }
}

impl<S> Service<Export> for Ejection<S>
where
    S: Service<Export, Response = Outcome, Error = Infallible>,
{
    type Response = Outcome;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        ready!(self.inner.poll_ready(context))?;
        while let Some(until) = self.health.ejected_until() {
            // Created before the check, so that no change between the two is missed.
            let waiting = self.waiting.get_or_insert_with(|| {
                let change = self.pool.next_change();
                timeout_at(until, change).map(drop).boxed()
            });
            if !self.pool.has_healthy() {
                break;
            }
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
        self.waiting = None;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, export: Export) -> Self::Future {
        ResponseFuture {
            inner: self.inner.call(export),
            in_flight: InFlight {
                health: self.health.clone(),
                pool: self.pool.clone(),
                is_recorded: false,
            },
        }
    }
}

// === impl ResponseFuture ===

impl<F: Future<Output = Result<Outcome, Infallible>>> Future for ResponseFuture<F> {
    type Output = Result<Outcome, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(outcome) = ready!(this.inner.poll(context));
        this.in_flight.record(Some(&outcome));
        Poll::Ready(Ok(outcome))
    }
}

// === impl InFlight ===

impl InFlight {
    fn record(&mut self, outcome: Option<&Outcome>) {
        self.is_recorded = true;
        self.pool.record(&self.health, outcome);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_recorded {
            self.record(None);
        }
    }
}
