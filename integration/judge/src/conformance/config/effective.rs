//! Meaning of a configuration file. Prometheus writes it again with all defaults, and both
//! files must have the same meaning.

use std::path::Path;

use mesh_model::config::{Config, scrape::ScrapeConfig};

use crate::conformance::{Report, cases};

pub(crate) fn effective(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let document = super::document(suites)?;
    for case in cases::list(&document["cases"]) {
        let Some(effective) = case["effective_scrape_configs_yaml"].as_str() else {
            continue;
        };
        let file = cases::text(&case["file"]);
        let path = suites.join("config").join(file);
        report.case(super::name(file), || {
            let found = Config::load(&path).map_err(|error| error.to_string())?;
            let text = match effective.trim() {
                none @ "[]" => format!("scrape_configs: {none}"),
                jobs => format!("scrape_configs:\n{jobs}"),
            };
            // Its paths already begin with the suite's folder.
            let below = suites.join("config/effective.yml");
            let expected = Config::parse(&text, &below, &|_| None);
            let expected = expected.map_err(|error| error.to_string())?;
            compare(&found.scrape_configs, &expected.scrape_configs)
        });
    }
    Ok(())
}

/// Compares the debug output. It hides secrets, but the suite has none.
fn compare(found: &[ScrapeConfig], expected: &[ScrapeConfig]) -> Result<(), String> {
    let (found, expected) = (format!("{found:#?}"), format!("{expected:#?}"));
    let mut lines = found.lines().zip(expected.lines());
    match lines.find(|(found, expected)| found != expected) {
        Some((found, expected)) => Err(format!("{}, expected {}", found.trim(), expected.trim())),
        None => cases::same(&found.lines().count(), &expected.lines().count()),
    }
}
