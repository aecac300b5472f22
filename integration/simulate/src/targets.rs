//! The scrape targets: the ports of one host, and a log of the scrapes that they answer.

use std::{fmt::Write, sync::Arc};

use axum::{Router, http::header, routing::get};
use parking_lot::Mutex;

use super::{clock::now_ms, net};

/// Name of the host of all targets.
pub(super) const HOST: &str = "targets";
/// Counter that numbers the scrapes of a target.
pub(super) const SCRAPES: &str = "sim_scrapes_total";
/// Gauge whose value follows from the scrape's number.
pub(super) const VALUE: &str = "sim_value";

const FIRST_PORT: u16 = 9000;

/// Scrape that a target answered.
#[derive(Clone, Debug)]
pub(super) struct AnsweredScrape {
    pub(super) target: usize,
    /// Number of the scrape, from 1.
    pub(super) number: u64,
    /// Name of the receiver that scraped.
    pub(super) receiver: String,
    pub(super) at_ms: i64,
}

/// All scrapes that the targets answered. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct ScrapeLog(Arc<Mutex<Vec<AnsweredScrape>>>);

/// Address of a target, for example `targets:9002`.
pub(super) fn address(target: usize) -> String {
    format!("{HOST}:{}", FIRST_PORT + target as u16)
}

/// Returns true for the `instance` label of a target. Heartbeats have the names of receivers.
pub(super) fn is_target(instance: &str) -> bool {
    instance.starts_with(HOST)
}

/// Serves `targets` targets and logs their scrapes. Never completes.
pub(super) async fn run(log: ScrapeLog, targets: usize) -> turmoil::Result {
    let ports = (0..targets).map(|target| {
        let log = log.clone();
        net::serve(FIRST_PORT + target as u16, move |receiver| {
            let log = log.clone();
            let respond = move || async move { exposition(log.record(target, receiver)) };
            Router::new().route("/metrics", get(respond))
        })
    });
    futures::future::try_join_all(ports).await?;
    Ok(())
}

fn exposition(scrape: (usize, u64)) -> ([(header::HeaderName, &'static str); 1], String) {
    let (target, number) = scrape;
    let mut body = format!("# TYPE {SCRAPES} counter\n{SCRAPES} {number}\n# TYPE {VALUE} gauge\n");
    for part in 0..3 {
        let value = number * 1000 + target as u64 * 10 + part;
        let _ = writeln!(body, "{VALUE}{{part=\"{part}\"}} {value}");
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], body)
}

// === impl ScrapeLog ===

impl ScrapeLog {
    /// Returns all scrapes so far.
    pub(super) fn scrapes(&self) -> Vec<AnsweredScrape> {
        self.0.lock().clone()
    }

    /// Records a scrape. Returns its target and number.
    fn record(&self, target: usize, receiver: String) -> (usize, u64) {
        let mut scrapes = self.0.lock();
        let number = scrapes.iter().filter(|s| s.target == target).count() as u64 + 1;
        scrapes.push(AnsweredScrape {
            target,
            number,
            receiver,
            at_ms: now_ms(),
        });
        (target, number)
    }
}
