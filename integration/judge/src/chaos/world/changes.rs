//! What happens to pods: they come and go, and the others are told.

use std::{net::SocketAddr, time::Duration};

use mesh_base::clock::Clock;
use rand::Rng;

use super::{ClockStep, GRPC, Spell, World};
use crate::chaos::{clock, shape::Tier, views::Sight};

/// How late news is that is not late, in milliseconds.
const NEWS_MS: std::ops::Range<u64> = 100..1500;

// === impl World ===

impl World {
    /// Tells all pods who the endpoints of a tier are by now, each some time later.
    /// Returns when the last one is told.
    pub(crate) fn publish(&mut self, tier: Tier) -> i64 {
        self.publish_as(tier, None)
    }

    pub(super) fn publish_as(&mut self, tier: Tier, sight: Option<Sight>) -> i64 {
        let endpoints = self.endpoints(tier);
        if tier == Tier::Gateway {
            let ready = endpoints
                .ready
                .iter()
                .map(|(_, ip)| SocketAddr::from((*ip, GRPC)));
            self.gateways.lead_to(ready.collect());
        }
        let mut told = Clock::system().now_ms();
        self.note_change(tier, told);
        let late_ms = told + NEWS_MS.end as i64;
        for pod in self.pods.iter().filter(|pod| pod.tier.knows(tier)) {
            let delay = Duration::from_millis(self.rng.random_range(NEWS_MS));
            let at = pod.tell(tier, &endpoints, sight.unwrap_or(Sight::After(delay)));
            if let Some(at_ms) = at.filter(|at_ms| *at_ms > late_ms) {
                self.unaware.push(Spell {
                    pod: pod.service.name.clone(),
                    from_ms: late_ms,
                    to_ms: at_ms,
                });
            }
            told = told.max(at.unwrap_or_default());
        }
        told
    }

    fn note_change(&mut self, tier: Tier, at_ms: i64) {
        let Some(replica) = tier.replica() else {
            return;
        };
        let mut own = self.changes.iter().rev().filter(|(of, _)| *of == replica);
        let last = own.next().map_or(0, |(_, at_ms)| *at_ms);
        if at_ms - last > NEWS_MS.end as i64 {
            self.changes.push((replica, at_ms));
        }
    }

    /// Starts a pod and makes it an endpoint.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) async fn scale_up(&mut self, tier: Tier) -> anyhow::Result<usize> {
        let pod = self.add(tier).await?;
        self.pods[pod].listed = true;
        self.publish(tier);
        Ok(pod)
    }

    /// Ends a pod as Kubernetes does: it is told to stop, and the others learn at
    /// about that time that it is going. Waits until it has ended.
    ///
    /// # Errors
    /// Where it does not stop in time or with a failure.
    pub(crate) async fn scale_down(&mut self, pod: usize) -> anyhow::Result<()> {
        self.pods[pod].listed = false;
        let tier = self.pods[pod].tier;
        self.publish(tier);
        self.pods[pod].stop().await?;
        // What is gone is not even unready.
        let endpoints = self.endpoints(tier);
        for pod in self.pods.iter().filter(|pod| pod.tier.knows(tier)) {
            pod.tell(tier, &endpoints, Sight::After(Duration::ZERO));
        }
        Ok(())
    }

    /// Kills a pod's process.
    ///
    /// # Errors
    /// Where it has ended already.
    pub(crate) async fn kill(&mut self, pod: usize) -> anyhow::Result<()> {
        let from_ms = Clock::system().now_ms();
        self.absent(pod, from_ms);
        self.pods[pod].kill().await
    }

    /// Notes that a pod cannot scrape since `from_ms`, until it is back.
    pub(crate) fn absent(&mut self, pod: usize, from_ms: i64) {
        self.absences.push(Spell {
            pod: self.pods[pod].service.name.clone(),
            from_ms,
            to_ms: i64::MAX,
        });
    }

    /// Notes that nobody waits for a pod any more at `to_ms`.
    pub(crate) fn replaced(&mut self, pod: usize, to_ms: i64) {
        let name = &self.pods[pod].service.name;
        let own = self.absences.iter_mut().rev();
        let open = own.filter(|a| a.pod == *name && a.to_ms == i64::MAX);
        for absence in open {
            absence.to_ms = to_ms;
        }
    }

    /// Lets a receiver's clock be wrong by so many milliseconds.
    ///
    /// # Errors
    /// Where it cannot be set.
    pub(crate) fn set_clock(&mut self, pod: usize, wrong_ms: i64) -> anyhow::Result<()> {
        let pod = self.pods[pod].service.name.clone();
        let at_ms = Clock::system().now_ms();
        clock::set(&self.folder.path().join(&pod), wrong_ms)?;
        self.clock_steps.push(ClockStep {
            pod,
            at_ms,
            wrong_ms,
        });
        Ok(())
    }

    /// Starts a killed pod's process again.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) async fn restart(&mut self, pod: usize) -> anyhow::Result<()> {
        self.pods[pod].restart().await?;
        self.replaced(pod, Clock::system().now_ms());
        Ok(())
    }
}
