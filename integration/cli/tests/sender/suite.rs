//! Reads the suite's file.

use std::path::PathBuf;

use serde::Deserialize;

/// A case of the file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PublishedCase {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) scrape_data: Option<String>,
}

#[derive(Deserialize)]
struct Suite {
    rw2: Vec<PublishedCase>,
    rw1: Vec<PublishedCase>,
}

/// Returns the cases of version 2.0 in these groups. Returns none, and prints a note, if the
/// suites are not beside the checkout.
pub(crate) fn version_2(groups: &[&str]) -> Vec<PublishedCase> {
    let cases = read().map_or_else(Vec::new, |suite| suite.rw2);
    let of_groups = |case: &PublishedCase| {
        let group = case.name.split('/').next().unwrap_or_default();
        groups.contains(&group)
    };
    cases.into_iter().filter(of_groups).collect()
}

/// Returns the names of all cases: version 2.0 with groups, version 1.0 without.
pub(crate) fn names() -> Option<(Vec<String>, Vec<String>)> {
    let suite = read()?;
    let last = |case: PublishedCase| case.name.rsplit('/').next().unwrap_or_default().to_owned();
    Some((
        suite.rw2.into_iter().map(|case| case.name).collect(),
        suite.rw1.into_iter().map(last).collect(),
    ))
}

fn read() -> Option<Suite> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/suites/rw_sender_cases.json"))
        .find(|file| file.exists());
    let Some(file) = file else {
        eprintln!("ignored: shared/suites/rw_sender_cases.json is not beside the checkout");
        return None;
    };
    let text = std::fs::read_to_string(file).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn every_case_has_a_test() {
    let Some((version_2, version_1)) = names() else {
        return;
    };
    assert_eq!((version_2.len(), version_1.len()), (157, 19));
    let groups = [
        crate::bodies::GROUPS,
        crate::answers::GROUPS,
        crate::process::GROUPS,
        crate::version_1::GROUPS,
    ]
    .concat();
    for name in version_2 {
        let group = name.split('/').next().unwrap();
        assert!(groups.contains(&group), "{name}");
    }
    for name in version_1 {
        assert!(crate::version_1::CASES.contains(&name.as_str()), "{name}");
    }
}
