use mesh_base::clock::Clock;
use prost::Message;
use proto::v1;

use super::*;
use crate::amp::AmpOptions;

const NOW: i64 = 1_700_000_000_000;

fn backend() -> Backend {
    let options = AmpOptions {
        keys: None,
        clock: Clock::tokio(NOW),
        ..AmpOptions::default()
    };
    Backend::new(options)
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn body(series: &[(Pairs<'_>, i64, f64)]) -> Bytes {
    let timeseries = series
        .iter()
        .map(|(labels, timestamp, value)| v1::TimeSeries {
            labels: labels
                .iter()
                .map(|(n, v)| v1::Label {
                    name: (*n).to_owned(),
                    value: (*v).to_owned(),
                })
                .collect(),
            samples: vec![v1::Sample {
                value: *value,
                timestamp: *timestamp,
            }],
            ..Default::default()
        });
    let request = v1::WriteRequest {
        timeseries: timeseries.collect(),
        metadata: vec![],
    };
    let compressed = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec());
    compressed.unwrap().into()
}

async fn post(backend: &Backend, body: Bytes) -> (StatusCode, String) {
    let uri = Uri::from_static("/api/v1/remote_write");
    let response = remote_write(
        Extract(backend.clone()),
        Method::POST,
        uri,
        HeaderMap::new(),
        body,
    );
    let response = response.await;
    let status = response.status();
    let text = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    (status, String::from_utf8_lossy(&text).into_owned())
}

fn replica(name: &str) -> [(&str, &str); 3] {
    [("__name__", "up"), ("__replica__", name), ("cluster", "c")]
}

#[tokio::test(start_paused = true)]
async fn a_request_without_series_changes_nothing() {
    let backend = backend();
    backend.faults().next([Fault::status(500, "")]);
    assert_eq!(post(&backend, body(&[])).await.0, StatusCode::OK);
    assert_eq!(backend.faults().remaining(), 1);
    assert_eq!((backend.elections(), backend.totals().requests), (0, 0));
    backend.faults().always(Some(Fault::status(503, "")));
    let failed = post(&backend, body(&[])).await;
    assert_eq!(failed.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn stores_one_replica_and_drops_the_other() {
    let backend = backend();
    let a = post(&backend, body(&[(&replica("a"), NOW, 1.0)])).await;
    assert_eq!(a.0, StatusCode::OK);
    let b = post(&backend, body(&[(&replica("b"), NOW + 1, 1.0)])).await;
    assert_eq!(b.0, StatusCode::ACCEPTED);
    let stored = backend.select("up").unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(
        stored[0].labels.to_string(),
        r#"{__name__="up", cluster="c"}"#
    );
    let totals = backend.totals();
    assert_eq!(
        (totals.of(Outcome::Stored), totals.of(Outcome::Deduplicated)),
        (1, 1)
    );
    tokio::time::advance(std::time::Duration::from_secs(31)).await;
    let b = post(&backend, body(&[(&replica("b"), NOW + 2, 1.0)])).await;
    assert_eq!((b.0, backend.elections()), (StatusCode::OK, 2));
}

#[tokio::test(start_paused = true)]
async fn only_the_first_series_selects_the_replica() {
    let backend = backend();
    post(&backend, body(&[(&replica("a"), NOW, 1.0)])).await;
    let mixed = body(&[
        (&[("__name__", "x")], NOW, 1.0),
        (&replica("b"), NOW + 1, 2.0),
    ]);
    assert_eq!(post(&backend, mixed).await.0, StatusCode::OK);
    // Not an HA request, so the replica label is stored.
    assert_eq!(backend.select(r#"up{__replica__="b"}"#).unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn stores_the_valid_samples_of_a_bad_request() {
    let backend = backend();
    let one = [("__name__", "one")];
    post(&backend, body(&[(&one, NOW, 1.0)])).await;
    let (status, message) = post(
        &backend,
        body(&[(&one, NOW - 1, 1.0), (&[("__name__", "two")], NOW, 2.0)]),
    )
    .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(message.contains("err: out of order sample"), "{message}");
    assert_eq!(backend.select("two").unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rejects_whole_requests_in_that_mode() {
    let backend = backend();
    let (old, new) = ([("__name__", "old")], [("__name__", "new")]);
    post(&backend, body(&[(&old, NOW, 1.0)])).await;
    backend.faults().always(Some(Fault::RejectWholeRequests));
    let late = (&old[..], NOW - 1000, 1.0);
    let both = post(&backend, body(&[late, (&new, NOW, 1.0)])).await;
    let refusal = (StatusCode::BAD_REQUEST, "out of order sample".to_owned());
    assert_eq!(both, refusal);
    assert_eq!(backend.stored().len(), 1);
    assert_eq!(backend.totals().of(Outcome::OutOfOrder), 0);
    assert_eq!(post(&backend, body(&[late])).await, refusal);
    assert_eq!(backend.totals().of(Outcome::OutOfOrder), 1);
    let good = post(&backend, body(&[(&new, NOW, 1.0)])).await;
    assert_eq!(good.0, StatusCode::OK);
    assert_eq!(backend.stored().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn injects_the_scripted_failures() {
    let backend = backend();
    backend
        .faults()
        .next([Fault::throttle(7), Fault::status(500, "oops")]);
    let sample = body(&[(&[("__name__", "m")], NOW, 1.0)]);
    assert_eq!(
        post(&backend, sample.clone()).await.0,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(
        post(&backend, sample.clone()).await,
        (StatusCode::INTERNAL_SERVER_ERROR, "oops".to_owned())
    );
    assert_eq!(post(&backend, sample).await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn rejects_a_body_that_is_not_remote_write() {
    let backend = backend();
    for bytes in [&b"\xff\xff\xff\xff\x7f"[..], b"", b"\x03\x08abc"] {
        let (status, _) = post(&backend, Bytes::copy_from_slice(bytes)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bytes:?}");
    }
    let unsorted = body(&[(&[("b", "1"), ("a", "1")], NOW, 1.0)]);
    assert!(post(&backend, unsorted).await.1.contains("unsorted"));
}
