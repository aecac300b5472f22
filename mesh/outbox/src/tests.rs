mod delay;
mod destinations;
mod hold_back;
mod lingering;
mod retrying;
mod spilling;
mod withdrawing;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use tonic::{Code, Status};

use super::*;
use mesh_contract::{
    batch::BatchContext,
    export::{FailureReport, Progress, SLOW_KEY},
    verdict::Reason,
    verdict::Verdict,
};
use mesh_model::flags::ByteSize;

const START_MS: i64 = 1_700_000_000_000;

/// An exporter that responds from a script, then stores everything.
#[derive(Clone, Default)]
struct Exporter {
    script: Arc<Mutex<Vec<Reply>>>,
    /// Stored payloads in the order of the verdicts, each with its time.
    stored: Arc<Mutex<Vec<(Bytes, Instant)>>>,
    attempts: Arc<Mutex<Vec<Instant>>>,
}

#[derive(Clone, Copy, Debug)]
enum Reply {
    Store,
    Reject(u64),
    RetryAfter(Duration),
    Lost,
    Unsent,
    Silence,
    /// The exporter reports a timeout of a backend that hangs.
    Hang,
    /// The exporter reports a timeout of a backend that is slow.
    Slow,
}

impl Exporter {
    fn scripted(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut script: Vec<_> = replies.into_iter().collect();
        script.reverse();
        let exporter = Self::default();
        *exporter.script.lock() = script;
        exporter
    }

    fn service(
        &self,
    ) -> impl Service<Export, Response = ExportResponse, Error = ExportError, Future: Send> + Clone + use<>
    {
        let exporter = self.clone();
        tower::service_fn(move |export| exporter.clone().reply(export))
    }

    async fn reply(self, export: Export) -> Result<ExportResponse, ExportError> {
        self.attempts.lock().push(Instant::now());
        let reply = self.script.lock().pop().unwrap_or(Reply::Store);
        match reply {
            Reply::Store => {
                self.stored.lock().push((export.payload, Instant::now()));
                Ok(ExportResponse::default())
            }
            Reply::Reject(n) => {
                let mut verdict = Verdict::default();
                verdict.reject(Reason::TooOld, n);
                Ok(verdict.into())
            }
            Reply::RetryAfter(after) => Err(ExportError::Retry {
                after: Some(after),
                status: Status::unavailable("busy"),
            }),
            Reply::Lost => Err(ExportError::Unknown {
                code: Code::Unknown,
                message: "connection reset".to_owned(),
                is_broken: true,
                report: FailureReport::default(),
            }),
            Reply::Unsent => Err(ExportError::Unsent("no exporter".into())),
            Reply::Silence => std::future::pending().await,
            Reply::Hang => Err(expired(export.deadline, false).await),
            Reply::Slow => Err(expired(export.deadline, true).await),
        }
    }

    fn stored(&self) -> Vec<Bytes> {
        self.stored.lock().iter().map(|(p, _)| p.clone()).collect()
    }
}

/// Response of an exporter whose backend did not respond before the deadline.
async fn expired(deadline: Instant, is_slow: bool) -> ExportError {
    tokio::time::sleep_until(deadline - Duration::from_millis(1)).await;
    let mut status = Status::deadline_exceeded("no answer");
    if is_slow {
        let yes = "1".parse().unwrap();
        status.metadata_mut().insert(SLOW_KEY, yes);
    }
    ExportError::Retry {
        after: Some(Duration::ZERO),
        status,
    }
}

fn batch(key: u64, text: &str) -> Batch {
    Batch {
        key,
        payload: Bytes::copy_from_slice(text.as_bytes()),
        samples: 10,
        time_ms: START_MS,
        context: Arc::new(BatchContext::default()),
    }
}

fn outbox(args: OutboxArgs, exporter: &Exporter) -> (Outbox, Workers) {
    Outbox::new(&args, Clock::tokio(START_MS), exporter.service())
}

async fn drained(workers: Workers) -> Account {
    let account = workers
        .drain(Instant::now() + Duration::from_secs(7200))
        .await;
    assert!(account.balances(), "{account}");
    account
}

#[tokio::test(start_paused = true)]
async fn stores_batches_in_order() {
    let exporter = Exporter::default();
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    for text in ["one ", "two ", "three"] {
        outbox.push(batch(7, text)).unwrap();
    }
    let account = drained(workers).await;
    assert_eq!(
        (account.pushed, account.stored, account.waiting),
        (30, 30, 0)
    );
    assert_eq!(exporter.stored(), ["one ", "two ", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_has_one_batch_of_each_target() {
    let exporter = Exporter::default();
    let args = OutboxArgs::default();
    let (outbox, workers) = outbox(args, &exporter);
    for (key, text) in [(1, "a1 "), (2, "b1 "), (1, "a2 "), (2, "b2 ")] {
        outbox.push(batch(key, text)).unwrap();
    }
    drained(workers).await;
    assert_eq!(exporter.stored(), ["a1 b1 ", "a2 b2 "]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_returns_the_progress_of_the_exporter() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let received = received.clone();
        tower::service_fn(move |export: Export| {
            let mut received = received.lock();
            received.push(export.progress[0].as_str().to_owned());
            let answer = match received.len() {
                1 => Err(ExportError::Unknown {
                    code: Code::DeadlineExceeded,
                    message: "slow".to_owned(),
                    is_broken: false,
                    report: FailureReport {
                        progress: vec![Progress::new("one")],
                        ..FailureReport::default()
                    },
                }),
                2 => Err(ExportError::Unsent("no exporter".into())),
                _ => Ok(ExportResponse::default()),
            };
            async { answer }
        })
    };
    let clock = Clock::tokio(START_MS);
    let (outbox, workers) = Outbox::new(&OutboxArgs::default(), clock, service);
    outbox.push(batch(1, "x")).unwrap();
    drained(workers).await;
    // An attempt without progress keeps the last one.
    assert_eq!(*received.lock(), ["", "one", "one"]);
}

#[tokio::test(start_paused = true)]
async fn respects_the_retry_delay_of_an_exporter() {
    let exporter = Exporter::scripted([Reply::RetryAfter(Duration::from_secs(30))]);
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    let start = Instant::now();
    outbox.push(batch(1, "x")).unwrap();
    drained(workers).await;
    let stored = exporter.stored.lock()[0].1;
    assert!(stored - start >= Duration::from_secs(30));
    assert!(stored - start <= Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn retries_after_the_deadline_without_a_verdict() {
    for lost in [Reply::Lost, Reply::Silence] {
        let exporter = Exporter::scripted([lost]);
        let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
        let start = Instant::now();
        outbox.push(batch(1, "x")).unwrap();
        drained(workers).await;
        let stored = exporter.stored.lock()[0].1;
        assert!(stored - start >= Duration::from_secs(8), "{lost:?}");
        assert!(stored - start <= Duration::from_secs(9), "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retries_an_unsent_request_soon() {
    let exporter = Exporter::scripted([Reply::Unsent]);
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    let start = Instant::now();
    outbox.push(batch(1, "x")).unwrap();
    drained(workers).await;
    assert!(exporter.stored.lock()[0].1 - start <= Duration::from_secs(1));
}

/// Returns the seconds between attempts at one batch, the first of which fail as given.
async fn gaps(failures: &[Reply]) -> Vec<u64> {
    let exporter = Exporter::scripted(failures.iter().copied());
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    outbox.push(batch(1, "x")).unwrap();
    drained(workers).await;
    let attempts = exporter.attempts.lock().clone();
    let gaps = attempts.windows(2).map(|two| (two[1] - two[0]).as_secs());
    gaps.collect()
}

#[tokio::test(start_paused = true)]
async fn doubles_the_timeout_for_a_slow_backend() {
    assert_eq!(gaps(&[Reply::Slow; 5]).await, [8, 16, 32, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn keeps_the_timeout_for_a_hanging_backend() {
    assert_eq!(gaps(&[Reply::Hang; 5]).await, [8; 5]);
}

#[tokio::test(start_paused = true)]
async fn doubles_the_timeout_after_two_silent_timeouts() {
    assert_eq!(gaps(&[Reply::Silence; 5]).await, [8, 8, 16, 32, 60]);
    let mixed = [Reply::Silence, Reply::Unsent, Reply::Silence];
    assert_eq!(gaps(&mixed).await, [8, 0, 8]);
}

#[tokio::test(start_paused = true)]
async fn the_backoff_starts_with_the_attempt() {
    let refusals = [Reply::RetryAfter(Duration::ZERO); 9];
    let begun = Instant::now();
    gaps(&refusals).await;
    let quick = begun.elapsed();
    assert!(quick > Duration::from_secs(10), "{quick:?}");
    // Nine slow attempts add only jitter.
    let begun = Instant::now();
    gaps(&[Reply::Hang; 9]).await;
    let slow = begun.elapsed() - 9 * Duration::from_secs(8);
    assert!(slow < Duration::from_secs(2), "{slow:?}");
}

#[tokio::test(start_paused = true)]
async fn an_awaited_batch_gets_its_own_verdict() {
    let exporter = Exporter::scripted([Reply::Store, Reply::Reject(4)]);
    let args = OutboxArgs::default();
    let (outbox, workers) = outbox(args, &exporter);
    outbox.push(batch(1, "x")).unwrap();
    let outcome = outbox.push_with_outcome(batch(2, "y")).unwrap();
    let account = drained(workers).await;
    let mut expected = Verdict::default();
    expected.reject(Reason::TooOld, 4);
    assert_eq!(outcome.await.unwrap(), Outcome::Verdict(expected));
    assert_eq!(account.rejected, BTreeMap::from([(Reason::TooOld, 4)]));
    assert_eq!(account.stored, 16);
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_drops_the_oldest_batches() {
    let exporter = Exporter::scripted([Reply::Silence]);
    let args = OutboxArgs {
        max_bytes: ByteSize(10),
        ..Default::default()
    };
    let (outbox, workers) = outbox(args, &exporter);
    for (i, text) in ["0000", "1111", "2222", "3333"].into_iter().enumerate() {
        assert_eq!(outbox.has_room(4), i < 2);
        outbox
            .push(Batch {
                time_ms: START_MS + i as i64,
                ..batch(i as u64, text)
            })
            .unwrap();
    }
    let account = drained(workers).await;
    assert_eq!(account.expired, BTreeMap::from([(Expiry::OutboxFull, 20)]));
    assert_eq!(exporter.stored(), ["22223333"]);
}

#[tokio::test(start_paused = true)]
async fn does_not_send_expired_batches() {
    let exporter = Exporter::scripted(vec![Reply::Unsent; 10_000]);
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    let outcome = outbox.push_with_outcome(batch(1, "x")).unwrap();
    assert_eq!(outcome.await.unwrap(), Outcome::Expired(Expiry::TooOld));
    let account = drained(workers).await;
    assert_eq!(account.expired, BTreeMap::from([(Expiry::TooOld, 10)]));
}

#[tokio::test(start_paused = true)]
async fn a_closed_outbox_rejects_a_push() {
    let (outbox, workers) = outbox(OutboxArgs::default(), &Exporter::default());
    drained(workers).await;
    assert_eq!(outbox.push(batch(1, "x")), Err(OutboxClosed));
}

fn any_reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        3 => Just(Reply::Store),
        1 => (0u64..20).prop_map(Reply::Reject),
        1 => (0u64..5000).prop_map(|ms| Reply::RetryAfter(Duration::from_millis(ms))),
        1 => Just(Reply::Lost),
        1 => Just(Reply::Unsent),
        1 => Just(Reply::Silence),
        1 => Just(Reply::Hang),
        1 => Just(Reply::Slow),
    ]
}

/// A step of the property test.
#[derive(Clone, Copy, Debug)]
enum Step {
    Push(u64),
    /// Pushes a batch whose waiter is dropped after a number of steps.
    PushWithWaiter(u64, usize),
    /// Holds back the batches of a key that are pushed from now on.
    HoldBack(u64),
    Release(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u64..6).prop_map(Step::Push),
        2 => (0u64..6, 0usize..20).prop_map(|(key, steps)| Step::PushWithWaiter(key, steps)),
        1 => (0u64..6).prop_map(Step::HoldBack),
        1 => (0u64..6).prop_map(Step::Release),
    ]
}

/// Returns the numbers of the stored batches of each key, in the order of storage.
fn numbers(stored: &[Bytes]) -> BTreeMap<u64, Vec<usize>> {
    let text = String::from_utf8(stored.concat()).unwrap();
    let mut numbers: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for part in text.split_terminator(',') {
        let (key, number) = part.split_once(':').unwrap();
        let of_key = numbers.entry(key.parse().unwrap()).or_default();
        of_key.push(number.parse().unwrap());
    }
    numbers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Runs random responses, hold-backs and dropped waiters. Every sample is accounted for.
    /// No batches of a target are stored out of order or twice. No held-back batch is stored.
    #[test]
    fn loses_and_reorders_nothing(
        replies in proptest::collection::vec(any_reply(), 0..40),
        steps in proptest::collection::vec(any_step(), 1..80),
        max_bytes in (20u64..400).prop_map(ByteSize),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (account, stored) = runtime.block_on(async {
            let exporter = Exporter::scripted(replies);
            let args = OutboxArgs { max_bytes, ..Default::default() };
            let (outbox, workers) = outbox(args, &exporter);
            let mut held_since = BTreeMap::new();
            let mut waiters = Vec::new();
            for (i, step) in steps.iter().enumerate() {
                let time_ms = START_MS + i as i64;
                match *step {
                    Step::Push(key) => {
                        let batch = batch(key, &format!("{key}:{i:03},"));
                        outbox.push(Batch { time_ms, ..batch }).unwrap();
                    }
                    Step::PushWithWaiter(key, steps) => {
                        let batch = batch(key, &format!("{key}:{i:03},"));
                        let (_, waiter) = outbox.push_with_waiter(Batch { time_ms, ..batch }).unwrap();
                        waiters.push((i + steps, waiter));
                    }
                    Step::HoldBack(key) => {
                        held_since.entry(key).or_insert(i);
                        outbox.hold_back(key, OldestPending::everywhere(START_MS + held_since[&key] as i64));
                    }
                    Step::Release(key) => {
                        held_since.remove(&key);
                        outbox.release(key);
                    }
                }
                waiters.retain(|(until, _)| *until > i);
                tokio::time::sleep(Duration::from_millis(300)).await;
                assert!(outbox.account().balances());
                let stored = numbers(&exporter.stored());
                let is_stored = |(key, from)| stored.get(key).is_some_and(|n| n.last() > Some(from));
                assert!(!held_since.iter().any(is_stored), "{held_since:?} {stored:?}");
                let held_back = outbox.held_back();
                assert!(held_back.samples <= outbox.account().waiting);
            }
            for key in held_since.keys() {
                outbox.release(*key);
            }
            (drained(workers).await, exporter.stored())
        });
        let pushed = steps.iter().filter(|step| matches!(step, Step::Push(_) | Step::PushWithWaiter(..))).count();
        prop_assert_eq!(account.pushed, 10 * pushed as u64);
        prop_assert_eq!(account.waiting, 0);
        for numbers in numbers(&stored).values() {
            prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{:?}", numbers);
        }
    }
}
