//! Elects one replica per cluster, as Cortex does.

use std::collections::HashMap;

/// Minimum age of the leader's timestamp before a request refreshes it.
const UPDATE_TIMEOUT_MS: i64 = 15_000;
/// Age of the leader's timestamp after which another replica takes over.
const FAILOVER_TIMEOUT_MS: i64 = 30_000;

/// Tracks the elected replica of each cluster.
#[derive(Debug, Default)]
pub struct HaTracker {
    leaders: HashMap<String, Leader>,
    elections: u64,
}

#[derive(Debug)]
struct Leader {
    replica: String,
    /// Arrival time of the request that refreshed the timestamp last. Sample times do not
    /// matter.
    received_ms: i64,
}

// === impl HaTracker ===

impl HaTracker {
    /// Returns `true` if `replica` is elected at `now_ms`, possibly by this request.
    pub fn accepts(&mut self, cluster: &str, replica: &str, now_ms: i64) -> bool {
        let Some(leader) = self.leaders.get_mut(cluster) else {
            self.elect(cluster, replica, now_ms);
            return true;
        };
        let age = now_ms - leader.received_ms;
        if leader.replica == replica {
            if age > UPDATE_TIMEOUT_MS {
                leader.received_ms = now_ms;
            }
            return true;
        }
        if age > FAILOVER_TIMEOUT_MS {
            self.elect(cluster, replica, now_ms);
            return true;
        }
        false
    }

    /// Records the decision of a real tracker about a request of `replica`, and returns it.
    pub fn record(&mut self, cluster: &str, replica: &str, now_ms: i64, accepted: bool) -> bool {
        let leader = self.leaders.get(cluster);
        if accepted && leader.is_none_or(|leader| leader.replica != replica) {
            self.elect(cluster, replica, now_ms);
        }
        accepted
    }

    /// Number of elections, the first one of each cluster included.
    pub fn elections(&self) -> u64 {
        self.elections
    }

    fn elect(&mut self, cluster: &str, replica: &str, now_ms: i64) {
        self.elections += 1;
        let leader = Leader {
            replica: replica.to_owned(),
            received_ms: now_ms,
        };
        self.leaders.insert(cluster.to_owned(), leader);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_leader_loses_its_election() {
        let mut ha = HaTracker::default();
        assert!(ha.accepts("c", "a", 0));
        assert!(!ha.accepts("c", "b", 1_000));
        assert!(ha.accepts("other", "b", 1_000));
        // Too early to refresh the timestamp of 0.
        assert!(ha.accepts("c", "a", 14_000));
        assert!(!ha.accepts("c", "b", 30_000));
        assert!(ha.accepts("c", "b", 30_001));
        assert!(!ha.accepts("c", "a", 30_002));
        assert_eq!(ha.elections(), 3);
    }

    #[test]
    fn records_the_decisions_of_a_real_tracker() {
        let mut ha = HaTracker::default();
        assert!(ha.record("c", "b", 0, true));
        assert!(!ha.record("c", "a", 1, false));
        assert!(ha.record("c", "b", 2, true));
        assert_eq!(ha.elections(), 1);
        assert!(ha.record("c", "a", 3, true));
        assert_eq!(ha.elections(), 2);
    }

    #[test]
    fn a_leader_that_writes_every_ten_seconds_stays_elected() {
        let mut ha = HaTracker::default();
        for second in (0..600).step_by(10) {
            assert!(ha.accepts("c", "a", second * 1000));
            assert!(!ha.accepts("c", "b", second * 1000 + 5000));
        }
    }
}
