//! What waits for long: compressed, spilled, and taken up by the next process.

use std::{path::Path, time::Duration};

use super::*;
use crate::spill::{Directory, Log};

/// A day of answers.
static DOWN: [Answer; 10_000] = [Answer::Unsent; 10_000];

fn spilling(dir: &Path) -> OutboxArgs {
    let mut args = OutboxArgs {
        lanes: 3,
        ..OutboxArgs::default()
    };
    args.spill.spill_dir = Some(dir.to_owned());
    args
}

/// A process over a directory, at the end of which nothing is tidied up.
struct Process {
    outbox: Outbox,
    workers: Workers,
    exporter: Exporter,
}

// === impl Process ===

impl Process {
    fn start(args: &OutboxArgs, clock: &Clock, answers: impl IntoIterator<Item = Answer>) -> Self {
        let exporter = Exporter::scripted(answers);
        let (outbox, workers) = Outbox::new(args, clock.clone(), exporter.service());
        Self {
            outbox,
            workers,
            exporter,
        }
    }

    async fn until(&self, is_so: impl Fn(&Account) -> bool) -> Account {
        // Of the runtime's time, which stands still.
        for _ in 0..6_000 {
            let account = self.outbox.account();
            assert!(account.balances(), "{account}");
            if is_so(&account) {
                return account;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not so in ten minutes: {}", self.outbox.account());
    }

    fn keys(&self) -> Vec<String> {
        let stored = String::from_utf8(self.exporter.stored().concat()).unwrap();
        stored.split_terminator(',').map(str::to_owned).collect()
    }
}

/// Numbered batches of three targets.
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

/// Asserts that every number came once, those of each target in their order.
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
async fn what_waits_is_compressed_and_sent_as_it_was() {
    let exporter = Exporter::scripted([Answer::Again(Duration::from_secs(60))]);
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
async fn what_is_spilled_at_once_does_not_wait_for_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let (mut args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    args.spill.spill_after_seconds = 0;
    let process = Process::start(&args, &clock, DOWN);
    process
        .until(|_| !process.outbox.lanes.is_replaying())
        .await;
    let began = Instant::now();
    push(&process.outbox, &clock, 0..30);
    // Time stands still while a file is written.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(process.outbox.account().spilled, 300);
    assert_eq!(began.elapsed(), Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn what_a_kill_may_leave_is_known_before_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let ahead = Duration::from_secs(1);
    let process = Process::start(&args, &clock, DOWN);
    assert!(process.outbox.may_leave_some(ahead), "it is not known yet");
    process
        .until(|_| !process.outbox.lanes.is_replaying())
        .await;
    push(&process.outbox, &clock, 0..3);
    assert!(!process.outbox.may_leave_some(ahead));
    tokio::time::sleep(args.spill.after() - ahead).await;
    assert_eq!(process.outbox.account().spilled, 0);
    assert!(process.outbox.may_leave_some(ahead));
    process.until(|account| account.spilled == 30).await;
    assert!(process.outbox.may_leave_some(Duration::ZERO));

    let (outbox, _workers) = outbox(OutboxArgs::default(), &Exporter::scripted(DOWN));
    push(&outbox, &clock, 0..3);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!outbox.may_leave_some(ahead), "it has no disk");
}

#[tokio::test(start_paused = true)]
async fn what_others_may_have_older_ones_of_is_held_back_when_it_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let before = Process::start(&args, &clock, DOWN);
    push(&before.outbox, &clock, 0..3);
    before.until(|account| account.spilled == 30).await;
    drop(before);

    let exporter = Exporter::scripted([]);
    let (outbox, workers) = Outbox::sharing_keys(&args, clock.clone(), exporter.service());
    let left = loop {
        match outbox.take_replayed() {
            Some(left) => break left,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!(left, (0..3).map(|key| (key, START_MS)).collect());
    assert_eq!(outbox.take_replayed(), None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(outbox.held_back().batches, 3);
    outbox.let_go(1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(exporter.stored(), ["1:001,"]);
    outbox.let_go(0);
    outbox.let_go(2);
    drained(workers).await;
    assert_eq!(exporter.stored().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_long_survives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let before = Process::start(&args, &clock, DOWN);
    push(&before.outbox, &clock, 0..30);
    assert_eq!(before.outbox.account().spilled, 0);
    before.until(|account| account.spilled == 300).await;
    drop(before);

    let after = Process::start(&args, &clock, []);
    // Pushed before the disk was read, and sent behind what is there.
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
async fn a_process_that_stops_spills_what_it_could_not_deliver() {
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
async fn exports_of_the_process_before_are_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let before = Process::start(&args, &clock, [Answer::Silence; 100]);
    push(&before.outbox, &clock, 0..1);
    before.until(|account| account.spilled == 10).await;
    // It died with an Export under way that the exporter may finish.
    drop(before);
    let died = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let back = Instant::now();
    let after = Process::start(&args, &clock, []);
    push(&after.outbox, &clock, 1..3);
    after.until(|account| account.stored == 30).await;
    let stored = after.exporter.stored.lock().unwrap().clone();
    for (payload, at) in stored {
        // Lanes that have nothing of the process before flow at once.
        match payload.starts_with(b"0") {
            true => {
                assert!(at - died >= args.deadline());
                assert!(at - back <= Duration::from_secs(10));
            }
            false => assert!(at - back < Duration::from_secs(1)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_disk_full_batches_wait_in_memory_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (mut args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    args.spill.spill_max_bytes = 1000;
    let process = Process::start(&args, &clock, vec![Answer::Unsent; 200]);
    push(&process.outbox, &clock, 0..60);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let account = process.outbox.account();
    assert!(account.spilled > 0 && account.spilled < 600, "{account}");
    process.until(|account| account.stored == 600).await;
    assert_in_order(&process.keys(), 60);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_waits_for_is_never_spilled() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let process = Process::start(&args, &clock, vec![Answer::Unsent; 30]);
    let told = process
        .outbox
        .push_with_outcome(batch(0, "0:000,"))
        .unwrap();
    push(&process.outbox, &clock, 1..9);
    process.until(|account| account.spilled == 80).await;
    assert_eq!(told.await, Ok(Outcome::Judged(Verdict::default())));
    process.until(|account| account.stored == 90).await;
    assert_in_order(&process.keys(), 9);
}

#[tokio::test(start_paused = true)]
async fn what_the_disk_does_not_give_back_is_given_up_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (args, clock) = (spilling(dir.path()), Clock::tokio(START_MS));
    let process = Process::start(&args, &clock, vec![Answer::Unsent; 30]);
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
async fn a_directory_that_cannot_be_used_is_no_reason_not_to_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (args, clock) = (spilling(file.path()), Clock::tokio(START_MS));
    let process = Process::start(&args, &clock, []);
    push(&process.outbox, &clock, 0..9);
    process.until(|account| account.stored == 90).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However often the process is killed: what was on the disk is delivered, at
    /// least once and in order.
    #[test]
    fn whoever_is_killed_delivers_what_was_spilled(
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
                let answers = vec![Answer::Unsent; failures as usize];
                let process = Process::start(&args, &clock, answers);
                push(&process.outbox, &clock, pushed..pushed + batches);
                pushed += batches;
                tokio::time::sleep(Duration::from_millis(millis)).await;
                let account = process.outbox.account();
                assert!(account.balances(), "{account}");
                // All that waits is on the disk: all of it must complete.
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

/// What a process would find that took a directory up now.
fn found(dir: &Path) -> Vec<String> {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        // It may be gone by now.
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

/// A process that dies has the newest batch of a target sent again at most: a duplicate
/// for the backend, where an older one would be out of order.
#[tokio::test(start_paused = true)]
async fn what_was_delivered_is_noted_before_what_is_next_leaves() {
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
            let (target, found) = (&sent[..2], found(&dir));
            let mut delivered = delivered.lock().unwrap();
            let earlier = delivered.iter().filter(|sent| sent.starts_with(target));
            let again: Vec<_> = earlier.filter(|sent| found.contains(sent)).collect();
            assert!(again.is_empty(), "{again:?} before {sent}");
            delivered.push(sent);
            async { Ok(Verdict::default()) }
        })
    };
    let (_outbox, workers) = Outbox::new(&args, clock, service);
    assert_eq!(drained(workers).await.stored, 300);
    assert_eq!(delivered.lock().unwrap().len(), 30);
}
