//! Unusual values and attributes, and the identity of resources.

use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList, any_value::Value};
use prost::Message;

use crate::harness::{Gateway, PROTOBUF, attribute, gauge, now_nanos, number, one, push};

#[tokio::test]
async fn sends_unusual_values_and_attributes_unchanged() {
    let gateway = Gateway::start(&[]).await;
    let text = |text: &str| Value::StringValue(text.to_owned());
    let array = Value::ArrayValue(ArrayValue {
        values: vec![attribute("", text("a")).value.unwrap(), Default::default()],
    });
    let pairs = Value::KvlistValue(KeyValueList {
        values: vec![
            attribute("inner", Value::IntValue(1)),
            attribute("array", array.clone()),
        ],
    });
    let mut point = number(1.0);
    point.attributes = vec![
        attribute("string", text("a")),
        attribute("empty", text("")),
        attribute("enormous", text(&"x".repeat(1 << 20))),
        attribute("bool", Value::BoolValue(true)),
        attribute("int", Value::IntValue(i64::MIN)),
        attribute("double", Value::DoubleValue(f64::NAN)),
        attribute("bytes", Value::BytesValue(vec![0, 255])),
        attribute("array", array),
        attribute("pairs", pairs),
        attribute("twice", text("one")),
        attribute("twice", text("two")),
        attribute("", text("no name")),
    ];
    let points = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        f64::MIN_POSITIVE,
    ];
    let mut points: Vec<_> = points.into_iter().map(number).collect();
    points.push(point);
    // Points with different times would become several batches.
    let time = now_nanos();
    points
        .iter_mut()
        .for_each(|point| point.time_unix_nano = time);
    let sent = push(vec![gauge("a", points)]);
    let answer = gateway.post(&[PROTOBUF], sent.encode_to_vec()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.partial_success()),
        (200, None)
    );
    let (_, metric) = gateway.exporter.stored().remove(0);
    let before = &sent.resource_metrics[0].scope_metrics[0].metrics[0];
    // NaN is not equal to itself, so compare the encoded bytes.
    assert_eq!(metric.encode_to_vec(), before.encode_to_vec());
}

#[tokio::test]
async fn fills_in_a_missing_instance_id_from_the_client_address() {
    let instance = async |flags: &[&str]| {
        let gateway = Gateway::start(flags).await;
        let headers = [PROTOBUF, ("x-forwarded-for", "10.0.0.1")];
        let answer = gateway.post(&headers, one("a").encode_to_vec()).await;
        assert_eq!(answer.status, 200);
        let (resource, _) = gateway.exporter.stored().remove(0);
        let mut attributes = resource.attributes.into_iter();
        attributes
            .next()
            .map(|pair| (pair.key, pair.value.unwrap().value.unwrap()))
    };
    let named = |address: &str| {
        let value = Value::StringValue(address.to_owned());
        Some(("service.instance.id".to_owned(), value))
    };
    assert_eq!(instance(&[]).await, named("127.0.0.1"));
    assert_eq!(
        instance(&["--identity.trust-forwarded-for"]).await,
        named("10.0.0.1")
    );
    assert_eq!(instance(&["--identity.source=none"]).await, None);
}

#[tokio::test]
async fn detects_two_writers_of_one_series() {
    let gateway = Gateway::start(&[]).await;
    for start in [1, 2, 1, 2] {
        let mut point = number(1.0);
        point.start_time_unix_nano = start;
        let body = push(vec![gauge("a", vec![point])]).encode_to_vec();
        assert_eq!(gateway.post(&[PROTOBUF], body).await.status, 200);
    }
    let conflicts = "promesh_gateway_writer_conflicts_total";
    assert_eq!(gateway.metric(conflicts).await, 2.0);
    assert_eq!(gateway.metric("promesh_gateway_writer_streams").await, 1.0);
}
