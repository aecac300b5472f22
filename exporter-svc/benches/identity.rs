//! Benchmarks the translation of scraped data with 10 000 samples per iteration.
//!
//! Run with `cargo bench -p exporter-svc`. Without relabeling rules, labels are copied
//! from attributes. With rules they come from the cache, except in the first scrape of
//! a new exporter.

use std::sync::Arc;

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use exporter_svc::{
    remote_write::part::RequestLimits,
    translate::{
        Translator,
        otlp::OtlpRules,
        sink::{Capabilities, NativeHistograms},
    },
};
use mesh_contract::batch::{BatchContext, Ha, Origin};
use mesh_model::config::{
    relabel::{Action, RelabelConfig},
    remote_write::OtlpConfig,
};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
};
use prost::Message;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const METRICS: usize = 100;
const SERIES: usize = 100;

fn main() {
    divan::main();
}

/// Rule that must see every label and changes none.
fn rule() -> RelabelConfig {
    RelabelConfig {
        regex: "shard_of_old".parse().unwrap(),
        action: Action::LabelDrop,
        ..Default::default()
    }
}

fn translator(write_relabel: Vec<RelabelConfig>) -> Translator {
    let capabilities = Capabilities {
        native_histograms: NativeHistograms::Exponential,
        inconsistent_histograms: false,
        exemplars: false,
        families: false,
        limits: RequestLimits {
            series: 10_000,
            bytes: 1 << 20,
        },
        max_age: None,
    };
    let rules = OtlpRules::new(OtlpConfig::default());
    Translator::new(capabilities, write_relabel.into(), rules, 256 << 20)
}

/// Scrape with 100 metrics of 100 series with eight labels each.
fn scrape() -> Bytes {
    let attribute = |key: &str, value: String| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value)),
        }),
        ..Default::default()
    };
    let point = |i: usize| NumberDataPoint {
        attributes: vec![
            attribute("code", format!("{}", 200 + i % 5)),
            attribute("handler", format!("/api/v1/things/{}", i % 20)),
            attribute("instance", "10.11.12.13:9100".to_owned()),
            attribute("job", "kubernetes-pods".to_owned()),
            attribute("method", "GET".to_owned()),
            attribute("namespace", "production".to_owned()),
            attribute("pod", "frontend-7d9c5b8f6-x2x7p".to_owned()),
            attribute("shard", i.to_string()),
        ],
        time_unix_nano: 1_795_437_296_000_000_000,
        value: Some(number_data_point::Value::AsDouble(i as f64 * 1.5)),
        ..Default::default()
    };
    let metric = |n: usize| Metric {
        name: format!("http_server_requests_of_kind_{n}_total"),
        data: Some(Data::Gauge(Gauge {
            data_points: (0..SERIES).map(point).collect(),
        })),
        ..Default::default()
    };
    let metrics = (0..METRICS).map(metric).collect();
    let scope_metrics = vec![ScopeMetrics {
        metrics,
        ..Default::default()
    }];
    ResourceMetrics {
        scope_metrics,
        ..Default::default()
    }
    .encode_to_vec()
    .into()
}

fn batch_context() -> Arc<BatchContext> {
    let ha = Ha {
        cluster: "eu-1".to_owned(),
        replica: "a".to_owned(),
    };
    Arc::new(BatchContext {
        origin: Origin::Scrape,
        ha: Some(ha),
        ..Default::default()
    })
}

#[divan::bench]
fn without_rules(bencher: Bencher<'_, '_>) {
    let (translator, context, scrape) = (translator(vec![]), batch_context(), [scrape()]);
    bencher
        .counter(ItemsCount::new(METRICS * SERIES))
        .bench(|| translator.translate(&context, &scrape).unwrap());
}

#[divan::bench]
fn with_rules(bencher: Bencher<'_, '_>) {
    let (translator, context, scrape) = (translator(vec![rule()]), batch_context(), [scrape()]);
    translator.translate(&context, &scrape).unwrap();
    bencher
        .counter(ItemsCount::new(METRICS * SERIES))
        .bench(|| translator.translate(&context, &scrape).unwrap());
}

#[divan::bench]
fn with_rules_at_first(bencher: Bencher<'_, '_>) {
    let (context, scrape) = (batch_context(), [scrape()]);
    bencher
        .counter(ItemsCount::new(METRICS * SERIES))
        .with_inputs(|| translator(vec![rule()]))
        .bench_refs(|translator| translator.translate(&context, &scrape).unwrap());
}
