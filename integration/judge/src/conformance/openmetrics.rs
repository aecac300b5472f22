//! OpenMetrics test suite. The expected outcome is that of Prometheus, which accepts about
//! half of the bodies that the suite calls bad.

use std::path::Path;

use receiver_svc::exposition::{Format, ParserOptions};

use super::{Report, cases, entries};

pub(super) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let options = ParserOptions::default();
    for row in cases::rows(&suites.join("textparse/openmetrics_suite.jsonl"))? {
        report.case(cases::text(&row["id"]), || {
            let input = cases::body(&row["input"]);
            if row["prometheus_accepts"] == true {
                let golden = cases::list(&row["prometheus_entries"]);
                return entries::compare(Format::OpenMetrics, &options, &input, golden);
            }
            match entries::of(Format::OpenMetrics, &options, &input) {
                Err(_) => Ok(()),
                Ok(found) => Err(format!("accepted: {found:?}")),
            }
        });
    }
    Ok(())
}
