//! Malformed, oversized and compressed bodies.

use std::io::Write;

use bytes::Bytes;
use prost::Message;
use tonic::{Code, codec::CompressionEncoding};

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use crate::harness::{Gateway, JSON, PROTOBUF, attribute, gauge, number, one, push};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn framed_snappy(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.into_inner().unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zstd frame that requires a window of 128 MiB.
fn wide_zstd() -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&one("a").encode_to_vec()).unwrap();
    encoder.finish().unwrap()
}

/// A resource attribute with `depth` nested arrays.
fn nested(depth: usize) -> Vec<u8> {
    let wrap = |tag: u8, bytes: Vec<u8>| {
        let mut wrapped = vec![tag << 3 | 2];
        let mut len = bytes.len();
        while len >= 0x80 {
            wrapped.push(len as u8 | 0x80);
            len >>= 7;
        }
        wrapped.push(len as u8);
        wrapped.extend(bytes);
        wrapped
    };
    let mut value = Vec::new();
    for _ in 0..depth {
        value = wrap(5, wrap(1, value));
    }
    // KeyValue.value of Resource.attributes of ResourceMetrics.resource.
    wrap(1, wrap(1, wrap(1, wrap(2, value))))
}

#[tokio::test]
async fn rejects_bad_bodies_permanently_and_counts_them() {
    let flags = [
        "--otlp.max-compressed-bytes=100000",
        "--otlp.max-bytes=1000000",
    ];
    let gateway = Gateway::start(&flags).await;
    let good = one("good").encode_to_vec();
    let bomb = vec![0; 10_000_000];
    let json = |text: &str| (JSON, "", text.as_bytes().to_vec());
    let protobuf = |encoding, body: Vec<u8>| (PROTOBUF, encoding, body);
    let deep_json = "{\"resourceMetrics\":".to_owned() + &"[".repeat(50_000);
    let cases = [
        (protobuf("", b"\xff\xff\xff".to_vec()), 400, "malformed"),
        (
            protobuf("", good[..good.len() - 1].to_vec()),
            400,
            "malformed",
        ),
        // A length beyond the end, an unknown wire type.
        (
            protobuf("", b"\x0a\xff\xff\xff\xff\x0f".to_vec()),
            400,
            "malformed",
        ),
        (protobuf("", b"\x0f".to_vec()), 400, "malformed"),
        (protobuf("", nested(1000)), 400, "malformed"),
        (protobuf("", vec![0; 100_001]), 413, "too_large"),
        (protobuf("gzip", gzip(&bomb)), 413, "too_large"),
        (protobuf("zstd", zstd(&bomb)), 413, "too_large"),
        (protobuf("deflate", deflate(&bomb)), 413, "too_large"),
        // 10 MB in a block of snappy are 470 KB; only the size that it declares is small.
        (
            protobuf("snappy", snappy(&bomb[..1_500_000])),
            413,
            "too_large",
        ),
        (
            protobuf("snappy", b"\xff\xff\xff\xff\x0f".to_vec()),
            413,
            "too_large",
        ),
        (
            protobuf("snappy", framed_snappy(&bomb[..1_500_000])),
            413,
            "too_large",
        ),
        (protobuf("lz4", lz4(&bomb)), 413, "too_large"),
        (protobuf("zstd", wide_zstd()), 400, "malformed"),
        (protobuf("gzip", good.clone()), 400, "malformed"),
        (protobuf("zstd", good.clone()), 400, "malformed"),
        (protobuf("deflate", good.clone()), 400, "malformed"),
        (protobuf("snappy", good.clone()), 400, "malformed"),
        (protobuf("lz4", good.clone()), 400, "malformed"),
        (
            protobuf("lz4", lz4(&good)[..lz4(&good).len() - 4].to_vec()),
            400,
            "malformed",
        ),
        (
            protobuf("gzip", gzip(&good)[..20].to_vec()),
            400,
            "malformed",
        ),
        (
            protobuf("deflate", [deflate(&good), vec![1]].concat()),
            400,
            "malformed",
        ),
        (protobuf("br", good.clone()), 415, "encoding"),
        (protobuf("gzip, gzip", gzip(&gzip(&good))), 415, "encoding"),
        (json(""), 400, "malformed"),
        (json("{"), 400, "malformed"),
        (json("[]"), 400, "malformed"),
        (json("{\"resourceMetrics\": 1}"), 400, "malformed"),
        (json("{} {}"), 400, "malformed"),
        (json("\u{1}"), 400, "malformed"),
        (json(&deep_json), 400, "malformed"),
        ((JSON, "", b"{\"\xc3\x28\": 1}".to_vec()), 400, "malformed"),
        (
            (("content-type", "text/plain"), "", good.clone()),
            415,
            "content_type",
        ),
        ((("x", "y"), "", good.clone()), 415, "content_type"),
    ];
    for (i, ((kind, encoding, body), status, reason)) in cases.into_iter().enumerate() {
        let counter = format!(
            "promesh_gateway_requests_refused_total{{protocol=\"http\",reason=\"{reason}\"}}"
        );
        let before = gateway.metric(&counter).await;
        let mut headers = vec![kind];
        if !encoding.is_empty() {
            headers.push(("content-encoding", encoding));
        }
        let answer = gateway.post(&headers, body).await;
        let case = format!("case {i}: {encoding} {}", answer.text());
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(answer.header("retry-after"), "", "{case}");
        assert!(!answer.body.is_empty(), "{case}");
        if kind == PROTOBUF || kind == JSON {
            assert_eq!(answer.header("content-type"), kind.1, "{case}");
        }
        assert_eq!(gateway.metric(&counter).await, before + 1.0, "{case}");
    }
    assert!(gateway.exporter.stored().is_empty());
    // Valid bodies are still accepted, and no memory stays reserved.
    for (encoding, body) in [
        ("identity", good.clone()),
        ("gzip", gzip(&good)),
        ("GZIP", gzip(&good)),
        ("x-gzip", gzip(&good)),
        ("zstd", zstd(&good)),
        ("deflate", deflate(&good)),
        ("zlib", deflate(&good)),
        ("snappy", snappy(&good)),
        ("snappy", framed_snappy(&good)),
        ("x-snappy-framed", framed_snappy(&good)),
        ("Lz4", lz4(&good)),
    ] {
        let answer = gateway
            .post(&[PROTOBUF, ("content-encoding", encoding)], body)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(
        gateway.metric("promesh_gateway_push_memory_bytes").await,
        0.0
    );
}

/// A push whose metric `kept` has an attribute that is not UTF-8, and whose metric `name@` has
/// two points and a name that is not UTF-8.
fn invalid_text() -> Vec<u8> {
    let mut kept = number(1.0);
    kept.attributes = vec![attribute("a", Value::StringValue("caf@".to_owned()))];
    let spoilt = gauge("name@", vec![number(1.0), number(2.0)]);
    let body = push(vec![gauge("kept", vec![kept]), spoilt]).encode_to_vec();
    let spoil = |byte| if byte == b'@' { 0xe9 } else { byte };
    body.into_iter().map(spoil).collect()
}

#[tokio::test]
async fn repairs_text_that_is_not_utf8_over_http_and_grpc() {
    let gateway = Gateway::start(&[]).await;
    let answer = gateway.post(&[PROTOBUF], invalid_text()).await;
    let (rejected, message) = answer.partial_success().unwrap();
    assert_eq!(rejected, 2, "{message}");
    let expected = "2 invalid_name; metric \"name\u{fffd}\": the name is not valid UTF-8";
    assert!(message.contains(expected), "{message}");
    let answer = gateway.grpc_raw(&invalid_text()).await;
    assert_eq!(answer.rejected_data_points, 2);
    assert_eq!(answer.error_message, message);
    let stored = gateway.exporter.stored();
    assert_eq!(stored.len(), 2);
    for (_, metric) in stored {
        assert_eq!(metric.name, "kept");
        assert!(format!("{metric:?}").contains("caf\u{fffd}"), "{metric:?}");
    }
    let repaired = gateway
        .metric("promesh_gateway_pushes_repaired_total")
        .await;
    assert_eq!(repaired, 2.0);
}

#[tokio::test]
async fn refuses_a_push_whose_parts_would_exceed_the_memory_budget() {
    let gateway = Gateway::start(&["--otlp.memory-budget=8MiB"]).await;
    let point = |ago: u64| {
        let mut point = number(1.0);
        point.time_unix_nano -= ago * 1_000_000;
        point
    };
    // Each point travels with the whole description.
    let mut metric = gauge("m", (0..100).map(point).collect());
    metric.description = "d".repeat(1_000_000);
    let body = push(vec![metric.clone()]).encode_to_vec();
    let answer = gateway.post(&[PROTOBUF], body).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(answer.text().contains("once split"), "{}", answer.text());
    metric.description.truncate(1000);
    let body = push(vec![metric]).encode_to_vec();
    let answer = gateway.post(&[PROTOBUF], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(gateway.exporter.stored().len(), 100);
    let memory = gateway.metric("promesh_gateway_push_memory_bytes").await;
    assert_eq!(memory, 0.0);
}

#[tokio::test]
async fn grpc_rejects_large_bodies_permanently() {
    let flags = [
        "--otlp.max-compressed-bytes=100000",
        "--otlp.max-bytes=1000000",
    ];
    let gateway = Gateway::start(&flags).await;
    let large = push(vec![gauge(&"m".repeat(200_000), vec![number(1.0)])]);
    let bomb = push(vec![gauge(&"m".repeat(10_000_000), vec![number(1.0)])]);
    let client = gateway.grpc().await;
    for (compression, request, message) in [
        (None, &large, "the body is larger than 100000 bytes"),
        (
            Some(CompressionEncoding::Gzip),
            &bomb,
            "the body is larger than 1000000 bytes once decompressed",
        ),
        (
            Some(CompressionEncoding::Zstd),
            &bomb,
            "the body is larger than 1000000 bytes once decompressed",
        ),
    ] {
        let mut client = match compression {
            Some(compression) => client.clone().send_compressed(compression),
            None => client.clone(),
        };
        let status = client.export(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(status.message(), message);
    }
    for compression in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = client.clone().send_compressed(compression);
        let name = format!("{compression}");
        client.export(one(&name)).await.unwrap();
    }
    assert_eq!(gateway.exporter.stored().len(), 2);
}

/// An empty point takes 2 bytes on the wire and about 100 bytes in memory.
#[tokio::test]
async fn rejects_a_body_that_decodes_beyond_the_memory_budget() {
    let gateway = Gateway::start(&["--otlp.memory-budget=1000000"]).await;
    let points = vec![Default::default(); 100_000];
    let body = push(vec![gauge("a", points)]).encode_to_vec();
    assert!(body.len() < 300_000);
    let json = "{\"resourceMetrics\":[".to_owned() + &"{},".repeat(50_000) + "{}]}";
    for (kind, body) in [(PROTOBUF, Bytes::from(body)), (JSON, Bytes::from(json))] {
        let answer = gateway.post(&[kind], body).await;
        assert_eq!(answer.status, 413, "{}", answer.text());
        let message = "the body is larger than 1000448 bytes once decoded";
        assert!(answer.text().contains(message), "{}", answer.text());
    }
}

#[tokio::test]
async fn rejects_unknown_methods_and_paths() {
    let gateway = Gateway::start(&[]).await;
    let answer = gateway.request("GET", &[], "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("allow")),
        (405, "POST, OPTIONS")
    );
    for (path, message) in [
        ("/v1/traces", "promesh supports metrics only"),
        ("/api/v1/otlp/v1/logs", "promesh supports metrics only"),
        ("/", "not found; send metrics to /v1/metrics"),
    ] {
        let url = format!("http://{}{path}", gateway.addresses.http);
        let answer = crate::harness::request(&url, "POST", &[PROTOBUF], Bytes::new()).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.text().trim(), message);
    }
}

#[tokio::test]
async fn accepts_pushes_under_the_path_of_prometheus() {
    let gateway = Gateway::start(&[]).await;
    let url = format!("http://{}/api/v1/otlp/v1/metrics", gateway.addresses.http);
    let body = Bytes::from(one("a").encode_to_vec());
    let answer = crate::harness::request(&url, "POST", &[PROTOBUF], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(gateway.exporter.stored().len(), 1);
}
