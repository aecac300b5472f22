//! Runs the mesh of a plan on a simulated network, applies its disturbances, and stops it.
//!
//! ```text
//! simulation ─▶ hosts (targets, receivers, exporters, backend) ─▶ processes ─▶ record
//! ```

mod change;
mod links;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{anyhow, ensure};
use mesh_base::clock::Clock;
use rand::{Rng, SeedableRng, rngs::StdRng};
use stand_ins::amp::{AmpOptions, Backend, Fault};
use tokio::sync::watch;
use turmoil::{Builder, Sim};

use self::links::Links;
use super::{
    backend,
    clock::{START_MS, now_ms},
    exporter,
    plan::{self, Action, Kind, Plan, Shape},
    processes::Processes,
    receiver::{self, SHUTDOWN_TIMEOUT, Spec, View},
    record::Record,
    targets::{self, ScrapeLog},
};

/// Time for which the mesh runs after the last fault.
const COOL_DOWN: Duration = Duration::from_secs(30);
/// Interval at which the latency of each link is drawn. A draw per segment would depend on the
/// number of earlier segments, and HTTP/2 sends some frames by the machine's clock.
const LATENCY_INTERVAL_MS: u64 = 100;
/// Delay after which a receiver learns of a change of its peers. It differs per receiver.
const VIEW_DELAY_MS: std::ops::Range<u64> = 50..1_800;

/// Running simulation.
struct Simulation {
    sim: Sim<'static>,
    plan: Plan,
    /// Destinations by host.
    backends: BTreeMap<&'static str, Backend>,
    scrapes: ScrapeLog,
    processes: Arc<Processes>,
    views: BTreeMap<String, Arc<View>>,
    /// Hosts that are ready endpoints of their service.
    ready: BTreeSet<String>,
    /// Hosts that should not run.
    unwanted: BTreeSet<String>,
    /// Folder of configuration files and of the spill directories, named after the receivers.
    folder: PathBuf,
    /// Scheduled events: time, sequence number and event. The earliest is on top.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// Number of events that have been scheduled.
    scheduled: u64,
    rng: StdRng,
    links: Links,
    view_lag_ms: Vec<(String, i64, i64)>,
    /// Time of the last kill at the end of a grace period, in milliseconds since the start.
    killed_at_ms: u64,
}

/// Scheduled event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The disturbance with this index begins.
    Begin(usize),
    /// The disturbance with this index ends.
    End(usize),
    /// A change acts on a pod.
    Pod(Action, String),
    /// A host starts. Kills it first if it still runs.
    Start(String),
    /// A host becomes ready.
    Join(String),
    /// A host is no longer ready.
    Leave(String),
    /// A host whose process has ended fails its readiness probe.
    FailProbe(String),
    /// An unwanted receiver pod is deleted, if its process has ended.
    Delete(String),
    /// A receiver learns which peers are ready.
    UpdateView(String),
    /// The latencies of all links are drawn again.
    DrawLatencies,
}

/// Runs the simulation of a plan and returns a record for each destination, with configuration files and spill directories in `folder`.
///
/// # Errors
/// Returns an error if a service fails, or does not stop within its shutdown timeout.
pub(super) fn run(plan: Plan, folder: &Path) -> anyhow::Result<Vec<Record>> {
    mesh_base::random::seed(plan.seed);
    mesh_base::blocking::run_inline();
    let mut simulation = Simulation::new(plan, folder)?;
    simulation.schedule(0, Event::DrawLatencies);
    for i in 0..simulation.plan.disturbances.len() {
        let at_ms = simulation.plan.disturbances[i].at_ms;
        simulation.schedule(at_ms, Event::Begin(i));
    }
    simulation.run_until_cool()?;
    simulation.stop_receivers()?;
    let destinations = simulation.plan.shape.destinations().iter();
    Ok(destinations.map(|host| simulation.record(host)).collect())
}

// === impl Simulation ===

impl Simulation {
    fn new(plan: Plan, folder: &Path) -> anyhow::Result<Self> {
        let shape = &plan.shape;
        let sim = Builder::new()
            .rng_seed(plan.seed)
            .tick_duration(shape.tick)
            .tcp_capacity(4096)
            .build();
        let backends = shape.destinations().iter().map(|host| {
            let options = AmpOptions {
                keys: None,
                clock: Clock::new(now_ms),
                ..AmpOptions::default()
            };
            (*host, Backend::new(options))
        });
        let ready = shape.exporters().into_iter().chain(shape.all_receivers());
        let mut simulation = Self {
            sim,
            backends: backends.collect(),
            scrapes: ScrapeLog::default(),
            processes: Arc::default(),
            views: BTreeMap::new(),
            ready: ready.collect(),
            unwanted: plan.spares.clone(),
            folder: folder.to_owned(),
            events: BinaryHeap::new(),
            scheduled: 0,
            rng: StdRng::seed_from_u64(plan.seed ^ 0x5eed),
            links: Links::new(&plan),
            view_lag_ms: Vec::new(),
            killed_at_ms: 0,
            plan,
        };
        simulation.add_backends_and_targets();
        simulation.add_exporters()?;
        simulation.add_receivers()?;
        for name in &simulation.unwanted {
            simulation.sim.crash(name.as_str());
        }
        Ok(simulation)
    }

    fn add_backends_and_targets(&mut self) {
        for (host, backend) in self.backends.clone() {
            self.sim.host(host, move || backend::run(backend.clone()));
        }
        let (scrapes, n) = (self.scrapes.clone(), self.plan.shape.targets);
        self.sim
            .host(targets::HOST, move || targets::run(scrapes.clone(), n));
    }

    fn add_exporters(&mut self) -> anyhow::Result<()> {
        let entries = self.plan.shape.destinations().iter();
        let entries =
            entries.map(|host| format!("- {{name: {host}, url: '{}'}}\n", backend::url(host)));
        let config = format!("remote_write:\n{}", entries.collect::<String>());
        let config = self.write_config("exporter", &config)?;
        for name in self.plan.exporters() {
            let (processes, config, host) = (self.processes.clone(), config.clone(), name.clone());
            self.sim.host(name, move || {
                exporter::run(processes.clone(), host.clone(), config.clone())
            });
        }
        Ok(())
    }

    fn add_receivers(&mut self) -> anyhow::Result<()> {
        let shape = self.plan.shape.clone();
        for name in self.plan.receivers() {
            let group = plan::group(&name).unwrap_or_default();
            let (exporters, members) = self.ready_peers(&name);
            let view = Arc::new(View {
                members: watch::Sender::new(Some(members)),
                unready: watch::Sender::default(),
                exporters: watch::Sender::new(Some(exporters)),
                skew_ms: Arc::default(),
            });
            self.views.insert(name.clone(), view.clone());
            let spec = Spec {
                name: name.clone(),
                group: group.to_owned(),
                in_flight_kib: shape.in_flight_kib,
                heartbeats: shape.heartbeats,
                spill: shape
                    .spill_after
                    .map(|after| (self.folder.join(&name), after)),
                config: self.write_config(group, &receiver_config(&shape, group))?,
                tokens: self.write_config("tokens", "secret\n")?,
            };
            let processes = self.processes.clone();
            self.sim.host(name, move || {
                receiver::run(processes.clone(), spec.clone(), view.clone())
            });
        }
        Ok(())
    }

    fn write_config(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(format!("{name}.yml"));
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Returns the addresses of the ready exporters, and the names of the ready members of a
    /// receiver's group.
    fn ready_peers(&self, receiver: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let exporters = self
            .ready
            .iter()
            .filter(|name| name.starts_with("exporter"));
        let exporters = exporters.map(|name| format!("{name}:{}", exporter::PORT));
        let group = receiver.trim_end_matches(char::is_numeric);
        let members = self.ready.iter().filter(|name| name.starts_with(group));
        (exporters.collect(), members.cloned().collect())
    }

    /// Returns the unready members of a receiver's group whose pods exist: they run, or were
    /// killed and will start again.
    fn unready_members(&mut self, receiver: &str) -> BTreeSet<String> {
        let mut names = self.plan.receivers();
        names.retain(|name| {
            let is_of_group = plan::group(name) == plan::group(receiver);
            is_of_group && !self.ready.contains(name) && self.exists(name)
        });
        names.into_iter().collect()
    }

    fn exists(&mut self, name: &str) -> bool {
        self.sim.is_host_running(name) || !self.unwanted.contains(name)
    }

    /// Returns what happened, as far as it concerns a destination.
    fn record(&self, destination: &str) -> Record {
        let shape = &self.plan.shape;
        let since_epoch = |(from_ms, to_ms)| (START_MS + from_ms as i64, START_MS + to_ms as i64);
        // The simulation handles an event at the end of its tick.
        let tick_ms = shape.tick.as_millis() as u64;
        let rejecting = self.plan.rejecting_ms(destination).into_iter();
        let rejecting = rejecting.map(|(from_ms, to_ms)| (from_ms, to_ms + tick_ms));
        let slow_backend = self.plan.slow_backend_ms(destination).into_iter();
        let faults = self.plan.faults_ms(destination).into_iter();
        let faults_end_ms = self.plan.end_at_ms(destination).max(self.killed_at_ms);
        let backend = &self.backends[destination];
        let unsettled = self.plan.unsettled_ms().into_iter().map(|(group, range)| {
            let (from_ms, to_ms) = since_epoch(range);
            (group, from_ms, to_ms)
        });
        Record {
            seed: self.plan.seed,
            destination: destination.to_owned(),
            interval_ms: shape.interval.as_millis() as i64,
            targets: shape.targets,
            groups: shape.groups().iter().map(|g| g.to_string()).collect(),
            rejecting_ms: rejecting.map(since_epoch).collect(),
            slow_backend_ms: slow_backend.map(since_epoch).collect(),
            view_lag_ms: self.view_lag_ms.clone(),
            unsettled_ms: unsettled.collect(),
            heartbeats: shape.heartbeats,
            spill_after_ms: shape.spill_after.map(|after| after as i64 * 1000),
            faults_ms: faults.map(since_epoch).collect(),
            faults_end_ms: START_MS + faults_end_ms as i64,
            elections: backend.elections(),
            arrivals: backend.arrivals(),
            scrapes: self.scrapes.scrapes(),
            processes: self.processes.records(destination),
        }
    }

    /// Schedules an event at a time in milliseconds since the start.
    fn schedule(&mut self, at_ms: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at_ms, self.scheduled, event)));
    }

    fn schedule_in(&mut self, delay_ms: u64, event: Event) {
        self.schedule(self.elapsed_ms() + delay_ms, event);
    }

    fn elapsed_ms(&self) -> u64 {
        self.sim.elapsed().as_millis() as u64
    }

    /// Runs until the mesh had time to recover from the last fault.
    fn run_until_cool(&mut self) -> anyhow::Result<()> {
        let cool_down = COOL_DOWN.max(self.plan.shape.interval * 2);
        let end_ms = |it: &Self| it.plan.end_ms().max(it.killed_at_ms);
        while self.sim.elapsed() < Duration::from_millis(end_ms(self)) + cool_down {
            self.step()?;
        }
        Ok(())
    }

    /// Shuts all receivers down and waits until they have ended.
    fn stop_receivers(&mut self) -> anyhow::Result<()> {
        let receivers = self.plan.receivers();
        for name in &receivers {
            self.processes.stop(name);
        }
        let limit = self.sim.elapsed() + SHUTDOWN_TIMEOUT + Duration::from_secs(1);
        while receivers
            .iter()
            .any(|name| self.sim.is_host_running(name.as_str()))
        {
            ensure!(
                self.sim.elapsed() < limit,
                "a receiver did not stop within its shutdown timeout"
            );
            self.step()?;
        }
        Ok(())
    }

    /// Handles the events that are due, and runs all hosts for one tick.
    fn step(&mut self) -> anyhow::Result<()> {
        let now_ms = self.elapsed_ms();
        while let Some(Reverse((at_ms, _, _))) = self.events.peek()
            && *at_ms <= now_ms
        {
            if let Some(Reverse((_, _, event))) = self.events.pop() {
                self.handle(event);
            }
        }
        let stepped = self.sim.step();
        stepped
            .map(drop)
            .map_err(|error| anyhow!("a host failed: {error}"))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Begin(i) => {
                let disturbance = self.plan.disturbances[i].clone();
                self.begin(&disturbance.kind);
                self.schedule_in(disturbance.for_ms, Event::End(i));
            }
            Event::End(i) => {
                let kind = self.plan.disturbances[i].kind.clone();
                self.end(&kind);
            }
            Event::Pod(action, pod) => self.change_pod(action, pod),
            Event::Start(name) => self.start(name),
            Event::Join(name) => {
                let is_up =
                    !self.unwanted.contains(&name) && self.sim.is_host_running(name.as_str());
                if is_up && self.ready.insert(name.clone()) {
                    self.announce(&name);
                }
            }
            Event::FailProbe(name) if self.sim.is_host_running(name.as_str()) => {}
            Event::Leave(name) | Event::FailProbe(name) => {
                if self.ready.remove(&name) {
                    self.announce(&name);
                }
            }
            Event::Delete(name) => self.delete(name),
            Event::UpdateView(name) => self.update_view(&name),
            Event::DrawLatencies => {
                self.links.draw_latencies(&self.sim, &mut self.rng);
                self.schedule_in(LATENCY_INTERVAL_MS, Event::DrawLatencies);
            }
        }
    }

    fn start(&mut self, name: String) {
        if self.unwanted.contains(&name) {
            return;
        }
        // The termination grace period of the previous process is over.
        self.kill(&name);
        let unready = self.unready_members(&name);
        if let Some(view) = self.views.get(&name) {
            view.unready.send_replace(Some(unready));
        }
        self.sim.bounce(name.as_str());
        let ready_after_ms = self.rng.random_range(500..2_000);
        self.schedule_in(ready_after_ms, Event::Join(name));
    }

    /// Lets all receivers learn that a host became ready or unready.
    fn announce(&mut self, host: &str) {
        let group = plan::group(host).unwrap_or_default();
        let lag_ms = self.schedule_views(group) as i64;
        let now_ms = START_MS + self.elapsed_ms() as i64;
        self.view_lag_ms
            .push((group.to_owned(), now_ms, now_ms + lag_ms));
    }

    /// Schedules updates of all views, each after another delay. Returns the longest delay
    /// within a group.
    fn schedule_views(&mut self, group: &str) -> u64 {
        let mut longest_ms = 0;
        for name in self.plan.receivers() {
            let delay_ms = self.rng.random_range(VIEW_DELAY_MS);
            if plan::group(&name) == Some(group) {
                longest_ms = delay_ms.max(longest_ms);
            }
            self.schedule_in(delay_ms, Event::UpdateView(name));
        }
        longest_ms
    }

    fn update_view(&mut self, name: &str) {
        let (exporters, members) = self.ready_peers(name);
        let unready = self.unready_members(name);
        let Some(view) = self.views.get(name) else {
            return;
        };
        view.unready.send_replace(Some(unready));
        view.exporters.send_replace(Some(exporters));
        view.members.send_replace(Some(members));
    }

    fn begin(&mut self, kind: &Kind) {
        match kind {
            Kind::Kill(name) => {
                self.kill(name);
                let unready_after_ms = self.rng.random_range(1_000..4_000);
                self.schedule_in(unready_after_ms, Event::FailProbe(name.clone()));
            }
            Kind::Restart(name) => {
                self.processes.stop(name);
                self.handle(Event::Leave(name.clone()));
            }
            Kind::Partition(a, b) => self.sim.partition(a.as_str(), b.as_str()),
            Kind::PartitionOneWay(a, b) => self.sim.partition_oneway(a.as_str(), b.as_str()),
            Kind::Hold(a, b) => self.sim.hold(a.as_str(), b.as_str()),
            Kind::Slow(a, b, ms) => self.links.set_latency(a, b, Duration::from_millis(*ms)),
            Kind::Backend(fault) => self.set_fault(backend::HOST, Some(fault.clone())),
            Kind::SecondBackend(fault) => self.set_fault(backend::SECOND, Some(fault.clone())),
            Kind::BackendNext(faults) => {
                self.backends[backend::HOST].faults().next(faults.clone());
            }
            Kind::Clock(name, ms) => self.set_clock(name, *ms),
            Kind::Change(change) => self.schedule_change(change),
        }
    }

    fn end(&mut self, kind: &Kind) {
        match kind {
            Kind::Kill(name) | Kind::Restart(name) => self.handle(Event::Start(name.clone())),
            Kind::Partition(a, b) => self.sim.repair(a.as_str(), b.as_str()),
            Kind::PartitionOneWay(a, b) => self.sim.repair_oneway(a.as_str(), b.as_str()),
            Kind::Hold(a, b) => self.sim.release(a.as_str(), b.as_str()),
            Kind::Slow(a, b, _) => self.links.set_latency(a, b, self.plan.shape.latency),
            Kind::Backend(_) => self.set_fault(backend::HOST, None),
            Kind::SecondBackend(_) => self.set_fault(backend::SECOND, None),
            Kind::BackendNext(_) => self.backends[backend::HOST].faults().clear(),
            Kind::Clock(name, _) => self.set_clock(name, 0),
            Kind::Change(_) => {}
        }
    }

    fn kill(&mut self, name: &str) {
        if self.sim.is_host_running(name) {
            self.sim.crash(name);
            self.processes
                .killed(name, START_MS + self.elapsed_ms() as i64);
        }
    }

    fn set_fault(&self, destination: &str, fault: Option<Fault>) {
        self.backends[destination].faults().always(fault);
    }

    fn set_clock(&self, name: &str, skew_ms: i64) {
        if let Some(view) = self.views.get(name) {
            view.skew_ms.store(skew_ms, Ordering::Relaxed);
        }
    }
}

fn receiver_config(shape: &Shape, group: &str) -> String {
    let targets: Vec<_> = (0..shape.targets).map(targets::address).collect();
    let replica = match shape.groups {
        1 => String::new(),
        _ => format!("\n  external_labels: {{cluster: sim, __replica__: {group}}}"),
    };
    format!(
        "global:\n  scrape_interval: {interval}s\n  scrape_timeout: 1s{replica}\n\
         scrape_configs:\n- job_name: sim\n  static_configs:\n  - targets: [{targets}]\n",
        interval = shape.interval.as_secs(),
        targets = targets.join(", "),
    )
}
