//! Targets of a load run. One process renders all of them from one template, and records
//! each scrape with its receiver.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use mesh_base::clock::Clock;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::exposition::Exposition;
use harness::{process, spec::Addresses};
use stand_ins::sample_app::SCRAPED_BY;

/// Flags of the targets' process.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetsArgs {
    /// Number of targets.
    #[arg(long)]
    pub targets: usize,

    /// Number of series of each target.
    #[arg(long)]
    pub series: usize,
}

/// A served scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Served {
    /// Number of the target, from 0.
    pub target: usize,
    /// Number of the scrape, from 1. The values of its body contain it.
    pub scrape: u32,
    /// Time of the request, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Number of the receiver.
    pub by: usize,
}

#[derive(Clone, Debug)]
struct Targets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    exposition: Exposition,
    scrapes: Vec<AtomicU32>,
    served: Mutex<Vec<Served>>,
}

#[derive(Deserialize)]
struct From {
    from: usize,
}

/// Metrics path of a target.
pub fn path(target: usize) -> String {
    format!("/target/{target}")
}

/// Serves the targets until the process ends.
///
/// # Errors
/// Returns an error if it cannot listen.
pub async fn run(args: &TargetsArgs) -> anyhow::Result<()> {
    let targets = Targets(Arc::new(Inner {
        exposition: Exposition::new(args.series),
        scrapes: (0..args.targets).map(|_| AtomicU32::new(0)).collect(),
        served: Mutex::default(),
    }));
    let router = Router::new()
        .route("/target/{target}", get(scrape))
        .route("/served", get(served))
        .with_state(targets);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    process::announce(Addresses::web(listener.local_addr()?));
    Ok(axum::serve(listener, router).await?)
}

async fn scrape(
    State(targets): State<Targets>,
    Path(target): Path<usize>,
    headers: HeaderMap,
) -> Response {
    let asker = headers
        .get(SCRAPED_BY)
        .and_then(|value| value.to_str().ok());
    // Other agents do not send the header.
    let by = asker.and_then(|asker| asker.parse().ok()).unwrap_or(0);
    let Some(scrapes) = targets.0.scrapes.get(target) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let scrape = scrapes.fetch_add(1, Ordering::Relaxed) + 1;
    let at_ms = Clock::system().now_ms();
    let served = Served {
        target,
        scrape,
        at_ms,
        by,
    };
    targets.0.served.lock().push(served);
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content_type, targets.0.exposition.render(scrape)).into_response()
}

/// Served scrapes from an index on.
async fn served(State(targets): State<Targets>, Query(from): Query<From>) -> Json<Vec<Served>> {
    let served = targets.0.served.lock();
    Json(served.get(from.from..).unwrap_or_default().to_vec())
}
