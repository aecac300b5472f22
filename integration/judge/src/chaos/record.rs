//! Record of a run: all that the judge reads. It is complete once the services have
//! stopped.

use std::sync::Arc;

use super::{
    cluster::{ClockStep, Cluster, Period},
    pod::Lifetime,
    scenario::Rules,
    shape::{Disk, Second, Tier},
};
use harness::account::Account;
use stand_ins::{
    amp::{Arrival, Backend},
    validator::{REPORTS, expected},
};

/// Record of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Set if the exporters write to two destinations.
    pub has_second: bool,
    /// Ledger of the stand-in.
    pub arrivals: Vec<Arrival>,
    /// Elections of a replica group, including the first.
    pub elections: u64,
    /// Targets, with the scrapes they served.
    pub targets: Vec<Target>,
    /// All receivers.
    pub receivers: Vec<Receiver>,
    /// Periods in which a receiver could not scrape. Each ends when it is back, or when all
    /// others know that it is gone.
    pub absences: Vec<Period>,
    /// Periods in which a receiver did not know of a change that all others knew of.
    pub stale_views: Vec<Period>,
    /// Changes of receivers' clocks.
    pub clock_steps: Vec<ClockStep>,
    /// Changes of a replica group's members: group, and time in milliseconds since the Unix
    /// epoch. Changes that pods learn of together count as one.
    pub changes: Vec<(&'static str, i64)>,
    /// Acknowledged values of the pushed counter.
    pub acknowledged: Vec<u64>,
    /// Scrape interval, in milliseconds.
    pub interval_ms: i64,
    /// Number of flows: one per target and replica group, and one for the application that
    /// pushes.
    pub flows: usize,
    /// End of the fault, in milliseconds since the Unix epoch.
    pub fault_end_ms: i64,
    /// Maximum resident memory of a process, in bytes.
    pub peak_memory: u64,
    /// Laws that running services broke.
    pub violations: Vec<String>,
    /// Laws that the scenario relaxes.
    pub rules: Rules,
}

/// A scrape target.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Address.
    pub instance: String,
    /// Served scrapes. The first has number 1.
    pub served: Vec<Scrape>,
}

/// A served scrape.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    /// Name of the receiver.
    pub by: String,
    /// Time of the request, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Number of samples, including the reports.
    pub samples: usize,
}

/// A receiver.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    /// Name.
    pub name: String,
    /// Replica group.
    pub replica: &'static str,
    /// Lifetimes of its processes.
    pub lifetimes: Vec<Lifetime>,
    /// Set if its batches are spilled to a disk.
    pub spills: bool,
    /// Final accounts of its processes that stopped.
    pub accounts: Vec<Account>,
}

// === impl Record ===

impl Record {
    /// Collects the record of a mesh whose services have stopped.
    ///
    /// # Errors
    /// Returns an error if a body or a log cannot be read.
    pub(crate) fn of(
        cluster: &Cluster,
        acknowledged: Vec<u64>,
        rules: Rules,
    ) -> anyhow::Result<Self> {
        let receivers = cluster
            .pods
            .iter()
            .filter(|pod| matches!(pod.tier, Tier::Receiver(_)));
        let receivers = receivers.map(|pod| {
            Ok(Receiver {
                name: pod.service.name.clone(),
                replica: pod.tier.replica().unwrap_or_default(),
                lifetimes: pod.lifetimes.clone(),
                spills: cluster.shape.disk == Disk::Good,
                accounts: Account::of_log(&pod.service.log()?)?,
            })
        });
        let peaks = cluster.pods.iter().map(|pod| pod.peak_memory);
        Ok(Self {
            has_second: cluster.shape.second != Second::None,
            arrivals: cluster.amp.backend().arrivals(),
            elections: cluster.amp.backend().elections(),
            targets: targets(cluster)?,
            receivers: receivers.collect::<anyhow::Result<_>>()?,
            absences: cluster.absences.clone(),
            stale_views: cluster.stale_views.clone(),
            changes: cluster.changes.clone(),
            clock_steps: cluster.clock_steps.clone(),
            acknowledged,
            interval_ms: cluster.shape.interval.as_millis() as i64,
            flows: cluster.flows(),
            fault_end_ms: cluster.fault_end_ms,
            peak_memory: peaks.max().unwrap_or_default(),
            violations: Vec::new(),
            rules,
        })
    }

    /// Record of the same run at another destination.
    pub(crate) fn at(&self, backend: &Backend, rules: Rules) -> Self {
        Self {
            arrivals: backend.arrivals(),
            elections: backend.elections(),
            rules,
            ..self.clone()
        }
    }

    /// Finds a receiver by name.
    pub(crate) fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| receiver.name == name)
    }

    /// Offset of a receiver's clock at a time, in milliseconds.
    pub(crate) fn offset_ms(&self, name: &str, at_ms: i64) -> i64 {
        let own = self.clock_steps.iter().rev();
        let mut before = own.filter(|step| step.pod == name && step.at_ms <= at_ms);
        before.next().map_or(0, |step| step.offset_ms)
    }

    /// Times at which the members of a receiver's group changed.
    pub(crate) fn changes_of(&self, name: &str) -> impl Iterator<Item = i64> {
        let replica = self.replica(name);
        let own = self.changes.iter().filter(move |(of, _)| *of == replica);
        own.map(|(_, at_ms)| *at_ms)
    }

    /// Replica group of a receiver.
    pub(crate) fn replica(&self, name: &str) -> &'static str {
        self.receiver(name).map_or("", |receiver| receiver.replica)
    }
}

fn targets(cluster: &Cluster) -> anyhow::Result<Vec<Target>> {
    // All bodies of a target have the same series.
    let samples = |body: Arc<str>| Ok::<_, anyhow::Error>(expected(&body)?.len() + REPORTS.len());
    let targets = cluster.targets.iter().map(|target| {
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
