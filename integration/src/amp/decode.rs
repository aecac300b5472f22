//! Remote write 1.0 and 2.0, decoded strictly.

use anyhow::{Context, bail, ensure};
use mesh::labels::Labels;
use prost::Message;
use proto::{v1, v2};

/// Snappy's block format says how long the data is; more than this is a bomb.
const MAX_DECOMPRESSED: usize = 128 << 20;

/// A decoded request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Incoming {
    /// Its series, in the order they were sent.
    pub series: Vec<IncomingSeries>,
}

/// One series of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingSeries {
    /// As sent: sorted, without duplicates or empty names.
    pub labels: Labels,
    /// Time and value.
    pub samples: Vec<(i64, Value)>,
}

/// A sample's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A float, by its bits, so that NaNs can be told apart.
    Float(u64),
    /// A native histogram of either version, in the form of version 1.
    Histogram(Box<v1::Histogram>),
}

// === impl Value ===

impl Value {
    /// The bits of a staleness marker.
    pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

    /// The float, where it is one.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(bits) => Some(f64::from_bits(*bits)),
            Self::Histogram(_) => None,
        }
    }
}

/// Decodes a request body.
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
            .context("a symbol that is not in the table")
    };
    let symbols_start_empty = request.symbols.first().is_some_and(String::is_empty);
    ensure!(symbols_start_empty, "symbol 0 is not the empty string");
    let mut series = Vec::new();
    for one in &request.timeseries {
        ensure!(
            one.labels_refs.len() % 2 == 0,
            "an odd number of label references"
        );
        ensure!(
            one.samples.is_empty() || one.histograms.is_empty(),
            "samples and histograms in one series"
        );
        let pairs: Vec<_> = one
            .labels_refs
            .chunks_exact(2)
            .map(|pair| Ok((symbol(&pair[0])?.as_str(), symbol(&pair[1])?.as_str())))
            .collect::<anyhow::Result<_>>()?;
        let floats = one
            .samples
            .iter()
            .map(|s| (s.timestamp, Value::Float(s.value.to_bits())));
        let histograms = one.histograms.iter().map(|h| {
            // Fields 1 to 16 are the same in both versions.
            let same = v1::Histogram::decode(h.encode_to_vec().as_slice())?;
            Ok((h.timestamp, Value::Histogram(Box::new(same))))
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
            bail!("an empty label name or value: {name:?}={value:?}");
        }
        ensure!(
            last < name,
            "labels out of order or twice: {name:?} after {last:?}"
        );
        last = name;
        sorted.push((name, value));
    }
    Ok(sorted.into_iter().collect())
}
