//! A target group in JSON, read as Go does.

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::config_file::discovery::StaticGroup;

/// A target group. Its keys may have any letter case, the last one of equal keys wins, and a
/// null is an empty value.
#[derive(Debug)]
pub(super) struct JsonGroup(pub(super) StaticGroup);

struct GroupVisitor;

// === impl JsonGroup ===

impl<'de> Deserialize<'de> for JsonGroup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(GroupVisitor)
    }
}

// === impl GroupVisitor ===

impl<'de> Visitor<'de> for GroupVisitor {
    type Value = JsonGroup;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a target group, an object with targets and labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonGroup, A::Error> {
        let mut group = StaticGroup::default();
        while let Some(key) = map.next_key::<String>()? {
            if key.eq_ignore_ascii_case("targets") {
                let targets: Option<Vec<Option<String>>> = map.next_value()?;
                let targets = targets.into_iter().flatten();
                group.targets = Some(targets.map(Option::unwrap_or_default).collect());
            } else if key.eq_ignore_ascii_case("labels") {
                let labels: Option<BTreeMap<String, Option<String>>> = map.next_value()?;
                let labels = labels.into_iter().flatten();
                let labels = labels.map(|(name, value)| (name, value.unwrap_or_default()));
                group.labels = Some(labels.collect());
            } else {
                return Err(A::Error::custom(format_args!(
                    "unknown key {key:?}, expected targets and labels"
                )));
            }
        }
        Ok(JsonGroup(group))
    }
}
