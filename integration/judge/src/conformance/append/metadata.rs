//! Metadata of metric families.

use std::collections::BTreeSet;

use receiver_svc::scrape::AppendedSamples;
use serde_json::{Value, json};

use crate::conformance::cases;

/// Compares the metadata. v2 has it in every sample, v1 in the first one of a series and
/// after a change.
pub(super) fn same(appended: &AppendedSamples<'_>, row: &Value) -> Result<(), String> {
    if row["options"]["append_metadata"] != true {
        return Ok(());
    }
    let mut expected = BTreeSet::new();
    for event in cases::list(&row["events"]) {
        if !event["metadata"].is_null() {
            let family = &event["metric_family"];
            expected.insert(json!([event["labels"], event["metadata"], family]).to_string());
        }
    }
    let v2 = row["appender"] == "v2";
    let mut found = BTreeSet::new();
    for sample in appended.samples() {
        if let Some(metadata) = sample.metadata() {
            let said = json!({
                "type": metadata.metric_type.as_str(),
                "help": metadata.help,
                "unit": metadata.unit,
            });
            let family = if v2 {
                json!(metadata.family)
            } else {
                Value::Null
            };
            found.insert(json!([sample.labels(), said, family]).to_string());
        }
    }
    let missing: Vec<_> = expected.difference(&found).collect();
    let more: Vec<_> = found.difference(&expected).collect();
    if missing.is_empty() && (more.is_empty() || !v2) {
        Ok(())
    } else {
        Err(format!(
            "metadata: missing {missing:?}, not expected {more:?}"
        ))
    }
}
