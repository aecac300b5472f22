//! Remote read: the exact samples of a database. The query API would omit staleness markers
//! and round native histograms.

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use mesh_model::labels::{Labels, METRIC_NAME};
use mesh_net::http_client::HttpClient;
use prost::Message;
use proto::v1;
use tokio::time::{Duration, timeout};

use super::Prometheus;
use stand_ins::amp::{Sample, Series, Value};

const TIMEOUT: Duration = Duration::from_secs(120);
/// Matcher type of a regular expression that must match (`RE`).
const MATCH_REGEXP: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    start_timestamp_ms: i64,
    #[prost(int64, tag = "2")]
    end_timestamp_ms: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<LabelMatcher>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelMatcher {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<v1::TimeSeries>,
}

/// Reads all series with all their samples from a remote-read endpoint. `headers` are added
/// to the request.
///
/// # Errors
/// Returns an error if the server does not answer.
pub async fn read_all(
    client: &HttpClient,
    url: &str,
    headers: &HeaderMap,
) -> anyhow::Result<Vec<Series>> {
    let any_name = LabelMatcher {
        kind: MATCH_REGEXP,
        name: METRIC_NAME.to_owned(),
        value: ".+".to_owned(),
    };
    let query = Query {
        start_timestamp_ms: 0,
        end_timestamp_ms: i64::MAX / 2,
        matchers: vec![any_name],
    };
    let request = ReadRequest {
        queries: vec![query],
    };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec())?;
    let mut request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::CONTENT_ENCODING, "snappy")
        .header("X-Prometheus-Remote-Read-Version", "0.1.0");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Bytes::from(body))?;
    let response = timeout(TIMEOUT, client.request(request)).await??;
    let status = response.status();
    let body = timeout(TIMEOUT, response.into_body().collect()).await??;
    let body = body.to_bytes();
    anyhow::ensure!(
        status.is_success(),
        "remote read: {status}: {}",
        String::from_utf8_lossy(&body)
    );
    let bytes = snap::raw::Decoder::new().decompress_vec(&body);
    let response = ReadResponse::decode(&*bytes.context("snappy")?)?;
    let results = response.results.into_iter();
    Ok(results.flat_map(|r| r.timeseries).map(series).collect())
}

// === impl Prometheus ===

impl Prometheus {
    /// Reads all series with all their samples.
    ///
    /// # Errors
    /// Returns an error if the server does not answer.
    pub async fn read_all(&self) -> anyhow::Result<Vec<Series>> {
        let url = format!("http://{}/api/v1/read", self.address);
        read_all(&self.client, &url, &HeaderMap::new()).await
    }
}

fn series(series: v1::TimeSeries) -> Series {
    let labels = series.labels.iter();
    let labels: Labels = labels.map(|l| (&*l.name, &*l.value)).collect();
    let floats = series.samples.into_iter().map(|sample| Sample {
        timestamp: sample.timestamp,
        value: Value::Float(sample.value.to_bits()),
    });
    let histograms = series.histograms.into_iter().map(|histogram| Sample {
        timestamp: histogram.timestamp,
        value: Value::Histogram(Box::new(histogram)),
    });
    let mut samples: Vec<_> = floats.chain(histograms).collect();
    samples.sort_by_key(|sample| sample.timestamp);
    Series { labels, samples }
}
