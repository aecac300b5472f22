//! Ledger of a load run. It does not store the samples, as there are too many.
//!
//! For each series it stores the newest sample, and for each scrape the number of arrived
//! samples. Only samples newer than the newest one are stored, so none is counted twice.
//! Each value contains its scrape. That is enough to find each sample that is lost,
//! repeated, out of order or in conflict.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use mesh_wire::protobuf::Fields;
use parking_lot::{Mutex, MutexGuard};
use xxhash_rust::xxh3::xxh3_64;

use super::{delays::Delays, exposition::Exposition};
use stand_ins::amp::{Intake, Value};

/// Counts of arrived samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Number of requests.
    pub(super) requests: u64,
    /// Stored samples.
    pub(super) stored: u64,
    /// Samples that were stored already with the same value.
    pub(super) duplicates: u64,
    /// Samples older than the newest one of their series. The out-of-order window is 0.
    pub(super) out_of_order: u64,
    /// Samples with a second value for a timestamp, or with a value of no scrape.
    pub(super) conflicting: u64,
    /// Staleness markers. No series of a run ends.
    pub(super) markers: u64,
    /// Samples of series that no target has.
    pub(super) unknown: u64,
}

/// Arrived part of one scrape.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrape {
    /// Number of the scrape. It is 0 until one of its values has arrived.
    pub(super) number: u32,
    /// Number of stored samples.
    pub(super) arrived: usize,
    /// Time at which the last sample arrived, in milliseconds since the Unix epoch.
    pub(super) complete_ms: Option<i64>,
}

/// Scrapes of one target by their timestamps in milliseconds since the Unix epoch.
pub(super) type Scrapes = BTreeMap<i64, Scrape>;

/// Ledger of all arrived samples.
#[derive(Debug)]
pub(super) struct Ledger {
    exposition: Exposition,
    /// Target and series by the hash of the encoded labels.
    series: HashMap<u64, (u32, u32)>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    counts: Counts,
    delays: Delays,
    targets: Vec<Target>,
}

#[derive(Debug)]
struct Target {
    /// Newest sample of each series.
    newest: Vec<Newest>,
    scrapes: Scrapes,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    time_ms: i64,
    bits: u64,
}

/// One sample of a request.
struct Sample {
    target: usize,
    series: usize,
    time_ms: i64,
    value: f64,
}

/// Capacity that fits the labels of most series.
const LABELS_BYTES: usize = 256;

// === impl Ledger ===

impl Ledger {
    /// Creates a ledger.
    ///
    /// # Errors
    /// Returns an error if two series have the same hash.
    pub(super) fn new(targets: usize, exposition: Exposition) -> anyhow::Result<Self> {
        let samples = exposition.samples();
        let mut series = HashMap::with_capacity(targets * samples);
        for target in 0..targets {
            for (i, labels) in exposition.written_labels(target).enumerate() {
                let other = series.insert(xxh3_64(&labels), (target as u32, i as u32));
                anyhow::ensure!(other.is_none(), "two series have the same hash");
            }
        }
        let target = |_| Target {
            newest: vec![
                Newest {
                    time_ms: i64::MIN,
                    bits: 0
                };
                samples
            ],
            scrapes: Scrapes::new(),
        };
        Ok(Self {
            exposition,
            series,
            state: Mutex::new(State {
                counts: Counts::default(),
                delays: Delays::default(),
                targets: (0..targets).map(target).collect(),
            }),
        })
    }

    /// Counts so far.
    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Delays since the last call.
    pub(super) fn take_delays(&self) -> Delays {
        std::mem::take(&mut self.state().delays)
    }

    /// Arrived scrapes of every target.
    pub(super) fn scrapes(&self) -> Vec<Scrapes> {
        let state = self.state();
        let targets = state.targets.iter();
        targets.map(|target| target.scrapes.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn take_series(
        &self,
        state: &mut State,
        message: Fields<'_>,
        now_ms: i64,
    ) -> anyhow::Result<bool> {
        let mut labels = Vec::with_capacity(LABELS_BYTES);
        let mut is_accepted = true;
        let mut known = None;
        for field in message {
            let field = field?;
            match field.number {
                1 => labels.extend_from_slice(field.raw),
                2 => {
                    let found = || self.series.get(&xxh3_64(&labels)).copied();
                    known = known.or_else(found);
                    let Some((target, series)) = known else {
                        state.counts.unknown += 1;
                        continue;
                    };
                    let (value, time_ms) = read_sample(field.fields()?)?;
                    let sample = Sample {
                        target: target as usize,
                        series: series as usize,
                        time_ms,
                        value,
                    };
                    is_accepted &= state.take(&self.exposition, &sample, now_ms);
                }
                _ => state.counts.unknown += 1,
            }
        }
        Ok(is_accepted)
    }
}

impl Intake for Ledger {
    fn handle(&self, request: &[u8], now_ms: i64) -> Result<(), String> {
        let mut state = self.state();
        state.counts.requests += 1;
        let mut is_accepted = true;
        for field in Fields::new(request) {
            let field = field.map_err(|error| error.to_string())?;
            // Other fields are metadata.
            if field.number == 1 {
                let series = field.fields().map_err(|error| error.to_string())?;
                let taken = self.take_series(&mut state, series, now_ms);
                is_accepted &= taken.map_err(|error| format!("{error:#}"))?;
            }
        }
        if is_accepted {
            Ok(())
        } else {
            Err("out of order sample".to_owned())
        }
    }
}

fn read_sample(message: Fields<'_>) -> anyhow::Result<(f64, i64)> {
    let (mut value, mut time_ms) = (0.0, None);
    for field in message {
        let field = field?;
        match field.number {
            1 => value = field.double()?,
            2 => time_ms = Some(field.varint()? as i64),
            number => anyhow::bail!("field {number} in a sample"),
        }
    }
    Ok((value, time_ms.context("a sample without a time")?))
}

// === impl State ===

impl State {
    /// Returns `true` if the sample is stored, now or before.
    fn take(&mut self, exposition: &Exposition, sample: &Sample, now_ms: i64) -> bool {
        let target = &mut self.targets[sample.target];
        let newest = &mut target.newest[sample.series];
        let bits = sample.value.to_bits();
        if sample.time_ms < newest.time_ms {
            self.counts.out_of_order += 1;
            return false;
        }
        if sample.time_ms == newest.time_ms {
            let is_same = newest.bits == bits;
            self.counts.duplicates += u64::from(is_same);
            self.counts.conflicting += u64::from(!is_same);
            return is_same;
        }
        *newest = Newest {
            time_ms: sample.time_ms,
            bits,
        };
        self.counts.stored += 1;
        self.delays.add(now_ms - sample.time_ms, 1);
        if bits == Value::STALE_NAN {
            self.counts.markers += 1;
        } else if sample.series < exposition.exposed() {
            let is_right = exposition
                .scrape(sample.series, sample.value)
                .is_some_and(|number| target.is_of(number, sample.time_ms));
            self.counts.conflicting += u64::from(!is_right);
        }
        let scrape = target.scrapes.entry(sample.time_ms).or_default();
        scrape.arrive(exposition.samples(), now_ms);
        true
    }
}

// === impl Target ===

impl Target {
    /// Returns `true` if the scrape at this timestamp has this number, and the numbers
    /// around it are in order.
    fn is_of(&mut self, number: u32, time_ms: i64) -> bool {
        let scrape = self.scrapes.entry(time_ms).or_default();
        if scrape.number != 0 {
            return scrape.number == number;
        }
        scrape.number = number;
        let is_known = |scrape: &&Scrape| scrape.number != 0;
        let before = self.scrapes.range(..time_ms).map(|(_, scrape)| scrape);
        let mut after = self.scrapes.range(time_ms + 1..).map(|(_, scrape)| scrape);
        let before = before.rev().find(is_known);
        let after = after.find(is_known);
        before.is_none_or(|before| before.number < number)
            && after.is_none_or(|after| after.number > number)
    }
}

// === impl Scrape ===

impl Scrape {
    fn arrive(&mut self, samples: usize, now_ms: i64) {
        self.arrived += 1;
        if self.arrived == samples {
            self.complete_ms = Some(now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::v1;

    use super::*;
    use crate::load::exposition::BLOCK;

    const NOW: i64 = 1_000_000;

    fn ledger() -> Ledger {
        Ledger::new(2, Exposition::new(BLOCK)).unwrap()
    }

    /// Writes one sample of a series of target 1 at a second.
    fn write(ledger: &Ledger, series: usize, second: i64, value: f64) -> bool {
        let exposition = Exposition::new(BLOCK);
        let mut message = exposition.written_labels(1).nth(series).unwrap();
        let sample = v1::Sample {
            value,
            timestamp: second * 1000,
        };
        let sample = v1::TimeSeries {
            samples: vec![sample],
            ..v1::TimeSeries::default()
        };
        message.extend(prost::Message::encode_to_vec(&sample));
        let mut request = Vec::new();
        mesh_wire::protobuf::put_bytes(1, &message, &mut request);
        ledger.handle(&request, NOW).is_ok()
    }

    fn value(series: usize, scrape: u32) -> f64 {
        let body = String::from_utf8(Exposition::new(BLOCK).render(scrape)).unwrap();
        let line = body
            .lines()
            .filter(|line| !line.starts_with('#'))
            .nth(series);
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn completes_a_scrape_with_its_last_sample() {
        let ledger = ledger();
        for series in 0..BLOCK {
            assert!(write(&ledger, series, 900, value(series, 1)));
        }
        let scrape = |ledger: &Ledger| ledger.scrapes()[1][&900_000].clone();
        assert_eq!(
            (scrape(&ledger).number, scrape(&ledger).arrived),
            (1, BLOCK)
        );
        assert_eq!(scrape(&ledger).complete_ms, None);
        for report in BLOCK..BLOCK + 5 {
            assert!(write(&ledger, report, 900, 1.0));
        }
        assert_eq!(scrape(&ledger).complete_ms, Some(NOW));
        assert_eq!(ledger.counts().stored, BLOCK as u64 + 5);
        assert_eq!(ledger.take_delays().quantile(0.5), 100_000);
    }

    #[test]
    fn counts_each_defect_by_type() {
        let ledger = ledger();
        assert!(write(&ledger, 3, 900, value(3, 5)));
        assert!(write(&ledger, 3, 900, value(3, 5)));
        assert!(!write(&ledger, 3, 900, value(3, 6)));
        assert!(!write(&ledger, 3, 899, value(3, 4)));
        // A value of another scrape, a value of another series, and a staleness marker.
        assert!(write(&ledger, 4, 900, value(4, 6)));
        assert!(write(&ledger, 3, 901, value(4, 6)));
        assert!(write(&ledger, 3, 902, f64::from_bits(Value::STALE_NAN)));
        // A scrape that arrives with two timestamps.
        assert!(write(&ledger, 3, 903, value(3, 5)));
        let expected = Counts {
            requests: 8,
            stored: 5,
            duplicates: 1,
            out_of_order: 1,
            conflicting: 4,
            markers: 1,
            unknown: 0,
        };
        assert_eq!(ledger.counts(), expected);
    }

    #[test]
    fn counts_other_labels_as_unknown() {
        let ledger = ledger();
        let labels = v1::Label {
            name: "__name__".to_owned(),
            value: "up".to_owned(),
        };
        let series = v1::TimeSeries {
            labels: vec![labels],
            samples: vec![v1::Sample::default()],
            ..v1::TimeSeries::default()
        };
        let request = v1::WriteRequest {
            timeseries: vec![series],
            ..v1::WriteRequest::default()
        };
        let taken = ledger.handle(&prost::Message::encode_to_vec(&request), NOW);
        assert_eq!((taken, ledger.counts().unknown), (Ok(()), 1));
    }
}
