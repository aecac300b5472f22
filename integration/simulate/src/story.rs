//! The way of each scrape of one target, for whoever asks why a law was broken.

use std::fmt;

use super::judge::{Life, Record, number};
use stand_ins::amp::Arrival;
use crate::tap::{Scraped, Sent};

/// What happened to the scrapes of one target, in order.
pub(super) struct Story(Vec<(i64, String)>);

// === impl Story ===

impl Story {
    /// Of an instance, as in targets:9002.
    pub(super) fn of(instance: &str, record: &Record) -> Self {
        let is_it = |batch: &&Scraped| batch.instance == instance;
        let mut events = Vec::new();
        for life in &record.lives {
            for sent in &life.sent {
                for batch in sent.batches.iter().filter(is_it) {
                    events.extend(way(life, sent, batch));
                }
            }
        }
        let arrivals = record.arrivals.iter().filter(|arrival| {
            number(arrival).is_some() && arrival.labels.get("instance") == Some(instance)
        });
        events.extend(arrivals.map(arrived));
        events.sort();
        Self(events)
    }
}

fn way(life: &Life, sent: &Sent, batch: &Scraped) -> [(i64, String); 2] {
    let (name, time_ms) = (&life.name, batch.time_ms);
    let end = match &sent.verdict {
        Some((verdict, _)) => format!("{verdict:?}"),
        None => "no verdict".to_owned(),
    };
    [
        (sent.at_ms, format!("{name} sends {time_ms}")),
        (sent.ended_ms, format!("{name} sent {time_ms}: {end}")),
    ]
}

fn arrived(arrival: &Arrival) -> (i64, String) {
    let Arrival {
        request,
        timestamp,
        outcome,
        ..
    } = arrival;
    let what = format!("request {request} brings {timestamp}: {outcome:?}");
    (arrival.at_ms, what)
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at_ms, event) in &self.0 {
            writeln!(f, "{at_ms} {event}")?;
        }
        Ok(())
    }
}
