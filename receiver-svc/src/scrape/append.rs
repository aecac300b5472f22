//! Turns an exposition body into samples.
//!
//! It follows `scrapeLoopAppender.append` of Prometheus step by step. The counts in
//! the report series and the staleness markers of the next scrape depend on that order.

use mesh_model::labels::Labels;

use super::{
    bounds::{BoundError, Bounds, TextLimits},
    cache::{Cache, CacheHit},
    histogram::HistogramError,
    labels::{self, LabelsError},
    limits::{self, LimitError},
    options::Options,
    storage::{Accepted, Rejection, Storage},
};
use crate::{
    exposition::{AnyParser, ContentTypeError, Entry, Exemplar, Format, ParseError, Parser},
    samples::{AppendedSamples, Metadata, Sample, SampleValue},
};

mod exemplars;

/// Scrape in progress: collects samples until it is committed.
#[derive(Debug)]
pub struct Scrape<'a, S> {
    cache: &'a mut Cache,
    options: &'a Options,
    /// Labels that the target adds to each sample.
    target: &'a Labels,
    storage: S,
    time_ms: i64,
    samples: Vec<Sample>,
    exemplars: Vec<Exemplar>,
    counts: Counts,
    /// Number of samples that count against `sample_limit`.
    limited: u64,
    /// Limit that was exceeded. The scrape fails after the whole body has been parsed.
    exceeded: Option<LimitError>,
    /// ID of the family whose metadata was read last.
    family: Option<u32>,
    /// Text of the current series, if the cache does not have it.
    text: Vec<u8>,
    /// Labels of the current series, as exposed.
    exposed: Vec<(String, String)>,
    /// Number of entries of the body so far.
    entries: u64,
    /// Bytes of texts that were added since the bounds were checked.
    unchecked: usize,
    /// Length of the longest HELP text or unit of the body.
    longest_help: usize,
}

/// Sample counts of one scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples in the body: `scrape_samples_scraped`.
    pub scraped: u64,
    /// Samples after relabeling: `scrape_samples_post_metric_relabeling`.
    pub added: u64,
    /// Series that the previous scrape did not have: `scrape_series_added`.
    pub series_added: u64,
    /// Rejected samples, in the order of [`Rejection::ALL`].
    pub rejected: [u64; 3],
}

/// Body that cannot be stored. No sample of it is stored.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// Unknown exposition format.
    #[error(transparent)]
    ContentType(#[from] ContentTypeError),
    /// Syntax error in the body.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Series with invalid labels.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// Limit of the scrape configuration exceeded.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Inconsistent native histogram.
    #[error("native histogram: {0}")]
    Histogram(#[from] HistogramError),
    /// Bound of the receiver exceeded.
    #[error(transparent)]
    Bound(#[from] BoundError),
}

/// Number of entries of a body after which its bounds are checked.
const CHECKED_ENTRIES: u64 = 256;
/// Bytes of new texts after which its bounds are checked.
const CHECKED_BYTES: usize = 256 << 10;
/// Bytes of repeated metadata that need no reservation.
const REPEATED_HELP_BYTES: usize = 16 << 20;
/// Bytes of a sample while its batch is planned.
const PLANNED_BYTES: usize = 96;

/// Sample from the parser. If its series is not cached, the series' text is in
/// [`Scrape::text`].
struct Parsed {
    found: Option<CacheHit>,
    timestamp: Option<i64>,
    value: SampleValue,
}

// === impl Scrape ===

impl<'a, S: Storage> Scrape<'a, S> {
    /// Starts a scrape at `time_ms`. The labels in `target` are added to each sample.
    pub fn begin(
        cache: &'a mut Cache,
        options: &'a Options,
        target: &'a Labels,
        storage: S,
        time_ms: i64,
    ) -> Self {
        cache.maintain();
        Self {
            // Most scrapes expose the series of the previous one.
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
            entries: 0,
            unchecked: 0,
            longest_help: 0,
        }
    }

    /// Returns the counts so far, including those of a body that failed.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Appends a body, and staleness markers for the series it no longer exposes.
    ///
    /// An empty body is valid in any format.
    ///
    /// # Errors
    /// Returns an error if the body cannot be stored. The caller then has to call
    /// [`Self::append_nothing`].
    pub fn append(&mut self, content_type: Option<&str>, body: &[u8]) -> Result<(), AppendError> {
        self.append_within(content_type, body, Bounds::default())
    }

    /// Appends a body like [`Self::append`], within bounds.
    ///
    /// # Errors
    /// Returns an error if the body cannot be stored or exceeds a bound.
    pub(crate) fn append_within(
        &mut self,
        content_type: Option<&str>,
        body: &[u8],
        mut bounds: Bounds<'_>,
    ) -> Result<(), AppendError> {
        if body.is_empty() {
            self.append_nothing();
            return Ok(());
        }
        let appended = self.append_body(content_type, body, &mut bounds);
        match appended {
            Ok(()) => {
                self.append_markers();
                self.cache.end_iteration(true);
            }
            Err(AppendError::Bound(BoundError::Series { .. })) => {
                self.roll_back();
                self.cache.overflow();
            }
            Err(_) => self.roll_back(),
        }
        appended
    }

    /// Appends staleness markers only, after a failed scrape or for a removed target.
    pub fn append_nothing(&mut self) {
        self.append_markers();
        self.cache.end_iteration(false);
    }

    /// Appends one sample of a report series.
    pub fn report(&mut self, name: &str, metadata: Option<&Metadata>, value: SampleValue) {
        let labels = labels::of_report(name, self.target);
        let series = self.cache.intern(&labels);
        let iteration = self.cache.iteration();
        let families = &mut self.cache.families;
        let family = metadata.map(|metadata| families.set_report(metadata, iteration));
        let stored = self.check_storage(Some(series), self.time_ms, &value);
        // A target may expose a series of that name. As in Prometheus, its sample wins.
        if stored == Ok(Accepted::New) {
            self.push(Sample::new(series, family, self.time_ms, value));
        }
    }

    /// Discards the staleness markers of the series for which `lives_on` returns true. Its
    /// arguments are the hash of the series and the time of its last stored sample, in
    /// milliseconds since the Unix epoch.
    pub(crate) fn discard_markers(&mut self, lives_on: impl Fn(u64, i64) -> bool) {
        let series = &self.cache.series;
        self.samples.retain(|sample| {
            let last = series.get(sample.series).last.as_ref();
            let last_ms = last.map_or(i64::MIN, |(time_ms, _)| *time_ms);
            let is_marker = matches!(sample.value, SampleValue::Stale);
            !(is_marker && lives_on(series.hash_of(sample.series), last_ms))
        });
    }

    /// Ends the scrape. The next scrape treats its samples as stored.
    pub fn commit(self) -> AppendedSamples<'a> {
        for sample in &self.samples {
            let last = (sample.time_ms, sample.value.clone());
            self.cache.series.get_mut(sample.series).last = Some(last);
        }
        let cache: &'a Cache = self.cache;
        AppendedSamples::new(
            &cache.series,
            &cache.families,
            self.time_ms,
            self.samples,
            self.exemplars,
        )
    }

    fn append_body(
        &mut self,
        content_type: Option<&str>,
        body: &[u8],
        bounds: &mut Bounds<'_>,
    ) -> Result<(), AppendError> {
        let options = &self.options.parser;
        let format = Format::negotiated(content_type, self.options.fallback)?;
        self.cache.set_format(format);
        let mut parser = AnyParser::new(format, options, body);
        while let Some(entry) = parser.next_expecting(self.cache.expected_text())? {
            if let Some(parsed) = self.read(entry, &bounds.texts)? {
                self.sample(parsed, &mut parser, &bounds.texts)?;
            }
            self.entries += 1;
            if self.entries.is_multiple_of(CHECKED_ENTRIES) || self.unchecked > CHECKED_BYTES {
                self.check_bounds(body.len(), bounds)?;
            }
        }
        self.check_bounds(body.len(), bounds)?;
        if self.samples.len().saturating_mul(self.longest_help) > REPEATED_HELP_BYTES {
            let encoded = self.repeated_help_bytes();
            bounds.reserve(self.sample_bytes(body.len()).saturating_add(encoded))?;
        }
        match self.exceeded.take() {
            Some(limit) => Err(limit.into()),
            None => Ok(()),
        }
    }

    /// Checks the time and the memory that the body has taken so far.
    fn check_bounds(&mut self, body: usize, bounds: &mut Bounds<'_>) -> Result<(), BoundError> {
        self.unchecked = 0;
        bounds.check_time()?;
        let allocated = self.cache.allocated();
        bounds.reserve_series(&mut self.cache.reservation, allocated)?;
        bounds.reserve(self.sample_bytes(body))
    }

    /// Bytes of the body, its samples, and the same again for their encoded form.
    fn sample_bytes(&self, body: usize) -> usize {
        let samples = self.samples.capacity() * (size_of::<Sample>() + PLANNED_BYTES);
        let exemplars = self.exemplars.capacity() * size_of::<Exemplar>();
        2 * body + samples + exemplars
    }

    /// Bytes of the metadata in the encoded metrics: each run of samples of one name repeats that
    /// of its family.
    fn repeated_help_bytes(&self) -> usize {
        let (mut bytes, mut last) = (0_usize, None);
        for sample in &self.samples {
            let run = (self.cache.series.name_id(sample.series), sample.family);
            if last.replace(run) != Some(run)
                && let Some(family) = sample.family
            {
                let metadata = &self.cache.families.get(family).metadata;
                bytes = bytes.saturating_add(metadata.help.len() + metadata.unit.len());
            }
        }
        bytes
    }

    /// Reads one entry of the body. Updates the metadata, or returns a sample.
    ///
    /// The entry borrows the parser, so this copies what the next steps need.
    fn read(
        &mut self,
        entry: Entry<'_>,
        limits: &TextLimits,
    ) -> Result<Option<Parsed>, BoundError> {
        let iteration = self.cache.iteration();
        let families = &mut self.cache.families;
        let (raw, timestamp, value) = match entry {
            Entry::Comment(_) => return Ok(None),
            Entry::Type {
                metric,
                metric_type,
            } => {
                limits.check_metadata(&metric, "")?;
                self.unchecked += metric.len();
                self.family = Some(families.set_type(&metric, metric_type, iteration));
                return Ok(None);
            }
            Entry::Help { metric, help } => {
                limits.check_metadata(&metric, &help)?;
                self.unchecked += metric.len() + help.len();
                self.longest_help = self.longest_help.max(help.len());
                self.family = Some(families.set_help(&metric, &help, iteration));
                return Ok(None);
            }
            Entry::Unit { metric, unit } => {
                limits.check_metadata(&metric, &unit)?;
                self.unchecked += metric.len() + unit.len();
                self.longest_help = self.longest_help.max(unit.len());
                self.family = Some(families.set_unit(&metric, &unit, iteration));
                return Ok(None);
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
            limits.check_line(raw)?;
            self.unchecked += raw.len();
            self.text.clear();
            self.text.extend_from_slice(raw);
        }
        Ok(Some(Parsed {
            found,
            timestamp: timestamp.filter(|_| self.options.honor_timestamps),
            value,
        }))
    }

    fn sample(
        &mut self,
        parsed: Parsed,
        parser: &mut impl Parser,
        limits: &TextLimits,
    ) -> Result<(), AppendError> {
        self.counts.scraped += 1;
        match parsed.found {
            Some(CacheHit::Dropped) => return Ok(()),
            Some(CacheHit::Stored {
                entry,
                series,
                repeated,
            }) => self.append_cached(entry, series, repeated, parsed, parser)?,
            None => {
                if !self.append_new(parsed, parser, limits)? {
                    return Ok(());
                }
            }
        }
        // This counts the samples after relabeling, so it includes samples that were
        // rejected for their time or a limit.
        self.counts.added += 1;
        Ok(())
    }

    /// Appends a sample of a cached series.
    fn append_cached(
        &mut self,
        entry: u32,
        series: u32,
        repeated: bool,
        mut parsed: Parsed,
        parser: &mut impl Parser,
    ) -> Result<(), AppendError> {
        if repeated && parsed.timestamp.is_none() {
            self.reject(Rejection::Duplicate);
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

    /// Appends a sample whose series text is not cached. Returns false if relabeling
    /// drops it.
    fn append_new(
        &mut self,
        mut parsed: Parsed,
        parser: &mut impl Parser,
        limits: &TextLimits,
    ) -> Result<bool, AppendError> {
        self.exposed.clear();
        parser.labels(&mut self.exposed);
        limits.check_labels(&self.exposed)?;
        let Some(labels) = labels::of_sample(&self.exposed, self.target, self.options)? else {
            self.cache.insert(&self.text, None);
            return Ok(false);
        };
        let time_ms = parsed.timestamp.unwrap_or(self.time_ms);
        // The series may be cached under another text.
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

    /// Applies the limits and the storage rules to a sample. Returns `None` if the sample
    /// is skipped.
    fn admit(
        &mut self,
        series: Option<u32>,
        time_ms: i64,
        value: &mut SampleValue,
    ) -> Result<Option<Accepted>, AppendError> {
        if let SampleValue::Histogram(histogram) = value {
            let (bucket_limit, max_schema) = (self.options.bucket_limit, self.options.max_schema);
            if let Err(limit) = limits::reduce_resolution(histogram, bucket_limit, max_schema) {
                self.exceeded.get_or_insert(limit);
                return Ok(None);
            }
        }
        if self.exceeds_sample_limit(series, value) {
            let limit = self.options.sample_limit;
            // This error takes precedence over that of another limit.
            self.exceeded = Some(LimitError::Samples { limit });
            return Ok(None);
        }
        if let SampleValue::Histogram(histogram) = value {
            self.storage.check_histogram(histogram)?;
        }
        match self.check_storage(series, time_ms, value) {
            Ok(accepted) => Ok(Some(accepted)),
            Err(rejection) => {
                self.reject(rejection);
                Ok(None)
            }
        }
    }

    /// Counts a sample and returns true if it exceeds `sample_limit`.
    ///
    /// A staleness marker in the body does not count, so that a known series can always
    /// end.
    fn exceeds_sample_limit(&mut self, series: Option<u32>, value: &SampleValue) -> bool {
        let ends = series.is_some() && value.is_same(&SampleValue::Stale);
        self.limited += u64::from(!ends);
        let limit = self.options.sample_limit;
        limit > 0 && !ends && self.limited > limit
    }

    /// Checks a sample against the storage rules, given the last stored sample of its
    /// series.
    ///
    /// A sample may also conflict with an earlier one of the same scrape. Prometheus finds
    /// that at commit, when the counts are final: it only drops the sample. So this
    /// records the rejection and returns [`Accepted::AlreadyStored`].
    fn check_storage(
        &mut self,
        series: Option<u32>,
        time_ms: i64,
        value: &SampleValue,
    ) -> Result<Accepted, Rejection> {
        let known = series.map(|series| self.cache.series.get(series));
        let last = known.and_then(|known| known.last.as_ref());
        let last = last.map(|(time_ms, value)| (*time_ms, value));
        let accepted = self.storage.accept(last, time_ms, value)?;
        let Some(before) = series.and_then(|series| self.appended(series)) else {
            return Ok(accepted);
        };
        let before = Some((before.time_ms, &before.value));
        let again = self.storage.accept(before, time_ms, value);
        Ok(again.unwrap_or_else(|rejection| {
            self.reject(rejection);
            Accepted::AlreadyStored
        }))
    }

    /// Returns the last sample of a series in this scrape.
    fn appended(&self, series: u32) -> Option<&Sample> {
        let last = self.cache.series.get(series).appended;
        let sample = self.samples.get(last as usize)?;
        (sample.series == series).then_some(sample)
    }

    fn reject(&mut self, rejection: Rejection) {
        self.counts.rejected[rejection as usize] += 1;
    }

    /// Marks a series for a staleness marker once the target no longer exposes it.
    ///
    /// By default this excludes series with explicit timestamps, which a target may omit
    /// from some scrapes.
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
        if accepted == Accepted::AlreadyStored {
            return;
        }
        let family = self.family;
        sample.family = family.filter(|&family| self.cache.belongs_to(entry, family));
        sample.start_ms = parser.start_timestamp();
        sample.exemplars = exemplars::read(parser, &sample, &mut self.exemplars);
        self.push(sample);
    }

    fn push(&mut self, mut sample: Sample) {
        let before = self.appended(sample.series);
        sample.round = before.map_or(0, |before| before.round + 1);
        self.cache.series.get_mut(sample.series).appended = self.samples.len() as u32;
        self.samples.push(sample);
    }

    /// Appends staleness markers for the series that the target no longer exposes.
    fn append_markers(&mut self) {
        for series in self.cache.ended() {
            let accepted = self.check_storage(Some(series), self.time_ms, &SampleValue::Stale);
            // A series that ended and came back may have a newer sample.
            if accepted == Ok(Accepted::New) {
                self.push(Sample::new(series, None, self.time_ms, SampleValue::Stale));
            }
        }
    }

    fn roll_back(&mut self) {
        self.samples.clear();
        self.exemplars.clear();
    }
}
