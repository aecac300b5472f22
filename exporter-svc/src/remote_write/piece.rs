//! Pieces: the encoded series of one Export, cut so that each piece fits a
//! request and holds no series twice.
//!
//! A backend that takes samples in order only keeps its promise when a series
//! has at most one sample in a request (law 2). A batch with several samples of
//! one series becomes several pieces, in the order of the samples; the joiner
//! sends them one after another because they share the series' [`Mark::hash`].

use std::{collections::HashMap, hash::BuildHasherDefault, sync::Arc};

use proto::v1::metric_metadata::MetricType;

use mesh::wire;

/// How large a request may become.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Series of one request at most.
    pub series: usize,
    /// Bytes of one request at most, before compression. A single series that
    /// is larger goes in a request of its own.
    pub bytes: usize,
}

/// Series that travel together, each at most once.
#[derive(Debug, Default)]
pub struct Piece {
    /// Encoded `TimeSeries`, each framed as field 1 of a `WriteRequest`.
    pub bytes: Vec<u8>,
    /// One mark per series.
    pub marks: Vec<Mark>,
    /// How much of the sender's ledger they stand for.
    pub units: u64,
    /// What [`Mark::family`] points into; empty where nobody asked for metadata.
    pub families: Vec<Arc<Family>>,
}

/// What is known of one series of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Hash of its encoded labels.
    pub hash: u64,
    /// Where it ends in [`Piece::bytes`].
    pub end: usize,
    /// Its family in [`Piece::families`].
    pub family: u32,
    /// Which of the Export's resources it is of: of which target's scrape.
    pub resource: u32,
    /// When it started to count, milliseconds since the Unix epoch; 0 where
    /// unknown.
    pub start_ms: i64,
}

/// What a metric family says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Family {
    /// The family's name.
    pub name: String,
    /// Its type.
    pub metric_type: MetricType,
    /// Its HELP text.
    pub help: String,
    /// Its unit.
    pub unit: String,
}

/// A series' labels as they will be sent, and their hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Encoded `Label` fields of a `TimeSeries`, sorted by name; empty where
    /// relabeling dropped the series.
    pub labels: Box<[u8]>,
    /// Hash of `labels`.
    pub hash: u64,
}

/// A series' labels as they will be sent, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesRef<'a> {
    /// As [`Rendered::labels`].
    pub labels: &'a [u8],
    /// As [`Rendered::hash`].
    pub hash: u64,
}

/// One sample of a series, encoded.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Encoded fields of a `TimeSeries` that follow its labels.
    pub fields: &'a [u8],
    /// As [`Mark::start_ms`].
    pub start_ms: i64,
    /// Whether it is a unit of the sender's ledger of its own.
    pub counted: bool,
}

/// Cuts the series of one Export into pieces.
#[derive(Debug)]
pub struct Cutter {
    limits: RequestLimits,
    /// How often each series came up so far.
    seen: HashMap<u64, u32, BuildHasherDefault<TakeAsIs>>,
    /// The piece under way of each round: the n-th samples of their series.
    open: Vec<Piece>,
    /// Finished pieces and their rounds.
    done: Vec<(usize, Piece)>,
    family: Option<Arc<Family>>,
    resource: u32,
}

/// A hasher for keys that are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub struct TakeAsIs(u64);

/// One series had more samples than an Export may have of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_ROUNDS} samples of one series in one request")]
pub struct TooManyRounds;

/// Each sample of one series costs a post of its own, one after another, and
/// all of them have to end before the Export's deadline.
const MAX_ROUNDS: u32 = 100;

// === impl Family ===

impl Family {
    /// Whether it says anything. A series that ends because its target failed comes
    /// alone, without what its family once said.
    pub fn says_something(&self) -> bool {
        let typed = self.metric_type != MetricType::Unknown;
        typed || !self.help.is_empty() || !self.unit.is_empty()
    }
}

// === impl Cutter ===

impl Cutter {
    /// Starts with no pieces.
    pub fn new(limits: RequestLimits) -> Self {
        Self {
            limits,
            seen: HashMap::default(),
            open: Vec::new(),
            done: Vec::new(),
            family: None,
            resource: 0,
        }
    }

    /// The series that follow are of another resource.
    pub fn begin_resource(&mut self) {
        self.resource += 1;
    }

    /// Says of which family the series that follow are.
    pub fn begin_family(&mut self, family: Arc<Family>) {
        self.family = Some(family);
    }

    /// Adds one sample of one series.
    ///
    /// # Errors
    /// Where the Export has too many samples of this series already.
    pub fn push(&mut self, series: SeriesRef<'_>, sample: Sample<'_>) -> Result<(), TooManyRounds> {
        let count = self.seen.entry(series.hash).or_default();
        if *count == MAX_ROUNDS {
            return Err(TooManyRounds);
        }
        let round = *count as usize;
        *count += 1;
        if self.open.len() == round {
            self.open.push(Piece::default());
        }
        let len = series.labels.len() + sample.fields.len();
        if !self.open[round].has_room_for(len, self.limits) {
            // The next one will probably be as large.
            let next = Piece {
                bytes: Vec::with_capacity(self.limits.bytes),
                marks: Vec::with_capacity(self.open[round].marks.len()),
                ..Default::default()
            };
            let full = std::mem::replace(&mut self.open[round], next);
            self.done.push((round, full));
        }
        self.open[round].push(series, sample, self.family.as_ref(), self.resource);
        Ok(())
    }

    /// The pieces, those with earlier samples of a series first.
    pub fn finish(mut self) -> Vec<Piece> {
        self.done.extend(self.open.into_iter().enumerate());
        self.done.sort_by_key(|(round, _)| *round);
        self.done
            .into_iter()
            .map(|(_, piece)| piece)
            .filter(|piece| !piece.marks.is_empty())
            .collect()
    }
}

// === impl Piece ===

impl Piece {
    /// Whether `len` more bytes of one series fit.
    fn has_room_for(&self, len: usize, limits: RequestLimits) -> bool {
        self.marks.is_empty()
            || (self.marks.len() < limits.series && self.bytes.len() + len <= limits.bytes)
    }

    fn push(
        &mut self,
        series: SeriesRef<'_>,
        sample: Sample<'_>,
        family: Option<&Arc<Family>>,
        resource: u32,
    ) {
        let len = series.labels.len() + sample.fields.len();
        wire::put_header(1, len, &mut self.bytes);
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
        self.marks.push(Mark {
            hash: series.hash,
            end: self.bytes.len(),
            family: self.families.len().saturating_sub(1) as u32,
            resource,
            start_ms: sample.start_ms,
        });
    }

    /// The encoded `TimeSeries` of the piece, without their frames, and their
    /// marks.
    pub fn series(&self) -> impl Iterator<Item = (&[u8], &Mark)> {
        let frames = wire::Fields::new(&self.bytes);
        frames
            .filter_map(|frame| frame.ok()?.bytes().ok())
            .zip(&self.marks)
    }
}

// === impl Rendered ===

impl Rendered {
    /// Renders a label set, sorted by name.
    pub fn new<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut encoded = Vec::with_capacity(256);
        for (name, value) in labels {
            put_label(name, value, &mut encoded);
        }
        let hash = SeriesRef::new(&encoded).hash;
        let labels = encoded.into_boxed_slice();
        Self { labels, hash }
    }

    /// The same, borrowed.
    pub fn as_ref(&self) -> SeriesRef<'_> {
        SeriesRef {
            labels: &self.labels,
            hash: self.hash,
        }
    }
}

// === impl SeriesRef ===

impl<'a> SeriesRef<'a> {
    /// Encoded `Label` fields, sorted by name.
    pub fn new(labels: &'a [u8]) -> Self {
        let hash = xxhash_rust::xxh3::xxh3_64(labels);
        Self { labels, hash }
    }
}

// === impl TakeAsIs ===

impl std::hash::Hasher for TakeAsIs {
    fn write(&mut self, bytes: &[u8]) {
        // Only u64 keys are used; any other key still hashes, if badly.
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
    let len = wire::bytes_len(1, name.len()) + wire::bytes_len(2, value.len());
    wire::put_header(1, len, out);
    wire::put_bytes(1, name.as_bytes(), out);
    wire::put_bytes(2, value.as_bytes(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        series: 3,
        bytes: 1000,
    };

    fn series(name: &str) -> Rendered {
        Rendered::new([("__name__", name)].into_iter())
    }

    fn sample(fields: &[u8]) -> Sample<'_> {
        Sample {
            fields,
            start_ms: 0,
            counted: true,
        }
    }

    fn cut(names: &[&str], limits: RequestLimits) -> Vec<Vec<u64>> {
        let mut cutter = Cutter::new(limits);
        for name in names {
            cutter.push(series(name).as_ref(), sample(b"")).unwrap();
        }
        let hashes = |piece: Piece| piece.marks.iter().map(|mark| mark.hash).collect();
        cutter.finish().into_iter().map(hashes).collect()
    }

    #[test]
    fn samples_of_one_series_go_in_successive_pieces() {
        let [a, b] = ["a", "b"].map(|name| series(name).hash);
        assert_eq!(
            cut(&["a", "a", "b", "a"], LIMITS),
            [vec![a, b], vec![a], vec![a]]
        );
    }

    #[test]
    fn a_full_piece_of_a_later_round_does_not_overtake() {
        let limits = RequestLimits {
            series: 1,
            bytes: 1000,
        };
        let [a, b] = ["a", "b"].map(|name| series(name).hash);
        assert_eq!(cut(&["a", "a", "b", "b"], limits), [[a], [b], [a], [b]]);
    }

    #[test]
    fn pieces_respect_both_limits() {
        assert_eq!(cut(&["a", "b", "c", "d"], LIMITS).len(), 2);
        let tight = RequestLimits {
            series: 9,
            bytes: 40,
        };
        assert_eq!(cut(&["a", "b", "c", "d"], tight).len(), 2);
        let tiny = RequestLimits {
            series: 9,
            bytes: 1,
        };
        assert_eq!(cut(&["a", "b"], tiny).len(), 2);
    }

    #[test]
    fn rounds_are_bounded() {
        let mut cutter = Cutter::new(LIMITS);
        let a = series("a");
        for _ in 0..MAX_ROUNDS {
            cutter.push(a.as_ref(), sample(b"")).unwrap();
        }
        assert_eq!(cutter.push(a.as_ref(), sample(b"")), Err(TooManyRounds));
    }

    #[test]
    fn series_come_back_as_they_went_in() {
        let mut cutter = Cutter::new(LIMITS);
        cutter.push(series("a").as_ref(), sample(b"12")).unwrap();
        cutter.push(series("b").as_ref(), sample(b"")).unwrap();
        let piece = cutter.finish().remove(0);
        let lens: Vec<_> = piece.series().map(|(bytes, _)| bytes.len()).collect();
        assert_eq!(
            lens,
            [series("a").labels.len() + 2, series("b").labels.len()]
        );
        assert_eq!(piece.units, 2);
    }
}
