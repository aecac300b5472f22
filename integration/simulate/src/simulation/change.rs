//! Rolling updates and scaling of the pods.

use super::{Event, Simulation};
use crate::plan::{self, Action, Change};

/// Interval at which a deleted pod is checked for its end.
const DELETE_CHECK_MS: u64 = 500;

// === impl Simulation ===

impl Simulation {
    /// Schedules the steps of a change.
    pub(super) fn schedule_change(&mut self, change: &Change) {
        for step in &change.steps {
            self.schedule_in(step.at_ms, Event::Pod(step.action, step.pod.clone()));
        }
    }

    /// Starts, stops or kills a pod.
    pub(super) fn change_pod(&mut self, action: Action, pod: String) {
        match action {
            Action::Start => {
                self.unwanted.remove(&pod);
                self.handle(Event::Start(pod));
            }
            Action::Stop => {
                self.unwanted.insert(pod.clone());
                self.processes.stop(&pod);
                self.handle(Event::Leave(pod.clone()));
                self.delete(pod);
            }
            // A new process may have the name by now.
            Action::Kill if self.unwanted.contains(&pod) => {
                if self.sim.is_host_running(pod.as_str()) {
                    self.kill(&pod);
                    self.killed_at_ms = self.elapsed_ms();
                }
            }
            Action::Kill => {}
        }
    }

    /// Deletes an unwanted receiver pod with its disk once its process has ended.
    pub(super) fn delete(&mut self, pod: String) {
        if !self.unwanted.contains(&pod) || plan::group(&pod).is_none() {
            return;
        }
        if self.sim.is_host_running(pod.as_str()) {
            self.schedule_in(DELETE_CHECK_MS, Event::Delete(pod));
            return;
        }
        // The directory does not exist if the pod never spilled.
        let _ = std::fs::remove_dir_all(self.folder.join(&pod));
        self.processes.deleted(&pod);
        // No group's members change, so the judge needs no lag of the views.
        self.schedule_views("");
    }
}
