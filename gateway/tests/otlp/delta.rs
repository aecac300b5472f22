//! Delta temporality becomes cumulative, whichever gateway it comes to.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use mesh::{
    config::{
        Secret,
        http::{HttpClientConfig, PemSource, TlsConfig},
    },
    http_client::HttpClient,
};
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

/// A delta of 1 for each of the streams, in the `round`-th second.
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

/// The totals of each stream by time, all cumulative and since `begin`.
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
async fn deltas_are_summed_up_and_counted_once() {
    let gateway = Gateway::start(&[]).await;
    let begin = now_nanos() - 100_000_000_000;
    for round in 0..3 {
        let body = deltas(2, begin, round).encode_to_vec();
        // An SDK that has not heard sends the same again.
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
    // What is late is refused, and told.
    let late = deltas(2, begin - 1, 0).encode_to_vec();
    let (points, words) = gateway
        .post(&[PROTOBUF], late)
        .await
        .partial_success()
        .unwrap();
    assert_eq!(points, 2);
    assert!(
        words.contains("2 out_of_order; metric \"requests\": a delta"),
        "{words}"
    );
}

#[tokio::test]
async fn a_delta_whose_fate_was_unknown_is_counted_once() {
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
async fn what_is_not_summed_is_told() {
    let begin = now_nanos() - 100_000_000_000;
    for (flag, refused, words) in [
        (
            "--delta.mode=refuse",
            3,
            "3 unsupported; metric \"requests\": delta temporality, which --delta.mode refuses",
        ),
        (
            "--delta.max-streams=1",
            2,
            "2 delta_stream_limit; metric \"requests\": a new stream, \
             and the gateway keeps as many totals as it may",
        ),
    ] {
        let gateway = Gateway::start(&[flag]).await;
        let body = deltas(3, begin, 0).encode_to_vec();
        let answer = gateway.post(&[PROTOBUF], body).await;
        let expected = format!("data points rejected for good: {words}");
        assert_eq!(
            answer.partial_success(),
            Some((refused, expected)),
            "{flag}"
        );
        assert_eq!(totals(&gateway.exporter, begin).len(), 3 - refused as usize);
    }
}

/// An address that only who names it gets: it is bound for as long as this is
/// kept, and free to those that listen on it.
fn reserve() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Two gateways that know each other, before one exporter.
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
        Gateway::before(exporter.clone(), &all).await
    };
    (start(a).await, start(b).await)
}

/// Sends as an SDK does: again, as long as it is told to come back.
async fn insist<E: std::fmt::Debug>(mut push: impl AsyncFnMut() -> Result<u16, E>) {
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
    waited.expect("the gateways never took it");
}

#[tokio::test]
async fn a_stream_has_one_total_whichever_gateway_it_comes_to() {
    let (a, b) = pair(&[]).await;
    let begin = now_nanos() - 100_000_000_000;
    for round in 0..4 {
        let gateway = [&a, &b][round as usize % 2];
        let body = deltas(STREAMS, begin, round).encode_to_vec();
        insist(async || {
            let answer = gateway.post(&[PROTOBUF], body.clone()).await;
            Ok::<_, ()>(answer.status.as_u16())
        })
        .await;
    }
    assert_eq!(totals(&a.exporter, begin), expected(STREAMS, begin, 4));
    let kept = "promesh_gateway_delta_streams";
    let (of_a, of_b) = (a.metric(kept).await, b.metric(kept).await);
    assert!(
        of_a > 0.0 && of_b > 0.0 && of_a + of_b == STREAMS as f64,
        "{of_a} {of_b}"
    );
    // What was passed on goes no further.
    let mut request = tonic::Request::new(deltas(STREAMS, begin, 4));
    let hop = MetadataValue::from_static("1");
    request.metadata_mut().insert("promesh-hop", hop);
    let status = a.grpc().await.export(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        status.message(),
        "these streams are moving to another gateway"
    );
    // Without the other one its streams have to wait.
    b.stop().await;
    let body = deltas(STREAMS, begin, 5).encode_to_vec();
    let answer = a.post(&[PROTOBUF], body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (502, "2")
    );
}

#[tokio::test]
async fn gateways_know_each_other_by_certificate_and_token() {
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
        insist(async || {
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
