//! What is done to pods on purpose.

use super::{Step, World};
use crate::simulate::plan::{Act, Change};

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
                if !self.ready.contains(&pod) && !self.sim.is_host_running(pod.as_str()) {
                    // What does not run is gone at once.
                    self.tell_all("");
                }
                self.take(Step::Leave(pod));
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
}
