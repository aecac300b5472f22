//! Parses histogram messages, which have classic buckets, native buckets or both.

use mesh_wire::protobuf::{Fields, WireError};

use super::message::{self, MessageError};
use crate::exposition::{Counts, Exemplar, Histogram, Span, classic::ClassicHistogram};

/// Histogram message whose buckets and exemplars are not parsed yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HistogramMessage<'a> {
    fields: Fields<'a>,
    /// Integer or float count.
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) start_timestamp: Option<i64>,
    /// Set if the message has classic buckets.
    pub(super) has_buckets: bool,
    integer_count: u64,
    float_count: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    has_spans: bool,
    has_exemplars: bool,
}

/// A classic bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket<'a> {
    pub(super) upper_bound: f64,
    /// Cumulative count.
    pub(super) count: f64,
    pub(super) exemplar: Option<Fields<'a>>,
}

/// Remaining exemplars of a sample.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Exemplars<'a> {
    #[default]
    None,
    /// Single exemplar of a counter or a classic bucket.
    One(Fields<'a>),
    /// Exemplars of a native histogram. Skips exemplars without a timestamp.
    Native(Fields<'a>),
    /// Exemplars of the classic buckets, for a native histogram without its own.
    /// Skips exemplars without a timestamp.
    Buckets(Fields<'a>),
}

const BUCKET: u32 = 3;
const NEGATIVE_SPAN: u32 = 9;
const POSITIVE_SPAN: u32 = 12;
const EXEMPLAR: u32 = 16;

// === impl HistogramMessage ===

impl<'a> HistogramMessage<'a> {
    pub(super) fn read(fields: Fields<'a>) -> Result<Self, WireError> {
        let mut histogram = Self {
            fields,
            ..Self::default()
        };
        let mut fields = fields;
        while let Some(field) = fields.next().transpose()? {
            match field.number {
                1 => histogram.integer_count = field.varint()?,
                2 => histogram.sum = field.double()?,
                BUCKET => histogram.has_buckets = true,
                4 => histogram.float_count = field.double()?,
                5 => histogram.schema = field.sint32()?,
                6 => histogram.zero_threshold = field.double()?,
                7 => histogram.zero_count = field.varint()?,
                8 => histogram.zero_count_float = field.double()?,
                NEGATIVE_SPAN | POSITIVE_SPAN => histogram.has_spans = true,
                15 => histogram.start_timestamp = message::timestamp(field.fields()?)?,
                EXEMPLAR => histogram.has_exemplars = true,
                _ => {}
            }
        }
        histogram.count = float_or_integer(histogram.float_count, histogram.integer_count);
        Ok(histogram)
    }

    /// Returns true if the histogram is native. A native histogram without observations
    /// has an empty span.
    pub(super) fn is_native(&self) -> bool {
        self.has_spans || self.zero_threshold > 0.0 || self.zero_count > 0
    }

    /// Fields from which [`Bucket::next`] reads the classic buckets.
    pub(super) fn buckets(&self) -> Fields<'a> {
        self.fields
    }

    /// Exemplars of the native histogram.
    pub(super) fn exemplars(&self) -> Exemplars<'a> {
        if self.has_exemplars {
            Exemplars::Native(self.fields)
        } else {
            Exemplars::Buckets(self.fields)
        }
    }

    /// Parses the native histogram.
    pub(super) fn native(&self, gauge: bool) -> Result<Histogram, MessageError> {
        let mut histogram = Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            custom_values: Vec::new(),
            gauge,
            counts: self.empty_counts(),
        };
        let mut fields = self.fields;
        while let Some(field) = fields.next().transpose()? {
            match (field.number, &mut histogram.counts) {
                (NEGATIVE_SPAN, _) => histogram.negative_spans.push(span(field.fields()?)?),
                (POSITIVE_SPAN, _) => histogram.positive_spans.push(span(field.fields()?)?),
                (
                    10,
                    Counts::Integer {
                        negative_deltas, ..
                    },
                ) => field.sint64s(negative_deltas)?,
                (
                    13,
                    Counts::Integer {
                        positive_deltas, ..
                    },
                ) => field.sint64s(positive_deltas)?,
                (11, Counts::Float { negative, .. }) => field.doubles(negative)?,
                (14, Counts::Float { positive, .. }) => field.doubles(positive)?,
                _ => {}
            }
        }
        check_spans(&histogram)?;
        histogram.compact(0)?;
        Ok(histogram)
    }

    /// Integer or float counts, still without buckets.
    fn empty_counts(&self) -> Counts {
        if self.float_count > 0.0 || self.zero_count_float > 0.0 {
            Counts::Float {
                count: self.float_count,
                zero_count: self.zero_count_float,
                positive: Vec::new(),
                negative: Vec::new(),
            }
        } else {
            Counts::Integer {
                count: self.integer_count,
                zero_count: self.zero_count,
                positive_deltas: Vec::new(),
                negative_deltas: Vec::new(),
            }
        }
    }

    /// Converts the classic histogram to a native one with custom buckets.
    pub(super) fn to_nhcb(
        self,
        gauge: bool,
        scratch: &mut ClassicHistogram,
    ) -> Result<Histogram, MessageError> {
        scratch.clear();
        scratch.count(self.count);
        scratch.sum(self.sum);
        let mut buckets = self.buckets();
        while let Some(bucket) = Bucket::next(&mut buckets)? {
            scratch.bucket(bucket.upper_bound, bucket.count);
        }
        let histogram = scratch.convert()?;
        Ok(Histogram { gauge, ..histogram })
    }
}

// === impl Bucket ===

impl<'a> Bucket<'a> {
    /// Reads the next classic bucket from the fields of a histogram.
    pub(super) fn next(buckets: &mut Fields<'a>) -> Result<Option<Self>, WireError> {
        let Some(field) = buckets.next_with_number(BUCKET)? else {
            return Ok(None);
        };
        let (mut bucket, mut integer, mut float) = (Self::default(), 0, 0.0);
        let mut fields = field.fields()?;
        while let Some(field) = fields.next().transpose()? {
            match field.number {
                1 => integer = field.varint()?,
                2 => bucket.upper_bound = field.double()?,
                3 => bucket.exemplar = Some(field.fields()?),
                4 => float = field.double()?,
                _ => {}
            }
        }
        bucket.count = float_or_integer(float, integer);
        Ok(Some(bucket))
    }
}

// === impl Exemplars ===

impl Exemplars<'_> {
    /// Returns the next exemplar.
    ///
    /// # Errors
    /// Returns an error if the exemplar is malformed.
    pub(super) fn next(&mut self) -> Result<Option<Exemplar>, WireError> {
        loop {
            let fields = match self {
                Self::None => return Ok(None),
                Self::One(fields) => {
                    let fields = *fields;
                    *self = Self::None;
                    return message::exemplar(fields).map(Some);
                }
                Self::Native(fields) => match fields.next_with_number(EXEMPLAR)? {
                    None => return Ok(None),
                    Some(field) => field.fields()?,
                },
                Self::Buckets(buckets) => match Bucket::next(buckets)? {
                    None => return Ok(None),
                    Some(Bucket { exemplar: None, .. }) => continue,
                    Some(Bucket {
                        exemplar: Some(fields),
                        ..
                    }) => fields,
                },
            };
            let exemplar = message::exemplar(fields)?;
            if exemplar.timestamp.is_some() {
                return Ok(Some(exemplar));
            }
        }
    }
}

/// Returns the float count, or the integer count if the float count is 0.
fn float_or_integer(float: f64, integer: u64) -> f64 {
    if float == 0.0 { integer as f64 } else { float }
}

fn span(mut fields: Fields<'_>) -> Result<Span, WireError> {
    let mut span = Span {
        offset: 0,
        length: 0,
    };
    while let Some(field) = fields.next().transpose()? {
        match field.number {
            1 => span.offset = field.sint32()?,
            2 => span.length = field.varint()? as u32,
            _ => {}
        }
    }
    Ok(span)
}

fn check_spans(histogram: &Histogram) -> Result<(), MessageError> {
    let (positive, negative) = match &histogram.counts {
        Counts::Integer {
            positive_deltas,
            negative_deltas,
            ..
        } => (positive_deltas.len(), negative_deltas.len()),
        Counts::Float {
            positive, negative, ..
        } => (positive.len(), negative.len()),
    };
    for (side, spans, buckets) in [
        ("positive", &histogram.positive_spans, positive),
        ("negative", &histogram.negative_spans, negative),
    ] {
        let spans: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        if spans != buckets as u64 {
            return Err(MessageError::Spans {
                side,
                spans,
                buckets,
            });
        }
    }
    Ok(())
}
