//! What is known of a run once everything has stopped: all that the judge reads.

use std::sync::Arc;

use super::{
    pod::Life,
    scenario::Rules,
    shape::{Disk, Tier},
    world::{ClockStep, Spell, World},
};
use stand_ins::{amp::Arrival, validator::{REPORTS, expected}};
use harness::books::Account;

/// What is known of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// The stand-in's ledger.
    pub arrivals: Vec<Arrival>,
    /// Elections of a replica group, the first included.
    pub elections: u64,
    /// The targets' memory.
    pub targets: Vec<Target>,
    /// The receivers there were.
    pub receivers: Vec<Receiver>,
    /// When a receiver could not scrape, until it was back or all others knew.
    pub absences: Vec<Spell>,
    /// When a receiver did not know of a change that all others knew of.
    pub unaware: Vec<Spell>,
    /// What receivers' clocks were set to.
    pub clock_steps: Vec<ClockStep>,
    /// When the members of a replica group changed, in milliseconds since the Unix
    /// epoch; what is told together is one change.
    pub changes: Vec<(&'static str, i64)>,
    /// Values of the pushed counter that were acknowledged.
    pub acknowledged: Vec<u64>,
    /// Time between two scrapes, in milliseconds.
    pub interval_ms: i64,
    /// How many targets of groups, and pushing applications, have to flow again.
    pub flows: usize,
    /// When the fault was over, in milliseconds since the Unix epoch.
    pub over_ms: i64,
    /// The most memory that one process had resident, in bytes.
    pub peak_memory: u64,
    /// What was wrong with living services, in words.
    pub complaints: Vec<String>,
    /// What the scenario may cost.
    pub rules: Rules,
}

/// A target.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its address.
    pub instance: String,
    /// The scrapes it answered: the n-th has number n, from 1.
    pub served: Vec<Scrape>,
}

/// A scrape that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    /// The receiver that asked.
    pub by: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// How many samples it comes to, reports included.
    pub samples: usize,
}

/// A receiver.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    /// Its name.
    pub name: String,
    /// Its replica group.
    pub replica: &'static str,
    /// Its processes.
    pub lives: Vec<Life>,
    /// Whether what waits gets onto a disk.
    pub spills: bool,
    /// The final accounts of those of its processes that stopped.
    pub accounts: Vec<Account>,
}

// === impl Record ===

impl Record {
    /// Collects it from a world whose services have stopped.
    ///
    /// # Errors
    /// Where a body or a log cannot be read.
    pub(crate) fn of(world: &World, acknowledged: Vec<u64>, rules: Rules) -> anyhow::Result<Self> {
        let receivers = world
            .pods
            .iter()
            .filter(|pod| matches!(pod.tier, Tier::Receiver(_)));
        let receivers = receivers.map(|pod| {
            Ok(Receiver {
                name: pod.service.name.clone(),
                replica: pod.tier.replica().unwrap_or_default(),
                lives: pod.lives.clone(),
                spills: world.shape.disk == Disk::Good,
                accounts: Account::of_log(&pod.service.log()?)?,
            })
        });
        let peaks = world.pods.iter().map(|pod| pod.peak_memory);
        Ok(Self {
            arrivals: world.amp.backend().arrivals(),
            elections: world.amp.backend().elections(),
            targets: targets(world)?,
            receivers: receivers.collect::<anyhow::Result<_>>()?,
            absences: world.absences.clone(),
            unaware: world.unaware.clone(),
            changes: world.changes.clone(),
            clock_steps: world.clock_steps.clone(),
            acknowledged,
            interval_ms: world.shape.interval.as_millis() as i64,
            flows: world.flows(),
            over_ms: world.over_ms,
            peak_memory: peaks.max().unwrap_or_default(),
            complaints: Vec::new(),
            rules,
        })
    }

    /// The receiver of this name.
    pub(crate) fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| receiver.name == name)
    }

    /// By how many milliseconds a receiver's clock was wrong at a time.
    pub(crate) fn wrong_ms(&self, name: &str, at_ms: i64) -> i64 {
        let own = self.clock_steps.iter().rev();
        let mut before = own.filter(|step| step.pod == name && step.at_ms <= at_ms);
        before.next().map_or(0, |step| step.wrong_ms)
    }

    /// When the members of a receiver's group changed.
    pub(crate) fn changes_of(&self, name: &str) -> impl Iterator<Item = i64> {
        let replica = self.replica(name);
        let own = self.changes.iter().filter(move |(of, _)| *of == replica);
        own.map(|(_, at_ms)| *at_ms)
    }

    /// The replica group of a receiver.
    pub(crate) fn replica(&self, name: &str) -> &'static str {
        self.receiver(name).map_or("", |receiver| receiver.replica)
    }
}

fn targets(world: &World) -> anyhow::Result<Vec<Target>> {
    // All bodies of a target have the same series.
    let samples = |body: Arc<str>| Ok::<_, anyhow::Error>(expected(&body)?.len() + REPORTS.len());
    let targets = world.targets.iter().map(|target| {
        let served = target.served();
        let samples = served
            .first()
            .map_or(Ok(0), |first| samples(first.body.clone()))?;
        let scrape = |scrape: stand_ins::sample_app::Served| Scrape {
            by: scrape.by.unwrap_or_default(),
            at_ms: scrape.at_ms,
            samples,
        };
        Ok(Target {
            instance: target.address().to_string(),
            served: served.into_iter().map(scrape).collect(),
        })
    });
    targets.collect()
}
