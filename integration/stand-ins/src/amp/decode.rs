//! Strict decoder of remote write 1.0 and 2.0.

use anyhow::{Context, bail, ensure};
use mesh_model::labels::Labels;
use prost::Message;
use proto::{v1, v2};

/// Maximum size of a decompressed request (128 MiB), as the header of Snappy's block format
/// states it. Protects against decompression bombs.
const MAX_DECOMPRESSED: usize = 128 << 20;

/// A decoded request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Incoming {
    /// Series in the order of the request.
    pub series: Vec<IncomingSeries>,
}

/// One series of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingSeries {
    /// Labels as sent: sorted, without duplicates and without empty names or values.
    pub labels: Labels,
    /// Timestamp (milliseconds since the Unix epoch) and value of each sample.
    pub samples: Vec<(i64, Value)>,
}

/// Value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Bits of a float, so that NaNs can be compared.
    Float(u64),
    /// Native histogram of either protocol version, as the message of version 1.0.
    Histogram(Box<v1::Histogram>),
}

// === impl Value ===

impl Value {
    /// Bits of a staleness marker.
    pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

    /// Returns the float, or `None` for a histogram.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(bits) => Some(f64::from_bits(*bits)),
            Self::Histogram(_) => None,
        }
    }
}

/// Decompresses and decodes a request body.
pub(super) fn decode(body: &[u8], content_type: &str) -> anyhow::Result<Incoming> {
    let bytes = decompress(body)?;
    if content_type.contains("io.prometheus.write.v2.Request") {
        from_v2(v2::Request::decode(bytes.as_slice())?)
    } else {
        from_v1(v1::WriteRequest::decode(bytes.as_slice())?)
    }
}

/// Decompresses a request body.
pub(super) fn decompress(body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let len = snap::raw::decompress_len(body).context("snappy")?;
    ensure!(
        len <= MAX_DECOMPRESSED,
        "{len} bytes decompressed, expected at most {MAX_DECOMPRESSED}"
    );
    snap::raw::Decoder::new()
        .decompress_vec(body)
        .context("snappy")
}

fn from_v1(request: v1::WriteRequest) -> anyhow::Result<Incoming> {
    let series = request.timeseries.into_iter().map(|series| {
        let pairs = series
            .labels
            .iter()
            .map(|l| (l.name.as_str(), l.value.as_str()));
        let labels = labels(pairs)?;
        let floats = series
            .samples
            .iter()
            .map(|s| (s.timestamp, Value::Float(s.value.to_bits())));
        let histograms = series.histograms.into_iter();
        let histograms = histograms.map(|h| (h.timestamp, Value::Histogram(Box::new(h))));
        Ok(IncomingSeries {
            labels,
            samples: floats.chain(histograms).collect(),
        })
    });
    Ok(Incoming {
        series: series.collect::<anyhow::Result<_>>()?,
    })
}

fn from_v2(request: v2::Request) -> anyhow::Result<Incoming> {
    let symbol = |at: &u32| {
        request
            .symbols
            .get(*at as usize)
            .context("a reference beyond the symbol table")
    };
    let symbols_start_empty = request.symbols.first().is_some_and(String::is_empty);
    ensure!(symbols_start_empty, "symbol 0 is not the empty string");
    let mut series = Vec::new();
    for timeseries in &request.timeseries {
        ensure!(
            timeseries.labels_refs.len() % 2 == 0,
            "an odd number of label references"
        );
        ensure!(
            timeseries.samples.is_empty() || timeseries.histograms.is_empty(),
            "samples and histograms in one series"
        );
        let pairs: Vec<_> = timeseries
            .labels_refs
            .chunks_exact(2)
            .map(|pair| Ok((symbol(&pair[0])?.as_str(), symbol(&pair[1])?.as_str())))
            .collect::<anyhow::Result<_>>()?;
        let floats = timeseries
            .samples
            .iter()
            .map(|s| (s.timestamp, Value::Float(s.value.to_bits())));
        let histograms = timeseries.histograms.iter().map(|h| {
            // Fields 1 to 16 are the same in both versions.
            let histogram = v1::Histogram::decode(h.encode_to_vec().as_slice())?;
            Ok((h.timestamp, Value::Histogram(Box::new(histogram))))
        });
        let histograms: Vec<_> = histograms.collect::<anyhow::Result<_>>()?;
        series.push(IncomingSeries {
            labels: labels(pairs.into_iter())?,
            samples: floats.chain(histograms).collect(),
        });
    }
    Ok(Incoming { series })
}

fn labels<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> anyhow::Result<Labels> {
    let mut last = "";
    let mut sorted = Vec::new();
    for (name, value) in pairs {
        if name.is_empty() || value.is_empty() {
            bail!("empty label name or value: {name:?}={value:?}");
        }
        ensure!(
            last < name,
            "labels unsorted or duplicate: {name:?} after {last:?}"
        );
        last = name;
        sorted.push((name, value));
    }
    Ok(sorted.into_iter().collect())
}
