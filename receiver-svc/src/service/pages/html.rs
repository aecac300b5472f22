//! The targets as HTML.

use std::sync::Arc;

use mesh_service::html::escape;

use super::{
    ByJob, errors,
    page::{Disconnected, Page},
};
use crate::scrape::{JobStatus, Status, TargetStatus};

/// Writes a table of targets for each job.
pub(super) async fn write(
    mut page: Page,
    status: Arc<Status>,
    failures: ByJob,
) -> Result<(), Disconnected> {
    page.write("<!doctype html><title>Targets</title><h1>Targets</h1>")
        .await?;
    for job in &status.jobs {
        write_job(&mut page, job, &failures).await?;
    }
    page.end().await
}

async fn write_job(page: &mut Page, job: &JobStatus, failures: &ByJob) -> Result<(), Disconnected> {
    page.write(&format!(
        "<h2>{}</h2><table border=1 cellpadding=4>\
         <tr><th>target<th>labels<th>state<th>seconds<th>samples",
        escape(&job.job)
    ))
    .await?;
    for target in &job.targets {
        page.write(&row(target)).await?;
    }
    page.write(&format!(
        "</table><p>{} dropped by relabeling",
        job.dropped_count
    ))
    .await?;
    for error in errors(job, failures) {
        page.write(&format!("<p>{}", escape(error))).await?;
    }
    Ok(())
}

fn row(status: &TargetStatus) -> String {
    let last = status.health.as_ref().map(|health| health.last());
    let (state, seconds, samples) = match last {
        None => (
            "owned by another receiver".to_owned(),
            String::new(),
            String::new(),
        ),
        Some(None) => ("not scraped yet".to_owned(), String::new(), String::new()),
        Some(Some(last)) => {
            let state = last
                .failure
                .map_or("up".to_owned(), |(_, message)| format!("down: {message}"));
            (
                state,
                format!("{:.3}", last.seconds),
                last.samples.to_string(),
            )
        }
    };
    let labels = status.target.public.to_string();
    format!(
        "<tr><td>{}<td>{}<td>{}<td>{seconds}<td>{samples}",
        escape(&status.target.url),
        escape(&labels),
        escape(&state)
    )
}
