//! Lists of target groups, which discovery reads from files and HTTP endpoints.

use std::path::Path;

use serde_saphyr::Spanned;

use super::{
    discovery::StaticGroup,
    section::{Problem, build_all},
    yaml,
};
use crate::config::{ConfigError, discovery::TargetGroup};

/// Parses a target file of `file_sd_configs`: JSON if the name of `origin` ends in `.json`,
/// YAML otherwise. The caller sets the `source` of each group.
///
/// ```
/// use std::path::Path;
///
/// use mesh_model::{config_file::parse_target_groups, labels::ADDRESS};
///
/// let text = "- {targets: ['node1:9100'], labels: {zone: a}}";
/// let groups = parse_target_groups(text, Path::new("nodes.yml"))?;
/// assert_eq!(groups[0].targets[0].get(ADDRESS), Some("node1:9100"));
/// assert_eq!(groups[0].labels.get("zone"), Some("a"));
/// # Ok::<(), mesh_model::config::ConfigError>(())
/// ```
///
/// # Errors
/// Returns an error with the place in `origin` if `text` is not a list of target groups.
pub fn parse_target_groups(text: &str, origin: &Path) -> Result<Vec<TargetGroup>, ConfigError> {
    let extension = origin.extension().unwrap_or_default();
    if extension.eq_ignore_ascii_case("json") {
        return parse_target_groups_json(text, origin);
    }
    let list: Vec<Spanned<Option<StaticGroup>>> = yaml::parse(text, origin)?;
    build_all(Some(list), "target group", StaticGroup::build)
        .map_err(|problem| problem.in_file(origin))
}

/// Parses a JSON list of target groups, such as the response of an `http_sd_configs`
/// endpoint. The caller sets the `source` of each group.
///
/// JSON is stricter than YAML: it has no comments, and every label value is a string.
///
/// # Errors
/// Returns an error with the place in `origin` if `text` is not a list of target groups.
pub fn parse_target_groups_json(
    text: &str,
    origin: &Path,
) -> Result<Vec<TargetGroup>, ConfigError> {
    let list: Option<Vec<Option<StaticGroup>>> = serde_json::from_str(text).map_err(|error| {
        let place = (error.line() as u64, error.column() as u64);
        let message = error.to_string();
        ConfigError::new(origin, Some(place), yaml::without_place(&message))
    })?;
    let groups = list.unwrap_or_default().into_iter().enumerate();
    let built = groups.map(|(i, group)| {
        let group = group.ok_or_else(|| Problem::new("it is null"));
        let built = group.and_then(StaticGroup::build);
        built.map_err(|problem| {
            let message = format!("target group {i}: {}", problem.message);
            ConfigError::new(origin, None, message)
        })
    });
    built.collect()
}
