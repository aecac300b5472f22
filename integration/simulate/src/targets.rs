//! What is scraped: one host whose ports are the targets.

use std::{fmt::Write, sync::Arc};

use axum::{Router, http::header, routing::get};

use super::{
    net,
    world::{Shared, now_ms},
};

/// The host of all targets.
pub(super) const HOST: &str = "targets";
/// The counter that numbers a target's scrapes.
pub(super) const SCRAPES: &str = "sim_scrapes_total";
/// A gauge whose value follows from the number.
pub(super) const VALUE: &str = "sim_value";

const FIRST_PORT: u16 = 9000;

/// A scrape that was answered.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) target: usize,
    /// The scrape's number, from 1.
    pub(super) number: u64,
    /// The receiver that asked.
    pub(super) by: String,
    pub(super) at_ms: i64,
}

/// The address of a target.
pub(super) fn address(target: usize) -> String {
    format!("{HOST}:{}", FIRST_PORT + target as u16)
}

/// Whether an instance is a target; receivers have heartbeats.
pub(super) fn is_one(instance: &str) -> bool {
    instance.starts_with(HOST)
}

/// Answers scrapes on the ports of `targets` targets, for ever.
pub(super) async fn run(shared: Arc<Shared>, targets: usize) -> turmoil::Result {
    let ports = (0..targets).map(|target| {
        let shared = shared.clone();
        net::serve(FIRST_PORT + target as u16, move |by| {
            let shared = shared.clone();
            let answer = move || async move { serve(&shared, target, by) };
            Router::new().route("/metrics", get(answer))
        })
    });
    futures::future::try_join_all(ports).await?;
    Ok(())
}

fn serve(
    shared: &Shared,
    target: usize,
    by: String,
) -> ([(header::HeaderName, &'static str); 1], String) {
    let mut served = shared.served();
    let number = served.iter().filter(|s| s.target == target).count() as u64 + 1;
    served.push(Served {
        target,
        number,
        by,
        at_ms: now_ms(),
    });
    let mut body = format!("# TYPE {SCRAPES} counter\n{SCRAPES} {number}\n# TYPE {VALUE} gauge\n");
    for part in 0..3 {
        let value = number * 1000 + target as u64 * 10 + part;
        let _ = writeln!(body, "{VALUE}{{part=\"{part}\"}} {value}");
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], body)
}
