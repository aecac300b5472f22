//! The targets as JSON.

use std::sync::Arc;

use mesh_model::labels::Labels;
use serde_json::{Value, json};

use super::{
    ByJob, errors,
    page::{Disconnected, Page},
};
use crate::scrape::{JobStatus, Status, TargetStatus};

/// Writes all jobs and their targets.
pub(super) async fn write(
    mut page: Page,
    status: Arc<Status>,
    failures: ByJob,
) -> Result<(), Disconnected> {
    page.write("{\"jobs\":[").await?;
    for (i, job) in status.jobs.iter().enumerate() {
        page.write(if i == 0 { "" } else { "," }).await?;
        write_job(&mut page, job, &failures).await?;
    }
    page.write("]}").await?;
    page.end().await
}

async fn write_job(page: &mut Page, job: &JobStatus, failures: &ByJob) -> Result<(), Disconnected> {
    let name = json!(job.job);
    page.write(&format!(
        "{{\"job\":{name},\"dropped\":{}",
        job.dropped_count
    ))
    .await?;
    let errors = errors(job, failures).map(|error| json!(error));
    write_list(page, "errors", errors).await?;
    write_list(page, "targets", job.targets.iter().map(target)).await?;
    // At most `keep_dropped_targets`.
    let dropped = job.dropped.iter().map(|dropped| labels(&dropped.labels()));
    write_list(page, "dropped_targets", dropped).await?;
    page.write("}").await
}

/// Writes a further field of an object: a list of values, which are created one by one.
async fn write_list(
    page: &mut Page,
    name: &str,
    values: impl Iterator<Item = Value>,
) -> Result<(), Disconnected> {
    page.write(&format!(",\"{name}\":[")).await?;
    for (i, value) in values.enumerate() {
        page.write(if i == 0 { "" } else { "," }).await?;
        page.write(&value.to_string()).await?;
    }
    page.write("]").await
}

fn labels(labels: &Labels) -> Value {
    let labels = labels.iter();
    labels
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn target(status: &TargetStatus) -> Value {
    let last = status.health.as_ref().and_then(|health| health.last());
    json!({
        "url": status.target.url,
        "labels": labels(&status.target.public),
        "scraped_here": status.health.is_some(),
        "last_scrape": last.map(|last| json!({
            "time_ms": last.time_ms,
            "seconds": last.seconds,
            "samples": last.samples,
            "failure": last.failure.map(|(reason, message)| json!({"reason": reason.as_str(), "message": message})),
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{ByJob, page};
    use super::*;

    fn job(name: &str, errors: &[&str]) -> JobStatus {
        JobStatus {
            job: name.to_owned(),
            targets: Vec::new(),
            dropped: [].into(),
            dropped_count: 3,
            errors: errors.iter().map(|&error| error.to_owned()).collect(),
        }
    }

    #[tokio::test]
    async fn writes_valid_json() {
        let jobs = vec![job("a\"b", &["x", "y"]), job("c", &[])];
        let failures = ByJob::from([("c".to_owned(), vec!["refused".to_owned()])]);
        let (page, body) = page::page();
        tokio::spawn(write(page, Arc::new(Status { jobs }), failures));
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let written: Value = serde_json::from_slice(&body).unwrap();
        let job = |name, errors| {
            json!({
                "job": name, "dropped": 3, "errors": errors,
                "targets": [], "dropped_targets": [],
            })
        };
        let jobs = [job("a\"b", json!(["x", "y"])), job("c", json!(["refused"]))];
        assert_eq!(written, json!({ "jobs": jobs }));
    }
}
