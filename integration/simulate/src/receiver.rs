//! A receiver in the simulation: the real discovery, sharing, scrape loops,
//! outbox and balancer, wired as receiver-svc wires them; of its admin port only what
//! other receivers ask.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use mesh_balance::{Balance, BalanceMetrics, ExporterArgs};
use mesh_base::{budget::Budget, clock::Clock};
use mesh_model::config::Config;
use mesh_outbox::{Outbox, OutboxArgs, SpillArgs};
use mesh_wire::compression::Compression;
use prometheus_client::registry::Registry;
use receiver_svc::{
    batch_context::batch_context,
    discovery::{Discovery, DiscoveryMetrics},
    handover::{self, Handover, HandoverMetrics},
    heartbeat::{Heartbeat, HeartbeatMetrics},
    scrape::{Manager, ScrapeMetrics, Shared as Scraping},
    shard,
};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::{
    judge::Life,
    net,
    tap::{Journal, Tap},
    world::{Incarnation, Shared, View, now_ms},
};

/// The admin port. Members are called by their hosts' names, without a port.
const PORT: u16 = 80;
/// What --shard.handover-timeout is unless given.
pub(super) const HANDOVER_TIMEOUT: Duration = Duration::from_secs(10);
/// What --shard.away-timeout is: less than unless given, as a simulation does not go on for
/// a minute after what went wrong.
pub(super) const AWAY_TIMEOUT: Duration = Duration::from_secs(30);
/// What --ha.heartbeat-interval is unless given.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long a receiver may drain.
pub(super) const DRAIN: Duration = Duration::from_secs(60);

/// What one receiver is.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) name: String,
    /// Its replica group.
    pub(super) group: String,
    pub(super) lanes: u16,
    /// Whether it has a heartbeat.
    pub(super) heartbeats: bool,
    /// Where it spills what waits, and after how many seconds.
    pub(super) spill: Option<(PathBuf, u64)>,
    /// Its configuration file's text.
    pub(super) config: String,
}

/// Scrapes until told to stop, and delivers what it has.
pub(super) async fn run(shared: Arc<Shared>, spec: Spec, view: Arc<View>) -> turmoil::Result {
    let skew = view.skew_ms.clone();
    let clock = Clock::new(move || now_ms() + skew.load(Ordering::Relaxed));
    let exporters = ExporterArgs {
        endpoints: "unused:1".parse()?,
        compression: Compression::Zstd,
        ping_interval_ms: 800,
        failfast_ms: 1000,
        tls: Default::default(),
    };
    let balance = Balance::new(
        &exporters,
        view.exporters.subscribe(),
        net::connector(),
        BalanceMetrics::default(),
    );
    let limits = limits(&spec);
    let journal = Journal::default();
    let exports = Tap::new(balance, journal.clone());
    let (outbox, workers) = Outbox::sharing_keys(&limits, clock.clone(), exports);
    let shutdown = shared.begin(&spec.name);
    shared.incarnations().push(Incarnation {
        outbox: Some(outbox.clone()),
        journal,
        life: Life {
            name: spec.name.clone(),
            group: spec.group.clone(),
            began_ms: now_ms(),
            ..Life::default()
        },
    });
    let config = Config::parse(&spec.config, Path::new("prometheus.yml"), &|_| None)?;
    let context = Arc::new(batch_context(&config, &[])?);
    let (handover, poller) = Handover::new(
        handover::Options {
            name: spec.name.clone(),
            members_are_ready: true,
            unready: view.unready.subscribe(),
            timeout: HANDOVER_TIMEOUT,
            away_timeout: AWAY_TIMEOUT,
            connector: Some(net::connector()),
        },
        clock.clone(),
        outbox.clone(),
        HandoverMetrics::default(),
    );
    tokio::spawn(poller.run());
    let admin = handover.router();
    tokio::spawn(async move {
        let _ = net::serve(PORT, move |_| admin.clone()).await;
    });
    let mut manager = Manager::new(Scraping {
        clock: clock.clone(),
        outbox: outbox.clone(),
        ownership: Arc::new(handover.clone()),
        budget: Budget::new(64 << 20),
        concurrency: Arc::new(Semaphore::new(100)),
        metrics: ScrapeMetrics::register(&mut Registry::default()),
        max_body_bytes: 1 << 20,
        start_timestamps: false,
        connector: Some(net::connector()),
    });
    let status = manager.status();
    let (_facts, told) = watch::channel(context.clone());
    let metrics = HeartbeatMetrics::register(&mut Registry::default());
    let every = if spec.heartbeats {
        HEARTBEAT
    } else {
        Duration::ZERO
    };
    let heartbeat = Heartbeat::new(every, outbox, clock, told, &spec.name, metrics);
    let heartbeat = tokio::spawn(heartbeat.run(move |ms| status.borrow().is_scraping(ms)));
    let mut discovery = Discovery::new(DiscoveryMetrics::default(), Duration::from_secs(5));
    let prepared = manager.prepare(&config.scrape_configs, &context)?;
    discovery.apply(&config.scrape_configs).await?;
    manager.apply(prepared);
    let (mut jobs, mut shards) = (
        discovery.jobs(),
        shard::follow(spec.name.clone(), view.members.subscribe()),
    );
    jobs.mark_changed();
    shards.mark_changed();
    loop {
        tokio::select! {
            biased;
            () = shutdown.signaled() => break,
            () = manager.overrides_changed() => {}
            changed = jobs.changed() => {
                changed.context("discovery has ended")?;
                manager.update_targets(&jobs.borrow_and_update().clone());
            }
            changed = shards.changed() => {
                changed.context("the members are lost")?;
                if let Some(shard) = shards.borrow_and_update().clone() {
                    manager.update_shard(shard);
                    shared.sharing(&spec.name);
                }
            }
        }
        manager.sync();
    }
    heartbeat.abort();
    drop((manager, discovery));
    handover.stop();
    shared.stopping(&spec.name);
    let account = tokio::select! {
        account = workers.drain(Instant::now() + DRAIN) => account,
        never = handover.follow_members(shards) => match never {},
    };
    if account.waiting == 0 {
        handover.announce_drained().await;
    }
    shared.ended(&spec.name);
    Ok(())
}

fn limits(spec: &Spec) -> OutboxArgs {
    let mut limits = OutboxArgs {
        lanes: spec.lanes,
        ..OutboxArgs::default()
    };
    if let Some((dir, after)) = &spec.spill {
        limits.spill = SpillArgs {
            spill_dir: Some(dir.clone()),
            spill_after_seconds: *after,
            ..limits.spill
        };
    }
    limits
}
