//! Negotiation of the exposition format.

use std::path::Path;

use mesh_model::config::scrape::{EscapingScheme, ScrapeProtocol};
use receiver_svc::{
    exposition::{Format, negotiate::accept_header},
    scrape::max_schema,
};
use serde_json::Value;

use super::{Report, cases};

pub(super) fn content_types(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let document = cases::document(&suites.join("textparse/content_type.json"))?;
    for case in cases::list(&document) {
        report.case(cases::text(&case["name"]), || {
            let content_type = case["content_type"].as_str();
            let fallback = protocol(&case["fallback_scrape_protocol"]);
            let parser = match Format::negotiated(content_type, fallback) {
                Ok(Format::Text) => Some("PrometheusText"),
                Ok(Format::OpenMetrics) => Some("OpenMetricsText"),
                Ok(Format::Protobuf) => Some("PrometheusProto"),
                Err(_) => None,
            };
            cases::same(&parser, &case["parser"].as_str())?;
            let complains = Format::from_content_type(content_type).is_err();
            cases::same(&complains, &!case["error"].is_null())
        });
    }
    Ok(())
}

pub(super) fn accept_headers(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let document = cases::document(&suites.join("scrape/http.json"))?;
    for case in cases::list(&document["accept_header"]) {
        report.case(cases::text(&case["case"]), || {
            let protocols = cases::list(&case["scrape_protocols"]).iter();
            let protocols: Vec<_> = protocols.filter_map(protocol).collect();
            let escaping = match cases::text(&case["escaping"]) {
                "UnderscoreEscaping" => EscapingScheme::Underscores,
                "DotsEscaping" => EscapingScheme::Dots,
                "NoEscaping" => EscapingScheme::AllowUtf8,
                other => return Err(format!("escaping {other}")),
            };
            let found = accept_header(&protocols, escaping);
            cases::same(&found.as_str(), &cases::text(&case["accept"]))
        });
    }
    Ok(())
}

pub(super) fn max_schemas(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let document = cases::document(&suites.join("scrape/http.json"))?;
    for case in cases::list(&document["pick_schema"]) {
        let factor = cases::float(&case["native_histogram_min_bucket_factor"]);
        report.case(format!("factor {factor}"), || {
            let found = i64::from(max_schema(factor));
            cases::same(&Some(found), &case["max_schema"].as_i64())
        });
    }
    Ok(())
}

fn protocol(name: &Value) -> Option<ScrapeProtocol> {
    Some(match cases::text(name) {
        "PrometheusProto" => ScrapeProtocol::PrometheusProto,
        "PrometheusText0.0.4" => ScrapeProtocol::PrometheusText0_0_4,
        "PrometheusText1.0.0" => ScrapeProtocol::PrometheusText1_0_0,
        "OpenMetricsText0.0.1" => ScrapeProtocol::OpenMetricsText0_0_1,
        "OpenMetricsText1.0.0" => ScrapeProtocol::OpenMetricsText1_0_0,
        _ => return None,
    })
}
