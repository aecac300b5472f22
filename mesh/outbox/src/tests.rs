mod holding;
mod lingering;
mod retrying;
mod spilling;
mod withdrawing;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use proptest::prelude::*;
use tonic::{Code, Status};

use super::*;
use mesh_contract::{
    batch::BatchContext,
    export::{Progress, SLOW_KEY},
    verdict::Reason,
};

const START_MS: i64 = 1_700_000_000_000;

/// An exporter that answers from a script, and then stores everything.
#[derive(Clone, Default)]
struct Exporter {
    script: Arc<Mutex<Vec<Answer>>>,
    /// Payloads that were stored, in the order of the verdicts, and when.
    stored: Arc<Mutex<Vec<(Bytes, Instant)>>>,
    attempts: Arc<Mutex<Vec<Instant>>>,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Store,
    Reject(u64),
    Again(Duration),
    Lost,
    Unsent,
    Silence,
    /// Not answered by a backend that answers nothing, or by a slow one.
    Hang,
    Slow,
}

impl Exporter {
    fn scripted(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut script: Vec<_> = answers.into_iter().collect();
        script.reverse();
        let exporter = Self::default();
        *exporter.script.lock().unwrap() = script;
        exporter
    }

    fn service(
        &self,
    ) -> impl Service<Export, Response = Verdict, Error = ExportError, Future: Send> + Clone + use<>
    {
        let exporter = self.clone();
        tower::service_fn(move |export| exporter.clone().answer(export))
    }

    async fn answer(self, export: Export) -> Result<Verdict, ExportError> {
        self.attempts.lock().unwrap().push(Instant::now());
        let answer = self.script.lock().unwrap().pop().unwrap_or(Answer::Store);
        match answer {
            Answer::Store => {
                self.stored
                    .lock()
                    .unwrap()
                    .push((export.payload, Instant::now()));
                Ok(Verdict::default())
            }
            Answer::Reject(n) => {
                let mut verdict = Verdict::default();
                verdict.reject(Reason::TooOld, n);
                Ok(verdict)
            }
            Answer::Again(after) => Err(ExportError::Again {
                after: Some(after),
                status: Status::unavailable("busy"),
            }),
            Answer::Lost => Err(ExportError::Unknown {
                code: Code::Unknown,
                message: "connection reset".to_owned(),
                progress: Progress::default(),
            }),
            Answer::Unsent => Err(ExportError::Unsent("no exporter".into())),
            Answer::Silence => std::future::pending().await,
            Answer::Hang => Err(expired(export.deadline, false).await),
            Answer::Slow => Err(expired(export.deadline, true).await),
        }
    }

    fn stored(&self) -> Vec<Bytes> {
        self.stored
            .lock()
            .unwrap()
            .iter()
            .map(|(p, _)| p.clone())
            .collect()
    }
}

/// What an exporter says that has waited for its backend in vain.
async fn expired(deadline: Instant, is_slow: bool) -> ExportError {
    tokio::time::sleep_until(deadline - Duration::from_millis(1)).await;
    let mut status = Status::deadline_exceeded("no answer");
    if is_slow {
        let yes = "1".parse().unwrap();
        status.metadata_mut().insert(SLOW_KEY, yes);
    }
    ExportError::Again {
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
async fn what_is_pushed_is_stored_in_order() {
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
async fn heads_of_a_lane_travel_together_one_a_target() {
    let exporter = Exporter::default();
    let args = OutboxArgs {
        lanes: 1,
        ..Default::default()
    };
    let (outbox, workers) = outbox(args, &exporter);
    for (key, text) in [(1, "a1 "), (2, "b1 "), (1, "a2 "), (2, "b2 ")] {
        outbox.push(batch(key, text)).unwrap();
    }
    drained(workers).await;
    assert_eq!(exporter.stored(), ["a1 b1 ", "a2 b2 "]);
}

#[tokio::test(start_paused = true)]
async fn what_an_exporter_says_of_its_destinations_comes_back_with_the_retry() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let heard = heard.clone();
        tower::service_fn(move |export: Export| {
            let mut heard = heard.lock().unwrap();
            heard.push(export.progress.as_str().to_owned());
            let answer = match heard.len() {
                1 => Err(ExportError::Unknown {
                    code: Code::DeadlineExceeded,
                    message: "slow".to_owned(),
                    progress: Progress::new("one"),
                }),
                2 => Err(ExportError::Unsent("no exporter".into())),
                _ => Ok(Verdict::default()),
            };
            async { answer }
        })
    };
    let clock = Clock::tokio(START_MS);
    let (outbox, workers) = Outbox::new(&OutboxArgs::default(), clock, service);
    outbox.push(batch(1, "x")).unwrap();
    drained(workers).await;
    // Nor is it forgotten where the next attempt says nothing; and the next batch
    // has nothing to do with it.
    assert_eq!(*heard.lock().unwrap(), ["", "one", "one"]);
}

#[tokio::test(start_paused = true)]
async fn an_exporters_delay_is_kept() {
    let exporter = Exporter::scripted([Answer::Again(Duration::from_secs(30))]);
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    let start = Instant::now();
    outbox.push(batch(1, "x")).unwrap();
    drained(workers).await;
    let stored = exporter.stored.lock().unwrap()[0].1;
    assert!(stored - start >= Duration::from_secs(30));
    assert!(stored - start <= Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn without_a_verdict_the_deadline_is_waited_for() {
    for lost in [Answer::Lost, Answer::Silence] {
        let exporter = Exporter::scripted([lost]);
        let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
        let start = Instant::now();
        outbox.push(batch(1, "x")).unwrap();
        drained(workers).await;
        let stored = exporter.stored.lock().unwrap()[0].1;
        assert!(stored - start >= Duration::from_secs(8), "{lost:?}");
        assert!(stored - start <= Duration::from_secs(9), "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_is_sent_again_soon() {
    let exporter = Exporter::scripted([Answer::Unsent]);
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    let start = Instant::now();
    outbox.push(batch(1, "x")).unwrap();
    drained(workers).await;
    assert!(exporter.stored.lock().unwrap()[0].1 - start <= Duration::from_secs(1));
}

/// The seconds between attempts at one batch, the first of which fail like this.
async fn gaps(failures: &[Answer]) -> Vec<u64> {
    let exporter = Exporter::scripted(failures.iter().copied());
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    outbox.push(batch(1, "x")).unwrap();
    drained(workers).await;
    let attempts = exporter.attempts.lock().unwrap().clone();
    let gaps = attempts.windows(2).map(|two| (two[1] - two[0]).as_secs());
    gaps.collect()
}

#[tokio::test(start_paused = true)]
async fn more_time_is_given_where_the_backend_is_slow() {
    assert_eq!(gaps(&[Answer::Slow; 5]).await, [8, 16, 32, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_is_asked_again_after_each_deadline() {
    assert_eq!(gaps(&[Answer::Hang; 5]).await, [8; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_more_time_the_second_time() {
    assert_eq!(gaps(&[Answer::Silence; 5]).await, [8, 8, 16, 32, 60]);
    let mixed = [Answer::Silence, Answer::Unsent, Answer::Silence];
    assert_eq!(gaps(&mixed).await, [8, 0, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_back_off_counts_from_the_beginning_of_its_attempt() {
    let refusals = [Answer::Again(Duration::ZERO); 9];
    let begun = Instant::now();
    gaps(&refusals).await;
    let quick = begun.elapsed();
    assert!(quick > Duration::from_secs(10), "{quick:?}");
    // Nine attempts that took long add nothing but jitter.
    let begun = Instant::now();
    gaps(&[Answer::Hang; 9]).await;
    let slow = begun.elapsed() - 9 * Duration::from_secs(8);
    assert!(slow < Duration::from_secs(2), "{slow:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_waited_for_has_its_own_verdict() {
    let exporter = Exporter::scripted([Answer::Store, Answer::Reject(4)]);
    let args = OutboxArgs {
        lanes: 1,
        ..Default::default()
    };
    let (outbox, workers) = outbox(args, &exporter);
    outbox.push(batch(1, "x")).unwrap();
    let told = outbox.push_with_outcome(batch(2, "y")).unwrap();
    let account = drained(workers).await;
    let mut expected = Verdict::default();
    expected.reject(Reason::TooOld, 4);
    assert_eq!(told.await.unwrap(), Outcome::Judged(expected));
    assert_eq!(account.rejected, BTreeMap::from([(Reason::TooOld, 4)]));
    assert_eq!(account.stored, 16);
}

#[tokio::test(start_paused = true)]
async fn when_it_is_full_the_oldest_go_first() {
    let exporter = Exporter::scripted([Answer::Silence]);
    let args = OutboxArgs {
        max_bytes: 10,
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
    let mut stored = exporter.stored();
    stored.sort();
    assert_eq!(stored, ["2222", "3333"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_not_sent() {
    let exporter = Exporter::scripted(vec![Answer::Unsent; 10_000]);
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    let told = outbox.push_with_outcome(batch(1, "x")).unwrap();
    assert_eq!(told.await.unwrap(), Outcome::Expired(Expiry::TooOld));
    let account = drained(workers).await;
    assert_eq!(account.expired, BTreeMap::from([(Expiry::TooOld, 10)]));
}

#[tokio::test(start_paused = true)]
async fn a_closed_outbox_takes_nothing() {
    let (outbox, workers) = outbox(OutboxArgs::default(), &Exporter::default());
    drained(workers).await;
    assert_eq!(outbox.push(batch(1, "x")), Err(Closed));
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        3 => Just(Answer::Store),
        1 => (0u64..20).prop_map(Answer::Reject),
        1 => (0u64..5000).prop_map(|ms| Answer::Again(Duration::from_millis(ms))),
        1 => Just(Answer::Lost),
        1 => Just(Answer::Unsent),
        1 => Just(Answer::Silence),
        1 => Just(Answer::Hang),
        1 => Just(Answer::Slow),
    ]
}

/// What is done to an outbox.
#[derive(Clone, Copy, Debug)]
enum Act {
    Push(u64),
    /// Somebody waits for it, and leaves after so many acts.
    PushFor(u64, usize),
    /// What is pushed of this key from now on is held back.
    HoldBack(u64),
    LetGo(u64),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0u64..6).prop_map(Act::Push),
        2 => (0u64..6, 0usize..20).prop_map(|(key, acts)| Act::PushFor(key, acts)),
        1 => (0u64..6).prop_map(Act::HoldBack),
        1 => (0u64..6).prop_map(Act::LetGo),
    ]
}

/// The numbers of the batches of each key that were stored, in the order of that.
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

    /// Whatever exporters answer, whatever is held back and whoever leaves: every sample
    /// is accounted for, no target's batches are stored out of order or twice, and none that is
    /// held back is stored.
    #[test]
    fn nothing_is_lost_and_nothing_overtakes(
        answers in proptest::collection::vec(any_answer(), 0..40),
        acts in proptest::collection::vec(any_act(), 1..80),
        max_bytes in 20usize..400,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (account, stored) = runtime.block_on(async {
            let exporter = Exporter::scripted(answers);
            let args = OutboxArgs { lanes: 3, max_bytes, ..Default::default() };
            let (outbox, workers) = outbox(args, &exporter);
            let mut held = BTreeMap::new();
            let mut waiters = Vec::new();
            for (i, act) in acts.iter().enumerate() {
                let time_ms = START_MS + i as i64;
                match *act {
                    Act::Push(key) => {
                        let batch = batch(key, &format!("{key}:{i:03},"));
                        outbox.push(Batch { time_ms, ..batch }).unwrap();
                    }
                    Act::PushFor(key, acts) => {
                        let batch = batch(key, &format!("{key}:{i:03},"));
                        let (_, waiter) = outbox.push_for(Batch { time_ms, ..batch }).unwrap();
                        waiters.push((i + acts, waiter));
                    }
                    Act::HoldBack(key) => {
                        held.entry(key).or_insert(i);
                        outbox.hold_back(key, START_MS + held[&key] as i64);
                    }
                    Act::LetGo(key) => {
                        held.remove(&key);
                        outbox.let_go(key);
                    }
                }
                waiters.retain(|(until, _)| *until > i);
                tokio::time::sleep(Duration::from_millis(300)).await;
                assert!(outbox.account().balances());
                let stored = numbers(&exporter.stored());
                let is_stored = |(key, from)| stored.get(key).is_some_and(|n| n.last() > Some(from));
                assert!(!held.iter().any(is_stored), "{held:?} {stored:?}");
                let held_back = outbox.held_back();
                assert!(held_back.samples <= outbox.account().waiting);
            }
            for key in held.keys() {
                outbox.let_go(*key);
            }
            (drained(workers).await, exporter.stored())
        });
        let pushed = acts.iter().filter(|act| matches!(act, Act::Push(_) | Act::PushFor(..))).count();
        prop_assert_eq!(account.pushed, 10 * pushed as u64);
        prop_assert_eq!(account.waiting, 0);
        for numbers in numbers(&stored).values() {
            prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{:?}", numbers);
        }
    }
}
