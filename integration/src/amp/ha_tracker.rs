//! The backend's election of one replica per cluster, as Cortex does it.

use std::collections::HashMap;

/// A leader's stamp is refreshed only when it is older than this.
const UPDATE_TIMEOUT_MS: i64 = 15_000;
/// Another replica takes over when the leader's stamp is older than this.
const FAILOVER_TIMEOUT_MS: i64 = 30_000;

/// Which replica of each cluster is elected.
#[derive(Debug, Default)]
pub struct HaTracker {
    leaders: HashMap<String, Leader>,
    elections: u64,
}

#[derive(Debug)]
struct Leader {
    replica: String,
    /// When its last request was noted. Arrival times count, not sample times.
    received_ms: i64,
}

// === impl HaTracker ===

impl HaTracker {
    /// Whether a request of `replica` is taken at `now_ms`.
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

    /// Notes what a real tracker has said of a request of `replica`, and returns it.
    pub fn note(&mut self, cluster: &str, replica: &str, now_ms: i64, accepted: bool) -> bool {
        let leader = self.leaders.get(cluster);
        if accepted && leader.is_none_or(|leader| leader.replica != replica) {
            self.elect(cluster, replica, now_ms);
        }
        accepted
    }

    /// How many elections there were.
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
    fn one_replica_is_taken_until_it_is_silent() {
        let mut ha = HaTracker::default();
        assert!(ha.accepts("c", "a", 0));
        assert!(!ha.accepts("c", "b", 1_000));
        assert!(ha.accepts("other", "b", 1_000));
        // Too soon to refresh the stamp of 0.
        assert!(ha.accepts("c", "a", 14_000));
        assert!(!ha.accepts("c", "b", 30_000));
        assert!(ha.accepts("c", "b", 30_001));
        assert!(!ha.accepts("c", "a", 30_002));
        assert_eq!(ha.elections(), 3);
    }

    #[test]
    fn what_a_real_tracker_says_is_noted() {
        let mut ha = HaTracker::default();
        assert!(ha.note("c", "b", 0, true));
        assert!(!ha.note("c", "a", 1, false));
        assert!(ha.note("c", "b", 2, true));
        assert_eq!(ha.elections(), 1);
        assert!(ha.note("c", "a", 3, true));
        assert_eq!(ha.elections(), 2);
    }

    #[test]
    fn a_leader_that_writes_every_ten_seconds_stays() {
        let mut ha = HaTracker::default();
        for second in (0..600).step_by(10) {
            assert!(ha.accepts("c", "a", second * 1000));
            assert!(!ha.accepts("c", "b", second * 1000 + 5000));
        }
    }
}
