//! Remote write 2.0 and the fallback to 1.0, against a scripted backend.

use std::{collections::VecDeque, time::Duration};

use axum::{Router, extract::State, response::IntoResponse, routing::post};
use mesh_contract::verdict::Reason;
use mesh_model::config::http::HttpClientConfig;
use parking_lot::Mutex;
use prost::Message;
use proto::{v1, v2};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    remote_write::part::{EncodedLabels, RequestLimits},
    translate::sink::{Capabilities, NativeHistograms, Sink, Times},
};

/// Version, content type and number of series of a request.
type Seen = (String, String, usize);

#[derive(Clone, Default)]
struct Backend(Arc<Mutex<BackendState>>);

#[derive(Default)]
struct BackendState {
    /// Status code and optional number of written samples of each response.
    script: VecDeque<(u16, Option<u64>)>,
    seen: Vec<Seen>,
}

// === impl Backend ===

impl Backend {
    async fn client(&self, message: ProtobufMessage) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(&listener, message);
        let routes = Router::new()
            .route("/", post(write))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        client
    }

    fn script(&self, answers: &[(u16, Option<u64>)]) {
        self.0.lock().script.extend(answers);
    }

    fn versions(&self) -> Vec<String> {
        let seen = &self.0.lock().seen;
        seen.iter().map(|(version, ..)| version.clone()).collect()
    }
}

fn client(backend: &TcpListener, message: ProtobufMessage) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let uri = format!("http://{}/", backend.local_addr().unwrap());
    Client::new(
        "backend".to_owned(),
        uri.parse().unwrap(),
        HttpClient::new(&HttpClientConfig::default()).unwrap(),
        None,
        message,
    )
}

/// Serves one connection: answers the first request and closes on the second. Returns the
/// second one.
async fn close_on_reuse(backend: &TcpListener) -> Vec<u8> {
    let (stream, _) = backend.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    read_request(&mut stream).await;
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    read_request(&mut stream).await
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.unwrap(), 0, "{head}");
    }
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    [head.into_bytes(), body].concat()
}

async fn write(
    State(backend): State<Backend>,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    let mut backend = backend.0.lock();
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (version, content_type) = (
        text("x-prometheus-remote-write-version"),
        text("content-type"),
    );
    let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let series = match version.as_str() {
        "2.0.0" => v2::Request::decode(plain.as_slice())
            .unwrap()
            .timeseries
            .len(),
        _ => v1::WriteRequest::decode(plain.as_slice())
            .unwrap()
            .timeseries
            .len(),
    };
    backend.seen.push((version, content_type, series));
    let (status, written) = backend.script.pop_front().unwrap_or((200, None));
    let status = StatusCode::from_u16(status).unwrap();
    match written {
        Some(written) => (
            status,
            [(
                "x-prometheus-remote-write-samples-written",
                written.to_string(),
            )],
        )
            .into_response(),
        None => status.into_response(),
    }
}

/// Part with two series.
fn part() -> RequestPart {
    let mut sink = Sink::new(Capabilities {
        native_histograms: NativeHistograms::None,
        inconsistent_histograms: false,
        exemplars: false,
        families: false,
        limits: RequestLimits {
            series: 10,
            bytes: 1 << 20,
        },
        max_age: None,
    });
    for name in ["a", "b"] {
        let series = EncodedLabels::new([("__name__", name)].into_iter());
        sink.float(
            series.as_ref(),
            Times {
                time_ms: 1,
                start_ms: 0,
            },
            1.0,
            &[],
            true,
        );
    }
    sink.finish().0.unwrap().parts.remove(0)
}

async fn post_one(client: &Client) -> Action {
    let deadline = Instant::now() + Duration::from_secs(10);
    client.post(&[&part()], deadline).await.unwrap().action
}

#[tokio::test]
async fn sends_version_2_and_reads_the_written_count() {
    let backend = Backend::default();
    let client = backend.client(ProtobufMessage::V2).await;
    backend.script(&[(200, Some(2)), (200, Some(1)), (400, Some(1))]);
    assert_eq!(post_one(&client).await, Action::Stored);
    for _ in 0..2 {
        match post_one(&client).await {
            Action::StoredInPart { reason, count, .. } => {
                assert_eq!((reason, count), (Reason::Refused, Some(1)));
            }
            other => panic!("{other:?}"),
        }
    }
    let content_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let want = ("2.0.0".to_owned(), content_type.to_owned(), 2);
    assert_eq!(backend.0.lock().seen, vec![want; 3]);
}

/// A success without the headers of 2.0 stored nothing: the backend skipped the unknown fields.
#[tokio::test]
async fn falls_back_to_version_1_and_loses_nothing() {
    for status in [200, 204, 415] {
        let backend = Backend::default();
        let client = backend.client(ProtobufMessage::V2).await;
        backend.script(&[(status, None)]);
        assert_eq!(post_one(&client).await, Action::Stored);
        assert_eq!(post_one(&client).await, Action::Stored);
        assert_eq!(backend.versions(), ["2.0.0", "0.1.0", "0.1.0"], "{status}");
        let seen = backend.0.lock().seen.clone();
        assert_eq!(
            seen[1],
            ("0.1.0".to_owned(), "application/x-protobuf".to_owned(), 2)
        );
    }
}

/// An empty request shows whether the backend refuses everything.
#[tokio::test]
async fn falls_back_after_the_400_of_a_version_1_receiver() {
    let backend = Backend::default();
    let client = backend.client(ProtobufMessage::V2).await;
    backend.script(&[(400, None)]);
    assert_eq!(post_one(&client).await, Action::Stored);
    assert_eq!(post_one(&client).await, Action::Stored);
    let sizes: Vec<_> = backend.0.lock().seen.iter().map(|seen| seen.2).collect();
    assert_eq!(backend.versions(), ["2.0.0", "0.1.0", "0.1.0", "0.1.0"]);
    assert_eq!(sizes, [2, 0, 2, 2]);
}

#[tokio::test]
async fn holds_if_an_empty_request_is_refused_too() {
    let backend = Backend::default();
    let client = backend.client(ProtobufMessage::V2).await;
    backend.script(&[(400, None), (400, None)]);
    match post_one(&client).await {
        Action::Hold {
            status,
            refuses_empty,
            ..
        } => assert_eq!((status.as_u16(), refuses_empty), (400, true)),
        other => panic!("{other:?}"),
    }
    assert_eq!(backend.versions(), ["2.0.0", "0.1.0"]);
}

#[tokio::test(start_paused = true)]
async fn tries_version_2_again_after_an_hour() {
    let knowledge = Knowledge::new(ProtobufMessage::V2);
    let next = || knowledge.next_protocol(Instant::now());
    assert_eq!(next(), ProtobufMessage::V2);
    knowledge.record_fallback("204", Instant::now());
    assert_eq!(next(), ProtobufMessage::V1);
    tokio::time::advance(Duration::from_secs(3601)).await;
    // One request only.
    assert_eq!([next(), next()], [ProtobufMessage::V2, ProtobufMessage::V1]);
    assert_eq!(knowledge.protocol(), ProtobufMessage::V1);
}

/// A backend that was updated is used with 2.0 again.
#[tokio::test]
async fn returns_to_version_2_once_the_backend_supports_it() {
    let backend = Backend::default();
    let client = backend.client(ProtobufMessage::V2).await;
    client
        .knowledge()
        .record_fallback("415", Instant::now() - Duration::from_secs(3601));
    backend.script(&[(200, Some(2)), (200, Some(2))]);
    assert_eq!(post_one(&client).await, Action::Stored);
    assert_eq!(post_one(&client).await, Action::Stored);
    assert_eq!(backend.versions(), ["2.0.0", "2.0.0"]);
}

#[tokio::test]
async fn logs_the_content_of_failed_requests_only_if_configured() {
    let backend = Backend::default();
    let quiet = backend.client(ProtobufMessage::V1).await;
    let client = backend.client(ProtobufMessage::V1).await;
    let client = client.with_failed_request_logging(true);
    let part = part();
    let parts = [&part];
    let deadline = Instant::now() + Duration::from_secs(10);
    let stored = client.post(&parts, deadline).await;
    assert_eq!(client.failed_request(&parts, &stored), None);
    backend.script(&[(400, None)]);
    let rejected = client.post(&parts, deadline).await;
    let (error, request) = client.failed_request(&parts, &rejected).unwrap();
    assert!(error.starts_with("400 Bad Request: "), "{error}");
    let values = request
        .timeseries
        .iter()
        .map(|s| s.labels[0].value.as_str());
    assert_eq!(values.collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(quiet.failed_request(&parts, &rejected), None);
    let expired = Err(PostError::DeadlineExceeded);
    let (error, _) = client.failed_request(&parts, &expired).unwrap();
    assert_eq!(error, "no response before the deadline");
}

#[tokio::test]
async fn version_1_does_not_fall_back() {
    let backend = Backend::default();
    let client = backend.client(ProtobufMessage::V1).await;
    backend.script(&[(415, None)]);
    assert!(matches!(post_one(&client).await, Action::Hold { .. }));
    assert_eq!(backend.versions(), ["0.1.0"]);
}

/// The page behind a redirect may answer a GET with 200.
#[tokio::test]
async fn a_redirect_to_a_page_is_no_delivery() {
    for (status, is_stored) in [
        (301, false),
        (302, false),
        (303, false),
        (307, true),
        (308, true),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(&listener, ProtobufMessage::V1);
        let moved = move || async move {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [(header::LOCATION, "/moved")]).into_response()
        };
        let routes = Router::new().route("/", post(moved)).route(
            "/moved",
            axum::routing::get(|| async { "Welcome" }).post(|| async {}),
        );
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let action = post_one(&client).await;
        match is_stored {
            true => assert_eq!(action, Action::Stored, "{status}"),
            false => assert!(
                matches!(action, Action::Hold { .. }),
                "{status}: {action:?}"
            ),
        }
    }
}

#[tokio::test]
async fn resends_a_post_whose_connection_ended_without_a_response() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&backend, ProtobufMessage::V1);
    let serving = tokio::spawn(async move {
        let lost = close_on_reuse(&backend).await;
        let (stream, _) = backend.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let resent = read_request(&mut stream).await;
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        (lost, resent)
    });
    assert_eq!(post_one(&client).await, Action::Stored);
    assert_eq!(post_one(&client).await, Action::Stored);
    let (lost, resent) = serving.await.unwrap();
    assert_eq!(lost, resent);
}

/// The backend may still process the first attempt (law 3).
#[tokio::test]
async fn a_resent_post_without_a_connection_is_in_flight() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&backend, ProtobufMessage::V1);
    let serving = tokio::spawn(async move {
        close_on_reuse(&backend).await;
        drop(backend);
    });
    assert_eq!(post_one(&client).await, Action::Stored);
    let deadline = Instant::now() + Duration::from_secs(10);
    let error = client.post(&[&part()], deadline).await.unwrap_err();
    assert!(matches!(error, PostError::Broken(_)), "{error}");
    assert!(!error.is_settled());
    serving.await.unwrap();
    let error = client.post(&[&part()], deadline).await.unwrap_err();
    assert!(matches!(error, PostError::Connect(_)), "{error}");
}
