//! Memory of a decoded OTLP message, estimated before it is decoded.
//!
//! An empty data point is two bytes on the wire and more than a hundred in memory. A limit
//! on the bytes alone would admit fifty times as much memory. The estimate walks over the
//! encoded messages once and allocates nothing.
//!
//! It counts what prost allocates: the capacity of each list, which is a power of two, and
//! each string and byte string. It is never less than that. The tests compare it with the
//! bytes that an allocator counts.

use std::mem::size_of;

use opentelemetry_proto::tonic::{
    common::v1 as common,
    metrics::v1::{self as metrics, exponential_histogram_data_point::Buckets, summary_data_point},
    resource::v1::Resource,
};

use super::schema::{Kind, Point};
use crate::protobuf::{Fields, Value};

/// Estimated memory of a decoded message, and its number of data points and resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of all structures, lists and strings below the message, but not of the message
    /// itself.
    pub bytes: usize,
    /// Number of data points.
    pub points: u64,
    /// Number of `ResourceMetrics`.
    pub resources: usize,
}

/// Number of nested messages after which prost refuses a message.
const MAX_DEPTH: usize = 100;
/// Smallest capacity of a list of structures.
const MIN_CAPACITY: usize = 4;
/// Largest field number of a list.
const MAX_FIELD: usize = 12;
/// Overhead of an allocation: the allocator's size classes are an eighth apart.
const ALLOCATION: usize = 16;

// === impl Cost ===

impl Cost {
    /// Estimates a message of type `kind`. Ignores what follows a malformed field, as decoding
    /// fails there.
    ///
    /// ```
    /// use mesh_wire::otlp::{cost::Cost, schema::{Kind, Point}};
    ///
    /// let gauge_with_two_empty_points = [0x0a, 0, 0x0a, 0];
    /// let cost = Cost::of(Kind::Points(Point::Number), &gauge_with_two_empty_points);
    /// assert_eq!(cost.points, 2);
    /// assert!(cost.bytes > 200);
    /// ```
    pub fn of(kind: Kind, message: &[u8]) -> Self {
        let mut cost = Self::default();
        cost.walk(kind, message, 0);
        cost
    }

    fn walk(&mut self, kind: Kind, message: &[u8], depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let mut elements = [0_u32; MAX_FIELD + 1];
        let mut singulars = 0_u32;
        for field in Fields::new(message).map_while(Result::ok) {
            let listed = match field.value {
                Value::Bytes(bytes) => match kind.child(field.number) {
                    Some(child) if is_singular(kind, field.number) => {
                        let seen = 1 << field.number;
                        self.singular(child, bytes, depth, singulars & seen != 0);
                        singulars |= seen;
                        0
                    }
                    Some(child) => {
                        self.points += u64::from(matches!(child, Kind::Point(_)));
                        self.resources += usize::from(child == Kind::ResourceMetrics);
                        self.walk(child, bytes, depth + 1);
                        1
                    }
                    None => {
                        let (packed, text) = unnested(kind, field.number, bytes);
                        self.add(text);
                        packed
                    }
                },
                Value::Varint(_) | Value::Fixed64(_) => 1,
                Value::Fixed32(_) => 0,
            };
            if let Some(count) = elements.get_mut(field.number as usize) {
                *count = count.saturating_add(listed);
            }
        }
        for (field, count) in (0..).zip(elements).filter(|(_, count)| *count > 0) {
            let capacity = (count as usize).next_power_of_two().max(MIN_CAPACITY);
            self.add(capacity.saturating_mul(element_size(kind, field)));
        }
    }

    /// Walks a message that is stored inside its parent. prost merges a repeated one into the
    /// first, whose lists then grow, so all of both counts twice.
    fn singular(&mut self, kind: Kind, message: &[u8], depth: usize, is_repeated: bool) {
        if is_repeated {
            self.bytes = self.bytes.saturating_mul(2);
        }
        let before = self.bytes;
        self.walk(kind, message, depth + 1);
        if is_repeated {
            self.add(self.bytes - before);
        }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Returns true if the message in a field is stored inside its parent instead of in a list.
fn is_singular(kind: Kind, field: u32) -> bool {
    match kind {
        Kind::ResourceMetrics | Kind::ScopeMetrics => field == 1,
        Kind::Metric => field != 12,
        Kind::Point(Point::Exponential) => matches!(field, 8 | 9),
        Kind::KeyValue | Kind::AnyValue => true,
        _ => false,
    }
}

/// Number of list elements, and bytes of text, of a field without messages.
fn unnested(kind: Kind, field: u32, bytes: &[u8]) -> (u32, usize) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    match (kind, field) {
        (Kind::Point(Point::Histogram), 6 | 7) => (len / 8, 0),
        // A varint takes one byte at least.
        (Kind::Buckets, 2) => (len, 0),
        (Kind::EntityRef, 3 | 4) => (1, text(bytes.len())),
        _ => (0, text(bytes.len())),
    }
}

/// Bytes of a string on the heap.
fn text(len: usize) -> usize {
    match len {
        0 => 0,
        _ => len + len / 8 + ALLOCATION,
    }
}

/// Bytes of one element of a list; 0 for a field that is no list.
fn element_size(kind: Kind, field: u32) -> usize {
    match (kind.child(field), kind, field) {
        (Some(child), ..) => size(child),
        (None, Kind::Point(Point::Histogram), 6 | 7) | (None, Kind::Buckets, 2) => 8,
        (None, Kind::EntityRef, 3 | 4) => size_of::<String>(),
        _ => 0,
    }
}

/// Bytes of a decoded message, without its heap allocations.
fn size(kind: Kind) -> usize {
    match kind {
        Kind::ResourceMetrics => size_of::<metrics::ResourceMetrics>(),
        Kind::Resource => size_of::<Resource>(),
        Kind::ScopeMetrics => size_of::<metrics::ScopeMetrics>(),
        Kind::Scope => size_of::<common::InstrumentationScope>(),
        Kind::Metric => size_of::<metrics::Metric>(),
        // A request is never nested, and points are a part of their metric.
        Kind::Request | Kind::Points(_) => 0,
        Kind::Point(Point::Number) => size_of::<metrics::NumberDataPoint>(),
        Kind::Point(Point::Histogram) => size_of::<metrics::HistogramDataPoint>(),
        Kind::Point(Point::Exponential) => size_of::<metrics::ExponentialHistogramDataPoint>(),
        Kind::Point(Point::Summary) => size_of::<metrics::SummaryDataPoint>(),
        Kind::Buckets => size_of::<Buckets>(),
        Kind::Quantile => size_of::<summary_data_point::ValueAtQuantile>(),
        Kind::Exemplar => size_of::<metrics::Exemplar>(),
        Kind::KeyValue => size_of::<common::KeyValue>(),
        Kind::AnyValue => size_of::<common::AnyValue>(),
        Kind::Values => size_of::<common::ArrayValue>(),
        Kind::Pairs => size_of::<common::KeyValueList>(),
        Kind::EntityRef => size_of::<common::EntityRef>(),
    }
}
