//! The processes of a simulation: their shutdown signals, and what receivers did.

use std::collections::BTreeMap;

use mesh_base::shutdown::{self, Shutdown, Trigger};
use mesh_outbox::{Account, Outbox};
use parking_lot::Mutex;

use super::{clock::now_ms, exports::ExportLog, record::Process};

/// Processes of all hosts. The hosts and the simulation share it.
#[derive(Debug, Default)]
pub(super) struct Processes {
    receivers: Mutex<Vec<RunningProcess>>,
    triggers: Mutex<BTreeMap<String, Trigger>>,
}

/// Receiver process and the handles that observe it.
#[derive(Debug)]
struct RunningProcess {
    /// `None` once the process has ended, so that the next one can lock the spill directory.
    outbox: Option<Outbox>,
    exports: ExportLog,
    process: Process,
    /// Account of each destination at the end of the process, if there are several.
    accounts: BTreeMap<String, Account>,
}

// === impl Processes ===

impl Processes {
    /// Registers the start of a host's process. Returns its shutdown signal.
    pub(super) fn start(&self, name: &str) -> Shutdown {
        let (trigger, shutdown) = shutdown::channel();
        self.triggers.lock().insert(name.to_owned(), trigger);
        shutdown
    }

    /// Starts to observe a receiver process through its outbox and its Exports.
    pub(super) fn observe(&self, name: &str, group: &str, outbox: Outbox, exports: ExportLog) {
        self.receivers.lock().push(RunningProcess {
            outbox: Some(outbox),
            exports,
            process: Process {
                name: name.to_owned(),
                group: group.to_owned(),
                started_ms: now_ms(),
                ..Process::default()
            },
            accounts: BTreeMap::new(),
        });
    }

    /// Records that a receiver learned of another share of the targets.
    pub(super) fn reassigned(&self, name: &str) {
        self.update(name, |it| it.process.reassigned_ms.push(now_ms()));
    }

    /// Records that a receiver stopped scraping.
    pub(super) fn stopped(&self, name: &str) {
        self.update(name, |it| it.process.stopped_ms = Some(now_ms()));
    }

    /// Records that a receiver process ended.
    pub(super) fn ended(&self, name: &str) {
        self.update(name, RunningProcess::end);
    }

    /// Records that a process was killed.
    pub(super) fn killed(&self, name: &str, at_ms: i64) {
        self.triggers.lock().remove(name);
        self.update(name, |it| {
            it.process.killed_ms.get_or_insert(at_ms);
            it.end();
        });
    }

    /// Records that a pod was deleted with its disk. An orderly shutdown leaves nothing there.
    pub(super) fn deleted(&self, name: &str) {
        let mut receivers = self.receivers.lock();
        let last = receivers.iter().rfind(|it| it.process.name == name);
        if last.is_some_and(|it| it.process.killed_ms.is_some()) {
            let of_pod = receivers.iter_mut().filter(|it| it.process.name == name);
            of_pod.for_each(|it| it.process.lost_disk = true);
        }
    }

    /// Signals shutdown to a process.
    pub(super) fn stop(&self, name: &str) {
        if let Some(trigger) = self.triggers.lock().remove(name) {
            trigger.fire();
        }
    }

    /// Returns all receiver processes so far, each with what it sent to a destination.
    pub(super) fn records(&self, destination: &str) -> Vec<Process> {
        let receivers = self.receivers.lock();
        let records = receivers.iter().map(|it| it.record(destination));
        records.collect()
    }

    fn update(&self, name: &str, update: impl FnOnce(&mut RunningProcess)) {
        let mut receivers = self.receivers.lock();
        if let Some(last) = receivers.iter_mut().rfind(|it| it.process.name == name) {
            update(last);
        }
    }
}

// === impl RunningProcess ===

impl RunningProcess {
    fn end(&mut self) {
        if let Some(outbox) = self.outbox.take() {
            (self.process.account, self.accounts) = (outbox.account(), outbox.destinations());
        }
    }

    fn record(&self, destination: &str) -> Process {
        let (all, mut of) = match &self.outbox {
            Some(outbox) => (outbox.account(), outbox.destinations()),
            None => (self.process.account.clone(), self.accounts.clone()),
        };
        Process {
            account: of.remove(destination).unwrap_or(all),
            exports: self.exports.exports_to(destination),
            ..self.process.clone()
        }
    }
}
