//! Acknowledgements and retries of pushes.

use std::{pin::pin, time::Duration};

use futures::future::select;
use prost::Message;
use serde_json::Value;
use tonic::Code;

use crate::harness::{Gateway, JSON, PROTOBUF, gauge, now_nanos, number, one, push};

/// A push of one point in JSON.
fn json(name: &str) -> String {
    let time = now_nanos();
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"{name}",
           "gauge":{{"dataPoints":[{{"timeUnixNano":"{time}","asDouble":1}}]}}}}]}}]}}]}}"#
    )
}

#[tokio::test]
async fn sends_a_push_once_after_an_ack_timeout_and_a_retry() {
    let gateway = Gateway::start(&["--otlp.ack-timeout=1"]).await;
    gateway.exporter.let_answer(false);
    let (body, text) = (one("a").encode_to_vec(), json("b"));
    let answer = gateway.post(&[PROTOBUF], body.clone()).await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(answer.header("content-type"), PROTOBUF.1);
    let delay = mesh_contract::export::retry_delay(&answer.body);
    assert_eq!(delay, Some(Duration::from_secs(5)));
    let answer = gateway.post(&[JSON], text.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (504, "5")
    );
    let status: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(status["code"], Code::Unavailable as i32);
    assert_eq!(
        status["message"],
        "the backend has not acknowledged the data in time"
    );
    assert_eq!(status["details"][0]["retryDelay"], "5s");
    let mut client = gateway.grpc().await;
    let mut request = tonic::Request::new(one("c"));
    request.set_timeout(Duration::from_secs(2));
    // The gateway responds before the client's own timeout.
    let status = client.export(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let delay = mesh_contract::export::retry_delay(status.details());
    assert_eq!(delay, Some(Duration::from_secs(5)));
    // The first push is in flight. The others were queued behind it and are withdrawn.
    let withdrawn = "promesh_gateway_outbox_samples_expired_total{reason=\"withdrawn\"}";
    gateway.until(withdrawn, 2.0).await;
    gateway.exporter.let_answer(true);
    assert_eq!(gateway.post(&[PROTOBUF], body).await.status, 200);
    assert_eq!(gateway.post(&[JSON], text).await.status, 200);
    assert_eq!(
        gateway.metric("promesh_gateway_retries_joined_total").await,
        1.0
    );
    let stored = gateway.exporter.stored();
    let names: Vec<_> = stored.iter().map(|(_, m)| m.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test]
async fn withdraws_pushes_of_disconnected_clients() {
    let withdrawn = "promesh_gateway_outbox_samples_expired_total{reason=\"withdrawn\"}";
    let waiting = "promesh_gateway_outbox_samples_waiting";
    let gateway = Gateway::start(&["--outbox.max-in-flight-bytes=1"]).await;
    gateway.exporter.let_answer(false);
    let first = gateway.post(&[PROTOBUF], one("first").encode_to_vec());
    let giving_up = async {
        gateway.until(waiting, 1.0).await;
        // One client closes its HTTP/1.1 connection, another resets its gRPC stream.
        {
            let hung_up = pin!(gateway.post(&[PROTOBUF], one("second").encode_to_vec()));
            select(hung_up, pin!(gateway.until(waiting, 2.0))).await;
        }
        gateway.until(withdrawn, 1.0).await;
        let mut client = gateway.grpc().await;
        {
            let reset = pin!(client.export(one("third")));
            select(reset, pin!(gateway.until(waiting, 2.0))).await;
        }
        gateway.until(withdrawn, 2.0).await;
        gateway.exporter.let_answer(true);
    };
    let (answer, ()) = tokio::join!(first, giving_up);
    assert_eq!(answer.status, 200);
    gateway.until(waiting, 0.0).await;
    let stored = gateway.exporter.stored();
    let names: Vec<_> = stored.iter().map(|(_, m)| m.name.as_str()).collect();
    assert_eq!(names, ["first"]);
}

#[tokio::test]
async fn a_full_outbox_asks_for_a_retry() {
    let gateway = Gateway::start(&["--outbox.max-bytes=100"]).await;
    let large = push(vec![gauge(&"m".repeat(200), vec![number(1.0)])]);
    let answer = gateway.post(&[PROTOBUF], large.encode_to_vec()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (429, "5")
    );
    let status = gateway.grpc().await.export(large).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let delay = mesh_contract::export::retry_delay(status.details());
    assert_eq!(delay, Some(Duration::from_secs(5)));
}

#[tokio::test]
async fn acknowledges_from_the_outbox_with_ack_accepted() {
    let gateway = Gateway::start(&["--ack=accepted"]).await;
    gateway.exporter.let_answer(false);
    let answer = gateway.post(&[PROTOBUF], one("a").encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        gateway
            .metric("promesh_gateway_outbox_samples_waiting")
            .await,
        1.0
    );
    gateway.exporter.let_answer(true);
    gateway
        .until("promesh_gateway_outbox_samples_stored_total", 1.0)
        .await;
}

#[tokio::test]
async fn reports_rejected_points_in_every_encoding() {
    let gateway = Gateway::start(&[]).await;
    let bad = || {
        let mut point = number(1.0);
        point.time_unix_nano = 0;
        push(vec![gauge("a", vec![number(2.0), point])])
    };
    let message = "data points rejected: 1 malformed; metric \"a\": data point without a timestamp";
    let answer = gateway.post(&[PROTOBUF], bad().encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.partial_success(), Some((1, message.to_owned())));
    let answer = gateway.grpc().await.export(bad()).await.unwrap();
    let partial = answer.into_inner().partial_success.unwrap();
    assert_eq!(
        (partial.rejected_data_points, partial.error_message.as_str()),
        (1, message)
    );
    let text = json("a").replace("timeUnixNano", "someOtherTime");
    let answer = gateway.post(&[JSON], text).await;
    let partial: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(partial["partialSuccess"]["rejectedDataPoints"], "1");
    assert_eq!(partial["partialSuccess"]["errorMessage"], message);
    let rejected = "promesh_gateway_data_points_rejected_total{reason=\"malformed\"}";
    assert_eq!(gateway.metric(rejected).await, 3.0);
    assert_eq!(gateway.exporter.stored().len(), 2);
}
