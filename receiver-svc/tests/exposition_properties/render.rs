//! Renders scrapes in each format.

use prost::Message;
use proto::exposition as io;
use receiver_svc::exposition::MetricType;

use crate::model::{Family, Sample};

pub(crate) fn text(families: &[Family]) -> String {
    let mut body = String::new();
    for family in families {
        let name = metadata_name(&family.name);
        let help = family.help.replace('\\', r"\\").replace('\n', r"\n");
        let word = match family.metric_type {
            MetricType::Unknown => "untyped",
            other => other.as_str(),
        };
        body += &format!("# HELP {name} {help}\n# TYPE {name} {word}\n");
        for sample in &family.samples {
            body += &series(&family.name, sample);
            body += &format!(" {}", number(sample.value));
            body += &sample
                .timestamp
                .map_or(String::new(), |ms| format!(" {ms}"));
            body.push('\n');
        }
    }
    body
}

pub(crate) fn openmetrics(families: &[Family]) -> String {
    let mut body = String::new();
    for family in families {
        let name = metadata_name(&family.name);
        let (help, word) = (escaped(&family.help), family.metric_type.as_str());
        body += &format!("# HELP {name} {help}\n# TYPE {name} {word}\n");
        for sample in &family.samples {
            body += &series(&family.name, sample);
            body += &format!(" {}", number(sample.value));
            body += &sample.timestamp.map_or(String::new(), |ms| {
                format!(" {}.{:03}", ms / 1000, ms % 1000)
            });
            if let Some((labels, value)) = &sample.exemplar {
                body += &format!(" # {{{}}} {}", joined(labels), number(*value));
            }
            body.push('\n');
        }
    }
    body + "# EOF\n"
}

pub(crate) fn protobuf(families: &[Family]) -> Vec<u8> {
    families
        .iter()
        .flat_map(|family| message(family).encode_length_delimited_to_vec())
        .collect()
}

fn message(family: &Family) -> io::MetricFamily {
    let kind = match family.metric_type {
        MetricType::Counter => io::MetricType::Counter,
        MetricType::Gauge => io::MetricType::Gauge,
        _ => io::MetricType::Untyped,
    };
    io::MetricFamily {
        name: Some(family.name.clone()),
        help: Some(family.help.clone()),
        r#type: Some(kind.into()),
        metric: family
            .samples
            .iter()
            .map(|sample| metric(kind, sample))
            .collect(),
        unit: None,
    }
}

fn metric(kind: io::MetricType, sample: &Sample) -> io::Metric {
    let value = Some(sample.value);
    let mut metric = io::Metric {
        label: pairs(&sample.labels),
        timestamp_ms: sample.timestamp,
        ..io::Metric::default()
    };
    match kind {
        io::MetricType::Counter => {
            let exemplar = sample
                .exemplar
                .as_ref()
                .map(|(labels, value)| io::Exemplar {
                    label: pairs(labels),
                    value: Some(*value),
                    timestamp: None,
                });
            metric.counter = Some(io::Counter {
                value,
                exemplar,
                created_timestamp: None,
            });
        }
        io::MetricType::Gauge => metric.gauge = Some(io::Gauge { value }),
        _ => metric.untyped = Some(io::Untyped { value }),
    }
    metric
}

fn pairs(labels: &[(String, String)]) -> Vec<io::LabelPair> {
    let pair = |(name, value): &(String, String)| io::LabelPair {
        name: Some(name.clone()),
        value: Some(value.clone()),
    };
    labels.iter().map(pair).collect()
}

fn series(name: &str, sample: &Sample) -> String {
    let labels = joined(&sample.labels);
    if is_plain(name) {
        return format!("{name}{{{labels}}}");
    }
    let comma = if labels.is_empty() { "" } else { "," };
    format!("{{{}{comma}{labels}}}", quoted(name))
}

fn joined(labels: &[(String, String)]) -> String {
    let each = labels.iter().map(|(name, value)| {
        let name = if is_plain(name) {
            name.clone()
        } else {
            quoted(name)
        };
        format!("{name}={}", quoted(value))
    });
    each.collect::<Vec<_>>().join(",")
}

fn metadata_name(name: &str) -> String {
    if is_plain(name) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn is_plain(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', r#"\""#)
        .replace('\n', r"\n")
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => format!("{value:e}"),
    }
}
