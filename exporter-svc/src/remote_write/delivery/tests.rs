//! Deliveries to a backend that rejects whole requests.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Router, body::Bytes, extract::State, routing::post};
use http::StatusCode;
use mesh_model::config::{http::HttpClientConfig, remote_write::ProtobufMessage};
use mesh_net::http_client::HttpClient;
use mesh_wire::protobuf;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message;
use proto::v1;

use super::*;
use crate::{
    memory::ExportMemory,
    remote_write::{
        metrics::Families,
        part::{EncodedLabels, PartBuilder, RequestLimits, Sample},
    },
};

/// Backend that stores a request or refuses it as a whole.
#[derive(Clone)]
struct Receiver(Arc<ReceiverState>);

struct ReceiverState {
    /// Series that the backend refuses.
    bad: BTreeSet<usize>,
    refusal: (u16, &'static str),
    /// Answer to an empty request.
    empty: u16,
    /// Maximum number of series in a request; more get a 413.
    max_series: usize,
    stored: Mutex<Vec<usize>>,
    posts: Mutex<Vec<Vec<usize>>>,
}

/// Client of a receiver.
struct Sender {
    client: Arc<Client>,
    metrics: Arc<Metrics>,
    health: Arc<HealthProbe>,
}

// === impl ReceiverState ===

impl ReceiverState {
    /// Refuses these series as Prometheus does.
    fn refusing(bad: impl IntoIterator<Item = usize>) -> Self {
        Self {
            bad: bad.into_iter().collect(),
            refusal: (400, "out of order sample\n"),
            empty: 204,
            max_series: usize::MAX,
            stored: Mutex::default(),
            posts: Mutex::default(),
        }
    }
}

// === impl Receiver ===

impl Receiver {
    fn stored(&self) -> Vec<usize> {
        let mut stored = self.0.stored.lock().clone();
        stored.sort_unstable();
        stored
    }

    fn posts(&self) -> usize {
        self.0.posts.lock().len()
    }
}

async fn write(State(Receiver(state)): State<Receiver>, body: Bytes) -> (StatusCode, &'static str) {
    let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let request = v1::WriteRequest::decode(plain.as_slice()).unwrap();
    let series = request.timeseries.iter();
    let series: Vec<usize> = series.map(|s| s.labels[0].value.parse().unwrap()).collect();
    state.posts.lock().push(series.clone());
    let (status, text) = if series.is_empty() {
        (state.empty, "")
    } else if series.len() > state.max_series {
        (413, "Request Entity Too Large")
    } else if series.iter().any(|series| state.bad.contains(series)) {
        state.refusal
    } else {
        state.stored.lock().extend(series);
        (204, "")
    };
    (StatusCode::from_u16(status).unwrap(), text)
}

// === impl Sender ===

impl Sender {
    async fn start(state: ReceiverState) -> (Self, Receiver) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let receiver = Receiver(Arc::new(state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/", post(write))
            .with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let client = Arc::new(Client::new(
            "backend".to_owned(),
            uri.parse().unwrap(),
            HttpClient::new(&HttpClientConfig::default()).unwrap(),
            None,
            ProtobufMessage::V1,
        ));
        let families = Families::register(&mut Registry::default());
        let metrics = Arc::new(families.for_destination("backend"));
        let health = HealthProbe::new(Arc::clone(&client), Arc::clone(&metrics));
        let sender = Self {
            client,
            metrics,
            health: Arc::new(health),
        };
        (sender, receiver)
    }

    async fn deliver(&self, parts: &[RequestPart], before: Counts) -> Delivered {
        let min_post_time = Duration::from_millis(1);
        self.deliver_in_time(parts, before, min_post_time).await
    }

    /// Delivers within 30 s. Each post after the first needs `min_post_time`.
    async fn deliver_in_time(
        &self,
        parts: &[RequestPart],
        before: Counts,
        min_post_time: Duration,
    ) -> Delivered {
        let backend = (&*self.client, &*self.metrics, &*self.health);
        let deadline = Instant::now() + Duration::from_secs(30);
        let delivery = Delivery::new(backend, parts.iter().collect(), deadline, min_post_time);
        delivery.run(before).await
    }
}

/// Parts with these numbers of series, which are numbered from 0.
fn parts(sizes: &[usize]) -> Vec<RequestPart> {
    let mut next = 0;
    let mut fields = v1::TimeSeries {
        samples: vec![v1::Sample {
            value: 1.0,
            timestamp: 1,
        }],
        ..v1::TimeSeries::default()
    }
    .encode_to_vec();
    // An unknown field, so that a request can exceed the lowest limit of its size.
    protobuf::put_bytes(15, &[0; 1000], &mut fields);
    let part = |size: &usize| {
        let limits = RequestLimits {
            series: usize::MAX,
            bytes: usize::MAX,
        };
        let mut builder = PartBuilder::new(limits, ExportMemory::unlimited());
        for _ in 0..*size {
            let series = EncodedLabels::new([("i", next.to_string().as_str())].into_iter());
            let sample = Sample {
                fields: &fields,
                start_ms: 0,
                counted: true,
            };
            builder.push(series.as_ref(), sample).unwrap();
            next += 1;
        }
        builder.finish().0.remove(0)
    };
    sizes.iter().map(part).collect()
}

fn rejected(delivered: &Delivered) -> Vec<u64> {
    let decided = delivered.decided.iter();
    decided
        .map(|decided| decided.verdict.rejected_total())
        .collect()
}

/// Indexes below `len` without those in `bad`.
fn good(len: usize, bad: &[usize]) -> Vec<usize> {
    (0..len).filter(|series| !bad.contains(series)).collect()
}

#[tokio::test]
async fn loses_only_the_refused_sample_of_one_writer_among_twenty() {
    let bad = [723];
    let (sender, receiver) = Sender::start(ReceiverState::refusing(bad)).await;
    let delivered = sender.deliver(&parts(&[50; 20]), Counts::default()).await;
    assert!(delivered.stop.is_none(), "{delivered:?}");
    let mut expected = [0; 20];
    expected[14] = 1;
    assert_eq!(rejected(&delivered), expected);
    assert_eq!(receiver.stored(), good(1000, &bad));
    assert!(receiver.posts() <= MAX_POSTS, "{}", receiver.posts());
    let reasons = &delivered.decided[14].verdict.rejected;
    assert_eq!(reasons, &[(Reason::OutOfOrder, 1)]);
}

/// The neighbours of a writer whose samples are all refused do not wait for it.
#[tokio::test]
async fn delivers_the_neighbours_of_a_refused_writer_at_once() {
    let bad: Vec<_> = (150..200).collect();
    let (sender, receiver) = Sender::start(ReceiverState::refusing(bad.clone())).await;
    let all = parts(&[50; 20]);
    let delivered = sender.deliver(&all, Counts::default()).await;
    assert!(
        matches!(delivered.stop, Some(Stop::Unfinished(_))),
        "{delivered:?}"
    );
    assert_eq!(receiver.stored(), good(1000, &bad));
    assert!(receiver.posts() <= MAX_POSTS, "{}", receiver.posts());
    // The following attempts continue behind the decided series.
    let part = &all[3];
    let mut decided = delivered.decided[3].series;
    let mut refused = delivered.decided[3].verdict.rejected_total();
    let mut attempts = 0;
    while decided < 50 {
        assert_eq!(decided as u64, refused);
        let rest = [part.slice(decided..50)];
        let before = Counts {
            decided,
            refused: refused as usize,
        };
        let posts = receiver.posts();
        let delivered = sender.deliver(&rest, before).await;
        assert!(receiver.posts() - posts <= MAX_POSTS);
        decided += delivered.decided[0].series;
        refused += rejected(&delivered)[0];
        attempts += 1;
    }
    assert_eq!((refused, attempts <= 4), (50, true), "{attempts} attempts");
    assert_eq!(receiver.stored(), good(1000, &bad));
}

#[tokio::test]
async fn splits_requests_that_are_too_large_and_remembers_the_size() {
    let receiver = ReceiverState {
        max_series: 60,
        ..ReceiverState::refusing([130])
    };
    let (sender, receiver) = Sender::start(receiver).await;
    let delivered = sender
        .deliver(&parts(&[200, 20, 100]), Counts::default())
        .await;
    assert!(delivered.stop.is_none(), "{delivered:?}");
    assert_eq!(rejected(&delivered), [1, 0, 0]);
    assert_eq!(receiver.stored(), good(320, &[130]));
    assert!(receiver.posts() <= MAX_POSTS, "{}", receiver.posts());
    let before = receiver.posts();
    // The next request begins with blocks that fit.
    sender.deliver(&parts(&[100]), Counts::default()).await;
    let posts = receiver.0.posts.lock()[before..].to_vec();
    assert!(posts.iter().all(|post| post.len() <= 60), "{posts:?}");
    assert_eq!(posts.concat(), good(100, &[]));
}

#[tokio::test]
async fn a_series_that_is_too_large_alone_is_rejected_as_too_large() {
    let receiver = ReceiverState {
        max_series: 0,
        ..ReceiverState::refusing([])
    };
    let (sender, receiver) = Sender::start(receiver).await;
    let delivered = sender.deliver(&parts(&[1]), Counts::default()).await;
    assert_eq!(
        delivered.decided[0].verdict.rejected,
        [(Reason::TooLarge, 1)]
    );
    // The backend accepts an empty request, so the sample is at fault.
    assert!(receiver.0.posts.lock().contains(&Vec::new()));
}

#[tokio::test]
async fn holds_everything_if_the_backend_refuses_an_empty_request_too() {
    let receiver = ReceiverState {
        refusal: (400, "The plain HTTP request was sent to HTTPS port"),
        empty: 400,
        ..ReceiverState::refusing(0..100)
    };
    let (sender, receiver) = Sender::start(receiver).await;
    let delivered = sender.deliver(&parts(&[50, 50]), Counts::default()).await;
    let Some(Stop::Answered(Action::Hold { refuses_empty, .. })) = delivered.stop else {
        panic!("{delivered:?}")
    };
    assert!(refuses_empty);
    assert_eq!(receiver.posts(), 2);
    assert!(
        delivered
            .decided
            .iter()
            .all(|decided| *decided == Decided::default())
    );
}

/// A proxy may begin to refuse every size.
#[tokio::test]
async fn holds_everything_if_a_backend_that_worked_refuses_every_size() {
    let receiver = ReceiverState {
        refusal: (413, "Request Entity Too Large"),
        empty: 413,
        ..ReceiverState::refusing(1..100)
    };
    let (sender, _receiver) = Sender::start(receiver).await;
    let first = parts(&[1, 20]);
    let delivered = sender.deliver(&first[..1], Counts::default()).await;
    assert!(delivered.stop.is_none());
    let delivered = sender.deliver(&first[1..], Counts::default()).await;
    assert!(matches!(
        delivered.stop,
        Some(Stop::Answered(Action::Hold { .. }))
    ));
    assert_eq!(delivered.decided, [Decided::default()]);
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_the_size_ends_after_some_minutes() {
    let knowledge = super::super::knowledge::Knowledge::new(ProtobufMessage::V1);
    let max = || knowledge.max_bytes(Instant::now());
    assert_eq!(max(), usize::MAX);
    knowledge.record_too_large(1 << 20, Instant::now());
    assert_eq!(max(), 512 << 10);
    knowledge.record_too_large(10, Instant::now());
    assert_eq!(max(), 16 << 10);
    tokio::time::advance(Duration::from_secs(601)).await;
    assert_eq!(max(), usize::MAX);
}

/// Some backends refuse empty requests. If they store samples, the address is right.
#[tokio::test]
async fn does_not_ask_a_backend_that_has_just_stored_samples() {
    let receiver = ReceiverState {
        refusal: (400, "no"),
        empty: 400,
        ..ReceiverState::refusing([3])
    };
    let (sender, receiver) = Sender::start(receiver).await;
    let first = parts(&[3, 2]);
    let delivered = sender.deliver(&first[..1], Counts::default()).await;
    assert!(delivered.stop.is_none());
    let delivered = sender.deliver(&first[1..], Counts::default()).await;
    assert_eq!(
        delivered.decided[0].verdict.rejected,
        [(Reason::Refused, 1)]
    );
    assert_eq!(receiver.stored(), [0, 1, 2, 4]);
}

#[tokio::test]
async fn a_backend_that_stores_the_rest_gets_one_post() {
    let receiver = ReceiverState {
        refusal: (
            400,
            "user=1: err: out of order sample. timestamp=0, series={i=\"7\"}",
        ),
        ..ReceiverState::refusing([7])
    };
    let (sender, receiver) = Sender::start(receiver).await;
    let delivered = sender.deliver(&parts(&[20, 20]), Counts::default()).await;
    assert!(delivered.stop.is_none());
    assert_eq!(delivered.decided[1].verdict, Verdict::default());
    assert!(rejected(&delivered)[0] >= 1);
    assert_eq!(receiver.posts(), 1);
}

#[tokio::test]
async fn a_hold_within_a_split_keeps_what_is_decided() {
    let receiver = ReceiverState {
        refusal: (401, "token expired"),
        max_series: 30,
        ..ReceiverState::refusing([80])
    };
    let (sender, receiver) = Sender::start(receiver).await;
    let delivered = sender.deliver(&parts(&[100]), Counts::default()).await;
    let Some(Stop::Answered(Action::Hold { status, .. })) = delivered.stop else {
        panic!("{delivered:?}")
    };
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let decided = &delivered.decided[0];
    assert_eq!(receiver.stored(), good(decided.series, &[]));
    assert!((1..=80).contains(&decided.series));
    assert_eq!(decided.verdict, Verdict::default());
}

/// The deadline ends a split (law 3); the sender gets the rest back.
#[tokio::test]
async fn stops_splitting_when_no_time_is_left_for_a_post() {
    let (sender, receiver) = Sender::start(ReceiverState::refusing([3])).await;
    let parts = parts(&[10, 10]);
    let min_post_time = Duration::from_secs(31);
    let delivered = sender
        .deliver_in_time(&parts, Counts::default(), min_post_time)
        .await;
    assert!(
        matches!(delivered.stop, Some(Stop::Unfinished(_))),
        "{delivered:?}"
    );
    assert_eq!(receiver.posts(), 1);
    assert!(
        delivered
            .decided
            .iter()
            .all(|decided| *decided == Decided::default())
    );
}
