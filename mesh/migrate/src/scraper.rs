//! AMP's managed scraper: the answer of `describe-scraper`, and destinations by ARN.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    MigrateError,
    notes::Notes,
    part::Part,
    read,
    value::{at, text},
};

/// Returns the description of a scraper within an answer of the API or its input.
pub(crate) fn description(value: &Value) -> Option<&Value> {
    [value, &value["scraper"]]
        .into_iter()
        .find(|value| value["scrapeConfiguration"].is_object())
}

pub(crate) fn translate(
    scraper: &Value,
    name: &str,
    notes: &mut Notes,
) -> Result<Part, MigrateError> {
    let blob = text(at(scraper, &["scrapeConfiguration", "configurationBlob"])).unwrap_or_default();
    let bytes = BASE64_STANDARD.decode(blob.trim().replace(['\n', ' '], ""));
    let decoded = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(decoded) = decoded else {
        let message = "scrapeConfiguration.configurationBlob: expected base64 of YAML".to_owned();
        return Err(MigrateError::Syntax {
            name: name.to_owned(),
            message,
        });
    };
    let mut part = Part::of_file(&read::value(
        &decoded,
        &format!("{name}: configurationBlob"),
    )?);
    notes.add("configurationBlob", "decoded from base64");
    let arn = text(at(
        scraper,
        &["destination", "ampConfiguration", "workspaceArn"],
    ));
    if let Some(entry) = arn.as_deref().and_then(destination) {
        notes.add(
            "destination",
            "url and region follow from the ARN of the workspace",
        );
        part.remote_write.push(entry);
    }
    Ok(part)
}

/// Returns the `remote_write` entry of a workspace, such as
/// `arn:aws:aps:us-west-2:111122223333:workspace/ws-1`.
fn destination(arn: &str) -> Option<Value> {
    let mut parts = arn.split(':');
    let (partition, region) = (parts.nth(1)?, parts.nth(1)?);
    let workspace = parts.nth(1)?.strip_prefix("workspace/")?;
    let domain = if partition == "aws-cn" {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    let url = format!(
        "https://aps-workspaces.{region}.{domain}/workspaces/{workspace}/api/v1/remote_write"
    );
    Some(json!({"url": url, "sigv4": {"region": region}}))
}
