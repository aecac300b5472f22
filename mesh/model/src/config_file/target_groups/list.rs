//! A YAML list of target groups, built while it is parsed.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::{
    config::discovery::TargetGroup,
    config_file::{discovery::StaticGroup, section::Problem},
};

/// The target groups of a list, or the first problem in it.
///
/// A list can have a million groups. So each group is built as soon as it is read, and only one
/// group's text is in memory.
#[derive(Debug)]
pub(super) struct GroupList(pub(super) Result<Vec<TargetGroup>, Problem>);

struct ListVisitor;

// === impl GroupList ===

impl Default for GroupList {
    fn default() -> Self {
        Self(Ok(Vec::new()))
    }
}

impl<'de> Deserialize<'de> for GroupList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

// === impl ListVisitor ===

impl<'de> Visitor<'de> for ListVisitor {
    type Value = GroupList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of target groups")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<GroupList, A::Error> {
        let mut groups = Vec::new();
        while let Some(entry) = list.next_element::<Spanned<Option<StaticGroup>>>()? {
            let place = entry.referenced;
            let group = entry.value;
            let group = group.ok_or_else(|| Problem::new("empty or null target group"));
            match group.and_then(StaticGroup::build) {
                Ok(group) => groups.push(group),
                Err(problem) => {
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(GroupList(Err(problem.at(place))));
                }
            }
        }
        Ok(GroupList(Ok(groups)))
    }
}
