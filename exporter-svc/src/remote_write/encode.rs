//! Encoding of request bodies.
//!
//! A part holds encoded `TimeSeries` of remote write 1.0, which can be concatenated.
//! Remote write 2.0 refers to strings by their index in one symbol table, so its series
//! are encoded anew, label by label.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use prost::Message;
use proto::v1;

use super::part::{Family, RequestPart, SeriesMeta};
use mesh_wire::protobuf::{self, Field, Fields, WireError};

/// Encodes a `prometheus.WriteRequest` with these parts. A single part, the usual case
/// for a large scrape, already is one.
pub fn v1<'a>(parts: &[&'a RequestPart]) -> Cow<'a, [u8]> {
    if let [part] = parts {
        return Cow::Borrowed(&part.bytes);
    }
    let series: Vec<_> = parts.iter().map(|part| part.bytes.as_slice()).collect();
    Cow::Owned(series.concat())
}

/// Encodes a `prometheus.WriteRequest` with the metadata of these families.
pub fn metadata(families: &[Arc<Family>]) -> Vec<u8> {
    let metadata = families.iter().map(|family| v1::MetricMetadata {
        r#type: family.metric_type as i32,
        metric_family_name: family.name.clone(),
        help: family.help.clone(),
        unit: family.unit.clone(),
    });
    v1::WriteRequest {
        timeseries: Vec::new(),
        metadata: metadata.collect(),
    }
    .encode_to_vec()
}

/// Encodes an `io.prometheus.write.v2.Request` with these parts.
///
/// # Errors
/// Returns an error if a part holds malformed series; parts that
/// [`super::part::PartBuilder`] made never do.
pub fn v2(parts: &[&RequestPart]) -> Result<Vec<u8>, WireError> {
    let mut symbols = Symbols::new();
    let mut all = Vec::with_capacity(parts.iter().map(|part| part.bytes.len()).sum());
    let mut one = Vec::new();
    for part in parts {
        for (encoded, meta) in part.series() {
            one.clear();
            series(&mut one, &mut symbols, encoded, meta)?;
            if let Some(family) = part.families.get(meta.family as usize) {
                protobuf::put_bytes(5, &symbols.metadata(family), &mut one);
            }
            protobuf::put_bytes(5, &one, &mut all);
        }
    }
    let mut request = Vec::with_capacity(all.len() + symbols.bytes);
    for symbol in &symbols.table {
        protobuf::put_bytes(4, symbol, &mut request);
    }
    request.extend_from_slice(&all);
    Ok(request)
}

/// Symbol table of a request, in the order of first use.
struct Symbols<'a> {
    table: Vec<&'a [u8]>,
    indexes: HashMap<&'a [u8], u32, foldhash::fast::RandomState>,
    bytes: usize,
}

// === impl Symbols ===

impl<'a> Symbols<'a> {
    /// Creates a table with the empty string, which must be the first symbol.
    fn new() -> Self {
        Self {
            table: vec![b""],
            indexes: HashMap::from_iter([(&b""[..], 0)]),
            bytes: 2,
        }
    }

    fn index(&mut self, symbol: &'a [u8]) -> u64 {
        let next = self.table.len() as u32;
        let index = *self.indexes.entry(symbol).or_insert(next);
        if index == next {
            self.table.push(symbol);
            self.bytes += symbol.len() + 6;
        }
        index.into()
    }

    /// Appends the symbol references of one encoded `Label`.
    fn label(&mut self, refs: &mut Vec<u8>, label: &'a [u8]) -> Result<(), WireError> {
        let (mut name, mut value) = (&b""[..], &b""[..]);
        for field in Fields::new(label) {
            let field = field?;
            match field.number {
                1 => name = field.bytes()?,
                _ => value = field.bytes()?,
            }
        }
        for text in [name, value] {
            let index = self.index(text);
            protobuf::put_varint(index, refs);
        }
        Ok(())
    }

    fn metadata(&mut self, family: &'a Family) -> Vec<u8> {
        let mut out = Vec::new();
        // Both versions number the metric types alike.
        protobuf::put_implicit_int64(1, (family.metric_type as i32).into(), &mut out);
        for (number, text) in [(3, &family.help), (4, &family.unit)] {
            let index = self.index(text.as_bytes());
            protobuf::put_implicit_int64(number, index as i64, &mut out);
        }
        out
    }
}

/// Appends the fields of a 2.0 `TimeSeries`, converted from a 1.0 one.
fn series<'a>(
    out: &mut Vec<u8>,
    symbols: &mut Symbols<'a>,
    encoded: &'a [u8],
    meta: &SeriesMeta,
) -> Result<(), WireError> {
    let fields: Vec<Field<'a>> = Fields::new(encoded).collect::<Result<_, _>>()?;
    let mut refs = Vec::new();
    for field in fields.iter().filter(|field| field.number == 1) {
        symbols.label(&mut refs, field.bytes()?)?;
    }
    protobuf::put_bytes(1, &refs, out);
    for field in &fields {
        let bytes = field.bytes()?;
        match field.number {
            2 => put_with_start_time(out, 2, bytes, 3, meta.start_ms),
            4 => put_with_start_time(out, 3, bytes, 17, meta.start_ms),
            3 => protobuf::put_bytes(4, &exemplar(symbols, bytes)?, out),
            _ => {}
        }
    }
    Ok(())
}

/// Appends a sample or histogram as field `number`. Its fields are those of 1.0,
/// followed by the start timestamp.
fn put_with_start_time(
    out: &mut Vec<u8>,
    number: u32,
    fields: &[u8],
    start_field: u32,
    start_ms: i64,
) {
    let mut start = Vec::new();
    protobuf::put_implicit_int64(start_field, start_ms, &mut start);
    protobuf::put_header(number, fields.len() + start.len(), out);
    out.extend_from_slice(fields);
    out.extend_from_slice(&start);
}

/// Converts a 1.0 `Exemplar` to a 2.0 one.
fn exemplar<'a>(symbols: &mut Symbols<'a>, encoded: &'a [u8]) -> Result<Vec<u8>, WireError> {
    let (mut refs, mut rest) = (Vec::new(), Vec::new());
    for field in Fields::new(encoded) {
        let field = field?;
        match field.number {
            1 => symbols.label(&mut refs, field.bytes()?)?,
            // Value and timestamp have the same field numbers in both versions.
            _ => rest.extend_from_slice(field.raw),
        }
    }
    let mut out = Vec::new();
    protobuf::put_bytes(1, &refs, &mut out);
    out.extend_from_slice(&rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proto::v2;
    use v1::metric_metadata::MetricType;

    use super::*;
    use crate::{
        remote_write::part::{EncodedLabels, RequestLimits},
        translate::sink::{Capabilities, NativeHistograms, Sink, Times},
    };

    /// Part with two counters, one with an exemplar, and a native histogram of another
    /// family.
    fn part() -> RequestPart {
        let mut sink = Sink::new(Capabilities {
            native_histograms: NativeHistograms::All,
            inconsistent_histograms: false,
            exemplars: true,
            families: true,
            limits: RequestLimits {
                series: 100,
                bytes: 1 << 20,
            },
            max_age: None,
        });
        let family = |name: &str, metric_type| Family {
            name: name.to_owned(),
            metric_type,
            help: "Some help".to_owned(),
            unit: "s".to_owned(),
        };
        let labels = |name, job| EncodedLabels::new([("__name__", name), ("job", job)].into_iter());
        let times = Times {
            time_ms: 2000,
            start_ms: 1000,
        };
        let label = |name: &str| v1::Label {
            name: name.to_owned(),
            value: "x".to_owned(),
        };
        let exemplar = v1::Exemplar {
            labels: vec![label("job")],
            value: 0.5,
            timestamp: 7,
        };
        sink.begin_family(family("c", MetricType::Counter));
        sink.float(
            labels("c_total", "x").as_ref(),
            times,
            1.5,
            &[exemplar],
            true,
        );
        sink.float(
            labels("c_total", "y").as_ref(),
            Times {
                start_ms: 0,
                ..times
            },
            2.5,
            &[],
            true,
        );
        sink.begin_family(family("h", MetricType::Histogram));
        let histogram = v1::Histogram {
            schema: 3,
            sum: 9.0,
            ..Default::default()
        };
        sink.histogram(labels("h", "x").as_ref(), times, histogram, &[]);
        sink.finish().0.unwrap().parts.remove(0)
    }

    #[test]
    fn encodes_version_2_with_symbols() {
        let part = part();
        let request = v2::Request::decode(v2(&[&part]).unwrap().as_slice()).unwrap();
        assert_eq!(
            request.symbols,
            [
                "",
                "__name__",
                "c_total",
                "job",
                "x",
                "Some help",
                "s",
                "y",
                "h"
            ]
        );
        let [first, second, third] = &request.timeseries[..] else {
            panic!("three series")
        };
        assert_eq!(first.labels_refs, [1, 2, 3, 4]);
        assert_eq!(
            first.samples,
            [v2::Sample {
                value: 1.5,
                timestamp: 2000,
                start_timestamp: 1000
            }]
        );
        assert_eq!(
            first.exemplars,
            [v2::Exemplar {
                labels_refs: vec![3, 4],
                value: 0.5,
                timestamp: 7
            }]
        );
        let metadata = |metric_type: v2::metadata::MetricType| v2::Metadata {
            r#type: metric_type as i32,
            help_ref: 5,
            unit_ref: 6,
        };
        assert_eq!(
            first.metadata,
            Some(metadata(v2::metadata::MetricType::Counter))
        );
        assert_eq!(
            (second.samples[0].start_timestamp, &*second.labels_refs),
            (0, &[1, 2, 3, 7][..])
        );
        assert!(third.samples.is_empty());
        let histogram = &third.histograms[0];
        assert_eq!((histogram.schema, histogram.sum), (3, 9.0));
        assert_eq!(
            (histogram.timestamp, histogram.start_timestamp),
            (2000, 1000)
        );
        assert_eq!(
            third.metadata,
            Some(metadata(v2::metadata::MetricType::Histogram))
        );
    }

    #[test]
    fn encodes_version_1_by_concatenating_parts() {
        let part = part();
        let request = v1::WriteRequest::decode(&*v1(&[&part, &part])).unwrap();
        assert_eq!(request.timeseries.len(), 6);
        assert_eq!(request.timeseries[..3], request.timeseries[3..]);
        assert_eq!(*v1(&[&part]), part.bytes);
    }

    #[test]
    fn metadata_requests_have_no_series() {
        let body = metadata(&part().families);
        let request = v1::WriteRequest::decode(body.as_slice()).unwrap();
        assert!(request.timeseries.is_empty());
        let names: Vec<_> = request
            .metadata
            .iter()
            .map(|m| &*m.metric_family_name)
            .collect();
        assert_eq!(names, ["c", "h"]);
        assert_eq!(request.metadata[0].r#type(), MetricType::Counter);
    }
}
