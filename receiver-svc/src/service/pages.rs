//! Status page of the targets, as HTML or as JSON.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use mesh_model::labels::Labels;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    discovery::Failures,
    scrape::{JobStatus, Status, TargetStatus},
};

type Statuses = watch::Receiver<Arc<Status>>;

pub(super) fn router(status: Statuses, failures: Failures) -> Router {
    Router::new()
        .route("/targets", get(targets))
        .with_state((status, failures))
}

async fn targets(
    State((status, failures)): State<(Statuses, Failures)>,
    headers: HeaderMap,
) -> Response {
    let status = status.borrow().clone();
    let failures = failures.by_job();
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/html")) {
        return Html(page(&status, &failures)).into_response();
    }
    Json(json!({"jobs": status.jobs.iter().map(|status| job(status, &failures)).collect::<Vec<_>>()})).into_response()
}

/// Failures of discovery, by job.
type ByJob = HashMap<String, Vec<String>>;

/// Errors of a job: failures of its discovery, and targets that cannot be scraped.
fn errors<'a>(job: &'a JobStatus, failures: &'a ByJob) -> impl Iterator<Item = &'a String> {
    let failures = failures.get(&job.job).into_iter().flatten();
    failures.chain(&job.errors)
}

fn job(job: &JobStatus, failures: &ByJob) -> Value {
    json!({
        "job": job.job,
        "targets": job.targets.iter().map(target).collect::<Vec<_>>(),
        "dropped": job.dropped_count,
        // At most `keep_dropped_targets`.
        "dropped_targets": job.dropped.iter().map(|dropped| labels(&dropped.labels())).collect::<Vec<_>>(),
        "errors": errors(job, failures).collect::<Vec<_>>(),
    })
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

fn page(status: &Status, failures: &ByJob) -> String {
    let mut html = "<!doctype html><title>Targets</title><h1>Targets</h1>".to_owned();
    for job in &status.jobs {
        html.push_str(&format!(
            "<h2>{}</h2><table border=1 cellpadding=4>",
            escape(&job.job)
        ));
        html.push_str("<tr><th>target<th>labels<th>state<th>seconds<th>samples");
        job.targets
            .iter()
            .for_each(|target| html.push_str(&row(target)));
        html.push_str(&format!(
            "</table><p>{} dropped by relabeling",
            job.dropped_count
        ));
        for error in errors(job, failures) {
            html.push_str(&format!("<p>{}", escape(error)));
        }
    }
    html
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

/// Escapes text for HTML. Labels and errors come from targets and must not become markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
