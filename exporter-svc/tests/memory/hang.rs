//! Recovery of lanes after a hang, and progress with a slow backend.

use tonic::Code;

use super::*;

/// Maximum time until lanes deliver again after a fault.
const MAX_RECOVERY: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn lanes_recover_soon_after_a_hang_of_any_length() {
    for hang in [7, 12, 30, 65] {
        let folder = tempfile::tempdir().unwrap();
        let (backend, outbox, workers) = mesh(folder.path()).await;
        let start = Instant::now();
        let end = start + Duration::from_secs(10 + hang);
        let fault = async {
            sleep_until(start + Duration::from_millis(9_995)).await;
            backend.set_behavior(Behavior::Hanging);
            sleep_until(end).await;
            backend.set_behavior(Behavior::Healthy);
        };
        tokio::join!(scrape(&outbox, start, 0, hang + 40), fault);
        let recovery = backend.recovery_after(end);
        assert!(recovery <= MAX_RECOVERY, "{hang} s: {recovery:?}");
        assert_delivered(workers, hang + 40, &backend).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_progress_with_a_backend_slower_than_the_timeout() {
    for latency in [10, 25] {
        let folder = tempfile::tempdir().unwrap();
        let (backend, outbox, workers) = mesh(folder.path()).await;
        backend.set_behavior(Behavior::Slow(Duration::from_secs(latency)));
        let start = Instant::now();
        scrape(&outbox, start, 0, 600).await;
        // A request has one sample per series, so this is the maximum if every lane has
        // a request in flight at all times. Lanes lose some of it while they learn the
        // timeout that the backend needs.
        let most = (600 / latency) * TARGETS;
        let arrived: usize = backend.stored().values().map(Vec::len).sum();
        assert!(
            arrived as u64 * 2 > most,
            "{latency} s: {arrived} of {most}"
        );
        assert_eq!(backend.stored().len(), TARGETS as usize);
        backend.set_behavior(Behavior::Healthy);
        assert_delivered(workers, 600, &backend).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_recover_soon_from_a_hang_after_a_slow_phase() {
    let folder = tempfile::tempdir().unwrap();
    let (backend, outbox, workers) = mesh(folder.path()).await;
    let start = Instant::now();
    let end = start + Duration::from_secs(180);
    let fault = async {
        backend.set_behavior(Behavior::Slow(Duration::from_secs(10)));
        sleep_until(start + Duration::from_secs(60)).await;
        backend.set_behavior(Behavior::Healthy);
        sleep_until(start + Duration::from_secs(90)).await;
        backend.set_behavior(Behavior::Hanging);
        sleep_until(end).await;
        backend.set_behavior(Behavior::Healthy);
    };
    tokio::join!(scrape(&outbox, start, 0, 220), fault);
    let recovery = backend.recovery_after(end);
    assert!(recovery <= MAX_RECOVERY, "{recovery:?}");
    assert_delivered(workers, 220, &backend).await;
}

#[tokio::test(start_paused = true)]
async fn lanes_recover_soon_after_an_exporter_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (backend, connector) = Backend::serve();
    let ingest = exporter(connector, folder.path()).await;
    let start = Instant::now();
    let killed = start + Duration::from_millis(10_100);
    let exports = tower::service_fn(move |export| {
        let ingest = ingest.clone();
        async move {
            tokio::select! {
                outcome = send(ingest, export) => outcome,
                // Its posts end with the exporter.
                () = sleep_until(killed), if Instant::now() < killed => Err(ExportError::Unknown {
                    code: Code::Unknown,
                    message: "connection reset".to_owned(),
                    is_broken: true,
                    report: export::FailureReport::default(),
                }),
            }
        }
    });
    backend.set_behavior(Behavior::Slow(Duration::from_millis(500)));
    let (outbox, workers) = Outbox::new(&OutboxArgs::default(), Clock::tokio(START_MS), exports);
    scrape(&outbox, start, 0, 40).await;
    let recovery = backend.recovery_after(killed + Duration::from_millis(500));
    assert!(recovery <= MAX_RECOVERY, "{recovery:?}");
    assert_delivered(workers, 40, &backend).await;
}
