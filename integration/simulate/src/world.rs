//! Builds the mesh of a plan, lets go wrong what shall, and ends it in order.

mod change;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::{anyhow, ensure};
use mesh_base::{
    clock::Clock,
    shutdown::{self, Shutdown, Trigger},
};
use mesh_outbox::{Account, Outbox};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::watch;
use turmoil::{Builder, Sim};

use super::{
    backend, exporter,
    judge::{Life, Record},
    plan::{self, Act, Plan, Shape, What},
    receiver::{self, DRAIN, Spec},
    tap::Journal,
    targets::{self, Served},
};
use stand_ins::amp::{AmpOptions, Backend, Fault};

/// What the clocks show when a simulation begins.
pub(super) const START_MS: i64 = 1_800_000_000_000;

/// How long the mesh runs on once nothing goes wrong any more.
const CALM: Duration = Duration::from_secs(30);
/// Segments between two hosts take the same time for this long. A time drawn for
/// each of them would hang on how many there were before, and HTTP/2 sends some
/// frames or not as the machine's clock says.
const JITTER_MS: u64 = 100;
/// How much later than others one peer may hear of a change of the endpoints.
const NEWS_MS: std::ops::Range<u64> = 50..1_800;

/// What the hosts of a simulation and their judge share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    served: Mutex<Vec<Served>>,
    incarnations: Mutex<Vec<Incarnation>>,
    triggers: Mutex<BTreeMap<String, Trigger>>,
}

/// One life of a receiver.
#[derive(Debug)]
pub(super) struct Incarnation {
    /// None once it has ended, so that the next life may have its directory.
    pub(super) outbox: Option<Outbox>,
    pub(super) journal: Journal,
    pub(super) life: Life,
}

/// What one receiver knows of the others, and what its clock shows.
#[derive(Debug)]
pub(super) struct View {
    pub(super) members: watch::Sender<Option<BTreeSet<String>>>,
    /// Those of its group that are there and not ready.
    pub(super) unready: watch::Sender<Option<BTreeSet<String>>>,
    pub(super) exporters: watch::Sender<Option<BTreeSet<String>>>,
    pub(super) skew_ms: Arc<AtomicI64>,
}

/// A simulation while it runs.
struct World {
    sim: Sim<'static>,
    plan: Plan,
    backend: Backend,
    shared: Arc<Shared>,
    views: BTreeMap<String, Arc<View>>,
    /// Hosts that are among their service's endpoints.
    ready: BTreeSet<String>,
    /// Hosts that are not to run.
    unwanted: BTreeSet<String>,
    /// Where receivers spill, each in a folder of its name.
    folder: PathBuf,
    due: BinaryHeap<Reverse<(u64, u64, Step)>>,
    steps: u64,
    rng: StdRng,
    links: Vec<Link>,
    news_ms: Vec<(String, i64, i64)>,
    /// When everything that goes wrong is over, as far as is known.
    over_ms: u64,
}

/// The way between two hosts.
struct Link {
    ends: (String, String),
    /// Longest time that a segment is on its way.
    latency: Duration,
}

/// One thing that is done to the mesh.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Begin(usize),
    End(usize),
    Move(Act, String),
    Start(String),
    Join(String),
    Leave(String),
    /// A host that does not answer its readiness probe leaves.
    Miss(String),
    /// The pod of a receiver is gone once that has ended, and is not wanted.
    Delete(String),
    /// One receiver hears who is ready by then.
    Hear(String),
    /// Segments take another time from now on.
    Jitter,
}

/// What the clocks of hosts show that are right.
pub(super) fn now_ms() -> i64 {
    START_MS + turmoil::sim_elapsed().unwrap_or_default().as_millis() as i64
}

/// Runs the simulation of a plan. `folder` is for configuration files and what receivers
/// spill.
///
/// # Errors
/// Where a host fails by itself.
pub(super) fn run(plan: Plan, folder: &Path) -> anyhow::Result<Record> {
    mesh_base::random::seed(plan.seed);
    mesh_base::blocking::run_inline();
    let mut world = World::new(plan, folder)?;
    world.at(0, Step::Jitter);
    for i in 0..world.plan.disturbances.len() {
        let at_ms = world.plan.disturbances[i].at_ms;
        world.at(at_ms, Step::Begin(i));
    }
    world.run_until_calm()?;
    let receivers = world.plan.receivers();
    for name in &receivers {
        world.shared.stop(name);
    }
    let limit = world.sim.elapsed() + DRAIN + Duration::from_secs(1);
    while receivers
        .iter()
        .any(|name| world.sim.is_host_running(name.as_str()))
    {
        ensure!(
            world.sim.elapsed() < limit,
            "a receiver did not stop in time"
        );
        world.step()?;
    }
    Ok(world.record())
}

// === impl World ===

impl World {
    fn new(plan: Plan, folder: &Path) -> anyhow::Result<Self> {
        let shape = plan.shape.clone();
        let mut sim = Builder::new()
            .rng_seed(plan.seed)
            .tick_duration(shape.tick)
            .tcp_capacity(4096)
            .build();
        let shared = Arc::new(Shared::default());
        let backend = Backend::new(AmpOptions {
            keys: None,
            clock: Clock::new(now_ms),
            ..AmpOptions::default()
        });
        let served = backend.clone();
        sim.host(backend::HOST, move || backend::run(served.clone()));
        let (scraped, n) = (shared.clone(), shape.targets);
        sim.host(targets::HOST, move || targets::run(scraped.clone(), n));
        let config = folder.join(format!("exporter-{}.yml", plan.seed));
        std::fs::write(
            &config,
            format!("remote_write:\n- url: {}\n", backend::url()),
        )?;
        for name in plan.exporters() {
            let (shared, config, host) = (shared.clone(), config.clone(), name.clone());
            sim.host(name, move || {
                exporter::run(shared.clone(), host.clone(), config.clone())
            });
        }
        let ready = shape.exporters().into_iter().chain(shape.all_receivers());
        let mut world = Self {
            sim,
            backend,
            shared,
            views: BTreeMap::new(),
            ready: ready.collect(),
            due: BinaryHeap::new(),
            steps: 0,
            rng: StdRng::seed_from_u64(plan.seed ^ 0x5eed),
            links: links(&plan),
            news_ms: Vec::new(),
            unwanted: plan.spares.clone(),
            folder: folder.to_owned(),
            over_ms: plan.over_ms(),
            plan,
        };
        world.add_receivers();
        for name in &world.unwanted {
            world.sim.crash(name.as_str());
        }
        Ok(world)
    }

    fn add_receivers(&mut self) {
        let shape = self.plan.shape.clone();
        for name in self.plan.receivers() {
            let group = plan::group(&name).unwrap_or_default();
            let (exporters, members) = self.known_to(&name);
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
                lanes: shape.lanes,
                heartbeats: shape.heartbeats,
                spill: shape
                    .spill_after
                    .map(|after| (self.folder.join(&name), after)),
                config: config(&shape, group),
            };
            let shared = self.shared.clone();
            self.sim.host(name, move || {
                receiver::run(shared.clone(), spec.clone(), view.clone())
            });
        }
    }

    /// The addresses of the exporters and the names of the group's members that
    /// are ready, as a receiver with fresh news has them.
    fn known_to(&self, receiver: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let exporters = self
            .ready
            .iter()
            .filter(|name| name.starts_with("exporter"));
        let exporters = exporters.map(|name| format!("{name}:{}", exporter::PORT));
        let group = receiver.trim_end_matches(char::is_numeric);
        let members = self.ready.iter().filter(|name| name.starts_with(group));
        (exporters.collect(), members.cloned().collect())
    }

    /// The names of a receiver's group that are not ready, and whose pods are there: they
    /// run, or have been killed and are to start again.
    fn unready(&mut self, receiver: &str) -> BTreeSet<String> {
        let mut names = self.plan.receivers();
        names.retain(|name| {
            let is_of_group = plan::group(name) == plan::group(receiver);
            is_of_group && !self.ready.contains(name) && self.is_there(name)
        });
        names.into_iter().collect()
    }

    fn is_there(&mut self, name: &str) -> bool {
        self.sim.is_host_running(name) || !self.unwanted.contains(name)
    }

    /// What is left behind.
    fn record(self) -> Record {
        let shape = &self.plan.shape;
        let lives = self.shared.incarnations();
        let since_start = |(from_ms, to_ms)| (START_MS + from_ms as i64, START_MS + to_ms as i64);
        // What ends within a tick ends with it.
        let tick_ms = shape.tick.as_millis() as u64;
        let refusing = self.plan.refusing_ms().into_iter();
        let refusing = refusing.map(|(from_ms, to_ms)| (from_ms, to_ms + tick_ms));
        let wrong = self.plan.wrong_ms().into_iter();
        let unsteady = self.plan.unsteady_ms().into_iter().map(|(group, times)| {
            let (from_ms, to_ms) = since_start(times);
            (group, from_ms, to_ms)
        });
        Record {
            seed: self.plan.seed,
            interval_ms: shape.interval.as_millis() as i64,
            targets: shape.targets,
            groups: shape.groups().iter().map(|g| g.to_string()).collect(),
            refusing_ms: refusing.map(since_start).collect(),
            slow_ms: self.plan.slow_ms().into_iter().map(since_start).collect(),
            news_ms: self.news_ms,
            unsteady_ms: unsteady.collect(),
            heartbeats: shape.heartbeats,
            spill_after_ms: shape.spill_after.map(|after| after as i64 * 1000),
            wrong_ms: wrong.map(since_start).collect(),
            over_ms: START_MS + self.over_ms as i64,
            elections: self.backend.elections(),
            arrivals: self.backend.arrivals(),
            served: self.shared.served().clone(),
            lives: lives.iter().map(Incarnation::life).collect(),
        }
    }

    fn at(&mut self, at_ms: u64, step: Step) {
        self.steps += 1;
        self.due.push(Reverse((at_ms, self.steps, step)));
    }

    fn elapsed_ms(&self) -> u64 {
        self.sim.elapsed().as_millis() as u64
    }

    fn after(&mut self, wait_ms: u64, step: Step) {
        self.at(self.elapsed_ms() + wait_ms, step);
    }

    /// Runs until nothing has gone wrong for a while.
    fn run_until_calm(&mut self) -> anyhow::Result<()> {
        let calm = CALM.max(self.plan.shape.interval * 2);
        while self.sim.elapsed() < Duration::from_millis(self.over_ms) + calm {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> anyhow::Result<()> {
        let now_ms = self.elapsed_ms();
        while let Some(Reverse((at_ms, _, _))) = self.due.peek()
            && *at_ms <= now_ms
        {
            if let Some(Reverse((_, _, step))) = self.due.pop() {
                self.take(step);
            }
        }
        let stepped = self.sim.step();
        stepped
            .map(drop)
            .map_err(|error| anyhow!("a host failed: {error}"))
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin(i) => {
                let disturbance = self.plan.disturbances[i].clone();
                self.begin(&disturbance.what);
                self.after(disturbance.for_ms, Step::End(i));
            }
            Step::End(i) => {
                let what = self.plan.disturbances[i].what.clone();
                self.end(&what);
            }
            Step::Move(act, pod) => self.make(act, pod),
            Step::Start(name) if self.unwanted.contains(&name) => {}
            Step::Start(name) => {
                // Its termination grace is over.
                self.crash(&name);
                let unready = self.unready(&name);
                if let Some(view) = self.views.get(&name) {
                    view.unready.send_replace(Some(unready));
                }
                self.sim.bounce(name.as_str());
                let ready_after = self.rng.random_range(500..2_000);
                self.after(ready_after, Step::Join(name));
            }
            Step::Join(name) => {
                let is_up =
                    !self.unwanted.contains(&name) && self.sim.is_host_running(name.as_str());
                if is_up && self.ready.insert(name.clone()) {
                    self.spread(&name);
                }
            }
            Step::Miss(name) if self.sim.is_host_running(name.as_str()) => {}
            Step::Leave(name) | Step::Miss(name) => {
                if self.ready.remove(&name) {
                    self.spread(&name);
                }
            }
            Step::Delete(name) => self.delete(name),
            Step::Hear(name) => self.hear(&name),
            Step::Jitter => self.jitter(),
        }
    }

    /// Lets all receivers hear that one is ready or is not any more.
    fn spread(&mut self, changed: &str) {
        let group = plan::group(changed).unwrap_or_default();
        let last_ms = self.tell_all(group) as i64;
        let now_ms = START_MS + self.elapsed_ms() as i64;
        self.news_ms
            .push((group.to_owned(), now_ms, now_ms + last_ms));
    }

    /// Lets all receivers hear who is there, some sooner than others; returns how long it
    /// takes until all of a group have.
    fn tell_all(&mut self, group: &str) -> u64 {
        let mut last_ms = 0;
        for name in self.plan.receivers() {
            let delay = self.rng.random_range(NEWS_MS);
            if plan::group(&name) == Some(group) {
                last_ms = delay.max(last_ms);
            }
            self.after(delay, Step::Hear(name));
        }
        last_ms
    }

    fn hear(&mut self, name: &str) {
        let (exporters, members) = self.known_to(name);
        let unready = self.unready(name);
        let Some(view) = self.views.get(name) else {
            return;
        };
        view.unready.send_replace(Some(unready));
        view.exporters.send_replace(Some(exporters));
        view.members.send_replace(Some(members));
    }

    fn begin(&mut self, what: &What) {
        match what {
            What::Crash(name) => {
                self.crash(name);
                let unready_after = self.rng.random_range(1_000..4_000);
                self.after(unready_after, Step::Miss(name.clone()));
            }
            What::Restart(name) => {
                self.shared.stop(name);
                self.take(Step::Leave(name.clone()));
            }
            What::Cut(a, b) => self.sim.partition(a.as_str(), b.as_str()),
            What::CutOneWay(a, b) => self.sim.partition_oneway(a.as_str(), b.as_str()),
            What::Hold(a, b) => self.sim.hold(a.as_str(), b.as_str()),
            What::Slow(a, b, ms) => self.slow(a, b, Duration::from_millis(*ms)),
            What::Backend(fault) => self.backend.faults().always(Some(fault.clone())),
            What::BackendNext(faults) => self.backend.faults().next(faults.clone()),
            What::Clock(name, ms) => self.set_clock(name, *ms),
            What::Change(change) => self.plan_moves(change),
        }
    }

    fn end(&mut self, what: &What) {
        match what {
            What::Crash(name) | What::Restart(name) => self.take(Step::Start(name.clone())),
            What::Cut(a, b) => self.sim.repair(a.as_str(), b.as_str()),
            What::CutOneWay(a, b) => self.sim.repair_oneway(a.as_str(), b.as_str()),
            What::Hold(a, b) => self.sim.release(a.as_str(), b.as_str()),
            What::Slow(a, b, _) => self.slow(a, b, self.plan.shape.latency),
            What::Backend(_) => self.backend.faults().always(None::<Fault>),
            What::BackendNext(_) => self.backend.faults().clear(),
            What::Clock(name, _) => self.set_clock(name, 0),
            What::Change(_) => {}
        }
    }

    fn crash(&mut self, name: &str) {
        if self.sim.is_host_running(name) {
            self.sim.crash(name);
            self.shared
                .crashed(name, START_MS + self.elapsed_ms() as i64);
        }
    }

    fn slow(&mut self, a: &str, b: &str, latency: Duration) {
        let mut links = self.links.iter_mut();
        if let Some(link) =
            links.find(|link| (link.ends.0.as_str(), link.ends.1.as_str()) == (a, b))
        {
            link.latency = latency;
        }
    }

    fn jitter(&mut self) {
        for Link {
            ends: (a, b),
            latency,
        } in &self.links
        {
            let takes = self.rng.random_range(1..=latency.as_millis() as u64);
            let takes = Duration::from_millis(takes);
            self.sim.set_link_latency(a.as_str(), b.as_str(), takes);
        }
        self.after(JITTER_MS, Step::Jitter);
    }

    fn set_clock(&self, name: &str, skew_ms: i64) {
        if let Some(view) = self.views.get(name) {
            view.skew_ms.store(skew_ms, Ordering::Relaxed);
        }
    }
}

// === impl Shared ===

impl Shared {
    /// A host's software begins; returns what tells it to stop.
    pub(super) fn begin(&self, name: &str) -> Shutdown {
        let (trigger, shutdown) = shutdown::channel();
        lock(&self.triggers).insert(name.to_owned(), trigger);
        shutdown
    }

    /// A receiver takes up a share of the targets.
    pub(super) fn sharing(&self, name: &str) {
        self.last(name, |it| it.life.shared_ms.push(now_ms()));
    }

    pub(super) fn served(&self) -> MutexGuard<'_, Vec<Served>> {
        lock(&self.served)
    }

    pub(super) fn incarnations(&self) -> MutexGuard<'_, Vec<Incarnation>> {
        lock(&self.incarnations)
    }

    /// A receiver scrapes no more.
    pub(super) fn stopping(&self, name: &str) {
        self.last(name, |it| it.life.stopped_ms = Some(now_ms()));
    }

    /// A receiver has stopped.
    pub(super) fn ended(&self, name: &str) {
        self.last(name, Incarnation::end);
    }

    /// A pod is gone. What it had spilled went out before, unless it was killed.
    fn deleted(&self, name: &str) {
        let mut lives = self.incarnations();
        let was_killed = |it: &Incarnation| it.life.crashed_ms.is_some();
        let last = lives.iter().rfind(|it| it.life.name == name);
        if last.is_some_and(was_killed) {
            let lives = lives.iter_mut().filter(|it| it.life.name == name);
            lives.for_each(|it| it.life.lost_disk = true);
        }
    }

    /// A host is dead.
    fn crashed(&self, name: &str, at_ms: i64) {
        lock(&self.triggers).remove(name);
        self.last(name, |it| {
            it.life.crashed_ms.get_or_insert(at_ms);
            it.end();
        });
    }

    fn stop(&self, name: &str) {
        if let Some(trigger) = lock(&self.triggers).remove(name) {
            trigger.fire();
        }
    }

    fn last(&self, name: &str, note: impl FnOnce(&mut Incarnation)) {
        let mut lives = self.incarnations();
        if let Some(last) = lives.iter_mut().rev().find(|it| it.life.name == name) {
            note(last);
        }
    }
}

// === impl Incarnation ===

impl Incarnation {
    /// Keeps what there is to tell of it.
    fn end(&mut self) {
        self.life.account = self.account();
        self.outbox = None;
    }

    fn account(&self) -> Account {
        let outbox = self.outbox.as_ref();
        outbox.map_or_else(|| self.life.account.clone(), Outbox::account)
    }

    fn life(&self) -> Life {
        Life {
            account: self.account(),
            sent: self.journal.sent(),
            ..self.life.clone()
        }
    }
}

/// All ways that segments of a mesh take.
fn links(plan: &Plan) -> Vec<Link> {
    let (mut ends, exporters) = (Vec::new(), plan.exporters());
    let receivers = plan.receivers();
    for (at, receiver) in receivers.iter().enumerate() {
        let others = receivers[at + 1..].iter();
        ends.extend(others.map(|other| (receiver.clone(), other.clone())));
        ends.push((receiver.clone(), targets::HOST.to_owned()));
        ends.extend(exporters.iter().map(|to| (receiver.clone(), to.clone())));
    }
    let last = exporters.into_iter();
    ends.extend(last.map(|from| (from, backend::HOST.to_owned())));
    let latency = plan.shape.latency;
    ends.into_iter()
        .map(|ends| Link { ends, latency })
        .collect()
}

fn config(shape: &Shape, group: &str) -> String {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
