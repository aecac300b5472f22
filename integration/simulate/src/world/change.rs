//! What is done to pods on purpose.

use super::{Step, World};
use crate::plan::{self, Act, Change};

/// A pod is gone this long after its process at the latest.
const DELETING_MS: u64 = 500;

// === impl World ===

impl World {
    pub(super) fn plan_moves(&mut self, change: &Change) {
        for it in &change.moves {
            self.after(it.at_ms, Step::Move(it.act, it.pod.clone()));
        }
    }

    pub(super) fn make(&mut self, act: Act, pod: String) {
        match act {
            Act::Start => {
                self.unwanted.remove(&pod);
                self.take(Step::Start(pod));
            }
            Act::Stop => {
                self.unwanted.insert(pod.clone());
                self.shared.stop(&pod);
                self.take(Step::Leave(pod.clone()));
                self.delete(pod);
            }
            // The name may have a new process by now.
            Act::Kill if self.unwanted.contains(&pod) => {
                if self.sim.is_host_running(pod.as_str()) {
                    self.crash(&pod);
                    self.over_ms = self.over_ms.max(self.elapsed_ms());
                }
            }
            Act::Kill => {}
        }
    }

    /// Deletes a pod that is not wanted and does not run, or looks again later.
    pub(super) fn delete(&mut self, pod: String) {
        if !self.unwanted.contains(&pod) || plan::group(&pod).is_none() {
            return;
        }
        if self.sim.is_host_running(pod.as_str()) {
            self.after(DELETING_MS, Step::Delete(pod));
            return;
        }
        // It may never have spilled anything.
        let _ = std::fs::remove_dir_all(self.folder.join(&pod));
        self.shared.deleted(&pod);
        // Nobody's news of members is judged by it.
        self.tell_all("");
    }
}
