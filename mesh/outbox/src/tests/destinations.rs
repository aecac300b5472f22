//! Several destinations, each with its own progress.

use std::{collections::BTreeSet, path::Path};

use mesh_contract::progress::DestinationProgress;

use super::*;

/// Exporters with several destinations, some of which are down.
#[derive(Clone, Default)]
struct Exporters(Arc<Mutex<Destinations>>);

#[derive(Default)]
struct Destinations {
    names: Vec<String>,
    down: BTreeSet<String>,
    /// Payloads that each destination has stored, joined.
    stored: BTreeMap<String, String>,
    /// Destinations of the Exports so far.
    exports: Vec<Option<String>>,
}

// === impl Exporters ===

impl Exporters {
    fn new(names: &[&str]) -> Self {
        let exporters = Self::default();
        exporters.rename(names);
        exporters
    }

    fn rename(&self, names: &[&str]) {
        self.0.lock().names = names.iter().map(|name| (*name).to_owned()).collect();
    }

    fn take_down(&self, name: &str) {
        self.0.lock().down.insert(name.to_owned());
    }

    fn bring_up(&self, name: &str) {
        self.0.lock().down.remove(name);
    }

    fn stored(&self, name: &str) -> String {
        let stored = self.0.lock().stored.get(name).cloned();
        stored.unwrap_or_default()
    }

    fn service(
        &self,
    ) -> impl Service<Export, Response = ExportResponse, Error = ExportError, Future: Send> + Clone + use<>
    {
        let exporters = self.clone();
        tower::service_fn(move |export| std::future::ready(exporters.0.lock().reply(&export)))
    }

    fn outbox(&self, args: &OutboxArgs, clock: &Clock) -> (Outbox, Workers) {
        Outbox::new(args, clock.clone(), self.service())
    }
}

impl Destinations {
    /// Writes a batch to the destinations that an Export is for. Fails if one is down.
    fn reply(&mut self, export: &Export) -> Result<ExportResponse, ExportError> {
        let only = export.destination.as_deref().map(str::to_owned);
        self.exports.push(only.clone());
        let selected = only.map_or_else(|| self.names.clone(), |name| vec![name]);
        let before = export.progress.first().cloned().unwrap_or_default();
        let mut progress = DestinationProgress::decode(&before);
        let mut is_failed = false;
        for name in selected {
            if self.down.contains(&name) || !self.names.contains(&name) {
                is_failed = true;
            } else if !progress.is_complete(&name) {
                let text = String::from_utf8_lossy(&export.payload);
                *self.stored.entry(name.clone()).or_default() += &text;
                progress.record(&name, &Verdict::default());
            }
        }
        if is_failed {
            return Err(ExportError::Unknown {
                code: Code::Unavailable,
                message: "down".to_owned(),
                report: FailureReport {
                    progress: vec![progress.encode()],
                    destinations: self.names.clone(),
                },
            });
        }
        Ok(ExportResponse {
            destinations: self.names.clone(),
            ..ExportResponse::default()
        })
    }
}

/// Pushes numbered batches of one key, one a second.
async fn push(outbox: &Outbox, clock: &Clock, numbers: std::ops::Range<usize>) -> String {
    for number in numbers.clone() {
        let batch = Batch {
            time_ms: clock.now_ms(),
            ..batch(1, &format!("{number},"))
        };
        outbox.push(batch).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    numbers.map(|number| format!("{number},")).collect()
}

fn account(outbox: &Outbox, name: &str) -> Account {
    let account = outbox.destinations().remove(name).unwrap();
    assert!(account.balances(), "{name}: {account}");
    account
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_down_from_the_start_delays_no_other() {
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    exporters.take_down("us");
    let (outbox, workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    let all = push(&outbox, &clock, 0..60).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(
        (exporters.stored("eu"), exporters.stored("us")),
        (all.clone(), String::new())
    );
    assert_eq!(
        (
            account(&outbox, "eu").stored,
            account(&outbox, "eu").waiting
        ),
        (600, 0)
    );
    assert_eq!(
        (
            account(&outbox, "us").stored,
            account(&outbox, "us").waiting
        ),
        (0, 600)
    );
    assert_eq!(outbox.account().waiting, 600);
    exporters.bring_up("us");
    let drained = drained(workers).await;
    assert_eq!((drained.stored, drained.waiting), (600, 0));
    assert_eq!(
        (exporters.stored("eu"), exporters.stored("us")),
        (all.clone(), all)
    );
    assert_eq!(account(&outbox, "us").stored, 600);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_client_gets_the_verdict_of_all_destinations() {
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let (outbox, _workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    push(&outbox, &clock, 0..2).await;
    exporters.take_down("us");
    let mut outcome = outbox.push_with_outcome(batch(2, "x")).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(exporters.stored("eu"), "0,1,x");
    assert!(outcome.try_recv().is_err());
    exporters.bring_up("us");
    assert_eq!(outcome.await.unwrap(), Outcome::Verdict(Verdict::default()));
}

#[tokio::test(start_paused = true)]
async fn one_destination_needs_no_exports_of_its_own() {
    let (exporters, clock) = (Exporters::new(&["eu"]), Clock::tokio(START_MS));
    let (outbox, workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    push(&outbox, &clock, 0..3).await;
    drained(workers).await;
    assert_eq!(exporters.0.lock().exports, [None, None, None]);
    assert!(outbox.destinations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_new_destination_receives_what_is_pending() {
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let (outbox, workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    push(&outbox, &clock, 0..2).await;
    exporters.take_down("us");
    push(&outbox, &clock, 2..4).await;
    exporters.rename(&["eu", "us", "asia"]);
    push(&outbox, &clock, 4..20).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    // The batches that wait for `us` only are new to `asia`.
    let asia: String = (2..20).map(|number| format!("{number},")).collect();
    assert_eq!(exporters.stored("asia"), asia);
    account(&outbox, "asia");
    exporters.bring_up("us");
    let drained = drained(workers).await;
    assert_eq!((drained.stored, drained.waiting), (200, 0));
    let all: String = (0..20).map(|number| format!("{number},")).collect();
    assert_eq!(
        (exporters.stored("eu"), exporters.stored("us")),
        (all.clone(), all)
    );
}

#[tokio::test(start_paused = true)]
async fn batches_of_a_removed_destination_expire() {
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let (outbox, workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    push(&outbox, &clock, 0..2).await;
    exporters.take_down("us");
    push(&outbox, &clock, 2..5).await;
    exporters.rename(&["eu"]);
    // Another exporter may still have it for a while.
    push(&outbox, &clock, 5..10).await;
    assert_eq!(account(&outbox, "us").waiting, 80);
    let all = push(&outbox, &clock, 10..400).await;
    assert!(!outbox.destinations().contains_key("us"));
    let drained = drained(workers).await;
    assert_eq!(drained.waiting, 0);
    let expired = drained.expired[&Expiry::DestinationRemoved];
    assert!((2_900..3_100).contains(&expired), "{drained}");
    assert!(exporters.stored("eu").ends_with(&all));
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_repeat_a_batch_at_a_destination_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let args = spilling(dir.path());
    exporters.take_down("us");
    let (outbox, workers) = exporters.outbox(&args, &clock);
    push(&outbox, &clock, 0..5).await;
    while outbox.account().spilled < 50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop((outbox, workers));
    exporters.bring_up("us");
    let (outbox, workers) = exporters.outbox(&args, &clock);
    push(&outbox, &clock, 5..8).await;
    assert_eq!(drained(workers).await.waiting, 0);
    let all: String = (0..8).map(|number| format!("{number},")).collect();
    assert_eq!(
        (exporters.stored("eu"), exporters.stored("us")),
        (all.clone(), all)
    );
    drop(outbox);
}

fn spilling(dir: &Path) -> OutboxArgs {
    let mut args = OutboxArgs::default();
    args.spill.spill_dir = Some(dir.to_owned());
    args
}
