//! From a body to the samples that are stored: the heart of a scrape.
//!
//! This is `scrapeLoopAppender.append` of Prometheus in its order of events,
//! since the counts in the report series and the staleness markers of the next
//! scrape depend on it.

use mesh::labels::Labels;

use super::{
    cache::{Cache, Found, Series},
    histogram::HistogramError,
    labels::{self, LabelsError},
    limits::{self, LimitError},
    options::Options,
    sample::{Metadata, Sample, SampleValue},
    storage::{Accepted, Refusal, Storage},
};
use crate::exposition::{self, ContentTypeError, Entry, Exemplar, ParseError, Parser};

mod exemplars;
mod view;

pub use view::{Appended, SampleView};

/// One scrape under way.
#[derive(Debug)]
pub struct Scrape<'a, S> {
    cache: &'a mut Cache,
    options: &'a Options,
    /// The labels that the target gives its samples.
    target: &'a Labels,
    storage: S,
    time_ms: i64,
    /// Tells appending again after a failure from what was appended before.
    attempt: u64,
    samples: Vec<Sample>,
    exemplars: Vec<Exemplar>,
    counts: Counts,
    /// Samples that count against `sample_limit`.
    limited: u64,
    /// The first limit that was exceeded without ending the parse.
    exceeded: Option<LimitError>,
    /// The family whose metadata was read last.
    family: Option<u32>,
    text: Vec<u8>,
    exposed: Vec<(String, String)>,
}

/// What is counted of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples in the body: `scrape_samples_scraped`.
    pub scraped: u64,
    /// Those that relabeling kept: `scrape_samples_post_metric_relabeling`.
    pub added: u64,
    /// Series that the scrape before did not have: `scrape_series_added`.
    pub series_added: u64,
    /// Samples that were left out, in the order of [`Refusal::ALL`].
    pub refused: [u64; 3],
}

/// A body that cannot be stored. Nothing of it is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// Its format is not known.
    #[error(transparent)]
    ContentType(#[from] ContentTypeError),
    /// It is not of its format.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A series that cannot be stored.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// More than the configuration allows.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A native histogram that is not consistent.
    #[error("native histogram: {0}")]
    Histogram(#[from] HistogramError),
}

/// A sample as it comes from the parser, its text in [`Scrape::text`] where it is
/// new.
struct Parsed {
    found: Option<Found>,
    timestamp: Option<i64>,
    value: SampleValue,
}

// === impl Scrape ===

impl<'a, S: Storage> Scrape<'a, S> {
    /// Begins a scrape at `time_ms`. `target` are the labels of the target that
    /// its samples get.
    pub fn begin(
        cache: &'a mut Cache,
        options: &'a Options,
        target: &'a Labels,
        storage: S,
        time_ms: i64,
    ) -> Self {
        cache.tidy();
        Self {
            attempt: cache.next_attempt(),
            // Most scrapes have the series of the one before.
            samples: Vec::with_capacity(cache.series.len()),
            cache,
            options,
            target,
            storage,
            time_ms,
            exemplars: Vec::new(),
            counts: Counts::default(),
            limited: 0,
            exceeded: None,
            family: None,
            text: Vec::new(),
            exposed: Vec::new(),
        }
    }

    /// What was counted so far, also of a body that failed.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Appends a body, and staleness markers for the series it no longer has. An
    /// empty one is always fine.
    ///
    /// # Errors
    /// Where the body cannot be stored; [`Self::append_nothing`] is due then.
    pub fn append(&mut self, content_type: Option<&str>, body: &[u8]) -> Result<(), AppendError> {
        if body.is_empty() {
            self.append_nothing();
            return Ok(());
        }
        let appended = self.append_body(content_type, body);
        match appended {
            Ok(()) => {
                self.mark_ended();
                self.cache.end_iteration(true);
            }
            Err(_) => self.roll_back(),
        }
        appended
    }

    /// Appends staleness markers only: the scrape failed, or the target is gone.
    pub fn append_nothing(&mut self) {
        self.mark_ended();
        self.cache.end_iteration(false);
    }

    /// Appends a sample of a report series.
    pub fn report(&mut self, name: &str, metadata: Option<&Metadata>, value: SampleValue) {
        let labels = labels::of_report(name, self.target);
        let series = self.cache.intern(&labels);
        let iteration = self.cache.iteration();
        let families = &mut self.cache.families;
        let family = metadata.map(|metadata| families.set_report(metadata, iteration));
        let stored = self.judge(Some(series), self.time_ms, &value);
        // As in Prometheus: a target may expose a series of that name.
        if stored == Ok(Accepted::New) {
            self.push(Sample::new(series, family, self.time_ms, value));
        }
    }

    /// Ends the scrape: from now on its samples count as delivered.
    pub fn commit(self) -> Appended<'a> {
        for sample in &self.samples {
            let last = (sample.time_ms, sample.value.clone());
            self.cache.series.get_mut(sample.series).last = Some(last);
        }
        Appended::new(self.cache, self.time_ms, self.samples, self.exemplars)
    }

    fn append_body(&mut self, content_type: Option<&str>, body: &[u8]) -> Result<(), AppendError> {
        let options = &self.options.parser;
        let mut parser = exposition::parser(content_type, self.options.fallback, options, body)?;
        while let Some(entry) = parser.next()? {
            if let Some(parsed) = self.read(entry) {
                self.sample(parsed, &mut parser)?;
            }
        }
        match self.exceeded.take() {
            Some(limit) => Err(limit.into()),
            None => Ok(()),
        }
    }

    /// Takes what is there to take from an entry while it borrows the parser.
    fn read(&mut self, entry: Entry<'_>) -> Option<Parsed> {
        let iteration = self.cache.iteration();
        let families = &mut self.cache.families;
        let (raw, timestamp, value) = match entry {
            Entry::Comment(_) => return None,
            Entry::Type {
                metric,
                metric_type,
            } => {
                self.family = Some(families.set_type(&metric, metric_type, iteration));
                return None;
            }
            Entry::Help { metric, help } => {
                self.family = Some(families.set_help(&metric, &help, iteration));
                return None;
            }
            Entry::Unit { metric, unit } => {
                self.family = Some(families.set_unit(&metric, &unit, iteration));
                return None;
            }
            Entry::Series(series) => (
                series.raw,
                series.timestamp,
                SampleValue::Float(series.value),
            ),
            Entry::Histogram(series) => (
                series.raw,
                series.timestamp,
                SampleValue::Histogram(series.histogram),
            ),
        };
        let found = self.cache.find(raw);
        if found.is_none() {
            self.text.clear();
            self.text.extend_from_slice(raw);
        }
        Some(Parsed {
            found,
            timestamp: timestamp.filter(|_| self.options.honor_timestamps),
            value,
        })
    }

    fn sample(&mut self, parsed: Parsed, parser: &mut impl Parser) -> Result<(), AppendError> {
        self.counts.scraped += 1;
        match parsed.found {
            Some(Found::Dropped) => return Ok(()),
            Some(Found::Known {
                entry,
                series,
                again,
            }) => self.known(entry, series, again, parsed, parser)?,
            None => {
                if !self.unknown(parsed, parser)? {
                    return Ok(());
                }
            }
        }
        // Also those that were left out for their time or a limit: this is the
        // number of samples that relabeling kept.
        self.counts.added += 1;
        Ok(())
    }

    fn known(
        &mut self,
        entry: u32,
        series: u32,
        again: bool,
        mut parsed: Parsed,
        parser: &mut impl Parser,
    ) -> Result<(), AppendError> {
        if again && parsed.timestamp.is_none() {
            self.refuse(Refusal::Duplicate);
            return Ok(());
        }
        let time_ms = parsed.timestamp.unwrap_or(self.time_ms);
        let Some(accepted) = self.admit(Some(series), time_ms, &mut parsed.value)? else {
            return Ok(());
        };
        self.track(series, parsed.timestamp);
        let sample = Sample::new(series, None, time_ms, parsed.value);
        self.store(accepted, entry, sample, parser);
        Ok(())
    }

    /// Appends the first sample of a series; false where relabeling drops it.
    fn unknown(
        &mut self,
        mut parsed: Parsed,
        parser: &mut impl Parser,
    ) -> Result<bool, AppendError> {
        self.exposed.clear();
        parser.labels(&mut self.exposed);
        let Some(labels) = labels::of_sample(&self.exposed, self.target, self.options)? else {
            self.cache.insert(&self.text, None);
            return Ok(false);
        };
        let time_ms = parsed.timestamp.unwrap_or(self.time_ms);
        // Where another text stands for it, the series itself is known.
        let series = self.cache.series_of(&labels);
        let Some(accepted) = self.admit(series, time_ms, &mut parsed.value)? else {
            return Ok(true);
        };
        let series = self.cache.intern(&labels);
        let entry = self.cache.insert(&self.text, Some(series));
        self.track(series, parsed.timestamp);
        self.counts.series_added += u64::from(self.exceeded.is_none());
        let sample = Sample::new(series, None, time_ms, parsed.value);
        self.store(accepted, entry, sample, parser);
        Ok(true)
    }

    /// Fits a sample to the limits and asks whether it would be stored; `None`
    /// where it is left out.
    fn admit(
        &mut self,
        series: Option<u32>,
        time_ms: i64,
        value: &mut SampleValue,
    ) -> Result<Option<Accepted>, AppendError> {
        if let SampleValue::Histogram(histogram) = value {
            let (bucket_limit, max_schema) = (self.options.bucket_limit, self.options.max_schema);
            if let Err(limit) = limits::fit(histogram, bucket_limit, max_schema) {
                self.exceeded.get_or_insert(limit);
                return Ok(None);
            }
        }
        if self.exceeds_sample_limit(series, value) {
            let limit = self.options.sample_limit;
            // It takes precedence over other limits.
            self.exceeded = Some(LimitError::Samples { limit });
            return Ok(None);
        }
        if let SampleValue::Histogram(histogram) = value {
            self.storage.check(histogram)?;
        }
        match self.judge(series, time_ms, value) {
            Ok(accepted) => Ok(Some(accepted)),
            Err(refusal) => {
                self.refuse(refusal);
                Ok(None)
            }
        }
    }

    /// A marker that a target passes on does not count, so that a series that is
    /// known can always end.
    fn exceeds_sample_limit(&mut self, series: Option<u32>, value: &SampleValue) -> bool {
        let ends = series.is_some() && value.is_same(&SampleValue::Stale);
        self.limited += u64::from(!ends);
        let limit = self.options.sample_limit;
        limit > 0 && !ends && self.limited > limit
    }

    /// Asks whether a sample would be stored after what was delivered before.
    /// What this same scrape has of the series may refuse it too; Prometheus
    /// finds that at the very end, where it changes nothing any more but that the
    /// sample is not stored.
    fn judge(
        &mut self,
        series: Option<u32>,
        time_ms: i64,
        value: &SampleValue,
    ) -> Result<Accepted, Refusal> {
        let known = series.map(|series| self.cache.series.get(series));
        let last = known.and_then(|known| known.last.as_ref());
        let last = last.map(|(time_ms, value)| (*time_ms, value));
        let accepted = self.storage.judge(last, time_ms, value)?;
        let Some(before) = known.and_then(|known| self.appended(known)) else {
            return Ok(accepted);
        };
        let before = Some((before.time_ms, &before.value));
        let judged = self.storage.judge(before, time_ms, value);
        Ok(judged.unwrap_or_else(|refusal| {
            self.refuse(refusal);
            Accepted::Again
        }))
    }

    /// The last sample of a series in this scrape.
    fn appended(&self, series: &Series) -> Option<&Sample> {
        let (attempt, sample) = series.appended?;
        (attempt == self.attempt).then(|| &self.samples[sample as usize])
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.counts.refused[refusal as usize] += 1;
    }

    /// Notes that the series is to end when it is no longer exposed. A series
    /// with its own times is not expected to be there every time.
    fn track(&mut self, series: u32, timestamp: Option<i64>) {
        if timestamp.is_none() || self.options.track_timestamps_staleness {
            self.cache.track(series);
        }
    }

    fn store(
        &mut self,
        accepted: Accepted,
        entry: u32,
        mut sample: Sample,
        parser: &mut impl Parser,
    ) {
        if accepted == Accepted::Again {
            return;
        }
        let family = self.family;
        sample.family = family.filter(|&family| self.cache.is_part_of(entry, family));
        sample.start_ms = parser.start_timestamp();
        sample.exemplars = exemplars::read(parser, &sample, &mut self.exemplars);
        self.push(sample);
    }

    fn push(&mut self, mut sample: Sample) {
        let series = self.cache.series.get(sample.series);
        sample.round = self.appended(series).map_or(0, |before| before.round + 1);
        let at = self.samples.len() as u32;
        self.cache.series.get_mut(sample.series).appended = Some((self.attempt, at));
        self.samples.push(sample);
    }

    /// Appends staleness markers for the series that are no longer there.
    fn mark_ended(&mut self) {
        for series in self.cache.ended() {
            let judged = self.judge(Some(series), self.time_ms, &SampleValue::Stale);
            // A target that went away and came back may have a newer sample.
            if judged == Ok(Accepted::New) {
                self.push(Sample::new(series, None, self.time_ms, SampleValue::Stale));
            }
        }
    }

    fn roll_back(&mut self) {
        self.samples.clear();
        self.exemplars.clear();
        self.attempt = self.cache.next_attempt();
    }
}
