//! Parses the messages of `io.prometheus.client` except histograms.

use mesh_wire::protobuf::{Fields, WireError};

use crate::exposition::{Exemplar, MetricType, classic::ClassicError, histogram::IndexError};

/// Metric family whose metrics are not parsed yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Family<'a> {
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    pub(super) unit: &'a str,
    pub(super) metric_type: MetricType,
    pub(super) metrics: Fields<'a>,
}

/// A metric of a family.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Metric<'a> {
    fields: Fields<'a>,
    /// Value message that matches the type of the family.
    pub(super) value: Fields<'a>,
    /// Milliseconds since the Unix epoch. 0 if the target exposed none.
    pub(super) timestamp: i64,
}

/// Value of a counter, gauge or untyped metric.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Number<'a> {
    pub(super) value: f64,
    pub(super) exemplar: Option<Fields<'a>>,
    pub(super) start_timestamp: Option<i64>,
}

/// Summary whose quantiles are not parsed yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Summary {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) start_timestamp: Option<i64>,
}

/// A metric family is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("expected a metric name, found none")]
    MetricName,
    #[error("expected a label name, found none")]
    LabelName,
    #[error("expected a metric type of 0 to 5, found {0}")]
    MetricType(u64),
    #[error("expected {spans} {side} buckets from the spans, found {buckets}")]
    Spans {
        side: &'static str,
        spans: u64,
        buckets: usize,
    },
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Classic(#[from] ClassicError),
}

// === impl Family ===

impl<'a> Family<'a> {
    pub(super) const METRIC: u32 = 4;

    /// Parses a family. Returns `None` if it has no metrics.
    pub(super) fn read(message: &'a [u8]) -> Result<Option<Self>, MessageError> {
        let metrics = Fields::new(message);
        let mut family = Self {
            metrics,
            ..Self::default()
        };
        let (mut kind, mut is_empty) = (0, true);
        let mut fields = metrics;
        while let Some(field) = fields.next().transpose()? {
            match field.number {
                1 => family.name = field.text()?,
                2 => family.help = field.text()?,
                3 => kind = field.varint()?,
                Self::METRIC => is_empty = false,
                5 => family.unit = field.text()?,
                _ => {}
            }
        }
        if is_empty {
            return Ok(None);
        }
        if family.name.is_empty() {
            return Err(MessageError::MetricName);
        }
        family.metric_type = metric_type(kind)?;
        Ok(Some(family))
    }
}

// === impl Metric ===

impl<'a> Metric<'a> {
    pub(super) fn read(fields: Fields<'a>, metric_type: MetricType) -> Result<Self, WireError> {
        let value = match metric_type {
            MetricType::Gauge => 2,
            MetricType::Counter => 3,
            MetricType::Summary => 4,
            MetricType::Histogram | MetricType::GaugeHistogram => 7,
            _ => 5,
        };
        let mut metric = Self {
            fields,
            ..Self::default()
        };
        let mut fields = fields;
        while let Some(field) = fields.next().transpose()? {
            match field.number {
                number if number == value => metric.value = field.fields()?,
                6 => metric.timestamp = field.varint()? as i64,
                _ => {}
            }
        }
        Ok(metric)
    }

    /// Names and values of the labels.
    pub(super) fn labels(&self) -> impl Iterator<Item = Result<(&'a str, &'a str), WireError>> {
        labels(self.fields)
    }
}

// === impl Number ===

impl<'a> Number<'a> {
    /// Parses the value of a counter, gauge or untyped metric.
    pub(super) fn read(mut fields: Fields<'a>) -> Result<Self, WireError> {
        let mut number = Self::default();
        while let Some(field) = fields.next().transpose()? {
            match field.number {
                1 => number.value = field.double()?,
                2 => number.exemplar = Some(field.fields()?),
                3 => number.start_timestamp = timestamp(field.fields()?)?,
                _ => {}
            }
        }
        Ok(number)
    }
}

// === impl Summary ===

impl Summary {
    pub(super) const QUANTILE: u32 = 3;

    pub(super) fn read(mut fields: Fields<'_>) -> Result<Self, WireError> {
        let mut summary = Self::default();
        while let Some(field) = fields.next().transpose()? {
            match field.number {
                1 => summary.count = field.varint()?,
                2 => summary.sum = field.double()?,
                4 => summary.start_timestamp = timestamp(field.fields()?)?,
                _ => {}
            }
        }
        Ok(summary)
    }
}

fn metric_type(kind: u64) -> Result<MetricType, MessageError> {
    Ok(match kind {
        0 => MetricType::Counter,
        1 => MetricType::Gauge,
        2 => MetricType::Summary,
        3 => MetricType::Unknown,
        4 => MetricType::Histogram,
        5 => MetricType::GaugeHistogram,
        _ => return Err(MessageError::MetricType(kind)),
    })
}

/// Parses a quantile and its value.
pub(super) fn quantile(mut fields: Fields<'_>) -> Result<(f64, f64), WireError> {
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some(field) = fields.next().transpose()? {
        match field.number {
            1 => quantile = field.double()?,
            2 => value = field.double()?,
            _ => {}
        }
    }
    Ok((quantile, value))
}

pub(super) fn exemplar(fields: Fields<'_>) -> Result<Exemplar, WireError> {
    let mut exemplar = Exemplar::default();
    for label in labels(fields) {
        let (name, value) = label?;
        exemplar.labels.push((name.to_owned(), value.to_owned()));
    }
    let mut fields = fields;
    while let Some(field) = fields.next().transpose()? {
        match field.number {
            2 => exemplar.value = field.double()?,
            3 => exemplar.timestamp = Some(milliseconds(field.fields()?)?),
            _ => {}
        }
    }
    Ok(exemplar)
}

/// Parses a start timestamp to milliseconds. Returns `None` for the Unix epoch.
pub(super) fn timestamp(fields: Fields<'_>) -> Result<Option<i64>, WireError> {
    milliseconds(fields).map(|ms| Some(ms).filter(|&ms| ms != 0))
}

/// Parses a `google.protobuf.Timestamp` to milliseconds.
fn milliseconds(mut fields: Fields<'_>) -> Result<i64, WireError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    while let Some(field) = fields.next().transpose()? {
        match field.number {
            1 => seconds = field.varint()? as i64,
            2 => nanos = i64::from(field.varint()? as i32),
            _ => {}
        }
    }
    Ok(seconds.wrapping_mul(1000).wrapping_add(nanos / 1_000_000))
}

/// Labels of a metric or an exemplar. Both have them in field 1.
fn labels<'a>(
    mut fields: Fields<'a>,
) -> impl Iterator<Item = Result<(&'a str, &'a str), WireError>> {
    std::iter::from_fn(move || match fields.next_with_number(1) {
        Ok(field) => field.map(|field| label(field.fields()?)),
        Err(error) => Some(Err(error)),
    })
}

fn label(mut fields: Fields<'_>) -> Result<(&str, &str), WireError> {
    let (mut name, mut value) = ("", "");
    while let Some(field) = fields.next().transpose()? {
        match field.number {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}
