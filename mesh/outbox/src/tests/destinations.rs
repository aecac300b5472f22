//! Several destinations, each with its own progress.

use std::{collections::BTreeSet, path::Path};

use mesh_contract::{progress::DestinationProgress, report::write_destinations};

use super::*;
use crate::entry::Body;

/// Exporters with several destinations, some of which are down.
#[derive(Clone, Default)]
struct Exporters(Arc<Mutex<Destinations>>);

#[derive(Default)]
struct Destinations {
    names: Vec<String>,
    down: BTreeSet<String>,
    /// Destinations that do not answer before the deadline.
    hanging: BTreeSet<String>,
    /// Exports to `us` in flight, and the most at any time.
    in_flight: usize,
    most_in_flight: usize,
    /// Time that an Export takes.
    latency: Duration,
    /// Set for exporters that refuse an Export to several destinations.
    refuses_joint: bool,
    /// Set while no exporter can be reached.
    is_unreachable: bool,
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
        tower::service_fn(move |export: Export| {
            let exporters = exporters.clone();
            async move {
                let _in_flight = InFlight::begin(&exporters, &export);
                let hangs = |it: &Arc<str>| exporters.0.lock().hanging.contains(&**it);
                if export.destination.as_ref().is_some_and(hangs) {
                    std::future::pending::<()>().await;
                }
                let latency = exporters.0.lock().latency;
                tokio::time::sleep(latency).await;
                exporters.0.lock().reply(&export)
            }
        })
    }

    fn outbox(&self, args: &OutboxArgs, clock: &Clock) -> (Outbox, Workers) {
        Outbox::new(args, clock.clone(), self.service())
    }
}

/// Counts an Export to `us`.
struct InFlight(Option<Exporters>);

impl InFlight {
    fn begin(exporters: &Exporters, export: &Export) -> Self {
        if export.destination.as_deref() != Some("us") {
            return Self(None);
        }
        let mut state = exporters.0.lock();
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        Self(Some(exporters.clone()))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(exporters) = &self.0 {
            exporters.0.lock().in_flight -= 1;
        }
    }
}

impl Destinations {
    /// Writes a batch to the destinations that an Export is for. Fails if one is down.
    fn reply(&mut self, export: &Export) -> Result<ExportResponse, ExportError> {
        if self.is_unreachable {
            return Err(ExportError::Unsent("no exporter".into()));
        }
        let only = export.destination.as_deref().map(str::to_owned);
        self.exports.push(only.clone());
        if self.refuses_joint && only.is_none() && self.names.len() > 1 {
            return Err(self.refusal());
        }
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
                is_broken: false,
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

    /// Refusal of an Export to all destinations.
    fn refusal(&self) -> ExportError {
        let mut status = Status::unavailable("several");
        write_destinations(&self.names, status.metadata_mut());
        ExportError::Retry {
            after: Some(Duration::ZERO),
            status,
        }
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

#[tokio::test(start_paused = true)]
async fn a_backlog_is_delivered_five_times_as_fast_as_it_grew() {
    const MINUTES: u64 = 30;
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    exporters.0.lock().latency = Duration::from_secs(1);
    exporters.take_down("us");
    let (outbox, workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    let scrape = |outbox: &Outbox| {
        for key in 0..100 {
            let batch = Batch {
                time_ms: clock.now_ms(),
                ..batch(key, "x")
            };
            outbox.push(batch).unwrap();
        }
    };
    for _ in 0..MINUTES * 4 {
        scrape(&outbox);
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    exporters.bring_up("us");
    let began = Instant::now();
    while account(&outbox, "us").waiting > 2 * 1_000 {
        scrape(&outbox);
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    assert!(began.elapsed() <= Duration::from_secs(MINUTES * 60 / 5));
    assert_eq!(drained(workers).await.waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn destinations_beyond_the_maximum_are_ignored() {
    let names: Vec<_> = (0..70).map(|number| format!("d{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let (exporters, clock) = (Exporters::new(&names), Clock::tokio(START_MS));
    let (outbox, workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    let all = push(&outbox, &clock, 0..5).await;
    assert_eq!(drained(workers).await.stored, 50);
    assert_eq!(outbox.destinations().len(), 63);
    assert_eq!(exporters.stored("d62"), all);
    // The first Export was for all.
    assert_eq!(exporters.stored("d63"), "0,");
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_for_required_destinations_only() {
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let args = OutboxArgs {
        required_destinations: vec!["eu".to_owned(), "unknown".to_owned()],
        ..OutboxArgs::default()
    };
    let (outbox, workers) = exporters.outbox(&args, &clock);
    push(&outbox, &clock, 0..2).await;
    exporters.take_down("us");
    let (outcome, waiter) = outbox.push_with_waiter(batch(2, "x")).unwrap();
    let outcome = timeout(Duration::from_secs(5), outcome).await.unwrap();
    assert_eq!(outcome.unwrap(), Outcome::Verdict(Verdict::default()));
    drop(waiter);
    exporters.take_down("eu");
    let mut later = outbox.push_with_outcome(batch(2, "y")).unwrap();
    exporters.bring_up("us");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(exporters.stored("us"), "0,1,xy");
    assert!(later.try_recv().is_err());
    exporters.bring_up("eu");
    assert_eq!(drained(workers).await.stored, 40);
    assert_eq!(exporters.stored("eu"), "0,1,xy");
}

#[tokio::test(start_paused = true)]
async fn a_destination_keeps_its_batches_while_no_exporter_answers() {
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let (outbox, workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    push(&outbox, &clock, 0..2).await;
    exporters.take_down("us");
    push(&outbox, &clock, 2..4).await;
    exporters.0.lock().is_unreachable = true;
    tokio::time::sleep(Duration::from_secs(600)).await;
    // The first exporter that answers has an older configuration file.
    exporters.rename(&["eu"]);
    exporters.0.lock().is_unreachable = false;
    push(&outbox, &clock, 4..10).await;
    exporters.rename(&["eu", "us"]);
    exporters.bring_up("us");
    let all: String = (0..10).map(|number| format!("{number},")).collect();
    assert_eq!(drained(workers).await.stored, 100);
    assert_eq!(exporters.stored("us"), all);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_returns_waits_for_its_former_exports() {
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let (outbox, workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    push(&outbox, &clock, 0..2).await;
    exporters.0.lock().hanging.insert("us".to_owned());
    push(&outbox, &clock, 2..100).await;
    exporters.rename(&["eu"]);
    let mut next = 100;
    while outbox.destinations().contains_key("us") {
        push(&outbox, &clock, next..next + 1).await;
        next += 1;
    }
    exporters.0.lock().hanging.clear();
    exporters.rename(&["eu", "us"]);
    push(&outbox, &clock, next..next + 100).await;
    let drained = drained(workers).await;
    assert_eq!(drained.waiting, 0);
    account(&outbox, "us");
    assert_eq!(exporters.0.lock().most_in_flight, 1);
    let last = format!("{},", next + 99);
    assert!(exporters.stored("us").ends_with(&last), "{drained}");
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_behind_loses_its_oldest_batches_and_no_others() {
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let args = OutboxArgs {
        max_bytes: ByteSize(40),
        ..OutboxArgs::default()
    };
    let (outbox, workers) = exporters.outbox(&args, &clock);
    exporters.take_down("us");
    for number in 10..60 {
        assert!(outbox.has_room(3), "{number}");
        push(&outbox, &clock, number..number + 1).await;
    }
    let all: String = (10..60).map(|number| format!("{number},")).collect();
    assert_eq!(exporters.stored("eu"), all);
    exporters.bring_up("us");
    let drained = drained(workers).await;
    let lost = drained.expired[&Expiry::OutboxFull];
    assert!((300..400).contains(&lost), "{drained}");
    assert!(all.ends_with(&exporters.stored("us")) && !exporters.stored("us").is_empty());
    assert_eq!(account(&outbox, "eu").stored, 500);
}

#[tokio::test(start_paused = true)]
async fn a_replayed_batch_waits_for_exports_of_the_dead_process_at_each_destination() {
    let dir = tempfile::tempdir().unwrap();
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let args = spilling(dir.path());
    let (outbox, workers) = exporters.outbox(&args, &clock);
    exporters.take_down("eu");
    exporters.take_down("us");
    push(&outbox, &clock, 0..5).await;
    while outbox.account().spilled < 50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop((outbox, workers));
    exporters.bring_up("eu");
    exporters.bring_up("us");
    let (outbox, workers) = exporters.outbox(&args, &clock);
    while outbox.account().waiting < 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    outbox.push(batch(2, "other,")).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(exporters.stored("eu"), "other,");
    assert_eq!(drained(workers).await.waiting, 0);
    assert_eq!(exporters.stored("us"), "other,0,1,2,3,4,");
    drop(outbox);
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_repeat_a_spilled_batch_that_was_sent_to_all() {
    let dir = tempfile::tempdir().unwrap();
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let args = spilling(dir.path());
    exporters.0.lock().is_unreachable = true;
    exporters.take_down("us");
    let (outbox, workers) = exporters.outbox(&args, &clock);
    push(&outbox, &clock, 0..3).await;
    while outbox.account().spilled < 30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    exporters.0.lock().is_unreachable = false;
    while exporters.stored("eu") != "0,1,2," {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop((outbox, workers));
    exporters.bring_up("us");
    let (outbox, workers) = exporters.outbox(&args, &clock);
    push(&outbox, &clock, 3..4).await;
    assert_eq!(drained(workers).await.waiting, 0);
    let stored = (exporters.stored("eu"), exporters.stored("us"));
    assert_eq!(stored, ("0,1,2,3,".to_owned(), "0,1,2,3,".to_owned()));
    drop(outbox);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_could_not_be_spilled_delays_no_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let mut args = spilling(dir.path());
    args.spill.spill_after = Duration::from_secs(3600);
    let (outbox, _workers) = exporters.outbox(&args, &clock);
    push(&outbox, &clock, 0..2).await;
    while outbox.account().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    exporters.take_down("us");
    outbox.push(batch(1, "2,")).unwrap();
    let due = outbox.lanes.due(Duration::ZERO, 1 << 20);
    tokio::time::sleep(Duration::from_secs(1)).await;
    outbox.push(batch(1, "3,")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(exporters.stored("eu"), "0,1,2,");
    let body = Body::InMemory(due[0].payload.clone());
    outbox.lanes.replace_body(due[0].seq, body, false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(exporters.stored("eu"), "0,1,2,3,");
}

fn spilling(dir: &Path) -> OutboxArgs {
    let mut args = OutboxArgs::default();
    args.spill.spill_dir = Some(dir.to_owned());
    args
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_hangs_delays_not_even_the_first_export_of_others() {
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    exporters.0.lock().refuses_joint = true;
    exporters.0.lock().hanging.insert("us".to_owned());
    let (outbox, _workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    outbox.push(batch(1, "x")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(exporters.stored("eu"), "x");
    assert_eq!(account(&outbox, "us").waiting, 10);
}

#[tokio::test(start_paused = true)]
async fn batches_are_held_back_from_one_destination_only() {
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let (outbox, workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    push(&outbox, &clock, 0..1).await;
    let of = |eu, us| {
        let times = [(Arc::from("eu"), eu), (Arc::from("us"), us)];
        OldestPending::at_each(times.into()).unwrap()
    };
    outbox.hold_back(1, of(None, Some(START_MS)));
    push(&outbox, &clock, 1..3).await;
    assert_eq!(
        (exporters.stored("eu"), exporters.stored("us")),
        ("0,1,2,".into(), "0,".into())
    );
    assert_eq!(outbox.held_back().batches, 2);
    let oldest = outbox.oldest_pending(&HashSet::from([1])).unwrap();
    assert_eq!(oldest[&1], of(None, Some(START_MS + 1_000)));
    outbox.release(1);
    assert_eq!(drained(workers).await.waiting, 0);
    assert_eq!(exporters.stored("us"), "0,1,2,");
}

#[tokio::test(start_paused = true)]
async fn asks_for_the_destinations_while_every_batch_is_held_back() {
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    exporters.0.lock().refuses_joint = true;
    exporters.0.lock().is_unreachable = true;
    let (outbox, _workers) = exporters.outbox(&OutboxArgs::default(), &clock);
    let times = [
        (Arc::from("eu"), None),
        (Arc::from("us"), Some(START_MS - 1)),
    ];
    outbox.hold_back(1, OldestPending::at_each(times.into()).unwrap());
    outbox.push(batch(1, "x")).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    exporters.0.lock().is_unreachable = false;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        (exporters.stored("eu"), exporters.stored("us")),
        ("x".into(), String::new())
    );
    // One question, and one Export.
    assert_eq!(exporters.0.lock().exports, [None, Some("eu".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_destination_counts_no_batch_that_an_earlier_process_has_counted() {
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
    exporters.0.lock().refuses_joint = true;
    exporters.0.lock().is_unreachable = true;
    let (outbox, workers) = exporters.outbox(&args, &clock);
    // The first batch has had attempts when the destinations become known.
    tokio::time::sleep(Duration::from_secs(5)).await;
    exporters.0.lock().is_unreachable = false;
    assert_eq!(drained(workers).await.waiting, 0);
    let (eu, us) = (account(&outbox, "eu"), account(&outbox, "us"));
    assert_eq!((eu.pushed, eu.stored), (0, 0));
    assert_eq!((us.pushed, us.stored), (50, 50));
}

/// A crash between writing a batch and writing which destinations have it.
#[tokio::test(start_paused = true)]
async fn a_spilled_record_lists_the_destinations_that_have_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (exporters, clock) = (Exporters::new(&["eu", "us"]), Clock::tokio(START_MS));
    let args = spilling(dir.path());
    exporters.take_down("us");
    let (outbox, workers) = exporters.outbox(&args, &clock);
    push(&outbox, &clock, 0..5).await;
    while outbox.account().spilled < 50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop((outbox, workers));
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|it| it == "partly") {
            std::fs::remove_file(path).unwrap();
        }
    }
    exporters.bring_up("us");
    let (_outbox, workers) = exporters.outbox(&args, &clock);
    assert_eq!(drained(workers).await.waiting, 0);
    let all = "0,1,2,3,4,".to_owned();
    assert_eq!(
        (exporters.stored("eu"), exporters.stored("us")),
        (all.clone(), all)
    );
}
