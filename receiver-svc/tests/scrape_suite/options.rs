//! The options of a row.

use mesh::{
    config::{
        relabel::{Action, RelabelConfig, ValidationScheme},
        scrape::ScrapeProtocol,
    },
    labels::Labels,
};
use receiver_svc::{
    exposition::ParserOptions,
    scrape::{LabelLimits, Options},
};
use serde_json::Value;

pub(crate) fn of(row: &Value) -> Options {
    let is = |key: &str| row["options"][key] == true;
    let number = |key: &str| row["options"][key].as_u64().unwrap_or(0);
    Options {
        parser: ParserOptions {
            native_histograms: is("scrape_native_histograms"),
            classic_to_nhcb: is("convert_classic_histograms_to_nhcb"),
            keep_classic: is("always_scrape_classic_histograms"),
            type_and_unit_labels: is("type_and_unit_labels"),
            start_timestamps: row["appender"] == "v2" && is("parse_st"),
        },
        fallback: fallback(&row["options"]["fallback_scrape_protocol_media_type"]),
        honor_labels: row["honor_labels"] == true,
        honor_timestamps: is("honor_timestamps"),
        track_timestamps_staleness: is("track_timestamps_staleness"),
        metric_relabel_configs: relabel_configs(&row["metric_relabel_configs_yaml"]).into(),
        validation_scheme: match row["options"]["validation_scheme"].as_str() {
            Some("legacy") => ValidationScheme::Legacy,
            _ => ValidationScheme::Utf8,
        },
        sample_limit: number("sample_limit"),
        label_limits: LabelLimits {
            labels: number("label_limit"),
            name_length: number("label_name_length_limit"),
            value_length: number("label_value_length_limit"),
        },
        bucket_limit: number("bucket_limit"),
        max_schema: row["options"]["max_schema"].as_i64().unwrap() as i32,
        extra_scrape_metrics: false,
    }
}

fn fallback(media_type: &Value) -> Option<ScrapeProtocol> {
    match media_type.as_str().unwrap() {
        "" => None,
        "text/plain" => Some(ScrapeProtocol::PrometheusText0_0_4),
        protobuf if protobuf.starts_with("application/vnd.google.protobuf") => {
            Some(ScrapeProtocol::PrometheusProto)
        }
        other => panic!("fallback {other}"),
    }
}

pub(crate) fn target_labels(row: &Value) -> Labels {
    let labels = row["target_labels"].as_object();
    let labels = labels.into_iter().flatten();
    labels
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect()
}

fn relabel_configs(yaml: &Value) -> Vec<RelabelConfig> {
    let Some(yaml) = yaml.as_str() else {
        return Vec::new();
    };
    let rules: Vec<Value> = serde_saphyr::from_str(yaml).unwrap();
    rules.iter().map(relabel_config).collect()
}

fn relabel_config(rule: &Value) -> RelabelConfig {
    let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    let sources = rule["source_labels"].as_array().into_iter().flatten();
    RelabelConfig {
        source_labels: sources
            .map(|name| name.as_str().unwrap().to_owned())
            .collect(),
        separator: text("separator"),
        regex: text("regex").parse().unwrap(),
        replacement: text("replacement"),
        action: match rule["action"].as_str().unwrap() {
            "keep" => Action::Keep,
            "drop" => Action::Drop,
            "labelmap" => Action::LabelMap,
            other => panic!("action {other}"),
        },
        ..RelabelConfig::default()
    }
}
