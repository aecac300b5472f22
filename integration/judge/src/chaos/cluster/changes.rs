//! Starts, stops and kills of pods, and how the other pods learn of them.

use std::{net::SocketAddr, time::Duration};

use mesh_base::clock::Clock;
use rand::Rng;

use super::{ClockStep, Cluster, GRPC, Period};
use crate::chaos::{clock, shape::Tier, views::Propagation};

/// Normal delay until a pod learns of a change, in milliseconds.
const UPDATE_DELAY_MS: std::ops::Range<u64> = 100..1500;

// === impl Cluster ===

impl Cluster {
    /// Sends the endpoints of a tier to all pods, each after its own delay. Returns the
    /// time at which the last pod learns of them, in milliseconds since the Unix epoch.
    pub(crate) fn publish(&mut self, tier: Tier) -> i64 {
        self.publish_as(tier, None)
    }

    pub(super) fn publish_as(&mut self, tier: Tier, propagation: Option<Propagation>) -> i64 {
        let endpoints = self.endpoints(tier);
        if tier == Tier::Gateway {
            let ready = endpoints
                .ready
                .iter()
                .map(|(_, ip)| SocketAddr::from((*ip, GRPC)));
            self.gateways.set_upstreams(ready.collect());
        }
        let mut last_ms = Clock::system().now_ms();
        self.record_change(tier, last_ms);
        let late_ms = last_ms + UPDATE_DELAY_MS.end as i64;
        for pod in self.pods.iter().filter(|pod| pod.tier.watches(tier)) {
            let delay = Duration::from_millis(self.rng.random_range(UPDATE_DELAY_MS));
            let at = pod.update_view(
                tier,
                &endpoints,
                propagation.unwrap_or(Propagation::After(delay)),
            );
            if let Some(at_ms) = at.filter(|at_ms| *at_ms > late_ms) {
                self.stale_views.push(Period {
                    pod: pod.service.name.clone(),
                    from_ms: late_ms,
                    to_ms: at_ms,
                });
            }
            last_ms = last_ms.max(at.unwrap_or_default());
        }
        last_ms
    }

    fn record_change(&mut self, tier: Tier, at_ms: i64) {
        let Some(replica) = tier.replica() else {
            return;
        };
        let mut own = self.changes.iter().rev().filter(|(of, _)| *of == replica);
        let last = own.next().map_or(0, |(_, at_ms)| *at_ms);
        if at_ms - last > UPDATE_DELAY_MS.end as i64 {
            self.changes.push((replica, at_ms));
        }
    }

    /// Starts a pod and makes it an endpoint.
    ///
    /// # Errors
    /// Returns an error if the pod does not start.
    pub(crate) async fn scale_up(&mut self, tier: Tier) -> anyhow::Result<usize> {
        let pod = self.add(tier).await?;
        self.pods[pod].listed = true;
        self.publish(tier);
        Ok(pod)
    }

    /// Stops a pod as Kubernetes does, and waits until it has ended. The other pods learn
    /// of it at about the same time.
    ///
    /// # Errors
    /// Returns an error if the pod does not stop in time, or stops with a failure.
    pub(crate) async fn scale_down(&mut self, pod: usize) -> anyhow::Result<()> {
        self.pods[pod].listed = false;
        let tier = self.pods[pod].tier;
        self.publish(tier);
        self.pods[pod].stop().await?;
        // A deleted pod is no unready endpoint either.
        let endpoints = self.endpoints(tier);
        for pod in self.pods.iter().filter(|pod| pod.tier.watches(tier)) {
            pod.update_view(tier, &endpoints, Propagation::After(Duration::ZERO));
        }
        Ok(())
    }

    /// Kills a pod's process (SIGKILL).
    ///
    /// # Errors
    /// Returns an error if the process has already ended.
    pub(crate) async fn kill(&mut self, pod: usize) -> anyhow::Result<()> {
        let from_ms = Clock::system().now_ms();
        self.start_absence(pod, from_ms);
        self.pods[pod].kill().await
    }

    /// Records that a pod cannot scrape from `from_ms` on.
    pub(crate) fn start_absence(&mut self, pod: usize, from_ms: i64) {
        self.absences.push(Period {
            pod: self.pods[pod].service.name.clone(),
            from_ms,
            to_ms: i64::MAX,
        });
    }

    /// Records that a pod is back at `to_ms`, or that no other pod waits for it from then
    /// on.
    pub(crate) fn end_absence(&mut self, pod: usize, to_ms: i64) {
        let name = &self.pods[pod].service.name;
        let own = self.absences.iter_mut().rev();
        let open = own.filter(|a| a.pod == *name && a.to_ms == i64::MAX);
        for absence in open {
            absence.to_ms = to_ms;
        }
    }

    /// Sets the offset of a receiver's clock, in milliseconds.
    ///
    /// # Errors
    /// Returns an error if the clock cannot be set.
    pub(crate) fn set_clock(&mut self, pod: usize, offset_ms: i64) -> anyhow::Result<()> {
        let pod = self.pods[pod].service.name.clone();
        let at_ms = Clock::system().now_ms();
        clock::set(&self.folder.path().join(&pod), offset_ms)?;
        self.clock_steps.push(ClockStep {
            pod,
            at_ms,
            offset_ms,
        });
        Ok(())
    }

    /// Restarts the process of a killed pod.
    ///
    /// # Errors
    /// Returns an error if the process does not start.
    pub(crate) async fn restart(&mut self, pod: usize) -> anyhow::Result<()> {
        self.pods[pod].restart().await?;
        self.end_absence(pod, Clock::system().now_ms());
        Ok(())
    }
}
