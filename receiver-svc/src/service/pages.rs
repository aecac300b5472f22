//! Status page of the targets, as HTML or as JSON.

mod html;
mod json;
mod page;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use tokio::sync::watch;

use crate::{
    discovery::Failures,
    scrape::{JobStatus, Status},
};

type Statuses = watch::Receiver<Arc<Status>>;

/// Failures of discovery, by job.
type ByJob = HashMap<String, Vec<String>>;

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
    let (page, body) = page::page();
    if accept.is_some_and(|accept| accept.contains("text/html")) {
        tokio::spawn(html::write(page, status, failures));
        return Html(body).into_response();
    }
    tokio::spawn(json::write(page, status, failures));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Returns the errors of a job: failures of its discovery, and targets that cannot be scraped.
fn errors<'a>(job: &'a JobStatus, failures: &'a ByJob) -> impl Iterator<Item = &'a String> {
    let failures = failures.get(&job.job).into_iter().flatten();
    failures.chain(&job.errors)
}
