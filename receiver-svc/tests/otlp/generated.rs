//! Round trips of generated bodies: regular families and damaged ones.

use proptest::{prelude::*, sample::select};
use prost::Message;
use proto::exposition::{
    BucketSpan, Exemplar, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use receiver_svc::exposition::ParserOptions;

use crate::round_trip::{NOW_MS, options, round_trip};

/// One sample line of OpenMetrics.
#[derive(Clone, Debug)]
struct Line {
    name: String,
    labels: Vec<(&'static str, String)>,
    value: String,
    /// Age of the sample in seconds before the scrape.
    age: Option<u16>,
    exemplar: Option<(String, f64)>,
}

/// Modification of the lines of a family.
#[derive(Clone, Debug)]
enum Damage {
    Remove(usize),
    Repeat(usize),
    Swap(usize, usize),
    Value(usize, &'static str),
    Age(usize, u16),
    Label(usize, &'static str, &'static str),
}

impl Line {
    fn new(name: &str, labels: &[(&'static str, &str)], value: impl ToString) -> Self {
        Self {
            name: name.to_owned(),
            labels: labels.iter().map(|(n, v)| (*n, (*v).to_owned())).collect(),
            value: value.to_string(),
            age: None,
            exemplar: None,
        }
    }

    fn text(&self) -> String {
        let labels: Vec<_> = self
            .labels
            .iter()
            .map(|(n, v)| format!("{n}={v:?}"))
            .collect();
        let mut text = format!("{}{{{}}} {}", self.name, labels.join(","), self.value);
        if let Some(age) = self.age {
            text += &format!(" {}", NOW_MS / 1000 - i64::from(age));
        }
        if let Some((trace, value)) = &self.exemplar {
            text += &format!(" # {{trace_id={trace:?},a=\"b\"}} {value:?}");
        }
        text + "\n"
    }
}

fn histogram(name: &str, label: &str) -> impl Strategy<Value = Vec<Line>> + use<> {
    let (name, label) = (name.to_owned(), label.to_owned());
    let bounds = proptest::sample::subsequence(vec![-1.5, 0.0, 0.25, 1.0, 10.0, 1e6], 0..6);
    let exemplar = proptest::option::of((
        select(vec!["0123456789abcdef0123456789abcdef", "x"]),
        -2.0..20.0,
    ));
    let counts = proptest::collection::vec((0_u64..20, exemplar), 7);
    (bounds, counts, any::<f64>()).prop_map(move |(bounds, counts, sum)| {
        let bounds = bounds.iter().map(|bound| format!("{bound:?}"));
        let mut total = 0;
        let mut lines: Vec<_> = bounds
            .chain(["+Inf".to_owned()])
            .zip(counts)
            .map(|(bound, (count, exemplar))| {
                total += count;
                let labels = [("a", label.as_str()), ("le", bound.as_str())];
                let mut line = Line::new(&format!("{name}_bucket"), &labels, total);
                line.exemplar = exemplar.map(|(trace, value)| (trace.to_owned(), value));
                line
            })
            .collect();
        lines.push(Line::new(&format!("{name}_sum"), &[("a", &label)], sum));
        lines.push(Line::new(&format!("{name}_count"), &[("a", &label)], total));
        lines
    })
}

fn summary(name: &str, label: &str) -> impl Strategy<Value = Vec<Line>> + use<> {
    let (name, label) = (name.to_owned(), label.to_owned());
    let quantiles = proptest::sample::subsequence(vec!["0.0", "0.5", "0.9", "1.0"], 0..4);
    (quantiles, any::<f64>(), 0_u64..100).prop_map(move |(quantiles, value, count)| {
        let labels = |quantile| [("a", label.as_str()), ("quantile", quantile)];
        let mut lines: Vec<_> = quantiles
            .into_iter()
            .map(|quantile| Line::new(&name, &labels(quantile), value))
            .collect();
        lines.push(Line::new(&format!("{name}_sum"), &[("a", &label)], -value));
        lines.push(Line::new(&format!("{name}_count"), &[("a", &label)], count));
        lines
    })
}

fn numbers(name: &str, suffix: &str) -> impl Strategy<Value = Vec<Line>> + use<> {
    let name = format!("{name}{suffix}");
    proptest::collection::vec((select(vec!["1", "2", ""]), any::<f64>()), 1..4).prop_map(
        move |samples| {
            let line = |(label, value)| Line::new(&name, &[("a", label)], value);
            samples.into_iter().map(line).collect()
        },
    )
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || 0_usize..20;
    let values = vec!["0.5", "-1", "-0", "NaN", "1e300", "9007199254740993", "7"];
    prop_oneof![
        at().prop_map(Damage::Remove),
        at().prop_map(Damage::Repeat),
        (at(), at()).prop_map(|(one, other)| Damage::Swap(one, other)),
        (at(), select(values)).prop_map(|(at, value)| Damage::Value(at, value)),
        (at(), 0_u16..3).prop_map(|(at, age)| Damage::Age(at, age)),
        (
            at(),
            select(vec!["le", "quantile", "b"]),
            select(vec!["1", "01.0", "+Inf", "é\n"])
        )
            .prop_map(|(at, name, value)| Damage::Label(at, name, value)),
    ]
}

fn apply(lines: &mut Vec<Line>, damage: &Damage) {
    let len = lines.len().max(1);
    match damage {
        _ if lines.is_empty() => {}
        Damage::Remove(at) => drop(lines.remove(at % len)),
        Damage::Repeat(at) => lines.push(lines[at % len].clone()),
        Damage::Swap(one, other) => lines.swap(one % len, other % len),
        Damage::Value(at, value) => lines[at % len].value = (*value).to_owned(),
        Damage::Age(at, age) => lines[at % len].age = Some(*age),
        Damage::Label(at, name, value) => {
            let labels = &mut lines[at % len].labels;
            labels.retain(|(existing, _)| existing != name);
            labels.push((name, (*value).to_owned()));
        }
    }
}

/// Generates a family with at most two damaged lines.
fn family(number: usize) -> impl Strategy<Value = String> {
    let name = format!("f{number}");
    let two = |lines: (Vec<Line>, Vec<Line>)| [lines.0, lines.1].concat();
    let lines = prop_oneof![
        (histogram(&name, "1"), histogram(&name, "2")).prop_map(two),
        (summary(&name, "1"), summary(&name, "2")).prop_map(two),
        numbers(&name, "_total"),
        numbers(&name, ""),
        numbers(&name, "_info"),
    ];
    let types = vec![
        "histogram",
        "histogram",
        "summary",
        "summary",
        "counter",
        "gauge",
        "info",
        "stateset",
        "gaugehistogram",
        "unknown",
    ];
    let damages = proptest::collection::vec(damage(), 0..3);
    (lines, select(types), damages, any::<bool>()).prop_map(
        move |(mut lines, metric_type, damages, help)| {
            for damage in &damages {
                apply(&mut lines, damage);
            }
            let help = if help {
                format!("# HELP {name} Some \\n help.\n")
            } else {
                String::new()
            };
            let lines: String = lines.iter().map(Line::text).collect();
            format!("# TYPE {name} {metric_type}\n{help}{lines}")
        },
    )
}

fn body() -> impl Strategy<Value = String> {
    let families = (family(0), family(1), family(0), family(2));
    families.prop_map(|(a, b, c, d)| format!("{a}{b}{c}{d}# EOF\n"))
}

fn spans() -> impl Strategy<Value = (Vec<BucketSpan>, Vec<i64>)> {
    let span = (select(vec![0, 1, 2, 7, 5000]), 0_u32..4);
    let first = -300_i32..300;
    (first, proptest::collection::vec((span, 0_i64..4), 0..4)).prop_map(|(first, spans)| {
        let (mut out, mut deltas, mut previous) = (Vec::new(), Vec::new(), 0);
        for (at, ((offset, length), count)) in spans.into_iter().enumerate() {
            let offset = if at == 0 { first } else { offset };
            out.push(BucketSpan {
                offset: Some(offset),
                length: Some(length),
            });
            for n in 0..length {
                let count = count + i64::from(n);
                deltas.push(count - previous);
                previous = count;
            }
        }
        (out, deltas)
    })
}

fn native() -> impl Strategy<Value = Histogram> {
    let scalars = (
        -4_i32..9,
        0_u64..5,
        any::<bool>(),
        proptest::option::of(0_i64..100_000),
    );
    (spans(), spans(), scalars).prop_map(|(positive, negative, (schema, zero, float, start))| {
        let counts = |deltas: &[i64]| -> Vec<f64> {
            let running = deltas.iter().scan(0, |count, delta| {
                *count += delta;
                Some(*count as f64)
            });
            running.collect()
        };
        let (positive_counts, negative_counts) = (counts(&positive.1), counts(&negative.1));
        let total = positive_counts.iter().chain(&negative_counts).sum::<f64>() + zero as f64;
        let mut histogram = Histogram {
            sample_sum: Some(1.5),
            schema: Some(schema),
            zero_threshold: Some(0.001),
            positive_span: positive.0,
            negative_span: negative.0,
            created_timestamp: start.map(|start| prost_types::Timestamp {
                seconds: start,
                nanos: 5_000_000,
            }),
            exemplars: vec![Exemplar {
                label: vec![LabelPair {
                    name: Some("span_id".into()),
                    value: Some("ab".into()),
                }],
                value: Some(0.5),
                timestamp: Some(prost_types::Timestamp {
                    seconds: 1_700_000_000,
                    nanos: 0,
                }),
            }],
            ..Histogram::default()
        };
        if float {
            histogram.sample_count_float = Some(total.max(0.5));
            histogram.zero_count_float = Some(zero as f64);
            (histogram.positive_count, histogram.negative_count) =
                (positive_counts, negative_counts);
        } else {
            histogram.sample_count = Some(total as u64);
            histogram.zero_count = Some(zero);
            (histogram.positive_delta, histogram.negative_delta) = (positive.1, negative.1);
        }
        histogram
    })
}

fn protobuf(histograms: Vec<Histogram>, gauge: bool) -> Vec<u8> {
    let metric = |(number, histogram): (usize, Histogram)| Metric {
        label: vec![LabelPair {
            name: Some("n".into()),
            value: Some(number.to_string()),
        }],
        histogram: Some(histogram),
        ..Metric::default()
    };
    let metric_type = if gauge {
        MetricType::GaugeHistogram
    } else {
        MetricType::Histogram
    };
    let family = MetricFamily {
        name: Some("native".into()),
        help: Some("help".into()),
        r#type: Some(metric_type.into()),
        metric: histograms.into_iter().enumerate().map(metric).collect(),
        ..MetricFamily::default()
    };
    family.encode_length_delimited_to_vec()
}

proptest! {
    #[test]
    fn text_survives_a_round_trip(one in body(), two in body(), start_timestamps: bool, classic_to_nhcb: bool) {
        let parser = ParserOptions {
            classic_to_nhcb,
            keep_classic: true,
            start_timestamps,
            ..ParserOptions::default()
        };
        let bodies = [one.as_bytes(), two.as_bytes(), b"", one.as_bytes()];
        let outcome = round_trip(&options(parser), "application/openmetrics-text", &bodies);
        prop_assert!(outcome.is_ok(), "{}\n{one}", outcome.unwrap_err());
    }

    #[test]
    fn native_histograms_survive_a_round_trip(histograms in proptest::collection::vec(native(), 1..4), gauge: bool) {
        let parser = ParserOptions { native_histograms: true, ..ParserOptions::default() };
        let body = protobuf(histograms, gauge);
        let content_type =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let outcome = round_trip(&options(parser), content_type, &[&body, &body]);
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}

/// The empty bucket between populated ones forces the attribute representation.
#[test]
fn a_sum_of_negative_zero_survives_a_round_trip() {
    let parser = ParserOptions {
        classic_to_nhcb: true,
        ..ParserOptions::default()
    };
    let body = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 1\n\
                h_bucket{le=\"+Inf\"} 2\nh_sum -0\nh_count 2\n# EOF\n";
    let outcome = round_trip(
        &options(parser),
        "application/openmetrics-text",
        &[body.as_bytes()],
    );
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}
