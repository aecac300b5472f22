//! Backlogs of single destinations. A response names each destination once.

use std::{collections::BTreeSet, sync::Arc};

use mesh_contract::report::MAX_DESTINATIONS;
use mesh_outbox::OldestPending;
use proto::handover as wire;

use super::{Checked, check, is_time};

/// Names of the destinations in a response, sorted.
#[derive(Debug)]
pub(super) struct Destinations(Vec<Arc<str>>);

/// Maximum number of destinations that a target names its backlogs of. With more, its oldest
/// batch counts for all. It bounds the size of a response.
pub(in crate::handover) const MAX_BACKLOGS: usize = 8;
/// Maximum length of a name.
const MAX_NAME_BYTES: usize = 1024;

// === impl Destinations ===

impl Destinations {
    /// Destinations of these backlogs.
    pub(super) fn of<'a>(backlogs: impl Iterator<Item = &'a OldestPending>) -> Self {
        let names: BTreeSet<_> = backlogs.flat_map(|it| it.destinations().keys()).collect();
        Self(names.into_iter().cloned().collect())
    }

    /// Decodes the names of a response.
    ///
    /// # Errors
    /// Returns an error if no receiver can have sent them.
    pub(super) fn decode(names: Vec<String>) -> Checked<Self> {
        let is_name = |name: &String| (1..=MAX_NAME_BYTES).contains(&name.len());
        let is_possible = names.len() <= MAX_DESTINATIONS
            && names.iter().all(is_name)
            && names.is_sorted_by(|a, b| a < b);
        check(is_possible, "destinations")?;
        Ok(Self(names.into_iter().map(Arc::from).collect()))
    }

    /// Names in a response.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|name| name.to_string()).collect()
    }

    /// Encodes the backlog of a target.
    pub(super) fn backlogs(&self, oldest: &OldestPending) -> Vec<wire::DestinationBacklog> {
        let knows = |name: &Arc<str>| oldest.destinations().contains_key(name);
        if !self.0.iter().all(knows) {
            return Vec::new();
        }
        let pending = (0..).zip(&self.0).filter_map(|(destination, name)| {
            Some(wire::DestinationBacklog {
                destination,
                oldest_batch_ms: oldest.at(Some(name))?,
            })
        });
        let mut pending: Vec<_> = pending.collect();
        if pending.len() > MAX_BACKLOGS {
            pending.clear();
        }
        pending
    }

    /// Decodes the backlog of a target, whose oldest batch has the time `oldest_ms`.
    ///
    /// # Errors
    /// Returns an error if no receiver can have sent it.
    pub(super) fn oldest(
        &self,
        oldest_ms: i64,
        backlogs: &[wire::DestinationBacklog],
    ) -> Checked<OldestPending> {
        let mut times = vec![None; self.0.len()];
        for backlog in backlogs {
            let time = times.get_mut(backlog.destination as usize);
            let is_possible = is_time(backlog.oldest_batch_ms);
            match time.filter(|time| time.is_none() && is_possible) {
                Some(time) => *time = Some(backlog.oldest_batch_ms),
                None => check(false, "targets.backlogs")?,
            }
        }
        let named = self.0.iter().cloned().zip(times);
        let named = OldestPending::at_each(named.collect());
        Ok(named.unwrap_or_else(|| OldestPending::everywhere(oldest_ms)))
    }
}
