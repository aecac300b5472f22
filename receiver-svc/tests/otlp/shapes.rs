//! Checks the metrics that third-party OTLP readers see.

use mesh_model::labels::Labels;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Metric, metric::Data},
};
use prost::Message;
use receiver_svc::{
    exposition::ParserOptions,
    otlp::{self, Resource},
    scrape::{Cache, InOrder, Scrape},
};

use crate::round_trip::{NOW_MS, options};

/// Encodes an OpenMetrics body. Describes each metric by its name, data type, number of
/// points and metadata keys.
fn shapes(parser: ParserOptions, body: &str) -> Vec<String> {
    let (options, target) = (options(parser), Labels::default());
    let mut cache = Cache::new();
    let storage = InOrder::at(NOW_MS);
    let mut scrape = Scrape::begin(&mut cache, &options, &target, storage, NOW_MS);
    let content_type = Some("application/openmetrics-text");
    scrape
        .append(content_type, format!("{body}# EOF\n").as_bytes())
        .unwrap();
    let parts = otlp::encode(&scrape.commit(), &Resource::new("j", "i"), 1 << 20);
    let payload: Vec<u8> = parts
        .iter()
        .flat_map(|part| part.payload.to_vec())
        .collect();
    let request = ExportMetricsServiceRequest::decode(payload.as_slice()).unwrap();
    let resources = request.resource_metrics.into_iter();
    let scopes = resources.flat_map(|resource| resource.scope_metrics);
    scopes
        .flat_map(|scope| scope.metrics)
        .map(|metric| shape(&metric))
        .collect()
}

fn shape(metric: &Metric) -> String {
    let (kind, points) = match metric.data.as_ref().unwrap() {
        Data::Gauge(data) => ("gauge", data.data_points.len()),
        Data::Sum(data) if data.is_monotonic => ("counter", data.data_points.len()),
        Data::Sum(data) => ("sum", data.data_points.len()),
        Data::Histogram(data) => ("histogram", data.data_points.len()),
        Data::ExponentialHistogram(data) => ("exponential", data.data_points.len()),
        Data::Summary(data) => ("summary", data.data_points.len()),
    };
    let metadata: Vec<_> = metric.metadata.iter().map(|kv| kv.key.as_str()).collect();
    format!("{} {kind} {points} {}", metric.name, metadata.join(","))
}

#[test]
fn regular_families_become_metrics_of_their_type() {
    let body = "# TYPE c counter\nc_total{a=\"1\"} 1\nc_total{a=\"2\"} 1\n\
                # TYPE g gauge\ng 1\n\
                # TYPE i info\ni_info{v=\"1\"} 1\n\
                # TYPE h histogram\n\
                h_bucket{a=\"1\",le=\"1\"} 1\nh_bucket{a=\"1\",le=\"+Inf\"} 2\n\
                h_sum{a=\"1\"} 3\nh_count{a=\"1\"} 2\n\
                h_count{a=\"2\"} 2\nh_sum{a=\"2\"} 3\nh_bucket{a=\"2\",le=\"+Inf\"} 2\n\
                # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\n\
                none 1\n";
    assert_eq!(
        shapes(ParserOptions::default(), body),
        [
            "c_total counter 2 prometheus.type,prometheus.family",
            "g gauge 1 prometheus.type",
            "i_info sum 1 prometheus.type,prometheus.family",
            "h histogram 2 prometheus.type",
            "s summary 1 prometheus.type",
            "none gauge 1 ",
        ]
    );
}

#[test]
fn irregular_families_become_one_metric_per_series() {
    let rest = "h_sum 3\nh_count 2\n";
    for buckets in [
        // No +Inf bucket.
        "h_bucket{le=\"1\"} 1\n",
        // Bounds or counts that decrease.
        "h_bucket{le=\"+Inf\"} 2\nh_bucket{le=\"1\"} 1\n",
        "h_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\n",
        // A count that differs from the last bucket, a fraction, another timestamp.
        "h_bucket{le=\"+Inf\"} 3\n",
        "h_bucket{le=\"1\"} 0.5\nh_bucket{le=\"+Inf\"} 2\n",
        "h_bucket{le=\"+Inf\"} 2 1795427440\n",
        // An exemplar outside its bucket.
        "h_bucket{le=\"1\"} 1 # {a=\"b\"} 2\nh_bucket{le=\"+Inf\"} 2\n",
    ] {
        let body = format!("# TYPE h histogram\n{buckets}{rest}");
        let lines = shapes(ParserOptions::default(), &body);
        let kinds = "h_bucket gauge|h_sum gauge|h_count gauge";
        assert_eq!(lines.len(), 3, "{buckets}{lines:?}");
        assert!(
            kinds
                .split('|')
                .zip(&lines)
                .all(|(kind, line)| line.starts_with(kind))
        );
    }
    let summary =
        "# TYPE s summary\ns{quantile=\"0.9\"} 1\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\n";
    assert_eq!(shapes(ParserOptions::default(), summary).len(), 3);
}

#[test]
fn metadata_marks_custom_buckets() {
    let parser = ParserOptions {
        classic_to_nhcb: true,
        ..ParserOptions::default()
    };
    let body =
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
    assert_eq!(
        shapes(parser, body),
        ["h histogram 1 prometheus.type,prometheus.histogram"]
    );
}

/// The exporter writes the labels of a histogram for each of its samples.
#[test]
fn a_histogram_whose_labels_would_take_megabytes_is_one_series_per_sample() {
    let label = "v".repeat(100_000);
    let body = |buckets: usize| {
        let bounds = (0..buckets).map(|bound| bound.to_string());
        let buckets = bounds
            .chain(["+Inf".to_owned()])
            .map(|bound| format!("h_bucket{{a=\"{label}\",le=\"{bound}\"}} 1\n"));
        let buckets: String = buckets.collect();
        let rest = format!("h_sum{{a=\"{label}\"}} 1\nh_count{{a=\"{label}\"}} 1\n");
        format!("# TYPE h histogram\n{buckets}{rest}")
    };
    let kinds = |buckets| shapes(ParserOptions::default(), &body(buckets));
    assert_eq!(kinds(10), ["h histogram 1 prometheus.type"]);
    assert!(
        kinds(50).iter().all(|line| line.contains(" gauge ")),
        "{:?}",
        kinds(50)
    );
}
