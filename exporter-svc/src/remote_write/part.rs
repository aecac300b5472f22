//! Request parts: the encoded series of one Export, split to fit into requests.
//!
//! A part holds each series at most once. Backends accept samples in order only if a
//! request has at most one sample per series (law 2). So an Export with several samples
//! of a series yields several parts, in the order of the samples. The batcher sends
//! them one after another because they share the series' [`SeriesMeta::hash`]. The memory
//! of the parts limits their number.

use std::{collections::HashMap, hash::BuildHasherDefault, ops::Range, sync::Arc};

use mesh_model::labels::METRIC_NAME;
use mesh_wire::protobuf::{self, Field, Fields};
use prost::Message;
use proto::v1::{self, metric_metadata::MetricType};

use crate::memory::{ExportMemory, OutOfMemory};

/// Maximum size of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Maximum number of series in a request.
    pub series: usize,
    /// Maximum size of a request in bytes, before compression. A larger series gets a
    /// request of its own.
    pub bytes: usize,
}

/// Series that travel in one request, each at most once.
#[derive(Debug, Default)]
pub struct RequestPart {
    /// Encoded `TimeSeries`, each framed as field 1 of a `WriteRequest`.
    pub bytes: Vec<u8>,
    /// Metadata of each series, in the order of `bytes`.
    pub series_meta: Vec<SeriesMeta>,
    /// Number of samples in the part, as the sender counts them.
    pub units: u64,
    /// Families that [`SeriesMeta::family`] refers to. Empty if the destination takes
    /// no metadata.
    pub families: Vec<Arc<Family>>,
}

/// Position, order and metadata of one series in a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesMeta {
    /// Hash of the encoded labels.
    pub hash: u64,
    /// Offset of the series' end in [`RequestPart::bytes`].
    pub end: usize,
    /// Index of the family in [`RequestPart::families`].
    pub family: u32,
    /// Index of the resource within the Export, which is a target's scrape or a pushed
    /// resource.
    pub resource: u32,
    /// Start timestamp in milliseconds since the Unix epoch; 0 if unknown.
    pub start_ms: i64,
    /// True if the sender counts the sample, see [`Sample::counted`].
    pub counted: bool,
}

/// Metadata of a metric family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Family {
    /// Name of the family.
    pub name: String,
    /// Type of the family.
    pub metric_type: MetricType,
    /// HELP text of the family.
    pub help: String,
    /// Unit of the family.
    pub unit: String,
}

/// Encoded labels of a series, and their hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedLabels {
    /// Encoded `Label` fields of a `TimeSeries`, sorted by name. Empty if relabeling
    /// dropped the series.
    pub labels: Box<[u8]>,
    /// Hash of `labels`.
    pub hash: u64,
}

/// Borrowed [`EncodedLabels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesRef<'a> {
    /// Encoded labels, see [`EncodedLabels::labels`].
    pub labels: &'a [u8],
    /// Hash of the labels, see [`EncodedLabels::hash`].
    pub hash: u64,
}

/// Encoded sample of a series.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Encoded fields of a `TimeSeries` that follow its labels.
    pub fields: &'a [u8],
    /// Start timestamp, see [`SeriesMeta::start_ms`].
    pub start_ms: i64,
    /// True if the sender counts this sample. Several samples can stand for one pushed
    /// data point.
    pub counted: bool,
}

/// Splits the series of one Export into request parts.
#[derive(Debug)]
pub struct PartBuilder {
    limits: RequestLimits,
    memory: ExportMemory,
    /// Number of samples of each series so far.
    seen: HashMap<u64, u32, BuildHasherDefault<PrehashedHasher>>,
    /// Unfinished parts: the n-th has the n-th sample of each series.
    current: Vec<RequestPart>,
    /// Finished parts, each with its index in `current`.
    done: Vec<(usize, RequestPart)>,
    family: Option<Arc<Family>>,
    resource: u32,
}

/// Hasher for keys that are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrehashedHasher(u64);

/// Bytes of a part in a queue, in addition to its series.
const PART_BYTES: usize = 512;
/// Bytes of a series in a part, in addition to its encoding: its metadata while their list
/// grows, and its entry among the series seen.
const SERIES_BYTES: usize = 2 * size_of::<SeriesMeta>() + 40;

// === impl Family ===

impl Family {
    /// Returns true if the family has a type, a HELP text or a unit. Staleness markers
    /// of a failed target have none of them.
    pub fn has_metadata(&self) -> bool {
        let typed = self.metric_type != MetricType::Unknown;
        typed || !self.help.is_empty() || !self.unit.is_empty()
    }
}

// === impl PartBuilder ===

impl PartBuilder {
    /// Creates a builder without parts, which takes their bytes from `memory`.
    pub fn new(limits: RequestLimits, memory: ExportMemory) -> Self {
        Self {
            limits,
            memory,
            seen: HashMap::default(),
            current: Vec::new(),
            done: Vec::new(),
            family: None,
            resource: 0,
        }
    }

    /// Memory of the Export, for what is in memory besides its parts.
    pub fn memory(&mut self) -> &mut ExportMemory {
        &mut self.memory
    }

    /// Begins another resource; the following series belong to it.
    pub fn begin_resource(&mut self) {
        self.resource += 1;
    }

    /// Begins another family; the following series belong to it.
    pub fn begin_family(&mut self, family: Arc<Family>) {
        self.family = Some(family);
    }

    /// Adds one sample of one series.
    ///
    /// # Errors
    /// Returns an error if the memory budget does not allow the sample.
    pub fn push(&mut self, series: SeriesRef<'_>, sample: Sample<'_>) -> Result<(), OutOfMemory> {
        let count = self.seen.entry(series.hash).or_default();
        let occurrence = *count as usize;
        let len = series.labels.len() + sample.fields.len();
        let part = match occurrence == self.current.len() {
            true => PART_BYTES,
            false => 0,
        };
        self.memory.add(len + SERIES_BYTES + part)?;
        *count += 1;
        if self.current.len() == occurrence {
            self.current.push(RequestPart::default());
        }
        if !self.current[occurrence].fits(len, self.limits) {
            // The next part will probably be as large.
            let next = RequestPart {
                bytes: Vec::with_capacity(self.current[occurrence].bytes.len()),
                series_meta: Vec::with_capacity(self.current[occurrence].series_meta.len()),
                ..Default::default()
            };
            let full = std::mem::replace(&mut self.current[occurrence], next);
            self.done.push((occurrence, full));
        }
        self.current[occurrence].push(series, sample, self.family.as_ref(), self.resource);
        Ok(())
    }

    /// Returns the parts, those with earlier samples of a series first, and their memory.
    pub fn finish(mut self) -> (Vec<RequestPart>, ExportMemory) {
        self.done.extend(self.current.into_iter().enumerate());
        self.done.sort_by_key(|(occurrence, _)| *occurrence);
        let parts = self.done.into_iter().map(|(_, part)| part);
        let parts = parts.filter(|part| !part.series_meta.is_empty()).collect();
        (parts, self.memory)
    }
}

// === impl RequestPart ===

impl RequestPart {
    /// Returns true if another series of `len` bytes fits.
    fn fits(&self, len: usize, limits: RequestLimits) -> bool {
        self.series_meta.is_empty()
            || (self.series_meta.len() < limits.series && self.bytes.len() + len <= limits.bytes)
    }

    fn push(
        &mut self,
        series: SeriesRef<'_>,
        sample: Sample<'_>,
        family: Option<&Arc<Family>>,
        resource: u32,
    ) {
        let len = series.labels.len() + sample.fields.len();
        protobuf::put_header(1, len, &mut self.bytes);
        self.bytes.extend_from_slice(series.labels);
        self.bytes.extend_from_slice(sample.fields);
        self.units += u64::from(sample.counted);
        if let Some(family) = family
            && self
                .families
                .last()
                .is_none_or(|last| !Arc::ptr_eq(last, family))
        {
            self.families.push(Arc::clone(family));
        }
        self.series_meta.push(SeriesMeta {
            hash: series.hash,
            end: self.bytes.len(),
            family: self.families.len().saturating_sub(1) as u32,
            resource,
            start_ms: sample.start_ms,
            counted: sample.counted,
        });
    }

    /// Returns a part with the series in `range` only.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let start = self.offset(range.start);
        let meta = self.series_meta[range.clone()].iter();
        Self {
            bytes: self.bytes[start..self.offset(range.end)].to_vec(),
            series_meta: meta
                .map(|meta| SeriesMeta {
                    end: meta.end - start,
                    ..*meta
                })
                .collect(),
            units: self.units_in(range),
            families: self.families.clone(),
        }
    }

    /// Number of samples in `range`, as the sender counts them.
    pub fn units_in(&self, range: Range<usize>) -> u64 {
        let counted = self.series_meta[range].iter().filter(|meta| meta.counted);
        counted.count() as u64
    }

    /// Number of encoded bytes of the series in `range`.
    pub fn bytes_in(&self, range: Range<usize>) -> usize {
        self.offset(range.end) - self.offset(range.start)
    }

    /// Offset in [`bytes`](Self::bytes) at which the series with this index begins.
    fn offset(&self, index: usize) -> usize {
        match index {
            0 => 0,
            _ => self.series_meta[index - 1].end,
        }
    }

    /// Iterates over the encoded `TimeSeries` of the part, without their frames, and
    /// their metadata.
    pub fn series(&self) -> impl Iterator<Item = (&[u8], &SeriesMeta)> {
        let frames = protobuf::Fields::new(&self.bytes);
        frames
            .filter_map(|frame| frame.ok()?.bytes().ok())
            .zip(&self.series_meta)
    }
}

// === impl EncodedLabels ===

impl EncodedLabels {
    /// Encodes a label set, which must be sorted by name.
    pub fn new<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut encoded = Vec::with_capacity(256);
        for (name, value) in labels {
            put_label(name, value, &mut encoded);
        }
        let hash = SeriesRef::new(&encoded).hash;
        let labels = encoded.into_boxed_slice();
        Self { labels, hash }
    }

    /// Borrows the labels.
    pub fn as_ref(&self) -> SeriesRef<'_> {
        SeriesRef {
            labels: &self.labels,
            hash: self.hash,
        }
    }
}

// === impl SeriesRef ===

impl<'a> SeriesRef<'a> {
    /// Borrows encoded `Label` fields, which must be sorted by name.
    pub fn new(labels: &'a [u8]) -> Self {
        let hash = xxhash_rust::xxh3::xxh3_64(labels);
        Self { labels, hash }
    }

    /// Name of the metric, or an empty string without one.
    pub fn metric_name(&self) -> String {
        let label = |field: Result<Field<'_>, _>| v1::Label::decode(field.ok()?.bytes().ok()?).ok();
        let labels = Fields::new(self.labels).filter_map(label);
        let mut names = labels.filter(|label| label.name == METRIC_NAME);
        names.next().map(|label| label.value).unwrap_or_default()
    }
}

// === impl PrehashedHasher ===

impl std::hash::Hasher for PrehashedHasher {
    fn write(&mut self, bytes: &[u8]) {
        // Only u64 keys are used; any other key gets a poor hash.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Appends a `Label` as field 1.
fn put_label(name: &str, value: &str, out: &mut Vec<u8>) {
    let len = protobuf::bytes_len(1, name.len()) + protobuf::bytes_len(2, value.len());
    protobuf::put_header(1, len, out);
    protobuf::put_bytes(1, name.as_bytes(), out);
    protobuf::put_bytes(2, value.as_bytes(), out);
}

#[cfg(test)]
mod tests {
    use mesh_base::budget::Budget;

    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        series: 3,
        bytes: 1000,
    };

    fn series(name: &str) -> EncodedLabels {
        EncodedLabels::new([("__name__", name)].into_iter())
    }

    fn sample(fields: &[u8]) -> Sample<'_> {
        Sample {
            fields,
            start_ms: 0,
            counted: true,
        }
    }

    fn split(names: &[&str], limits: RequestLimits) -> Vec<Vec<u64>> {
        let mut builder = PartBuilder::new(limits, ExportMemory::unlimited());
        for name in names {
            builder.push(series(name).as_ref(), sample(b"")).unwrap();
        }
        let hashes = |part: RequestPart| part.series_meta.iter().map(|meta| meta.hash).collect();
        builder.finish().0.into_iter().map(hashes).collect()
    }

    #[test]
    fn samples_of_one_series_go_in_successive_parts() {
        let [a, b] = ["a", "b"].map(|name| series(name).hash);
        assert_eq!(
            split(&["a", "a", "b", "a"], LIMITS),
            [vec![a, b], vec![a], vec![a]]
        );
    }

    #[test]
    fn a_part_of_later_samples_does_not_overtake_earlier_ones() {
        let limits = RequestLimits {
            series: 1,
            bytes: 1000,
        };
        let [a, b] = ["a", "b"].map(|name| series(name).hash);
        assert_eq!(split(&["a", "a", "b", "b"], limits), [[a], [b], [a], [b]]);
    }

    #[test]
    fn parts_respect_both_limits() {
        assert_eq!(split(&["a", "b", "c", "d"], LIMITS).len(), 2);
        let tight = RequestLimits {
            series: 9,
            bytes: 40,
        };
        assert_eq!(split(&["a", "b", "c", "d"], tight).len(), 2);
        let tiny = RequestLimits {
            series: 9,
            bytes: 1,
        };
        assert_eq!(split(&["a", "b"], tiny).len(), 2);
    }

    #[test]
    fn the_memory_budget_limits_the_samples_of_one_series() {
        let budget = Budget::new(1 << 20);
        let memory = ExportMemory::new(budget.empty_reservation(), 10_000, 1 << 20).unwrap();
        let mut builder = PartBuilder::new(LIMITS, memory);
        let a = series(&"a".repeat(1000));
        let mut push = || builder.push(a.as_ref(), sample(b""));
        let refused = (0..2000).find_map(|i| push().err().map(|error| (i, error)));
        let (samples, error) = refused.unwrap();
        assert_eq!(error, OutOfMemory::Always);
        assert!((500..1000).contains(&samples), "{samples} samples");
        assert_eq!(budget.reserved(), budget.capacity());
        let (parts, memory) = builder.finish();
        assert_eq!(parts.len(), samples);
        drop(memory);
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn a_slice_has_the_series_of_its_range() {
        let mut builder = PartBuilder::new(LIMITS, ExportMemory::unlimited());
        let uncounted = Sample {
            counted: false,
            ..sample(b"12")
        };
        builder.push(series("a").as_ref(), sample(b"1")).unwrap();
        builder.push(series("b").as_ref(), uncounted).unwrap();
        builder.push(series("c").as_ref(), sample(b"")).unwrap();
        let part = builder.finish().0.remove(0);
        let slice = part.slice(1..3);
        let of = |part: &RequestPart| -> Vec<_> {
            let series = part.series();
            series
                .map(|(bytes, meta)| (bytes.to_vec(), meta.hash))
                .collect()
        };
        assert_eq!(of(&slice), of(&part)[1..]);
        assert_eq!((slice.units, part.units), (1, 2));
        assert_eq!(slice.bytes.len(), part.bytes_in(1..3));
        assert_eq!(part.slice(0..3).bytes, part.bytes);
    }

    #[test]
    fn iterates_over_the_series_that_were_added() {
        let mut builder = PartBuilder::new(LIMITS, ExportMemory::unlimited());
        builder.push(series("a").as_ref(), sample(b"12")).unwrap();
        builder.push(series("b").as_ref(), sample(b"")).unwrap();
        let part = builder.finish().0.remove(0);
        let lens: Vec<_> = part.series().map(|(bytes, _)| bytes.len()).collect();
        assert_eq!(
            lens,
            [series("a").labels.len() + 2, series("b").labels.len()]
        );
        assert_eq!(part.units, 2);
    }
}
