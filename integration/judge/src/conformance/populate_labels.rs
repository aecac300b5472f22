//! Labels of a target, derived from discovered labels.

use std::path::Path;

use mesh_model::config::{Config, discovery::TargetGroup, scrape::ScrapeConfig};
use receiver_svc::scrape::{Populated, labels_before_relabeling, populate};
use serde_json::Value;

use super::{Report, cases};

pub(super) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let document = cases::document(&suites.join("scrape/populate_labels.json"))?;
    for (i, case) in cases::list(&document["cases"]).iter().enumerate() {
        report.case_unless_exempt(format!("case {i}"), exemption(case), || compare(case));
    }
    Ok(())
}

fn exemption(case: &Value) -> Option<&'static str> {
    let not_utf8 = cases::text(&case["target"]["custom"]).contains(char::REPLACEMENT_CHARACTER);
    not_utf8.then_some("the value of a label is not UTF-8; a label set holds UTF-8 only")
}

fn compare(case: &Value) -> Result<(), String> {
    let config = config(cases::text(&case["scrape_config_yaml"]))?;
    let target = cases::labels(&case["target"]);
    let group = TargetGroup::default();
    let before = labels_before_relabeling(&config, &group, &target);
    let found = populate(&config, &group, &target);
    match (found, case["error"].as_str()) {
        (Ok(Populated::Active(target)), None) => {
            cases::same(&target.labels, &cases::labels(&case["result"]))?;
            let discovered = cases::labels(&case["discovered_labels"]);
            cases::same(&before.build(), &discovered)
        }
        (Err(error), Some(expected)) => {
            // The messages of Go's parsers differ from ours.
            let start = expected.split(": ").next().unwrap_or(expected);
            let start = start.replace(
                "convert classic histograms to nhcb",
                "__convert_classic_histograms_to_nhcb__",
            );
            if error.to_string().starts_with(&start) {
                Ok(())
            } else {
                Err(format!("{error}, expected {start}"))
            }
        }
        (found, expected) => Err(format!("{found:?}, expected {expected:?}")),
    }
}

fn config(yaml: &str) -> Result<ScrapeConfig, String> {
    let indented: String = yaml.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("scrape_configs:\n  -\n{indented}");
    let config = Config::parse(&text, Path::new("case.yml"), &|_| None);
    let mut config = config.map_err(|error| error.to_string())?;
    Ok(config.scrape_configs.remove(0))
}
