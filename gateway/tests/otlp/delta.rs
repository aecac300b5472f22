//! Conversion of delta temporality to cumulative, with one gateway and with two.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use mesh_model::config::{
    Secret,
    http::{HttpClientConfig, PemSource, TlsConfig},
};
use mesh_net::http_client::HttpClient;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::any_value::Value,
    metrics::v1::{
        AggregationTemporality, Metric, NumberDataPoint, Sum, metric::Data, number_data_point,
    },
};
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpSocket;
use tonic::{Code, metadata::MetadataValue};

use crate::harness::{Exporter, Gateway, PROTOBUF, attribute, now_nanos, push};

const STREAMS: usize = 20;

/// A delta of 1 for each stream, in second number `round` after `begin`.
fn deltas(streams: usize, begin: u64, round: u64) -> ExportMetricsServiceRequest {
    let second = 1_000_000_000;
    let point = |stream: usize| NumberDataPoint {
        attributes: vec![attribute("stream", Value::IntValue(stream as i64))],
        start_time_unix_nano: begin + round * second,
        time_unix_nano: begin + (round + 1) * second,
        value: Some(number_data_point::Value::AsInt(1)),
        ..Default::default()
    };
    let sum = Sum {
        data_points: (0..streams).map(point).collect(),
        aggregation_temporality: AggregationTemporality::Delta.into(),
        is_monotonic: true,
    };
    push(vec![Metric {
        name: "requests".to_owned(),
        data: Some(Data::Sum(sum)),
        ..Default::default()
    }])
}

/// Totals by stream and time. Asserts that all are cumulative and start at `begin`.
fn totals(exporter: &Exporter, begin: u64) -> BTreeMap<(i64, u64), i64> {
    let mut totals = BTreeMap::new();
    for (_, metric) in exporter.stored() {
        let Some(Data::Sum(sum)) = metric.data else {
            panic!("{metric:?}")
        };
        let cumulative = AggregationTemporality::Cumulative as i32;
        assert_eq!(sum.aggregation_temporality, cumulative);
        for point in sum.data_points {
            assert_eq!(point.start_time_unix_nano, begin);
            let stream = point.attributes[0].value.as_ref().unwrap().value.as_ref();
            let Some(Value::IntValue(stream)) = stream else {
                panic!("{point:?}")
            };
            let Some(number_data_point::Value::AsInt(total)) = point.value else {
                panic!("{point:?}")
            };
            let before = totals.insert((*stream, point.time_unix_nano), total);
            assert!(before.is_none_or(|before| before == total));
        }
    }
    totals
}

fn expected(streams: usize, begin: u64, rounds: u64) -> BTreeMap<(i64, u64), i64> {
    let all = (0..streams).flat_map(|stream| (0..rounds).map(move |round| (stream, round)));
    all.map(|(stream, round)| {
        let time = begin + (round + 1) * 1_000_000_000;
        ((stream as i64, time), round as i64 + 1)
    })
    .collect()
}

#[tokio::test]
async fn counts_each_delta_once() {
    let gateway = Gateway::start(&[]).await;
    let begin = now_nanos() - 100_000_000_000;
    for round in 0..3 {
        let body = deltas(2, begin, round).encode_to_vec();
        // An SDK sends the same data again after a timeout.
        for _ in 0..2 {
            let answer = gateway.post(&[PROTOBUF], body.clone()).await;
            assert_eq!(
                (answer.status.as_u16(), answer.partial_success()),
                (200, None)
            );
        }
    }
    assert_eq!(totals(&gateway.exporter, begin), expected(2, begin, 3));
    for (outcome, points) in [("counted", 6.0), ("repeated", 6.0)] {
        let name = format!("promesh_gateway_delta_points_total{{outcome=\"{outcome}\"}}");
        assert_eq!(gateway.metric(&name).await, points);
    }
    assert_eq!(gateway.metric("promesh_gateway_delta_streams").await, 2.0);
    // A late delta is rejected and reported.
    let late = deltas(2, begin - 1, 0).encode_to_vec();
    let (points, message) = gateway
        .post(&[PROTOBUF], late)
        .await
        .partial_success()
        .unwrap();
    assert_eq!(points, 2);
    assert!(
        message.contains("2 out_of_order; metric \"requests\": delta"),
        "{message}"
    );
}

#[tokio::test]
async fn counts_a_delta_once_after_an_ack_timeout() {
    let gateway = Gateway::start(&["--otlp.ack-timeout=1"]).await;
    gateway.exporter.let_answer(false);
    let begin = now_nanos() - 100_000_000_000;
    let body = deltas(2, begin, 0).encode_to_vec();
    assert_eq!(gateway.post(&[PROTOBUF], body.clone()).await.status, 504);
    gateway.exporter.let_answer(true);
    assert_eq!(gateway.post(&[PROTOBUF], body).await.status, 200);
    let next = deltas(2, begin, 1).encode_to_vec();
    assert_eq!(gateway.post(&[PROTOBUF], next).await.status, 200);
    assert_eq!(totals(&gateway.exporter, begin), expected(2, begin, 2));
}

#[tokio::test]
async fn reports_rejected_deltas() {
    let begin = now_nanos() - 100_000_000_000;
    for (flag, refused, message) in [
        (
            "--delta.mode=refuse",
            3,
            "3 unsupported; metric \"requests\": delta temporality, which --delta.mode=refuse rejects",
        ),
        (
            "--delta.max-streams=1",
            2,
            "2 delta_stream_limit; metric \"requests\": new delta stream \
             beyond --delta.max-streams or --delta.max-bytes",
        ),
    ] {
        let gateway = Gateway::start(&[flag]).await;
        let body = deltas(3, begin, 0).encode_to_vec();
        let answer = gateway.post(&[PROTOBUF], body).await;
        let expected = format!("data points rejected: {message}");
        assert_eq!(
            answer.partial_success(),
            Some((refused, expected)),
            "{flag}"
        );
        assert_eq!(totals(&gateway.exporter, begin).len(), 3 - refused as usize);
    }
}

/// Reserves an address while the returned socket lives. A listener that names the address
/// explicitly can still bind it.
fn reserve() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Starts two gateways that are peers, with one exporter.
async fn pair(flags: &[String]) -> (Gateway, Gateway) {
    let exporter = Exporter::start().await;
    let ((_a, a), (_b, b)) = (reserve(), reserve());
    let start = async |own: SocketAddr| {
        let mut all = vec![
            format!("--otlp.grpc.listen-address={own}"),
            format!("--gateway.self={own}"),
            format!("--gateway.members={a},{b}"),
        ];
        all.extend_from_slice(flags);
        Gateway::with_exporter(exporter.clone(), &all).await
    };
    (start(a).await, start(b).await)
}

/// Retries a push as an SDK does, until it succeeds.
async fn push_with_retries<E: std::fmt::Debug>(mut push: impl AsyncFnMut() -> Result<u16, E>) {
    let accepted = async {
        loop {
            match push().await.unwrap() {
                200 => return,
                429 | 502 | 503 | 504 => tokio::time::sleep(Duration::from_millis(200)).await,
                other => panic!("{other}"),
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), accepted).await;
    waited.expect("the gateways never accepted the push");
}

#[tokio::test]
async fn two_gateways_keep_one_total_per_stream() {
    let (a, b) = pair(&[]).await;
    let begin = now_nanos() - 100_000_000_000;
    for round in 0..4 {
        let gateway = [&a, &b][round as usize % 2];
        let body = deltas(STREAMS, begin, round).encode_to_vec();
        push_with_retries(async || {
            let answer = gateway.post(&[PROTOBUF], body.clone()).await;
            Ok::<_, ()>(answer.status.as_u16())
        })
        .await;
    }
    assert_eq!(totals(&a.exporter, begin), expected(STREAMS, begin, 4));
    let streams = "promesh_gateway_delta_streams";
    let (of_a, of_b) = (a.metric(streams).await, b.metric(streams).await);
    assert!(
        of_a > 0.0 && of_b > 0.0 && of_a + of_b == STREAMS as f64,
        "{of_a} {of_b}"
    );
    // A forwarded push is not forwarded again.
    let mut request = tonic::Request::new(deltas(STREAMS, begin, 4));
    let hop = MetadataValue::from_static("1");
    request.metadata_mut().insert("promesh-hop", hop);
    let status = a.grpc().await.export(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        status.message(),
        "these streams are moving to another gateway"
    );
    // Without the other gateway its streams must wait.
    b.stop().await;
    let body = deltas(STREAMS, begin, 5).encode_to_vec();
    let answer = a.post(&[PROTOBUF], body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (502, "2")
    );
}

#[tokio::test]
async fn gateways_authenticate_to_each_other_by_certificate_and_token() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let key = KeyPair::generate().unwrap();
    let names = vec!["gateway.example".to_owned(), "127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let (cert, key_file) = (
        write("cert.pem", &certificate),
        write("key.pem", &key.serialize_pem()),
    );
    let token = write("token", "secret\n");
    let (a, b) = pair(&[
        format!("--tls.cert-file={cert}"),
        format!("--tls.key-file={key_file}"),
        format!("--tls.client-ca-file={cert}"),
        format!("--gateway.tls-ca-file={cert}"),
        "--gateway.tls-server-name=gateway.example".to_owned(),
        format!("--auth.bearer-token-file={token}"),
    ])
    .await;
    let pem = |pem: &str| Some(PemSource::Inline(Secret::new(pem)));
    let client = HttpClient::new(&HttpClientConfig {
        tls: TlsConfig {
            ca: pem(&certificate),
            cert: pem(&certificate),
            key: pem(&key.serialize_pem()),
            ..Default::default()
        },
        ..Default::default()
    })
    .unwrap();
    let begin = now_nanos() - 100_000_000_000;
    for round in 0..2 {
        let address = [&a, &b][round as usize].addresses.http;
        let body = Bytes::from(deltas(STREAMS, begin, round).encode_to_vec());
        push_with_retries(async || {
            let request = Request::post(format!("https://{address}/v1/metrics"))
                .header(PROTOBUF.0, PROTOBUF.1)
                .header("authorization", "Bearer secret")
                .body(body.clone())
                .unwrap();
            let answer = client.request(request).await;
            answer.map(|answer| answer.status().as_u16())
        })
        .await;
    }
    assert_eq!(totals(&a.exporter, begin), expected(STREAMS, begin, 2));
}
