//! Checks of the cases with a body.

mod features;
mod labels;
mod protocol;
mod values;

use anyhow::bail;

use crate::case::Case;

/// Checks the requirement of the case `name` (`GROUP/CASE`).
pub(crate) fn check(name: &str, case: &Case) -> anyhow::Result<()> {
    let (group, name) = name.split_once('/').unwrap_or((name, ""));
    match group {
        "TestBatchingBehavior"
        | "TestCombinedFeatures"
        | "TestExemplarEncoding"
        | "TestHistogramEncoding"
        | "TestMetadataEncoding"
        | "own" => features::check(group, name, case),
        "TestLabelValidation" | "TestSymbolTable" | "TestEdgeCases" => {
            labels::check(group, name, case)
        }
        "TestSampleEncoding" | "TestTimestampEncoding" | "TestSampleOrdering" => {
            values::check(name, case)
        }
        "TestConcurrentRequests"
        | "TestContentTypeNegotiation"
        | "TestHTTPMethod"
        | "TestNoFallbackOn2xx"
        | "TestProtocolCompliance"
        | "TestRobustnessUnderLoad"
        | "TestSymbolTableEfficiency" => protocol::check(group, name, case),
        _ => bail!("the case has no check"),
    }
}
