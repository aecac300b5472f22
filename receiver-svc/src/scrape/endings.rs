//! Series that may end, and their samples from other targets.
//!
//! A target may come back at another address under the same labels, or with another path or
//! other parameters after a reload. Then another scrape loop continues its series, in this
//! receiver or in another one. The former loop must not write staleness markers behind those
//! samples (law 8). Prometheus finds such markers in its storage, where they are out of order.
//! promesh has no storage, so the loops share what they know:
//!
//! - While a loop waits to end its series, all loops of this receiver record their samples of
//!   these series. A series with a newer sample gets no marker.
//! - The same holds during a scrape, if another target has the same labels. A scrape that fails
//!   after its timeout would otherwise write markers behind samples of the other target.
//! - If another target has the same labels and this receiver has not scraped it since, the
//!   loop writes no markers at all. Nobody here knows which series that target exposes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    status::{Status, TargetStatus},
    target::Target,
};
use crate::samples::{AppendedSamples, SampleValue};

/// Series that may end, for all scrape loops. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Endings(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Watched series, by hash.
    series: HashMap<u64, Watched>,
    status: Arc<Status>,
    /// Active targets by the hash of their public labels, once somebody has asked for one.
    by_labels: Option<BTreeMap<u64, Vec<TargetStatus>>>,
}

/// Series that at least one loop may end.
#[derive(Debug)]
struct Watched {
    /// Number of loops that may end it.
    loops: usize,
    /// Time of the newest sample since then, in milliseconds since the Unix epoch.
    newest_ms: i64,
}

/// Series of one target that other targets may continue. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Ending {
    endings: Endings,
    series: Vec<u64>,
    /// Time at which the watch began, in milliseconds since the Unix epoch.
    since_ms: i64,
}

// === impl Endings ===

impl Endings {
    /// Watches the series with these hashes, from `now_ms` on.
    pub(crate) fn watch(&self, series: Vec<u64>, now_ms: i64) -> Ending {
        let mut state = self.lock();
        for hash in &series {
            let watched = state.series.entry(*hash).or_insert(Watched {
                loops: 0,
                newest_ms: i64::MIN,
            });
            watched.loops += 1;
        }
        Ending {
            endings: self.clone(),
            series,
            since_ms: now_ms,
        }
    }

    /// Records the samples of a scrape.
    pub(crate) fn record(&self, appended: &AppendedSamples<'_>) {
        if self.lock().series.is_empty() {
            return;
        }
        let samples = appended.samples.iter();
        let samples = samples.filter(|sample| !matches!(sample.value, SampleValue::Stale));
        let samples = samples.map(|it| (appended.series.hash_of(it.series), it.time_ms));
        let samples: Vec<_> = samples.collect();
        let mut state = self.lock();
        for (hash, time_ms) in samples {
            if let Some(watched) = state.series.get_mut(&hash) {
                watched.newest_ms = watched.newest_ms.max(time_ms);
            }
        }
    }

    /// Returns true if another active target has the labels of `target`.
    pub(crate) fn has_twin(&self, target: &Target) -> bool {
        let mut state = self.lock();
        state.twins_of(target).next().is_some()
    }

    /// Replaces the active targets.
    pub(crate) fn set_status(&self, status: Arc<Status>) {
        let mut state = self.lock();
        state.status = status;
        state.by_labels = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

// === impl State ===

impl State {
    /// Other active targets with the public labels of `target`.
    fn twins_of(&mut self, target: &Target) -> impl Iterator<Item = &TargetStatus> {
        let status = &self.status;
        let by_labels = self.by_labels.get_or_insert_with(|| {
            let mut by_labels = BTreeMap::<u64, Vec<TargetStatus>>::new();
            for target in status.jobs.iter().flat_map(|job| &job.targets) {
                let hash = target.target.public.stable_hash();
                by_labels.entry(hash).or_default().push(target.clone());
            }
            by_labels
        });
        let found = by_labels.get(&target.public.stable_hash());
        let found = found.into_iter().flatten();
        found.filter(|other| {
            let other = &other.target;
            other.identity != target.identity && other.public == target.public
        })
    }
}

// === impl Ending ===

impl Ending {
    /// Returns true if another loop of this receiver has a sample of the series after `time_ms`.
    pub(crate) fn has_sample_after(&self, time_ms: i64, series: u64) -> bool {
        let state = self.endings.lock();
        let watched = state.series.get(&series);
        watched.is_some_and(|watched| watched.newest_ms > time_ms)
    }

    /// Returns true if another target has the labels of `target`, and this receiver has not
    /// scraped it since the watch began.
    pub(crate) fn has_unknown_successor(&self, target: &Target) -> bool {
        let mut state = self.endings.lock();
        state.twins_of(target).any(|twin| {
            let last = twin.health.as_ref().and_then(|health| health.last());
            last.is_none_or(|last| last.time_ms < self.since_ms)
        })
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut state = self.endings.lock();
        for hash in &self.series {
            if let Some(watched) = state.series.get_mut(hash) {
                watched.loops -= 1;
                if watched.loops == 0 {
                    state.series.remove(hash);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_a_series_until_its_last_loop_has_ended_it() {
        let endings = Endings::default();
        let first = endings.watch(vec![1, 2], 0);
        let second = endings.watch(vec![2], 0);
        assert!(!first.has_sample_after(0, 1));
        drop(first);
        assert_eq!(endings.lock().series.len(), 1);
        drop(second);
        assert!(endings.lock().series.is_empty());
    }
}
