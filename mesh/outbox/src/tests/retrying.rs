//! Retries of many batches.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;
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
    ) -> impl Service<Export, Response = ExportResponse, Error = ExportError, Future: Send> + Clone + use<>
    {
        let exporter = self.clone();
        tower::service_fn(move |_| {
            exporter.attempts.fetch_add(1, Ordering::SeqCst);
            std::future::ready(if exporter.recovered.load(Ordering::SeqCst) {
                Ok(ExportResponse::default())
            } else {
                Err(ExportError::Retry {
                    after: None,
                    status: Status::unavailable("busy"),
                })
            })
        })
    }
}

/// Many targets must not cause a retry storm when all exporters are busy.
#[tokio::test(start_paused = true)]
async fn batches_that_failed_together_are_retried_together() {
    const SECOND: Duration = Duration::from_secs(1);
    let exporter = Busy::default();
    let args = OutboxArgs::default();
    let clock = Clock::tokio(START_MS);
    let (outbox, workers) = Outbox::new(&args, clock, exporter.service());
    for key in 0..100 {
        outbox.push(batch(key, "payload")).unwrap();
    }
    sleep(SECOND * 30).await;
    exporter.attempts.store(0, Ordering::SeqCst);
    let begin = Instant::now();
    sleep_until(begin + SECOND * 60).await;
    // An attempt every 2.5 to 5.2 s.
    let attempts = exporter.attempts.swap(0, Ordering::SeqCst);
    assert!((10..=30).contains(&attempts), "{attempts}");
    exporter.recovered.store(true, Ordering::SeqCst);
    let account = drained(workers).await;
    assert_eq!(account.stored, 1_000, "{account}");
}

#[tokio::test(start_paused = true)]
async fn progress_is_void_once_a_batch_of_the_request_has_expired() {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let exporter = {
        let attempts = attempts.clone();
        tower::service_fn(move |export: Export| {
            let mut attempts = attempts.lock();
            attempts.push((export.samples, export.progress[0].as_str().to_owned()));
            std::future::ready(match attempts.len() {
                1 | 2 => Err(ExportError::Unknown {
                    code: Code::Unavailable,
                    message: "lost".to_owned(),
                    is_broken: false,
                    report: FailureReport {
                        progress: vec![Progress::new("one")],
                        destinations: vec!["one".to_owned()],
                    },
                }),
                _ => Ok(ExportResponse::default()),
            })
        })
    };
    let args = OutboxArgs {
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

/// Exporters that die of the payload `kill`, and refuse to process too much together.
fn mortal(
    attempts: &Arc<Mutex<Vec<String>>>,
) -> impl Service<Export, Response = ExportResponse, Error = ExportError, Future: Send> + Clone + use<>
{
    let attempts = attempts.clone();
    tower::service_fn(move |export: Export| {
        let text = String::from_utf8_lossy(&export.payload).into_owned();
        attempts.lock().push(text.clone());
        std::future::ready(if text.contains("kill") {
            Err(ExportError::Unknown {
                code: Code::Unknown,
                message: "connection reset".to_owned(),
                is_broken: true,
                report: FailureReport::default(),
            })
        } else if text.contains("large") && text.contains("small") {
            let mut status = Status::resource_exhausted("too much");
            mesh_contract::export::mark_split(status.metadata_mut());
            Err(ExportError::Retry {
                after: None,
                status,
            })
        } else {
            Ok(ExportResponse::default())
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_kills_exporters_costs_no_other_batch() {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let clock = Clock::tokio(START_MS);
    let (outbox, workers) = Outbox::new(&OutboxArgs::default(), clock, mortal(&attempts));
    for (key, text) in [
        (1, "a "),
        (2, "kill "),
        (3, "b "),
        (2, "later "),
        (1, "a2 "),
    ] {
        outbox.push(batch(key, text)).unwrap();
    }
    let account = drained(workers).await;
    assert_eq!(account.expired, BTreeMap::from([(Expiry::Poison, 10)]));
    assert_eq!((account.stored, account.waiting), (40, 0));
    let attempts = attempts.lock().clone();
    let killed = attempts.iter().filter(|it| it.contains("kill"));
    // Once together with the others, then three times alone.
    let killed: Vec<_> = killed.map(String::as_str).collect();
    assert_eq!(killed, ["a kill b ", "kill ", "kill ", "kill "]);
    let position = |text| attempts.iter().position(|it| it.contains(text));
    assert!(position("a2").unwrap() < attempts.len() - 2, "{attempts:?}");
    assert_eq!(attempts.last().unwrap(), "later ");
}

#[tokio::test(start_paused = true)]
async fn batches_that_are_too_large_together_travel_alone() {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let clock = Clock::tokio(START_MS);
    let (outbox, workers) = Outbox::new(&OutboxArgs::default(), clock, mortal(&attempts));
    for (key, text) in [(1, "small "), (2, "large ")] {
        outbox.push(batch(key, text)).unwrap();
    }
    assert_eq!(drained(workers).await.stored, 20);
    assert_eq!(*attempts.lock(), ["small large ", "small ", "large "]);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_fails_removes_no_batch() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let service = {
        let attempts = attempts.clone();
        tower::service_fn(move |_: Export| {
            std::future::ready(match attempts.fetch_add(1, Ordering::SeqCst) {
                0..8 => Err(ExportError::Unknown {
                    code: Code::Unavailable,
                    message: "no healthy upstream".to_owned(),
                    is_broken: false,
                    report: FailureReport::default(),
                }),
                _ => Ok(ExportResponse::default()),
            })
        })
    };
    let (outbox, workers) = Outbox::new(&OutboxArgs::default(), Clock::tokio(START_MS), service);
    outbox.push(batch(1, "x")).unwrap();
    assert_eq!(drained(workers).await.stored, 10);
}

/// The batches that are in flight when an exporter dies are as suspect as the one that killed
/// it.
#[tokio::test(start_paused = true)]
async fn a_batch_that_kills_exporters_takes_no_neighbour_along() {
    let died = Arc::new(Notify::new());
    let service = tower::service_fn(move |export: Export| {
        let died = died.clone();
        async move {
            let dies = died.notified();
            if export.payload.windows(4).any(|it| it == b"kill") {
                // The neighbours arrive first.
                sleep(Duration::from_millis(100)).await;
                died.notify_waiters();
            } else {
                tokio::select! {
                    () = sleep(Duration::from_secs(4)) => return Ok(ExportResponse::default()),
                    () = dies => {}
                }
            }
            Err(ExportError::Unknown {
                code: Code::Unknown,
                message: "connection reset".to_owned(),
                is_broken: true,
                report: FailureReport::default(),
            })
        }
    });
    let (outbox, workers) = Outbox::new(&OutboxArgs::default(), Clock::tokio(START_MS), service);
    for key in 0..20 {
        let text = if key == 7 { "kill " } else { "good " };
        outbox.push(batch(key, text)).unwrap();
    }
    let account = drained(workers).await;
    assert_eq!(account.expired, BTreeMap::from([(Expiry::Poison, 10)]));
    assert_eq!(account.stored, 190, "{account}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_kills_exporters_is_kept_in_the_spill_directory() {
    for spill_after in [0, 3600] {
        let dir = tempfile::tempdir().unwrap();
        let attempts = Arc::default();
        let mut args = OutboxArgs::default();
        args.spill.spill_dir = Some(dir.path().to_owned());
        args.spill.spill_after = Duration::from_secs(spill_after);
        let (outbox, workers) = Outbox::new(&args, Clock::tokio(START_MS), mortal(&attempts));
        outbox.push(batch(1, "kill ")).unwrap();
        outbox.push(batch(1, "later ")).unwrap();
        let account = drained(workers).await;
        assert_eq!(account.expired, BTreeMap::from([(Expiry::Poison, 10)]));
        let files = std::fs::read_dir(dir.path()).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let is_kept = |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "otlp");
        let kept: Vec<_> = files.filter(is_kept).collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), "kill ");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_kills_exporters_is_not_withdrawn() {
    let attempts = Arc::default();
    let clock = Clock::tokio(START_MS);
    let (outbox, workers) = Outbox::new(&OutboxArgs::default(), clock, mortal(&attempts));
    let (outcome, waiter) = outbox.push_with_waiter(batch(1, "kill ")).unwrap();
    // Once together with others, as far as the outbox knows, and once alone.
    sleep(Duration::from_secs(12)).await;
    drop(waiter);
    let account = drained(workers).await;
    assert_eq!(account.expired, BTreeMap::from([(Expiry::Poison, 10)]));
    assert_eq!(outcome.await.unwrap(), Outcome::Expired(Expiry::Poison));
    assert_eq!(attempts.lock().len(), 4);
}
