//! The targets of a load run: one process that renders all of them from one
//! template, and remembers which scrape it answered when, and to whom.

use std::sync::{
    Arc, Mutex, PoisonError,
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
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::exposition::Exposition;
use harness::child::{self, Addresses};
use stand_ins::sample_app::SCRAPED_BY;

/// Flags of the targets' process.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetsArgs {
    /// How many targets there are.
    #[arg(long)]
    pub targets: usize,

    /// Series of each.
    #[arg(long)]
    pub series: usize,
}

/// One scrape that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Served {
    /// The target's number, from 0.
    pub target: usize,
    /// The scrape's number, from 1, the same as in its body's values.
    pub scrape: u32,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The receiver that asked.
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

/// Where a target is scraped.
pub fn path(target: usize) -> String {
    format!("/target/{target}")
}

/// Serves until the process is ended.
///
/// # Errors
/// Where it cannot listen.
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
    child::announce(&Addresses {
        web: listener.local_addr()?.to_string(),
        ..Addresses::default()
    });
    Ok(axum::serve(listener, router).await?)
}

async fn scrape(
    State(targets): State<Targets>,
    Path(target): Path<usize>,
    headers: HeaderMap,
) -> Response {
    let asker = headers.get(SCRAPED_BY).and_then(|value| value.to_str().ok());
    // Other agents do not say who they are.
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
    let all = targets.0.served.lock();
    all.unwrap_or_else(PoisonError::into_inner).push(served);
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content_type, targets.0.exposition.render(scrape)).into_response()
}

/// All scrapes that were answered, but the first so many.
async fn served(State(targets): State<Targets>, Query(from): Query<From>) -> Json<Vec<Served>> {
    let served = targets.0.served.lock();
    let served = served.unwrap_or_else(PoisonError::into_inner);
    Json(served.get(from.from..).unwrap_or_default().to_vec())
}
