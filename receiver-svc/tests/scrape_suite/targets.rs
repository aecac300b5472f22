//! From discovered labels to those of a target.

use std::{collections::BTreeMap, fs, path::Path};

use mesh::{
    config::{Config, discovery::TargetGroup, scrape::ScrapeConfig},
    labels::Labels,
};
use receiver_svc::scrape::{Populated, populate};
use serde_json::Value;

use crate::suite;

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn targets_are_populated() {
    let text = fs::read_to_string(suite::path("scrape/populate_labels.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let cases = document["cases"].as_array().unwrap();
    let mut listed = 0;
    for case in cases {
        if let Some(reason) = self::listed(case) {
            assert!(!reason.is_empty());
            listed += 1;
            continue;
        }
        compare(case);
    }
    assert_eq!((cases.len(), listed), (18, 1));
}

fn listed(case: &Value) -> Option<&'static str> {
    let custom = case["target"]["custom"].as_str()?;
    let not_utf8 = custom.contains(char::REPLACEMENT_CHARACTER);
    not_utf8.then_some("a label value that is not UTF-8, which no label set here can hold")
}

fn compare(case: &Value) {
    let config = config(case["scrape_config_yaml"].as_str().unwrap());
    let found = populate(&config, &TargetGroup::default(), &labels(&case["target"]));
    match (found, case["error"].as_str()) {
        (Ok(Populated::Kept(target)), None) => {
            assert_eq!(target.labels, labels(&case["result"]), "{case}");
            assert_eq!(
                target.discovered,
                labels(&case["discovered_labels"]),
                "{case}"
            );
        }
        (Err(error), Some(expected)) => {
            // The words of Go's parsers are not ours.
            let start = expected.split(": ").next().unwrap();
            let start = start.replace(
                "convert classic histograms to nhcb",
                "__convert_classic_histograms_to_nhcb__",
            );
            assert!(error.to_string().starts_with(&start), "{error}: {case}");
        }
        (found, _) => panic!("{found:?}: {case}"),
    }
}

fn labels(map: &Value) -> Labels {
    let map: BTreeMap<String, String> = serde_json::from_value(map.clone()).unwrap();
    map.into_iter().collect()
}

fn config(yaml: &str) -> ScrapeConfig {
    let indented: String = yaml.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("scrape_configs:\n  -\n{indented}");
    let config = Config::parse(&text, Path::new("case.yml"), &|_| None);
    config.unwrap().scrape_configs.remove(0)
}
