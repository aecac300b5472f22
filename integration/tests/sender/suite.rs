//! The suite's file, read in place.

use std::path::PathBuf;

use serde::Deserialize;

/// A case as the file has it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Published {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) scrape_data: Option<String>,
}

#[derive(Deserialize)]
struct Suite {
    rw2: Vec<Published>,
    rw1: Vec<Published>,
}

/// The version 2.0 cases of these groups; nothing where the suites are not there,
/// which is told.
pub(crate) fn version_2(groups: &[&str]) -> Vec<Published> {
    let cases = read().map_or_else(Vec::new, |suite| suite.rw2);
    let of_groups = |case: &Published| {
        let group = case.name.split('/').next().unwrap_or_default();
        groups.contains(&group)
    };
    cases.into_iter().filter(of_groups).collect()
}

/// The names of all cases of a version, without their groups.
pub(crate) fn names() -> Option<(Vec<String>, Vec<String>)> {
    let suite = read()?;
    let last = |case: Published| case.name.rsplit('/').next().unwrap_or_default().to_owned();
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
fn every_group_is_somewhere() {
    let Some((version_2, version_1)) = names() else {
        return;
    };
    assert_eq!((version_2.len(), version_1.len()), (157, 19));
    let here = [
        crate::bodies::GROUPS,
        crate::answers::GROUPS,
        crate::process::GROUPS,
        crate::version_1::GROUPS,
    ]
    .concat();
    for name in version_2 {
        let group = name.split('/').next().unwrap();
        assert!(here.contains(&group), "{name}");
    }
    for name in version_1 {
        assert!(crate::version_1::CASES.contains(&name.as_str()), "{name}");
    }
}
