//! Checks of headers, content types and symbol tables.

use anyhow::{bail, ensure};
use harness::sender_peers::RecordedRequest;

use crate::case::Case;

pub(crate) fn check(group: &str, name: &str, case: &Case) -> anyhow::Result<()> {
    let is = |header: &str, want: &str| {
        for request in &case.requests {
            let found = request.header(header);
            ensure!(
                found == Some(want),
                "{header} is {found:?}, expected {want}"
            );
        }
        Ok(())
    };
    let test_metric = || case.expect_value("test_metric", &[], 42.0);
    match (group, name) {
        ("TestHTTPMethod", _) => test_metric(),
        ("TestConcurrentRequests", _) => {
            test_metric()?;
            ensure!(case.requests.len() >= 2, "one request for two scrapes");
            Ok(())
        }
        ("TestContentTypeNegotiation", _)
        | (_, "content_type_protobuf" | "content_type_with_proto_param") => {
            test_metric()?;
            let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
            is("content-type", v2)
        }
        ("TestNoFallbackOn2xx", _) | (_, "version_header_present" | "version_header_value") => {
            test_metric()?;
            is("x-prometheus-remote-write-version", "2.0.0")
        }
        ("TestRobustnessUnderLoad", _) => {
            ensure!(case.exposed_len() == 200, "{} series", case.exposed_len());
            (0..200).try_for_each(|i| {
                let i = i.to_string();
                case.expect_value("load_metric", &[("i", &i)], i.parse()?)
            })
        }
        ("TestSymbolTableEfficiency", _) => {
            ensure!(case.exposed_len() == 100, "{} series", case.exposed_len());
            case.requests.iter().try_for_each(check_symbols)
        }
        (_, "content_encoding_snappy") => is("content-encoding", "snappy"),
        (_, "user_agent_present") => {
            let agents = case.requests.iter().map(|r| r.header("user-agent"));
            let mut named = agents.map(|agent| agent.is_some_and(|a| a.starts_with("promesh")));
            ensure!(named.all(|named| named), "no User-Agent");
            Ok(())
        }
        (_, "protobuf_parseable" | "snappy_block_format") => {
            for request in &case.requests {
                request.v2()?;
            }
            test_metric()
        }
        _ => bail!("the case has no check"),
    }
}

/// Checks that the symbol table has no duplicate and no unused symbol.
pub(crate) fn check_symbols(request: &RecordedRequest) -> anyhow::Result<()> {
    let request = request.v2()?;
    let mut symbols = request.symbols.clone();
    symbols.sort();
    symbols.dedup();
    ensure!(symbols.len() == request.symbols.len(), "a duplicate symbol");
    let mut used = vec![false; request.symbols.len()];
    for series in &request.timeseries {
        let exemplars = series.exemplars.iter().flat_map(|e| &e.labels_refs);
        let metadata = series
            .metadata
            .iter()
            .flat_map(|m| [&m.help_ref, &m.unit_ref]);
        for reference in series.labels_refs.iter().chain(exemplars).chain(metadata) {
            used[*reference as usize] = true;
        }
    }
    ensure!(used[1..].iter().all(|used| *used), "an unused symbol");
    Ok(())
}
