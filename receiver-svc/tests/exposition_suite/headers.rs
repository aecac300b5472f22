//! Which format is asked for and which one is read.

use mesh::config::scrape::{EscapingScheme, ScrapeProtocol};
use receiver_svc::exposition::{Format, negotiate::accept_header};
use serde_json::{Value, json};

use crate::suite;

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn content_types_select_the_parsers_of_prometheus() {
    for case in suite::document("textparse/content_type.json")
        .as_array()
        .unwrap()
    {
        let content_type = case["content_type"].as_str();
        let fallback = protocol(&case["fallback_scrape_protocol"]);
        let parser = match Format::of(content_type, fallback) {
            Ok(Format::Text) => json!("PrometheusText"),
            Ok(Format::OpenMetrics) => json!("OpenMetricsText"),
            Ok(Format::Protobuf) => json!("PrometheusProto"),
            Err(_) => Value::Null,
        };
        assert_eq!(parser, case["parser"], "{case}");
        let complains = Format::named(content_type).is_err();
        assert_eq!(complains, !case["error"].is_null(), "{case}");
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn accept_headers_are_those_of_prometheus() {
    for case in suite::document("scrape/http.json")["accept_header"]
        .as_array()
        .unwrap()
    {
        let protocols: Vec<_> = case["scrape_protocols"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(protocol)
            .collect();
        let escaping = match case["escaping"].as_str().unwrap() {
            "UnderscoreEscaping" => EscapingScheme::Underscores,
            "DotsEscaping" => EscapingScheme::Dots,
            "NoEscaping" => EscapingScheme::AllowUtf8,
            other => panic!("escaping {other}"),
        };
        assert_eq!(
            accept_header(&protocols, escaping),
            case["accept"],
            "{}",
            case["case"]
        );
    }
}

fn protocol(name: &Value) -> Option<ScrapeProtocol> {
    match name.as_str().unwrap() {
        "" => None,
        "PrometheusProto" => Some(ScrapeProtocol::PrometheusProto),
        "PrometheusText0.0.4" => Some(ScrapeProtocol::PrometheusText0_0_4),
        "PrometheusText1.0.0" => Some(ScrapeProtocol::PrometheusText1_0_0),
        "OpenMetricsText0.0.1" => Some(ScrapeProtocol::OpenMetricsText0_0_1),
        "OpenMetricsText1.0.0" => Some(ScrapeProtocol::OpenMetricsText1_0_0),
        other => panic!("protocol {other}"),
    }
}
