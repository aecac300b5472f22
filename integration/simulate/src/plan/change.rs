//! Rolling updates of a tier, and scaling: up to five pods, down to one, and back.
//!
//! ```text
//! surge      new ── starts ── ready ─────────────────▶
//!            old ──────────────────────── stops ─┤ grace
//! in place   pod ─── stops ─┤ grace ├─ starts ── ready ──▶ the next pod
//! ```

use std::ops::Range;

use rand::{Rng, rngs::StdRng, seq::SliceRandom};

use super::shape::{self, Shape};

/// A planned change of the pods of one tier.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    tier: Tier,
    strategy: Strategy,
    pub(crate) steps: Vec<Step>,
}

/// Pods of the same service.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tier {
    /// Receivers of a group.
    Receivers(String),
    Exporters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
    /// A new pod for each old one, which is ready before the old one stops, as in the update of
    /// a Deployment.
    Surge,
    /// Each pod stops, and starts under its name again, as in the update of a StatefulSet.
    InPlace,
    /// Up to [`MAX_PODS`], down to one pod, and back to the original number.
    Scale,
}

/// One action on one pod.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Time since the start of the change.
    pub(crate) at_ms: u64,
    pub(crate) action: Action,
    pub(crate) pod: String,
}

/// Action on a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Start,
    /// SIGTERM, and removal from the endpoints of its service.
    Stop,
    /// SIGKILL at the end of the termination grace period, if the pod still runs.
    Kill,
}

/// Maximum number of pods of a tier.
const MAX_PODS: usize = 5;
/// Time from the start of a pod until it is ready, at most.
const READY_MS: u64 = 2_000;
/// Termination grace period of a pod.
const GRACE_MS: Range<u64> = 3_000..20_000;
/// Pause between two steps, unless a change makes all of them at once.
const PAUSE_MS: Range<u64> = 100..3_000;

// === impl Change ===

impl Change {
    /// Draws changes of some tiers of a mesh, or none.
    pub(super) fn draw_all(shape: &Shape, rng: &mut StdRng) -> Vec<Self> {
        let groups = shape.groups().iter();
        let mut tiers: Vec<_> = groups.map(|g| Tier::Receivers(g.to_string())).collect();
        tiers.push(Tier::Exporters);
        tiers.shuffle(rng);
        let count = match rng.random_range(0..6) {
            0..3 => 0,
            3 | 4 => 1,
            _ => 2,
        };
        let changed = tiers.into_iter().take(count);
        changed.map(|tier| Self::draw(tier, shape, rng)).collect()
    }

    fn draw(tier: Tier, shape: &Shape, rng: &mut StdRng) -> Self {
        let strategy = match rng.random_range(0..4) {
            0 => Strategy::Surge,
            1 => Strategy::InPlace,
            _ => Strategy::Scale,
        };
        let pods = tier.pods(shape);
        let mut script = Script::default();
        match strategy {
            Strategy::Surge => script.surge(&tier, pods, rng),
            Strategy::InPlace => script.in_place(&pods, rng),
            Strategy::Scale => script.scale(&tier, pods.len(), rng),
        }
        Self {
            tier,
            strategy,
            steps: script.steps,
        }
    }

    /// Returns the time from the start of the change until all pods are ready or stopping.
    pub(super) fn duration_ms(&self) -> u64 {
        let steps = self.steps.iter().filter(|it| it.action != Action::Kill);
        let ends = steps.map(|it| match it.action {
            Action::Start => it.at_ms + READY_MS,
            _ => it.at_ms,
        });
        ends.max().unwrap_or_default()
    }

    /// Returns the group whose receivers it changes.
    pub(super) fn group(&self) -> Option<&str> {
        match &self.tier {
            Tier::Receivers(group) => Some(group),
            Tier::Exporters => None,
        }
    }

    /// Returns true if at least one of the original `pods` is ready at all times.
    pub(super) fn leaves_one(&self, pods: usize) -> bool {
        self.strategy != Strategy::InPlace || pods > 1
    }

    /// Iterates over the names of the pods that it starts.
    pub(super) fn started(&self) -> impl Iterator<Item = &String> {
        let starts = self.steps.iter().filter(|it| it.action == Action::Start);
        starts.map(|it| &it.pod)
    }
}

// === impl Tier ===

impl Tier {
    fn pods(&self, shape: &Shape) -> Vec<String> {
        match self {
            Self::Receivers(group) => shape.receivers(group),
            Self::Exporters => shape.exporters(),
        }
    }

    fn pod(&self, i: usize) -> String {
        match self {
            Self::Receivers(group) => shape::receiver(group, i),
            Self::Exporters => shape::exporter(i),
        }
    }
}

/// Collects the steps of a change in order.
#[derive(Debug, Default)]
struct Script {
    now_ms: u64,
    steps: Vec<Step>,
}

// === impl Script ===

impl Script {
    fn surge(&mut self, tier: &Tier, old: Vec<String>, rng: &mut StdRng) {
        let first = old.len();
        for (i, old) in old.into_iter().enumerate() {
            self.start(tier.pod(first + i));
            self.now_ms += READY_MS;
            self.pause(rng);
            self.stop(old, rng);
            self.pause(rng);
        }
    }

    fn in_place(&mut self, pods: &[String], rng: &mut StdRng) {
        for pod in pods.iter().rev() {
            self.push(0, Action::Stop, pod.clone());
            self.now_ms += rng.random_range(GRACE_MS);
            self.start(pod.clone());
            self.now_ms += READY_MS;
            self.pause(rng);
        }
    }

    fn scale(&mut self, tier: &Tier, before: usize, rng: &mut StdRng) {
        let at_once = rng.random();
        for i in before..MAX_PODS {
            self.start(tier.pod(i));
            self.pause_unless(at_once, rng);
        }
        self.now_ms += READY_MS;
        self.pause(rng);
        let mut pods: Vec<_> = (0..MAX_PODS).map(|i| tier.pod(i)).collect();
        pods.shuffle(rng);
        let mut stopped = Vec::new();
        for pod in pods.into_iter().skip(1) {
            stopped.push((self.stop(pod.clone(), rng), pod));
            self.pause_unless(at_once, rng);
        }
        self.pause(rng);
        // A name can be used again once its process has ended.
        stopped.sort();
        for (ended_ms, pod) in stopped.into_iter().take(before - 1) {
            self.now_ms = self.now_ms.max(ended_ms);
            self.start(pod);
            self.pause_unless(at_once, rng);
        }
    }

    fn start(&mut self, pod: String) {
        self.push(0, Action::Start, pod);
    }

    /// Stops a pod. Returns the time at which it has ended.
    fn stop(&mut self, pod: String, rng: &mut StdRng) -> u64 {
        let grace_ms = rng.random_range(GRACE_MS);
        self.push(0, Action::Stop, pod.clone());
        self.push(grace_ms, Action::Kill, pod);
        self.now_ms + grace_ms
    }

    fn pause(&mut self, rng: &mut StdRng) {
        self.now_ms += rng.random_range(PAUSE_MS);
    }

    fn pause_unless(&mut self, at_once: bool, rng: &mut StdRng) {
        if !at_once {
            self.pause(rng);
        }
    }

    fn push(&mut self, after_ms: u64, action: Action, pod: String) {
        let at_ms = self.now_ms + after_ms;
        self.steps.push(Step { at_ms, action, pod });
    }
}
