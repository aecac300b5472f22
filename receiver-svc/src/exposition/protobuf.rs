//! Parses the protobuf format, delimited `io.prometheus.client.MetricFamily` messages.
//!
//! A family becomes the same entries as in a text format: first its metadata, then the
//! samples of each metric. A summary or classic histogram becomes several samples.
//! The parser reads the body field by field. It allocates no memory except for the
//! native histograms that it returns.

mod histogram;
mod message;
mod series;

use std::borrow::Cow;

use mesh_wire::protobuf::{self, Fields};

use self::{
    histogram::{Bucket, Exemplars, HistogramMessage},
    message::{Family, MessageError, Metric, Number, Summary},
    series::{Role, SeriesKey},
};
use super::{
    Entry, Exemplar, Histogram, HistogramSeries, MetricType, ParseError, Parser, ParserOptions,
    Place, Series, classic::ClassicHistogram,
};

/// Parses a protobuf body.
#[derive(Clone, Debug)]
pub(super) struct ProtobufParser<'a> {
    rest: &'a [u8],
    options: ParserOptions,
    /// Number of families read so far.
    families: usize,
    family: Family<'a>,
    metric: Metric<'a>,
    step: Step<'a>,
    key: SeriesKey,
    exemplars: Exemplars<'a>,
    start_timestamp: Option<i64>,
    /// Reusable buffer for converting a histogram.
    classic: ClassicHistogram,
}

/// Next entry to return.
#[derive(Clone, Copy, Debug, Default)]
enum Step<'a> {
    #[default]
    Family,
    Unit,
    Type,
    Metric,
    /// Samples of a classic histogram, starting with the count.
    Classic(HistogramMessage<'a>),
    Sum(f64, Rest<'a>),
    Rest(Rest<'a>),
    /// Native histogram converted from the classic samples returned before.
    Nhcb(HistogramMessage<'a>),
}

/// Samples of a summary or classic histogram after its count and sum.
#[derive(Clone, Copy, Debug)]
enum Rest<'a> {
    Quantiles(Fields<'a>),
    Buckets(HistogramMessage<'a>, Fields<'a>),
}

/// Entry before it borrows the parser.
enum Event {
    Help,
    Unit,
    Type,
    Float(f64),
    Histogram(Box<Histogram>),
}

// === impl ProtobufParser ===

impl<'a> ProtobufParser<'a> {
    /// Creates a parser of `body`.
    pub(super) fn new(body: &'a [u8], options: ParserOptions) -> Self {
        Self {
            rest: body,
            options,
            families: 0,
            family: Family::default(),
            metric: Metric::default(),
            step: Step::default(),
            key: SeriesKey::default(),
            exemplars: Exemplars::default(),
            start_timestamp: None,
            classic: ClassicHistogram::default(),
        }
    }

    fn advance(&mut self) -> Result<Option<Event>, MessageError> {
        self.exemplars = Exemplars::None;
        loop {
            let event = match self.step {
                Step::Family if self.rest.is_empty() => return Ok(None),
                Step::Family => self.next_family()?,
                Step::Unit if self.family.unit.is_empty() => {
                    self.step = Step::Type;
                    None
                }
                Step::Unit => self.then(Step::Type, Event::Unit),
                Step::Type => self.then(Step::Metric, Event::Type),
                Step::Metric => self.next_metric()?,
                Step::Classic(histogram) => self.classic(histogram),
                Step::Sum(sum, rest) => self.sample(Role::Sum, sum, Step::Rest(rest)),
                Step::Rest(Rest::Quantiles(quantiles)) => self.quantile(quantiles)?,
                Step::Rest(Rest::Buckets(histogram, buckets)) => self.bucket(histogram, buckets)?,
                Step::Nhcb(histogram) => self.nhcb(histogram)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn then(&mut self, next: Step<'a>, event: Event) -> Option<Event> {
        self.step = next;
        Some(event)
    }

    fn sample(&mut self, role: Role, value: f64, next: Step<'a>) -> Option<Event> {
        self.key.select(role);
        self.then(next, Event::Float(value))
    }

    fn next_family(&mut self) -> Result<Option<Event>, MessageError> {
        self.families += 1;
        let message = protobuf::take_delimited(&mut self.rest)?;
        let Some(family) = Family::read(message)? else {
            return Ok(None);
        };
        self.family = family;
        Ok(self.then(Step::Unit, Event::Help))
    }

    fn next_metric(&mut self) -> Result<Option<Event>, MessageError> {
        let Some(field) = self.family.metrics.next_with_number(Family::METRIC)? else {
            self.step = Step::Family;
            return Ok(None);
        };
        self.metric = Metric::read(field.fields()?, self.family.metric_type)?;
        self.key.set(self.family.name, &self.metric)?;
        let value = self.metric.value;
        match self.family.metric_type {
            MetricType::Summary => self.summary(value),
            MetricType::Histogram | MetricType::GaugeHistogram => self.histogram(value),
            _ => {
                let number = Number::read(value)?;
                self.start_timestamp = number.start_timestamp;
                self.exemplars = number.exemplar.map_or(Exemplars::None, Exemplars::One);
                Ok(self.sample(Role::Whole, number.value, Step::Metric))
            }
        }
    }

    fn summary(&mut self, value: Fields<'a>) -> Result<Option<Event>, MessageError> {
        let summary = Summary::read(value)?;
        self.start_timestamp = summary.start_timestamp;
        let next = Step::Sum(summary.sum, Rest::Quantiles(value));
        Ok(self.sample(Role::Count, summary.count as f64, next))
    }

    fn quantile(&mut self, mut rest: Fields<'a>) -> Result<Option<Event>, MessageError> {
        let Some(field) = rest.next_with_number(Summary::QUANTILE)? else {
            self.step = Step::Metric;
            return Ok(None);
        };
        let (quantile, value) = message::quantile(field.fields()?)?;
        Ok(self.sample(
            Role::Quantile(quantile),
            value,
            Step::Rest(Rest::Quantiles(rest)),
        ))
    }

    fn histogram(&mut self, value: Fields<'a>) -> Result<Option<Event>, MessageError> {
        let histogram = HistogramMessage::read(value)?;
        self.start_timestamp = histogram.start_timestamp;
        if self.is_native(&histogram) {
            let also_classic = self.options.keep_classic && histogram.has_buckets;
            let next = if also_classic {
                Step::Classic(histogram)
            } else {
                Step::Metric
            };
            let native = histogram.native(self.is_gauge())?;
            return Ok(self.native(&histogram, native, next));
        }
        if self.options.classic_to_nhcb && !self.options.keep_classic {
            return self.nhcb(histogram);
        }
        Ok(self.classic(histogram))
    }

    fn is_native(&self, histogram: &HistogramMessage<'_>) -> bool {
        self.options.native_histograms && histogram.is_native()
    }

    fn is_gauge(&self) -> bool {
        self.family.metric_type == MetricType::GaugeHistogram
    }

    fn classic(&mut self, histogram: HistogramMessage<'a>) -> Option<Event> {
        let rest = Rest::Buckets(histogram, histogram.buckets());
        self.sample(Role::Count, histogram.count, Step::Sum(histogram.sum, rest))
    }

    fn bucket(
        &mut self,
        histogram: HistogramMessage<'a>,
        mut rest: Fields<'a>,
    ) -> Result<Option<Event>, MessageError> {
        // A target may omit the +Inf bucket. It equals the count of the histogram.
        let last = Bucket {
            upper_bound: f64::INFINITY,
            count: histogram.count,
            exemplar: None,
        };
        let bucket = Bucket::next(&mut rest)?.unwrap_or(last);
        self.exemplars = bucket.exemplar.map_or(Exemplars::None, Exemplars::One);
        let next = if bucket.upper_bound != f64::INFINITY {
            Step::Rest(Rest::Buckets(histogram, rest))
        } else if self.options.classic_to_nhcb && !self.is_native(&histogram) {
            Step::Nhcb(histogram)
        } else {
            Step::Metric
        };
        Ok(self.sample(Role::Bucket(bucket.upper_bound), bucket.count, next))
    }

    fn nhcb(&mut self, histogram: HistogramMessage<'a>) -> Result<Option<Event>, MessageError> {
        let native = histogram.to_nhcb(self.is_gauge(), &mut self.classic)?;
        Ok(self.native(&histogram, native, Step::Metric))
    }

    fn native(
        &mut self,
        message: &HistogramMessage<'a>,
        histogram: Histogram,
        next: Step<'a>,
    ) -> Option<Event> {
        self.key.select(Role::Whole);
        self.exemplars = message.exemplars();
        self.then(next, Event::Histogram(Box::new(histogram)))
    }

    fn entry(&self, event: Event) -> Entry<'_> {
        let Family {
            name,
            help,
            unit,
            metric_type,
            ..
        } = self.family;
        let metric = Cow::Borrowed(name);
        let raw = self.key.as_bytes();
        // In this format 0 also means that there is no timestamp.
        let timestamp = Some(self.metric.timestamp).filter(|&timestamp| timestamp != 0);
        match event {
            Event::Help => Entry::Help {
                metric,
                help: help.into(),
            },
            Event::Unit => Entry::Unit {
                metric,
                unit: unit.into(),
            },
            Event::Type => Entry::Type {
                metric,
                metric_type,
            },
            Event::Float(value) => Entry::Series(Series {
                raw,
                timestamp,
                value,
            }),
            Event::Histogram(histogram) => Entry::Histogram(HistogramSeries {
                raw,
                timestamp,
                histogram,
            }),
        }
    }
}

impl Parser for ProtobufParser<'_> {
    fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        match self.advance() {
            Ok(event) => Ok(event.map(|event| self.entry(event))),
            Err(error) => Err(ParseError {
                place: Place::Family(self.families),
                message: error.to_string(),
            }),
        }
    }

    fn labels(&self, out: &mut Vec<(String, String)>) {
        let type_and_unit = self.options.type_and_unit_labels;
        series::labels(
            &self.family,
            &self.metric,
            self.key.role(),
            type_and_unit,
            out,
        );
    }

    fn exemplar(&mut self) -> Option<Exemplar> {
        // An invalid exemplar ends the exemplars of the sample. The scrape continues.
        self.exemplars.next().ok().flatten()
    }

    fn start_timestamp(&mut self) -> Option<i64> {
        self.start_timestamp
    }
}

#[cfg(test)]
mod tests;
