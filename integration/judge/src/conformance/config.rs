//! Prometheus's own configuration cases.

use std::path::Path;

use mesh_model::config::Config;
use serde_json::Value;

use super::{Report, cases};

mod accepted;
mod effective;
pub(super) mod real;

pub(super) use self::effective::effective;

/// Accepts and rejects the same files as Prometheus. The messages differ.
pub(super) fn files(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let document = document(suites)?;
    for case in cases::list(&document["cases"]) {
        let file = cases::text(&case["file"]);
        let name = name(file);
        let exemption = accepted::ACCEPTED
            .iter()
            .find(|(accepted, _)| *accepted == name)
            .map(|(_, reason)| *reason);
        report.case_unless_exempt(name, exemption, || {
            let outcome = Config::load(&suites.join("config").join(file));
            match (outcome, cases::text(&case["expect"])) {
                (Ok(_), "accept") | (Err(_), "reject") => Ok(()),
                (Err(error), _) => Err(error.to_string()),
                (Ok(_), _) => Err(format!("accepted, expected {}", case["prometheus_error"])),
            }
        });
    }
    Ok(())
}

pub(super) fn inline(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let document = document(suites)?;
    for case in cases::list(&document["inline_cases"]) {
        report.case(cases::text(&case["id"]), || {
            let text = cases::text(&case["yaml"]);
            let config = Config::parse(text, Path::new("inline.yml"), &|_| None);
            let config = config.map_err(|error| error.to_string())?;
            let check = cases::text(&case["check"]);
            match check.strip_prefix("effective extra_scrape_metrics == ") {
                None => Ok(()),
                Some(expected) => cases::same(
                    &config.scrape_configs[0].extra_scrape_metrics,
                    &(expected == "True"),
                ),
            }
        });
    }
    Ok(())
}

pub(super) fn env_expansion(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let document = document(suites)?;
    let file = "external_labels.good.yml";
    let path = suites.join("config/testdata").join(file);
    let text = std::fs::read_to_string(&path)?;
    for case in cases::list(&document["env_expansion"][file]) {
        report.case(&case["env"], || {
            let variable = |name: &str| case["env"][name].as_str().map(str::to_owned);
            let config = Config::parse(&text, &path, &variable).map_err(|e| e.to_string())?;
            // A label without a value does not exist.
            let expected = cases::labels(&case["external_labels"]);
            cases::same(&config.external_labels, &expected)
        });
    }
    Ok(())
}

fn document(suites: &Path) -> anyhow::Result<Value> {
    cases::document(&suites.join("config/cases.json"))
}

/// File name without its folder.
fn name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}
