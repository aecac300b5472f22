//! Lists of target groups, which discovery reads from files and HTTP endpoints.

mod json;
mod list;

use std::path::Path;

use self::{json::JsonGroup, list::GroupList};
use super::{
    section::Problem,
    text::decode,
    yaml::{self, without_place},
};
use crate::config::{ConfigError, ConfigWarning, discovery::TargetGroup};

/// Parses the content of a target file of `file_sd_configs`: JSON if the name of `origin` ends
/// in `.json`, YAML otherwise. The caller sets the `source` of each group.
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
/// Returns an error with the place in `origin` if the content is not a list of target groups.
pub fn parse_target_groups(
    content: impl AsRef<[u8]>,
    origin: &Path,
) -> Result<Vec<TargetGroup>, ConfigError> {
    if is_json(origin) {
        return parse_target_groups_json(content, origin);
    }
    let text = decode(content.as_ref()).map_err(|error| error.in_file(origin))?;
    let list: GroupList = yaml::parse(&text, origin)?;
    list.0.map_err(|problem| problem.in_file(origin))
}

/// Warns of content after the first YAML document of a target file. It is not read, as in
/// Prometheus.
pub fn ignored_document(content: &[u8], origin: &Path) -> Option<ConfigWarning> {
    let text = decode(content).ok().filter(|_| !is_json(origin))?;
    yaml::ignored_document(&text, origin)
}

/// Returns true if the name of a file ends in `.json`.
fn is_json(origin: &Path) -> bool {
    let extension = origin.extension().unwrap_or_default();
    extension.eq_ignore_ascii_case("json")
}

/// Parses a JSON list of target groups, such as the response of an `http_sd_configs`
/// endpoint. The caller sets the `source` of each group.
///
/// JSON is read as Go does: it has no comments, every label value is a string or null, keys may
/// have any letter case, and invalid UTF-8 becomes U+FFFD.
///
/// # Errors
/// Returns an error with the place in `origin` if the content is not a list of target groups.
pub fn parse_target_groups_json(
    content: impl AsRef<[u8]>,
    origin: &Path,
) -> Result<Vec<TargetGroup>, ConfigError> {
    let content = content.as_ref();
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0xef, 0xbb, 0xbf, ..] = content {
        let error = "JSON starts with a byte order mark, save it as UTF-8 without one";
        return Err(ConfigError::new(origin, None, error));
    }
    let text = String::from_utf8_lossy(content);
    let list: Option<Vec<Option<JsonGroup>>> = serde_json::from_str(&text).map_err(|error| {
        let place = (error.line() as u64, error.column() as u64);
        ConfigError::new(origin, Some(place), json_message(&error))
    })?;
    let groups = list.unwrap_or_default().into_iter().enumerate();
    let built = groups.map(|(i, group)| {
        let group = group.ok_or_else(|| Problem::new("it is null"));
        let built = group.and_then(|group| group.0.build());
        built.map_err(|problem| {
            let message = format!("target group {i}: {}", problem.message);
            ConfigError::new(origin, None, message)
        })
    });
    built.collect()
}

/// Describes an error of the JSON parser without its place.
fn json_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = without_place(&message);
    match error.classify() {
        serde_json::error::Category::Data => {
            let message = message.replace("a sequence", "a list");
            match message.strip_prefix("invalid type: ") {
                Some(found) => format!("found {found}"),
                None => message,
            }
        }
        _ => format!("not valid JSON: {message}"),
    }
}

#[cfg(test)]
mod tests;
