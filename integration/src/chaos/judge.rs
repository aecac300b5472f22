//! What a scenario cost, as the stand-in's ledger has it.
//!
//! A sample is lost where it was scraped or its push acknowledged, and it never
//! arrived, or arrived and was refused by more than the scenario's own fault. Not
//! lost are the scrapes that had not arrived when their receiver was killed, since
//! it had no disk to keep them on, and those under way when it was stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mesh::labels::{Labels, METRIC_NAME};

use super::scenarios::{REFUSED, Scenario};
use crate::{
    amp::{Arrival, Outcome, Value},
    arrivals::{self, lost_or_repeated},
    mesh::{JOB, Mesh},
    otel,
    validator::{REPORTS, expected},
};

/// What is known of a run beside the ledger.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was broken.
    pub scenario: Scenario,
    /// Time between two scrapes.
    pub interval: Duration,
    /// When it was mended, in milliseconds since the Unix epoch.
    pub mended_ms: i64,
    /// Scrapes that may have died with a receiver.
    pub died: BTreeSet<usize>,
    /// Values of the pushed counter that were acknowledged.
    pub acknowledged: Vec<u64>,
    /// The most memory that one process had resident, in bytes.
    pub peak_memory: u64,
}

/// What a scenario cost.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Samples that never arrived.
    pub lost: usize,
    /// Samples that arrived out of order.
    pub out_of_order: u64,
    /// Samples that arrived with a second value for one time.
    pub conflicting: u64,
    /// Samples that arrived and were stored already.
    pub duplicates: u64,
    /// Samples that the scenario's own fault refused.
    pub refused: u64,
    /// Elections of a replica group, the first included.
    pub elections: u64,
    /// Slots of the target without a scrape, of both groups.
    pub missed_slots: u64,
    /// The most memory that one process had resident, in bytes.
    pub peak_memory: u64,
    /// From the end of the fault to the first sample that was stored.
    pub recovery: Option<Duration>,
    /// Why it is not good, in words.
    pub complaints: Vec<String>,
}

/// Lanes have to flow again this soon.
const MAX_RECOVERY: Duration = Duration::from_secs(10);
/// A killed receiver takes at most what each group's owner had under way.
const MAX_DIED: usize = 2;

/// Scrapes that were served and have not arrived.
pub(super) fn missing(mesh: &Mesh) -> BTreeSet<usize> {
    let arrived = arrivals::scrapes(&mesh.amp.backend().arrivals());
    let arrived: BTreeSet<_> = arrived.iter().map(|scrape| scrape.number).collect();
    let served = 1..=mesh.sample_app.scrapes();
    served.filter(|scrape| !arrived.contains(scrape)).collect()
}

/// How long after the fault the first sample of the series that tells was stored.
pub(super) fn recovery(
    arrivals: &[Arrival],
    scenario: Scenario,
    mended_ms: i64,
) -> Option<Duration> {
    let flows = arrivals.iter().find(|arrival| {
        arrival.at_ms >= mended_ms
            && arrival.outcome == Outcome::Stored
            && arrival.labels.get(METRIC_NAME) == Some(scenario.flow())
    })?;
    Some(Duration::from_millis(flows.at_ms.abs_diff(mended_ms)))
}

/// Judges a run whose senders have stopped.
///
/// # Errors
/// Where the sample app's bodies cannot be read.
pub(super) fn judge(mesh: &Mesh, run: &Run) -> anyhow::Result<Judgement> {
    let backend = mesh.amp.backend();
    let (arrivals, totals) = (backend.arrivals(), backend.totals());
    let mut judgement = Judgement {
        lost: lost_pushes(&arrivals, &run.acknowledged),
        out_of_order: totals.of(Outcome::OutOfOrder) + totals.of(Outcome::TooOld),
        conflicting: totals.of(Outcome::Conflict),
        duplicates: totals.of(Outcome::Duplicate),
        refused: arrivals
            .iter()
            .filter(|a| refused_by_fault(a, run.scenario))
            .count() as u64,
        elections: backend.elections(),
        missed_slots: missed_slots(&arrivals, run.interval),
        peak_memory: run.peak_memory,
        recovery: recovery(&arrivals, run.scenario, run.mended_ms),
        complaints: Vec::new(),
    };
    for (scrape, times) in lost_or_repeated(mesh) {
        if times > 1 {
            judgement.complain(format!("scrape {scrape} arrived {times} times"));
        } else if !run.died.contains(&scrape) {
            judgement.lost += samples(mesh, scrape)?;
            judgement.complain(format!("scrape {scrape} never arrived"));
        }
    }
    let judged = judged(&arrivals, run.scenario);
    for scrape in arrivals::scrapes(&arrivals) {
        let key = (scrape.replica.as_str(), scrape.timestamp);
        let arrived = judged.get(&key).map_or(0, BTreeSet::len);
        let missing = samples(mesh, scrape.number)?.saturating_sub(arrived);
        if missing > 0 {
            judgement.lost += missing;
            judgement.complain(format!("{missing} samples of {scrape:?} never arrived"));
        }
    }
    judgement.verdict(run);
    Ok(judgement)
}

/// How many samples a scrape has, reports included.
fn samples(mesh: &Mesh, scrape: usize) -> anyhow::Result<usize> {
    let body = mesh.sample_app.body(scrape).unwrap_or_default();
    Ok(expected(&body)?.len() + REPORTS.len())
}

/// The series of each scrape that the backend stored, dropped as the other group's
/// copy, or refused as the scenario has it.
fn judged(arrivals: &[Arrival], scenario: Scenario) -> BTreeMap<(&str, i64), BTreeSet<&Labels>> {
    let mut judged: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for arrival in arrivals {
        let good = matches!(
            arrival.outcome,
            Outcome::Stored | Outcome::Duplicate | Outcome::Deduplicated
        );
        if arrival.labels.get("job") == Some(JOB) && (good || refused_by_fault(arrival, scenario)) {
            let key = (arrivals::replica(arrival), arrival.timestamp);
            judged.entry(key).or_default().insert(&arrival.labels);
        }
    }
    judged
}

fn refused_by_fault(arrival: &Arrival, scenario: Scenario) -> bool {
    scenario == Scenario::AmpRefusesOneSeries
        && arrival.outcome == Outcome::Refused
        && arrival.labels.get(METRIC_NAME) == Some(REFUSED)
}

/// Pushes that were acknowledged and are not stored.
fn lost_pushes(arrivals: &[Arrival], acknowledged: &[u64]) -> usize {
    let pushed = arrivals.iter().filter(|arrival| {
        arrival.labels.get(METRIC_NAME) == Some(otel::COUNTER)
            && matches!(arrival.outcome, Outcome::Stored | Outcome::Duplicate)
    });
    let stored: BTreeSet<u64> = pushed
        .filter_map(|arrival| match arrival.value {
            Value::Float(bits) => Some(bits),
            Value::Histogram(_) => None,
        })
        .collect();
    let is_lost = |orders: &&u64| !stored.contains(&(**orders as f64).to_bits());
    acknowledged.iter().filter(is_lost).count()
}

/// The slots that no scrape of a group stands in, between its first and its last.
fn missed_slots(arrivals: &[Arrival], interval: Duration) -> u64 {
    let scrapes: Vec<_> = arrivals::scrapes(arrivals).into_iter().collect();
    let interval = interval.as_millis() as f64;
    let gaps = scrapes
        .windows(2)
        .filter(|two| two[0].replica == two[1].replica);
    gaps.map(|two| (two[1].timestamp - two[0].timestamp) as f64 / interval)
        .map(|slots| (slots.round() as u64).saturating_sub(1))
        .sum()
}

// === impl Judgement ===

impl Judgement {
    /// Whether the scenario cost nothing that it must not cost.
    pub fn is_good(&self) -> bool {
        self.complaints.is_empty()
    }

    fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }

    fn verdict(&mut self, run: &Run) {
        if self.lost > 0 {
            self.complain(format!("{} samples are lost", self.lost));
        }
        if self.out_of_order > 0 {
            self.complain(format!(
                "{} samples arrived out of order",
                self.out_of_order
            ));
        }
        if self.conflicting > 0 {
            self.complain(format!("{} samples have two values", self.conflicting));
        }
        match self.recovery {
            Some(recovery) if recovery <= MAX_RECOVERY => {}
            Some(recovery) => {
                self.complain(format!("{recovery:?} until samples were stored again"))
            }
            None => self.complain("nothing was stored after the fault".to_owned()),
        }
        if run.died.len() > MAX_DIED {
            self.complain(format!(
                "{} scrapes had not arrived at the kill",
                run.died.len()
            ));
        }
        if run.acknowledged.is_empty() {
            self.complain("no push was acknowledged".to_owned());
        }
        if run.scenario == Scenario::AmpRefusesOneSeries && self.refused == 0 {
            self.complain("nothing was refused".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_app::SCRAPES;

    fn arrival(name: &str, replica: &str, second: i64, value: f64, outcome: Outcome) -> Arrival {
        let labels = [(METRIC_NAME, name), ("job", JOB), ("__replica__", replica)];
        Arrival {
            request: 1,
            at_ms: second * 1000,
            labels: labels.into_iter().collect(),
            timestamp: second * 1000,
            value: Value::Float(value.to_bits()),
            outcome,
        }
    }

    #[test]
    fn slots_are_missed_group_by_group() {
        let scrape = |replica, second| arrival(SCRAPES, replica, second, 1.0, Outcome::Stored);
        let arrivals = [
            scrape("a", 10),
            scrape("a", 11),
            scrape("a", 14),
            scrape("b", 1),
            scrape("b", 1),
            scrape("b", 3),
        ];
        assert_eq!(missed_slots(&arrivals, Duration::from_secs(1)), 2 + 1);
    }

    #[test]
    fn an_acknowledged_push_that_is_not_stored_is_lost() {
        let push = |value, outcome| arrival(otel::COUNTER, "", 1, value, outcome);
        let arrivals = [push(1.0, Outcome::Stored), push(2.0, Outcome::Conflict)];
        assert_eq!(lost_pushes(&arrivals, &[1, 2, 3]), 2);
    }

    #[test]
    fn recovery_is_the_first_that_is_stored_after_the_fault() {
        let scrape = |second, outcome| arrival(SCRAPES, "a", second, 1.0, outcome);
        let arrivals = [
            scrape(1, Outcome::Stored),
            scrape(3, Outcome::Deduplicated),
            scrape(4, Outcome::Stored),
        ];
        let after = |ms| recovery(&arrivals, Scenario::Amp500, ms);
        assert_eq!(after(2000), Some(Duration::from_secs(2)));
        assert_eq!(after(5000), None);
    }
}
