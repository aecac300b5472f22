//! Changes of a tier that somebody means to make: rolling updates, and scaling from
//! what there is to five pods, to one, and back.
//!
//! ```text
//! surge      new ── starts ── is ready ──────────────▶
//!            old ──────────────────────── stops ─┤ grace
//! in place   one ─── stops ─┤ grace ├─ starts ── is ready ──▶ the next one
//! ```

use std::ops::Range;

use rand::{Rng, rngs::StdRng, seq::SliceRandom};

use super::Shape;

/// What is done to the pods of one tier.
#[derive(Clone, Debug)]
pub(in crate) struct Change {
    tier: Tier,
    how: How,
    pub(in crate) moves: Vec<Move>,
}

/// Pods that do the same.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tier {
    /// The receivers of a group.
    Receivers(String),
    Exporters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// A new pod for each old one, which is ready before the old one is told to stop:
    /// as a Deployment is updated.
    Surge,
    /// Each pod stops, and starts under its name: as a StatefulSet is updated.
    InPlace,
    /// Up to [`MOST`] pods, down to one, and back to as many as there were.
    Scale,
}

/// One thing that is done to one pod.
#[derive(Clone, Debug)]
pub(in crate) struct Move {
    /// Since the change began.
    pub(in crate) at_ms: u64,
    pub(in crate) act: Act,
    pub(in crate) pod: String,
}

/// What is done to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate) enum Act {
    Start,
    /// SIGTERM, while it leaves its service's endpoints.
    Stop,
    /// SIGKILL where it still runs: its termination grace is over.
    Kill,
}

/// As many pods there are of a tier at most.
const MOST: usize = 5;
/// A pod that has started is ready by then.
const READY_MS: u64 = 2_000;
/// How long a pod may take to stop.
const GRACE_MS: Range<u64> = 3_000..20_000;
/// How long nothing is done between two moves, unless all are made at once.
const PAUSE_MS: Range<u64> = 100..3_000;

// === impl Change ===

impl Change {
    /// Changes of some tiers of a mesh, or of none.
    pub(super) fn draw_all(shape: &Shape, rng: &mut StdRng) -> Vec<Self> {
        let groups = shape.groups().iter();
        let mut tiers: Vec<_> = groups.map(|g| Tier::Receivers(g.to_string())).collect();
        tiers.push(Tier::Exporters);
        tiers.shuffle(rng);
        let many = match rng.random_range(0..6) {
            0..3 => 0,
            3 | 4 => 1,
            _ => 2,
        };
        let changed = tiers.into_iter().take(many);
        changed.map(|tier| Self::draw(tier, shape, rng)).collect()
    }

    fn draw(tier: Tier, shape: &Shape, rng: &mut StdRng) -> Self {
        let how = match rng.random_range(0..4) {
            0 => How::Surge,
            1 => How::InPlace,
            _ => How::Scale,
        };
        let pods = tier.pods(shape);
        let mut script = Script::default();
        match how {
            How::Surge => script.surge(&tier, pods, rng),
            How::InPlace => script.in_place(&pods, rng),
            How::Scale => script.scale(&tier, pods.len(), rng),
        }
        Self {
            tier,
            how,
            moves: script.moves,
        }
    }

    /// When the last pod has started or been told to stop.
    pub(super) fn lasts_ms(&self) -> u64 {
        let moves = self.moves.iter().filter(|it| it.act != Act::Kill);
        let ends = moves.map(|it| match it.act {
            Act::Start => it.at_ms + READY_MS,
            _ => it.at_ms,
        });
        ends.max().unwrap_or_default()
    }

    /// The group whose receivers it changes.
    pub(super) fn group(&self) -> Option<&str> {
        match &self.tier {
            Tier::Receivers(group) => Some(group),
            Tier::Exporters => None,
        }
    }

    /// Whether some pod is always ready; `pods` is how many there were.
    pub(super) fn leaves_one(&self, pods: usize) -> bool {
        self.how != How::InPlace || pods > 1
    }

    /// The pods that it starts.
    pub(super) fn started(&self) -> impl Iterator<Item = &String> {
        let starts = self.moves.iter().filter(|it| it.act == Act::Start);
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
            Self::Receivers(group) => super::receiver(group, i),
            Self::Exporters => super::exporter(i),
        }
    }
}

/// Moves as they are thought of.
#[derive(Debug, Default)]
struct Script {
    now_ms: u64,
    moves: Vec<Move>,
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
            self.note(0, Act::Stop, pod.clone());
            self.now_ms += rng.random_range(GRACE_MS);
            self.start(pod.clone());
            self.now_ms += READY_MS;
            self.pause(rng);
        }
    }

    fn scale(&mut self, tier: &Tier, before: usize, rng: &mut StdRng) {
        let at_once = rng.random();
        for i in before..MOST {
            self.start(tier.pod(i));
            self.pause_unless(at_once, rng);
        }
        self.now_ms += READY_MS;
        self.pause(rng);
        let mut pods: Vec<_> = (0..MOST).map(|i| tier.pod(i)).collect();
        pods.shuffle(rng);
        let mut gone = Vec::new();
        for pod in pods.into_iter().skip(1) {
            gone.push((self.stop(pod.clone(), rng), pod));
            self.pause_unless(at_once, rng);
        }
        self.pause(rng);
        // A name is free again when its process has ended.
        gone.sort();
        for (ended_ms, pod) in gone.into_iter().take(before - 1) {
            self.now_ms = self.now_ms.max(ended_ms);
            self.start(pod);
            self.pause_unless(at_once, rng);
        }
    }

    fn start(&mut self, pod: String) {
        self.note(0, Act::Start, pod);
    }

    /// Tells a pod to stop; returns when it has.
    fn stop(&mut self, pod: String, rng: &mut StdRng) -> u64 {
        let grace_ms = rng.random_range(GRACE_MS);
        self.note(0, Act::Stop, pod.clone());
        self.note(grace_ms, Act::Kill, pod);
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

    fn note(&mut self, after_ms: u64, act: Act, pod: String) {
        let at_ms = self.now_ms + after_ms;
        self.moves.push(Move { at_ms, act, pod });
    }
}
