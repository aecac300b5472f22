//! Scrape options of a row.

use mesh_model::validation::ValidationScheme;
use mesh_model::{
    config::{
        relabel::{Action, RelabelConfig},
        scrape::ScrapeProtocol,
    },
    go_regexp::Regexp,
};
use receiver_svc::{
    exposition::ParserOptions,
    scrape::{LabelLimits, Options},
};
use serde_json::Value;

use crate::conformance::cases;

pub(super) fn of(row: &Value) -> Result<Options, String> {
    let is = |key: &str| row["options"][key] == true;
    let number = |key: &str| row["options"][key].as_u64().unwrap_or(0);
    Ok(Options {
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
        metric_relabel_configs: relabel_configs(&row["metric_relabel_configs_yaml"])?.into(),
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
        max_schema: row["options"]["max_schema"].as_i64().unwrap_or(8) as i32,
        extra_scrape_metrics: false,
    })
}

fn fallback(media_type: &Value) -> Option<ScrapeProtocol> {
    match cases::text(media_type) {
        "text/plain" => Some(ScrapeProtocol::PrometheusText0_0_4),
        protobuf if protobuf.starts_with("application/vnd.google.protobuf") => {
            Some(ScrapeProtocol::PrometheusProto)
        }
        _ => None,
    }
}

fn relabel_configs(yaml: &Value) -> Result<Vec<RelabelConfig>, String> {
    let Some(yaml) = yaml.as_str() else {
        return Ok(Vec::new());
    };
    let rules: Vec<Value> = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    rules.iter().map(relabel_config).collect()
}

/// Converts a relabeling rule with the fields that the suite uses.
fn relabel_config(rule: &Value) -> Result<RelabelConfig, String> {
    let text = |key: &str| cases::text(&rule[key]).to_owned();
    let action = cases::text(&rule["action"]).parse::<Action>();
    let regex = cases::text(&rule["regex"]).parse::<Regexp>();
    Ok(RelabelConfig {
        source_labels: cases::texts(&rule["source_labels"]),
        separator: text("separator"),
        regex: regex.map_err(|error| error.to_string())?,
        replacement: text("replacement"),
        action: action.map_err(|error| error.to_string())?,
        ..RelabelConfig::default()
    })
}
