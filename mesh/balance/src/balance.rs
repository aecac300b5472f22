//! Cloneable service over one tower balancer.
//!
//! tower's balancer takes `&mut self` and remembers the waker of its last caller only,
//! while many lanes call it at once. `tower::buffer` would solve that with a queue, but a
//! queued Export could not return at its own deadline, and discovery would stop while no
//! Export is queued. Here the callers share the balancer behind a mutex and poll it with
//! one common waker, which wakes all that wait. The mutex is locked while an endpoint is
//! picked, not while an Export is in flight.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;
use tower::{Service, balance::p2c};

use mesh_contract::{
    export::{Export, ExportError},
    report::ExportResponse,
};
use mesh_net::{connector::Connector, endpoints::Addresses};

use crate::{
    BalanceMetrics, ExporterArgs,
    discovery::{self, Discovery, NewEndpoint},
    load::ThreadRandom,
    pool::Pool,
};

/// A tower service that sends each Export to one of the exporters. Cheap to clone; the
/// connections close when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Balance {
    pub(crate) shared: Arc<Shared>,
    /// Applies discovery changes while no Export is sent.
    _driver: Arc<AbortOnDropHandle<()>>,
}

/// State that the clones of a [`Balance`] share.
pub(crate) struct Shared {
    balancer: Mutex<Balancer>,
    /// Notified when an endpoint may have become ready, or discovery has a change.
    changed: Arc<Changed>,
    /// Waker that notifies `changed`.
    waker: Waker,
    pub(crate) pool: Arc<Pool>,
    failfast: Duration,
    metrics: BalanceMetrics,
}

#[derive(Debug, Default)]
struct Changed(Notify);

type Balancer = p2c::Balance<Discovery, Export>;
type ResponseFuture = <Balancer as Service<Export>>::Future;

// === impl Balance ===

impl Balance {
    /// Creates a balancer over `addresses` that connects through `connector`. Needs a
    /// tokio runtime.
    pub fn new(
        args: &ExporterArgs,
        addresses: Addresses,
        connector: Connector,
        metrics: BalanceMetrics,
    ) -> Self {
        let ping_interval = args.ping_interval;
        let pool = Arc::<Pool>::default();
        let new_endpoint = NewEndpoint {
            connector,
            compression: args.compression,
            ping_interval: Some(ping_interval).filter(|interval| !interval.is_zero()),
            metrics: metrics.clone(),
            pool: pool.clone(),
        };
        let discovery = discovery::discover(addresses, new_endpoint);
        let changed = Arc::<Changed>::default();
        let shared = Arc::new(Shared {
            balancer: Mutex::new(p2c::Balance::from_rng(discovery, ThreadRandom)),
            waker: changed.clone().into(),
            changed,
            pool,
            failfast: args.failfast,
            metrics,
        });
        let driver = tokio::spawn(shared.clone().drive());
        Self {
            shared,
            _driver: Arc::new(AbortOnDropHandle::new(driver)),
        }
    }

    /// Returns true if at least one exporter is connected.
    pub fn is_connected(&self) -> bool {
        self.shared.pool.is_connected()
    }
}

impl Service<Export> for Balance {
    type Response = ExportResponse;
    type Error = ExportError;
    type Future = BoxFuture<'static, Result<ExportResponse, ExportError>>;

    /// Always ready. An Export waits for an endpoint in `call`, where its deadline is
    /// known.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ExportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, export: Export) -> Self::Future {
        let shared = self.shared.clone();
        async move { shared.export(export).await }.boxed()
    }
}

// === impl Shared ===

impl Shared {
    async fn export(&self, export: Export) -> Result<ExportResponse, ExportError> {
        let outcome = match self.dispatch(export).await {
            Ok(response) => response
                .await
                .expect("endpoints return errors in their response"),
            Err(unsent) => Err(unsent),
        };
        self.metrics.observe(&outcome);
        outcome
    }

    /// Passes the Export to an endpoint, and waits until one is ready.
    async fn dispatch(&self, export: Export) -> Result<ResponseFuture, ExportError> {
        let give_up = export.deadline.min(Instant::now() + self.failfast);
        loop {
            // Created before the poll, so that no change between the two is missed.
            let changed = self.changed.0.notified();
            if let Some(mut balancer) = self.lock_ready() {
                return Ok(balancer.call(export));
            }
            if timeout_at(give_up, changed).await.is_err() {
                return Err(ExportError::Unsent(self.pool.unreachable().into()));
            }
        }
    }

    /// Polls the balancer after each change, without an Export. A balancer that no Export
    /// polls would neither connect to new addresses nor close removed ones.
    async fn drive(self: Arc<Self>) {
        loop {
            let changed = self.changed.0.notified();
            drop(self.lock_ready());
            changed.await;
        }
    }

    /// Polls the balancer, and returns it locked if an endpoint is ready.
    fn lock_ready(&self) -> Option<MutexGuard<'_, Balancer>> {
        let mut balancer = self.balancer.lock();
        let ready = balancer.poll_ready(&mut Context::from_waker(&self.waker));
        // Neither discovery nor the endpoints' `poll_ready` can fail.
        matches!(ready, Poll::Ready(Ok(()))).then_some(balancer)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

// === impl Changed ===

impl Wake for Changed {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_waiters();
    }
}
