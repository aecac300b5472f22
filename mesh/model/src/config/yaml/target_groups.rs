//! Lists of target groups, which discovery reads from files and endpoints.

use std::path::Path;

use serde_saphyr::Spanned;

use super::{Problem, build_all, discovery::StaticGroup, file::read};
use crate::config::{ConfigError, discovery::TargetGroup};

/// Reads a list in YAML.
pub(in crate::config) fn from_yaml(
    text: &str,
    path: &Path,
) -> Result<Vec<TargetGroup>, ConfigError> {
    let list: Vec<Spanned<Option<StaticGroup>>> = read(text, path)?;
    build_all(Some(list), "target group", StaticGroup::build_discovered)
        .map_err(|problem| ConfigError::in_file(path, problem))
}

/// Reads a list in JSON, which is less than YAML: no comments, and every label is a
/// string.
pub(in crate::config) fn from_json(
    text: &str,
    path: &Path,
) -> Result<Vec<TargetGroup>, ConfigError> {
    let failed = |place, message| ConfigError {
        path: path.to_owned(),
        place,
        message,
    };
    let list: Option<Vec<Option<StaticGroup>>> = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let place = (error.line() as u64, error.column() as u64);
        failed(Some(place), message.to_owned())
    })?;
    let groups = list.unwrap_or_default().into_iter().enumerate();
    let built = groups.map(|(i, group)| {
        let group = group.ok_or_else(|| Problem::new("it is null"));
        let built = group.and_then(StaticGroup::build_discovered);
        built.map_err(|problem| failed(None, format!("target group {i}: {}", problem.message)))
    });
    built.collect()
}
