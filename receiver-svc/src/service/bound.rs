//! Runs a receiver until shutdown, and stops its parts in order.

use std::{sync::Arc, time::Duration};

use mesh_base::shutdown::{self, Shutdown};
use mesh_net::server::{Accept, Server};
use mesh_outbox::{Outbox, Workers};
use mesh_service::{
    admin::{Admin, Readiness},
    reload::{self, ConfigWatch, Reloader},
    web::WebServer,
};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{environment::Addresses, error::Error, pages, scraping::Scraping};
use crate::{
    handover::{Handover, Poller},
    heartbeat::Heartbeat,
    scrape::Status,
    shard::Shards,
};

/// Receiver that listens and does not scrape yet.
#[derive(Debug)]
pub struct Bound<L = TcpListener> {
    /// Listen addresses.
    pub addresses: Addresses,
    pub(super) web: WebServer<L>,
    pub(super) peers: Option<Server<L>>,
    /// Watch of the configuration file, if this receiver reloads it by itself.
    pub(super) watch: Option<ConfigWatch>,
    pub(super) shutdown_timeout: Duration,
    pub(super) registry: Registry,
    pub(super) outbox: Outbox,
    pub(super) workers: Workers,
    pub(super) scraping: Scraping,
    pub(super) heartbeat: Heartbeat,
    pub(super) handover: Handover,
    pub(super) poller: Poller,
}

/// Time that peers have to close their connections when this receiver stops.
const PEERS_TIMEOUT: Duration = Duration::from_secs(1);

// === impl Bound ===

impl<L> Bound<L> {
    /// Returns the outbox, whose account counts each sample.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Subscribes to the members that share the targets, as this receiver knows them.
    pub fn shards(&self) -> Shards {
        self.scraping.shards.clone()
    }

    /// Subscribes to the status of all targets. The channel closes when scraping stops.
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.scraping.manager.status()
    }
}

impl<L: Accept + 'static> Bound<L> {
    /// Scrapes until `shutdown`, then delivers the pending batches until the shutdown timeout.
    /// Writes no staleness markers when it stops (law 8).
    ///
    /// # Errors
    /// Returns an error if the admin port fails.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let mut scraping = self.scraping;
        info!(web = %self.addresses.web, "Receiver started");
        let readiness = Readiness::default();
        let mut registry = self.registry;
        let (reloader, requests) = reload::channel(&mut registry);
        if let Some(watch) = self.watch {
            reloader.on_change(watch);
            reload_on_hangup(&reloader);
        }
        // The admin port serves until everything else has ended.
        let (admin_stop, admin_shutdown) = shutdown::channel();
        let status = scraping.manager.status();
        let mut routes = pages::router(status.clone(), scraping.discovery.failures());
        let mut pages = vec!["/targets"];
        if let Some(monitors) = &scraping.monitors {
            routes = routes.merge(monitors.status.clone().router());
            pages.push("/monitors");
        }
        let admin = Admin::new("receiver-svc", registry, readiness.clone())
            .with_reload(reloader)
            .with_routes(&pages, routes);
        let mut admin = tokio::spawn(admin.serve(self.web, admin_shutdown));
        let (peers_stop, peers_shutdown) = shutdown::channel();
        let peers = self.peers.map(|server| {
            let service = self.handover.server();
            let respond = move |request| service.clone().respond(request);
            tokio::spawn(server.serve(respond, peers_shutdown))
        });
        let poller = tokio::spawn(self.poller.run());
        readiness.set(true);
        tokio::select! {
            // A fixed order lets simulations repeat.
            biased;
            () = shutdown.signaled() => {}
            served = &mut admin => return served.map_err(Error::Serve),
            () = scraping.run(requests) => {}
            // Heartbeats end with the scraping, before the pending batches are delivered.
            () = self.heartbeat.run(|now_ms| status.borrow().is_scraping(now_ms)) => {}
        }
        readiness.set(false);
        let members = scraping.shards.clone();
        // Cancels all scrape loops. They write no staleness markers.
        drop(scraping);
        self.handover.stop();
        let deadline = Instant::now() + self.shutdown_timeout;
        let account = tokio::select! {
            biased;
            account = self.workers.drain(deadline) => account,
            never = self.handover.follow_members(members) => match never {},
        };
        if account.waiting == 0 {
            self.handover.announce_drained().await;
        }
        poller.abort();
        info!(%account, "Receiver stopped");
        peers_stop.fire();
        if let Some(mut peers) = peers {
            // A peer that is unreachable cannot close its connection.
            if timeout(PEERS_TIMEOUT, &mut peers).await.is_err() {
                peers.abort();
            }
        }
        admin_stop.fire();
        admin.await.map_err(Error::Serve)
    }
}

fn reload_on_hangup(reloader: &Reloader) {
    if let Err(error) = reloader.on_hangup() {
        warn!(%error, "Cannot reload on SIGHUP, use POST /-/reload");
    }
}
