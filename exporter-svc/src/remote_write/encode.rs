//! The bodies of requests.
//!
//! Pieces hold encoded `TimeSeries` of remote write 1.0, which join end to end.
//! Remote write 2.0 refers to every string by its place in one table, so there
//! the series are written anew, label by label.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use prost::Message;
use proto::v1;

use super::piece::{Family, Mark, Piece};
use mesh::wire::{self, Field, Fields, WireError};

/// A `prometheus.WriteRequest` of these pieces. One alone, as most of a large scrape
/// are, is a request as it stands.
pub fn v1<'a>(pieces: &[&'a Piece]) -> Cow<'a, [u8]> {
    if let [piece] = pieces {
        return Cow::Borrowed(&piece.bytes);
    }
    let series: Vec<_> = pieces.iter().map(|piece| piece.bytes.as_slice()).collect();
    Cow::Owned(series.concat())
}

/// A `prometheus.WriteRequest` of these families.
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

/// An `io.prometheus.write.v2.Request` of these pieces.
///
/// # Errors
/// Where a piece does not hold encoded series, which none does.
pub fn v2(pieces: &[&Piece]) -> Result<Vec<u8>, WireError> {
    let mut symbols = Symbols::new();
    let mut all = Vec::with_capacity(pieces.iter().map(|piece| piece.bytes.len()).sum());
    let mut one = Vec::new();
    for piece in pieces {
        for (encoded, mark) in piece.series() {
            one.clear();
            series(&mut one, &mut symbols, encoded, mark)?;
            if let Some(family) = piece.families.get(mark.family as usize) {
                wire::put_bytes(5, &symbols.metadata(family), &mut one);
            }
            wire::put_bytes(5, &one, &mut all);
        }
    }
    let mut request = Vec::with_capacity(all.len() + symbols.bytes);
    for symbol in &symbols.table {
        wire::put_bytes(4, symbol, &mut request);
    }
    request.extend_from_slice(&all);
    Ok(request)
}

/// The table of strings of a request, in the order they were first needed.
struct Symbols<'a> {
    table: Vec<&'a [u8]>,
    places: HashMap<&'a [u8], u32, foldhash::fast::RandomState>,
    bytes: usize,
}

// === impl Symbols ===

impl<'a> Symbols<'a> {
    /// The empty string is always the first.
    fn new() -> Self {
        Self {
            table: vec![b""],
            places: HashMap::from_iter([(&b""[..], 0)]),
            bytes: 2,
        }
    }

    fn place(&mut self, symbol: &'a [u8]) -> u64 {
        let next = self.table.len() as u32;
        let place = *self.places.entry(symbol).or_insert(next);
        if place == next {
            self.table.push(symbol);
            self.bytes += symbol.len() + 6;
        }
        place.into()
    }

    /// Appends the references of one encoded `Label`.
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
            let place = self.place(text);
            wire::put_varint(place, refs);
        }
        Ok(())
    }

    fn metadata(&mut self, family: &'a Family) -> Vec<u8> {
        let mut out = Vec::new();
        // Types have the same numbers in both versions.
        wire::put_implicit_int64(1, (family.metric_type as i32).into(), &mut out);
        for (number, text) in [(3, &family.help), (4, &family.unit)] {
            let place = self.place(text.as_bytes());
            wire::put_implicit_int64(number, place as i64, &mut out);
        }
        out
    }
}

/// Appends the fields of a 2.0 `TimeSeries`, from those of a 1.0 one.
fn series<'a>(
    out: &mut Vec<u8>,
    symbols: &mut Symbols<'a>,
    encoded: &'a [u8],
    mark: &Mark,
) -> Result<(), WireError> {
    let fields: Vec<Field<'a>> = Fields::new(encoded).collect::<Result<_, _>>()?;
    let mut refs = Vec::new();
    for field in fields.iter().filter(|field| field.number == 1) {
        symbols.label(&mut refs, field.bytes()?)?;
    }
    wire::put_bytes(1, &refs, out);
    for field in &fields {
        let bytes = field.bytes()?;
        match field.number {
            2 => counted_since(out, 2, bytes, 3, mark.start_ms),
            4 => counted_since(out, 3, bytes, 17, mark.start_ms),
            3 => wire::put_bytes(4, &exemplar(symbols, bytes)?, out),
            _ => {}
        }
    }
    Ok(())
}

/// Appends a sample or histogram as field `number`: its fields are those of 1.0
/// and, behind them, when it started to count.
fn counted_since(out: &mut Vec<u8>, number: u32, fields: &[u8], since: u32, start_ms: i64) {
    let mut start = Vec::new();
    wire::put_implicit_int64(since, start_ms, &mut start);
    wire::put_header(number, fields.len() + start.len(), out);
    out.extend_from_slice(fields);
    out.extend_from_slice(&start);
}

/// A 2.0 `Exemplar`, from a 1.0 one.
fn exemplar<'a>(symbols: &mut Symbols<'a>, encoded: &'a [u8]) -> Result<Vec<u8>, WireError> {
    let (mut refs, mut rest) = (Vec::new(), Vec::new());
    for field in Fields::new(encoded) {
        let field = field?;
        match field.number {
            1 => symbols.label(&mut refs, field.bytes()?)?,
            // Value and time have the same numbers.
            _ => rest.extend_from_slice(field.raw),
        }
    }
    let mut out = Vec::new();
    wire::put_bytes(1, &refs, &mut out);
    out.extend_from_slice(&rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proto::v2;
    use v1::metric_metadata::MetricType;

    use super::*;
    use crate::{
        remote_write::piece::{Rendered, RequestLimits},
        translate::sink::{NativeHistograms, Sink, Times, Wants},
    };

    /// Two counters with an exemplar and a native histogram, of two families.
    fn piece() -> Piece {
        let mut sink = Sink::new(Wants {
            native_histograms: NativeHistograms::All,
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
        let labels = |name, job| Rendered::new([("__name__", name), ("job", job)].into_iter());
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
        sink.finish().pieces.remove(0)
    }

    #[test]
    fn version_2_says_the_same_in_symbols() {
        let piece = piece();
        let request = v2::Request::decode(v2(&[&piece]).unwrap().as_slice()).unwrap();
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
    fn version_1_is_the_pieces_end_to_end() {
        let piece = piece();
        let request = v1::WriteRequest::decode(&*v1(&[&piece, &piece])).unwrap();
        assert_eq!(request.timeseries.len(), 6);
        assert_eq!(request.timeseries[..3], request.timeseries[3..]);
        assert_eq!(*v1(&[&piece]), piece.bytes);
    }

    #[test]
    fn metadata_has_no_series() {
        let body = metadata(&piece().families);
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
