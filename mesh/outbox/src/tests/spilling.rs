//! Batches that have been pending for some time: compressed, spilled, and replayed.

use std::{path::Path, time::Duration};

use super::*;
use crate::spill::{Directory, Log};

/// Replies of an exporter that is down for a day.
static DOWN: [Reply; 10_000] = [Reply::Unsent; 10_000];

fn spilling(dir: &Path) -> OutboxArgs {
    let mut args = OutboxArgs::default();
    args.spill.spill_dir = Some(dir.to_owned());
    args
}

/// A process with a spill directory. Dropping it is a crash.
struct Process {
    outbox: Outbox,
    workers: Workers,
    exporter: Exporter,
}

// === impl Process ===

impl Process {
    fn start(args: &OutboxArgs, clock: &Clock, replies: impl IntoIterator<Item = Reply>) -> Self {
        let exporter = Exporter::scripted(replies);
        let (outbox, workers) = Outbox::new(args, clock.clone(), exporter.service());
        Self {
            outbox,
            workers,
            exporter,
        }
    }

    async fn until(&self, condition: impl Fn(&Account) -> bool) -> Account {
        // The clock is paused, so this takes no real time.
        for _ in 0..6_000 {
            let account = self.outbox.account();
            assert!(account.balances(), "{account}");
            if condition(&account) {
                return account;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no such account in ten minutes: {}", self.outbox.account());
    }

    fn keys(&self) -> Vec<String> {
        let stored = String::from_utf8(self.exporter.stored().concat()).unwrap();
        stored.split_terminator(',').map(str::to_owned).collect()
    }
}

/// Pushes numbered batches of three targets.
fn push(outbox: &Outbox, clock: &Clock, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let key = number as u64 % 3;
        let batch = Batch {
            time_ms: clock.now_ms(),
            ..batch(key, &format!("{key}:{number:03},"))
        };
        outbox.push(batch).unwrap();
    }
}

/// Asserts that every number arrived once, and those of each target in order.
fn assert_in_order(keys: &[String], numbers: usize) {
    let mut sorted = keys.to_vec();
    sorted.sort_by_key(|key| key.split_once(':').unwrap().1.to_owned());
    let expected: Vec<_> = (0..numbers).map(|n| format!("{}:{n:03}", n % 3)).collect();
    assert_eq!(sorted, expected);
    for target in ["0:", "1:", "2:"] {
        let of_one = keys.iter().filter(|key| key.starts_with(target));
        assert!(of_one.is_sorted(), "{keys:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn compresses_pending_batches_and_sends_the_original() {
    let exporter = Exporter::scripted([Reply::RetryAfter(Duration::from_secs(60))]);
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    let text = "http_requests_total ".repeat(1000);
    outbox.push(batch(1, &text)).unwrap();
    assert_eq!(outbox.account().waiting_bytes, 20_000);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let account = outbox.account();
    assert!(account.waiting_bytes < 1000, "{account:?}");
    assert_eq!(account.spilled, 0);
    drained(workers).await;
    assert_eq!(exporter.stored(), [text.as_str()]);
}

#[tokio::test(start_paused = true)]
async fn spills_at_once_without_waiting_for_a_poll() {
    let dir = tempfile::tempdir().unwrap();
    let (mut args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    args.spill.spill_after = Duration::ZERO;
    let process = Process::start(&args, &clock, DOWN);
    process
        .until(|_| !process.outbox.lanes.is_replaying())
        .await;
    let began = Instant::now();
    push(&process.outbox, &clock, 0..30);
    // The paused clock does not advance while a file is written.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(process.outbox.account().spilled, 300);
    assert_eq!(began.elapsed(), Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn announces_spilled_batches_before_they_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let ahead = Duration::from_secs(1);
    let process = Process::start(&args, &clock, DOWN);
    assert!(
        process.outbox.may_have_spilled(ahead),
        "the disk has not been read yet"
    );
    process
        .until(|_| !process.outbox.lanes.is_replaying())
        .await;
    push(&process.outbox, &clock, 0..3);
    assert!(!process.outbox.may_have_spilled(ahead));
    tokio::time::sleep(args.spill.spill_after - ahead).await;
    assert_eq!(process.outbox.account().spilled, 0);
    assert!(process.outbox.may_have_spilled(ahead));
    process.until(|account| account.spilled == 30).await;
    assert!(process.outbox.may_have_spilled(Duration::ZERO));

    let (outbox, _workers) = outbox(OutboxArgs::default(), &Exporter::scripted(DOWN));
    push(&outbox, &clock, 0..3);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(
        !outbox.may_have_spilled(ahead),
        "there is no spill directory"
    );
}

#[tokio::test(start_paused = true)]
async fn holds_back_replayed_batches_of_shared_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let before = Process::start(&args, &clock, DOWN);
    push(&before.outbox, &clock, 0..3);
    before.until(|account| account.spilled == 30).await;
    drop(before);

    let exporter = Exporter::scripted([]);
    let (outbox, workers) = Outbox::sharing_keys(&args, clock.clone(), exporter.service());
    let replayed = loop {
        match outbox.take_replayed() {
            Some(replayed) => break replayed,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!(replayed, (0..3).map(|key| (key, START_MS)).collect());
    assert_eq!(outbox.take_replayed(), None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(outbox.held_back().batches, 3);
    outbox.release(1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(exporter.stored(), ["1:001,"]);
    outbox.release(0);
    outbox.release(2);
    drained(workers).await;
    assert_eq!(exporter.stored(), ["1:001,", "0:000,2:002,"]);
}

#[tokio::test(start_paused = true)]
async fn spilled_batches_survive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let before = Process::start(&args, &clock, DOWN);
    push(&before.outbox, &clock, 0..30);
    assert_eq!(before.outbox.account().spilled, 0);
    before.until(|account| account.spilled == 300).await;
    drop(before);

    let after = Process::start(&args, &clock, []);
    // Batches pushed before the disk was read are sent after the replayed ones.
    push(&after.outbox, &clock, 30..36);
    let account = after.until(|account| account.stored == 360).await;
    assert_eq!(
        (account.pushed, account.waiting, account.spilled),
        (360, 0, 0)
    );
    assert_in_order(&after.keys(), 36);
    drained(after.workers).await;
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.len() <= 2, "more than lock and fence: {left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_spills_undelivered_batches() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let before = Process::start(&args, &clock, DOWN);
    push(&before.outbox, &clock, 0..30);
    let Process {
        outbox, workers, ..
    } = before;
    let account = workers.drain(Instant::now()).await;
    assert_eq!((account.waiting, account.spilled), (300, 300));
    drop(outbox);

    let after = Process::start(&args, &clock, []);
    after.until(|account| account.stored == 300).await;
    assert_in_order(&after.keys(), 30);
}

#[tokio::test(start_paused = true)]
async fn waits_for_exports_of_the_earlier_process() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let before = Process::start(&args, &clock, [Reply::Silence; 100]);
    push(&before.outbox, &clock, 0..1);
    before.until(|account| account.spilled == 10).await;
    // The process crashed with an Export in flight, which the exporter may finish.
    drop(before);
    let died = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let back = Instant::now();
    let after = Process::start(&args, &clock, []);
    push(&after.outbox, &clock, 1..3);
    after.until(|account| account.stored == 30).await;
    let stored = after.exporter.stored.lock().clone();
    for (payload, at) in stored {
        // Lanes without replayed batches deliver at once.
        if payload.starts_with(b"0") {
            assert!(at - died >= args.export_timeout());
            assert!(at - back <= Duration::from_secs(10));
        } else {
            assert!(at - back < Duration::from_secs(1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_loses_no_batches() {
    let dir = tempfile::tempdir().unwrap();
    let (mut args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    args.spill.spill_max_bytes = ByteSize(1000);
    let process = Process::start(&args, &clock, vec![Reply::Unsent; 60]);
    push(&process.outbox, &clock, 0..60);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let account = process.outbox.account();
    assert!(account.spilled > 0 && account.spilled < 600, "{account}");
    process.until(|account| account.stored == 600).await;
    assert_in_order(&process.keys(), 60);
}

#[tokio::test(start_paused = true)]
async fn never_spills_awaited_batches() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let process = Process::start(&args, &clock, vec![Reply::Unsent; 30]);
    let outcome = process
        .outbox
        .push_with_outcome(batch(0, "0:000,"))
        .unwrap();
    push(&process.outbox, &clock, 1..9);
    process.until(|account| account.spilled == 80).await;
    assert_eq!(outcome.await, Ok(Outcome::Verdict(Verdict::default())));
    process.until(|account| account.stored == 90).await;
    assert_in_order(&process.keys(), 9);
}

#[tokio::test(start_paused = true)]
async fn drops_and_counts_unreadable_batches() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let process = Process::start(&args, &clock, vec![Reply::Unsent; 30]);
    push(&process.outbox, &clock, 0..9);
    process.until(|account| account.spilled == 90).await;
    let segment = dir.path().join("0000000000000000.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let account = process.until(|account| account.waiting == 0).await;
    assert_eq!(account.expired, BTreeMap::from([(Expiry::Unreadable, 10)]));
    assert_in_order(&process.keys(), 8);
}

#[tokio::test(start_paused = true)]
async fn starts_without_a_usable_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (args, clock) = (spilling(file.path()), Clock::tokio(START_MS));
    let process = Process::start(&args, &clock, []);
    push(&process.outbox, &clock, 0..9);
    process.until(|account| account.stored == 90).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Spilled batches are delivered at least once and in order, however often the process
    /// is killed.
    #[test]
    fn delivers_spilled_batches_after_kills(
        lives in proptest::collection::vec((0usize..12, 0u64..40, 0u64..8_000), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
            let (mut pushed, mut stored, mut must) = (0, Vec::new(), Vec::new());
            for (batches, failures, millis) in lives {
                let replies = vec![Reply::Unsent; failures as usize];
                let process = Process::start(&args, &clock, replies);
                push(&process.outbox, &clock, pushed..pushed + batches);
                pushed += batches;
                tokio::time::sleep(Duration::from_millis(millis)).await;
                let account = process.outbox.account();
                assert!(account.balances(), "{account}");
                // All pending batches are on disk, so all must be delivered.
                if account.spilled == account.waiting && millis > 5_000 {
                    must.extend((pushed - batches..pushed).map(|n| format!("{}:{n:03}", n % 3)));
                }
                drop(process.workers);
                stored.extend(process.exporter.stored());
            }
            let last = Process::start(&args, &clock, []);
            last.until(|_| !last.workers.lanes.is_replaying()).await;
            last.until(|account| account.waiting == 0).await;
            stored.extend(last.exporter.stored());
            let text = String::from_utf8(stored.concat()).unwrap();
            let keys: Vec<_> = text.split_terminator(',').collect();
            for key in must {
                assert!(keys.contains(&key.as_str()), "{key} is lost: {keys:?}");
            }
            let mut first: Vec<&str> = Vec::new();
            for key in keys {
                if !first.contains(&key) {
                    first.push(key);
                }
            }
            for target in ["0:", "1:", "2:"] {
                let of_one = first.iter().filter(|key| key.starts_with(target));
                assert!(of_one.is_sorted(), "{first:?}");
            }
        });
    }
}

/// Returns the payloads that a process starting now would replay.
fn replayable(dir: &Path) -> Vec<String> {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        // The file may have been removed by now.
        let _ = std::fs::copy(file.path(), copy.path().join(file.file_name()));
    }
    let disk = Directory::open(copy.path().to_owned()).unwrap();
    let limits = OutboxArgs::default().spill.limits();
    let (_, replay) = Log::open(Arc::new(disk), limits, Arc::default());
    let payloads = replay.records.iter().map(|(_, record)| &record.payload);
    let payloads = payloads.map(|payload| payload.unpack().unwrap().to_vec());
    payloads
        .map(|payload| String::from_utf8(payload).unwrap())
        .collect()
}

/// After a crash, at most the newest batch of a target is sent again. It is a duplicate for
/// the backend, while an older one would be out of order.
#[tokio::test(start_paused = true)]
async fn records_a_batch_as_done_before_sending_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let before = Process::start(&args, &clock, DOWN);
    push(&before.outbox, &clock, 0..30);
    before.until(|account| account.spilled == 300).await;
    drop(before);

    let delivered = Arc::new(Mutex::new(Vec::<String>::new()));
    let service = {
        let (delivered, dir) = (delivered.clone(), dir.path().to_owned());
        tower::service_fn(move |export: Export| {
            let sent = String::from_utf8(export.payload.to_vec()).unwrap();
            let replayable = replayable(&dir);
            let mut delivered = delivered.lock();
            for sent in sent.split_inclusive(',') {
                let earlier = delivered.iter().filter(|it| it.starts_with(&sent[..2]));
                let again: Vec<_> = earlier.filter(|it| replayable.contains(it)).collect();
                assert!(again.is_empty(), "{again:?} before {sent}");
                delivered.push(sent.to_owned());
            }
            async { Ok(ExportResponse::default()) }
        })
    };
    let (_outbox, workers) = Outbox::new(&args, clock, service);
    assert_eq!(drained(workers).await.stored, 300);
    assert_eq!(delivered.lock().len(), 30);
}
