//! Retries of many lanes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::time::{sleep, sleep_until};

use super::*;

/// An exporter that asks for an immediate retry of each export until it recovers.
#[derive(Clone, Default)]
struct Busy {
    attempts: Arc<AtomicUsize>,
    recovered: Arc<AtomicBool>,
}

impl Busy {
    fn service(
        &self,
    ) -> impl Service<Export, Response = Verdict, Error = ExportError, Future: Send> + Clone + use<>
    {
        let exporter = self.clone();
        tower::service_fn(move |_| {
            exporter.attempts.fetch_add(1, Ordering::SeqCst);
            std::future::ready(if exporter.recovered.load(Ordering::SeqCst) {
                Ok(Verdict::default())
            } else {
                Err(ExportError::Retry {
                    after: None,
                    status: Status::unavailable("busy"),
                })
            })
        })
    }
}

/// Lanes must not cause a retry storm when all exporters are busy.
#[tokio::test(start_paused = true)]
async fn lanes_back_off_and_spread_their_retries() {
    const SECOND: Duration = Duration::from_secs(1);
    let exporter = Busy::default();
    let args = OutboxArgs::default();
    let clock = Clock::tokio(START_MS);
    let (outbox, workers) = Outbox::new(&args, clock, exporter.service());
    for key in 0..u64::from(args.lanes) {
        outbox.push(batch(key, "payload")).unwrap();
    }
    sleep(SECOND * 30).await;
    exporter.attempts.store(0, Ordering::SeqCst);
    let (begin, mut most, mut all) = (Instant::now(), 0, 0);
    for second in 1..=60 {
        sleep_until(begin + SECOND * second).await;
        let attempts = exporter.attempts.swap(0, Ordering::SeqCst);
        (most, all) = (most.max(attempts), all + attempts);
    }
    let lanes = usize::from(args.lanes);
    // Each lane retries every 2.5 to 5.2 s.
    assert!((lanes * 60 / 6..=lanes * 60 / 2).contains(&all), "{all}");
    assert!(most < lanes, "{most} of {lanes} lanes in one second");
    exporter.recovered.store(true, Ordering::SeqCst);
    let account = drained(workers).await;
    assert_eq!(account.stored, 10 * lanes as u64, "{account}");
}

#[tokio::test(start_paused = true)]
async fn progress_is_void_once_a_batch_of_the_request_has_expired() {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let exporter = {
        let attempts = attempts.clone();
        tower::service_fn(move |export: Export| {
            let mut attempts = attempts.lock();
            attempts.push((export.samples, export.progress.as_str().to_owned()));
            std::future::ready(match attempts.len() {
                1 | 2 => Err(ExportError::Unknown {
                    code: Code::Unavailable,
                    message: "lost".to_owned(),
                    progress: Progress::new("one"),
                }),
                _ => Ok(Verdict::default()),
            })
        })
    };
    let args = OutboxArgs {
        lanes: 1,
        max_age: Duration::from_secs(60),
        ..OutboxArgs::default()
    };
    let (outbox, workers) = Outbox::new(&args, Clock::tokio(START_MS), exporter);
    let old = Batch {
        time_ms: START_MS - 50_000,
        ..batch(1, "old ")
    };
    outbox.push(old).unwrap();
    outbox.push(batch(2, "new")).unwrap();
    // An Export takes 8 s, so the first batch expires before the third one.
    let account = drained(workers).await;
    assert_eq!((account.stored, account.waiting), (10, 0), "{account}");
    let attempts = attempts.lock().clone();
    let attempts: Vec<_> = attempts.iter().map(|(n, p)| (*n, p.as_str())).collect();
    assert_eq!(attempts, [(20, ""), (20, "one"), (10, "")]);
}
