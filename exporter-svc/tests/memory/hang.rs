//! Recovery of lanes after a hang, and progress with a slow backend.

use tonic::Code;

use super::*;

/// Maximum time until lanes deliver again after a fault.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn lanes_recover_soon_after_a_hang_of_any_length() {
    for hang in [7, 12, 30, 65] {
        let folder = tempfile::tempdir().unwrap();
        let (backend, outbox, workers) = mesh(folder.path()).await;
        let start = Instant::now();
        let end = start + Duration::from_secs(10 + hang);
        let fault = async {
            sleep_until(start + Duration::from_millis(9_995)).await;
            backend.becomes(Mood::Hangs);
            sleep_until(end).await;
            backend.becomes(Mood::Well);
        };
        tokio::join!(scrape(&outbox, start, 0, hang + 40), fault);
        let recovery = backend.all_flow_after(end);
        assert!(recovery <= SOON, "{hang} s: {recovery:?}");
        delivered(workers, hang + 40, &backend).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_progress_with_a_backend_slower_than_the_timeout() {
    for latency in [10, 25] {
        let folder = tempfile::tempdir().unwrap();
        let (backend, outbox, workers) = mesh(folder.path()).await;
        backend.becomes(Mood::Takes(Duration::from_secs(latency)));
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
        backend.becomes(Mood::Well);
        delivered(workers, 600, &backend).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_recover_soon_from_a_hang_after_a_slow_phase() {
    let folder = tempfile::tempdir().unwrap();
    let (backend, outbox, workers) = mesh(folder.path()).await;
    let start = Instant::now();
    let end = start + Duration::from_secs(180);
    let fault = async {
        backend.becomes(Mood::Takes(Duration::from_secs(10)));
        sleep_until(start + Duration::from_secs(60)).await;
        backend.becomes(Mood::Well);
        sleep_until(start + Duration::from_secs(90)).await;
        backend.becomes(Mood::Hangs);
        sleep_until(end).await;
        backend.becomes(Mood::Well);
    };
    tokio::join!(scrape(&outbox, start, 0, 220), fault);
    let recovery = backend.all_flow_after(end);
    assert!(recovery <= SOON, "{recovery:?}");
    delivered(workers, 220, &backend).await;
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
                    progress: export::Progress::default(),
                }),
            }
        }
    });
    backend.becomes(Mood::Takes(Duration::from_millis(500)));
    let (outbox, workers) = Outbox::new(&args_of_outbox(), Clock::of_runtime(START_MS), exports);
    scrape(&outbox, start, 0, 40).await;
    let recovery = backend.all_flow_after(killed + Duration::from_millis(500));
    assert!(recovery <= SOON, "{recovery:?}");
    delivered(workers, 40, &backend).await;
}
