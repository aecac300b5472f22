//! Messages of an OTLP metrics request in JSON.
//!
//! Each message has one struct with the same fields, which converts to its protobuf type.
//! A `oneof` is a set of optional fields of which at most one may be present.

use opentelemetry_proto::tonic::{
    collector::metrics::v1 as collector,
    common::v1 as common,
    metrics::v1::{self as metrics, exponential_histogram_data_point as exponential},
    resource::v1 as resource,
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny},
};

use mesh_contract::verdict::Reason;
use mesh_wire::otlp::utf8;

use super::object::only_objects;
use super::scalar::{Base64, Double, Hex, Integer, Number, Temporality, Text, nullable};

use crate::{decoded::RejectedPoints, points};

/// Problem of a point with a null, for the client.
const NULL_NUMBER: &str = "a number is null, which JSON writes for NaN and Infinity; send the strings \"NaN\", \
     \"Infinity\" or \"-Infinity\"";

/// Flag of a data point that has no value, which ends its series.
const NO_RECORDED_VALUE: u32 = 1;

/// Declares messages: for each a struct with protobuf's JSON names, and its conversion.
/// Every field may be absent or `null`.
macro_rules! messages {
    ($($name:ident => $target:path { $($field:ident: $type:ty => $convert:expr,)* })*) => {$(
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        pub(super) struct $name {
            $(#[serde(deserialize_with = "nullable")] $field: $type,)*
        }

        only_objects!($name);

        impl From<$name> for $target {
            fn from(json: $name) -> Self {
                Self { $($field: $convert(json.$field),)* }
            }
        }
    )*};
}

messages! {
    ExportRequest => collector::ExportMetricsServiceRequest {
        resource_metrics: Vec<ResourceMetrics> => all,
    }
    ResourceMetrics => metrics::ResourceMetrics {
        resource: Option<Resource> => maybe,
        scope_metrics: Vec<ScopeMetrics> => all,
        schema_url: Text => text,
    }
    Resource => resource::Resource {
        attributes: Vec<KeyValue> => all,
        dropped_attributes_count: Integer<u32> => integer,
        entity_refs: Vec<EntityRef> => all,
    }
    EntityRef => common::EntityRef {
        schema_url: Text => text,
        r#type: Text => text,
        id_keys: Vec<Text> => texts,
        description_keys: Vec<Text> => texts,
    }
    ScopeMetrics => metrics::ScopeMetrics {
        scope: Option<Scope> => maybe,
        metrics: Vec<Metric> => all,
        schema_url: Text => text,
    }
    Scope => common::InstrumentationScope {
        name: Text => text,
        version: Text => text,
        attributes: Vec<KeyValue> => all,
        dropped_attributes_count: Integer<u32> => integer,
    }
    KeyValue => common::KeyValue {
        key: Text => text,
        value: Option<AnyValue> => maybe,
        // Refers to a string table, which only profiles have.
        key_strindex: IgnoredAny => unset,
    }
    ArrayValue => common::ArrayValue {
        values: Vec<AnyValue> => all,
    }
    KeyValueList => common::KeyValueList {
        values: Vec<KeyValue> => all,
    }
    Gauge => metrics::Gauge {
        data_points: Vec<NumberDataPoint> => all,
    }
    Sum => metrics::Sum {
        data_points: Vec<NumberDataPoint> => all,
        aggregation_temporality: Temporality => temporality,
        is_monotonic: bool => same,
    }
    Histogram => metrics::Histogram {
        data_points: Vec<HistogramDataPoint> => all,
        aggregation_temporality: Temporality => temporality,
    }
    ExponentialHistogram => metrics::ExponentialHistogram {
        data_points: Vec<ExponentialHistogramDataPoint> => all,
        aggregation_temporality: Temporality => temporality,
    }
    Summary => metrics::Summary {
        data_points: Vec<SummaryDataPoint> => all,
    }
    HistogramDataPoint => metrics::HistogramDataPoint {
        attributes: Vec<KeyValue> => all,
        start_time_unix_nano: Integer<u64> => integer,
        time_unix_nano: Integer<u64> => integer,
        count: Number<Integer<u64>> => required,
        sum: Number<Double> => maybe_double,
        bucket_counts: Vec<Number<Integer<u64>>> => integers,
        explicit_bounds: Vec<Number<Double>> => doubles,
        exemplars: Vec<Exemplar> => exemplars,
        flags: Integer<u32> => integer,
        min: Number<Double> => maybe_double,
        max: Number<Double> => maybe_double,
    }
    ExponentialHistogramDataPoint => metrics::ExponentialHistogramDataPoint {
        attributes: Vec<KeyValue> => all,
        start_time_unix_nano: Integer<u64> => integer,
        time_unix_nano: Integer<u64> => integer,
        count: Number<Integer<u64>> => required,
        sum: Number<Double> => maybe_double,
        scale: Integer<i32> => integer,
        zero_count: Number<Integer<u64>> => required,
        positive: Option<Buckets> => maybe,
        negative: Option<Buckets> => maybe,
        flags: Integer<u32> => integer,
        exemplars: Vec<Exemplar> => exemplars,
        min: Number<Double> => maybe_double,
        max: Number<Double> => maybe_double,
        zero_threshold: Number<Double> => double,
    }
    Buckets => exponential::Buckets {
        offset: Integer<i32> => integer,
        bucket_counts: Vec<Number<Integer<u64>>> => integers,
    }
    SummaryDataPoint => metrics::SummaryDataPoint {
        attributes: Vec<KeyValue> => all,
        start_time_unix_nano: Integer<u64> => integer,
        time_unix_nano: Integer<u64> => integer,
        count: Number<Integer<u64>> => required,
        sum: Number<Double> => double,
        quantile_values: Vec<ValueAtQuantile> => all,
        flags: Integer<u32> => integer,
    }
    ValueAtQuantile => metrics::summary_data_point::ValueAtQuantile {
        quantile: Number<Double> => double,
        value: Number<Double> => double,
    }
}

#[derive(Debug)]
struct Metric {
    metric: metrics::Metric,
    /// Set if the name is not valid text.
    has_invalid_name: bool,
    /// Number of points that were left out because a number of them is null.
    null_points: u64,
}

#[derive(Debug)]
struct NumberDataPoint {
    point: metrics::NumberDataPoint,
    has_null: bool,
}

/// An exemplar; `None` if its value is null, which does not make its point invalid.
#[derive(Debug)]
struct Exemplar(Option<metrics::Exemplar>);

/// Points of a metric, of any type.
trait Points {
    /// Removes the points with nulls. Returns their number.
    fn remove_nulls(&mut self) -> u64;
}

/// A data point of any type.
trait Point {
    /// Flags of the point.
    fn flags(&self) -> u32;
    /// Returns true if a number that would be stored is null.
    fn has_null(&self) -> bool;
}

#[derive(Debug, Default)]
struct AnyValue(common::AnyValue);

// === impl ExportRequest ===

impl ExportRequest {
    /// Removes the points that the protobuf request cannot hold.
    pub(super) fn remove_invalid(&mut self) -> Vec<RejectedPoints> {
        let mut rejected = Vec::new();
        let resources = self.resource_metrics.iter_mut();
        for scope in resources.flat_map(|resource| &mut resource.scope_metrics) {
            scope.metrics.retain(|metric| {
                rejected.extend(metric.rejected());
                !metric.has_invalid_name
            });
        }
        rejected
    }
}

// === impl Metric ===

impl Metric {
    /// Returns what is rejected of the metric: some of its points, or all of them.
    fn rejected(&self) -> Option<RejectedPoints> {
        let (points, reason, problem) = if self.has_invalid_name {
            let points = self.null_points + points::count_of(&self.metric) as u64;
            (points, Reason::InvalidName, utf8::INVALID_NAME)
        } else {
            (self.null_points, Reason::Malformed, NULL_NUMBER)
        };
        (points > 0).then(|| RejectedPoints {
            metric: self.metric.name.clone(),
            points,
            reason,
            problem,
        })
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        struct Fields {
            #[serde(deserialize_with = "nullable")]
            name: Text,
            #[serde(deserialize_with = "nullable")]
            description: Text,
            #[serde(deserialize_with = "nullable")]
            unit: Text,
            #[serde(deserialize_with = "nullable")]
            metadata: Vec<KeyValue>,
            gauge: Option<Gauge>,
            sum: Option<Sum>,
            histogram: Option<Histogram>,
            exponential_histogram: Option<ExponentialHistogram>,
            summary: Option<Summary>,
        }
        only_objects!(Fields);
        let mut fields: Fields = super::object::deserialize(deserializer)?;
        let mut null_points = 0;
        let mut take = |points: &mut dyn Points| null_points += points.remove_nulls();
        fields
            .gauge
            .iter_mut()
            .for_each(|d| take(&mut d.data_points));
        fields.sum.iter_mut().for_each(|d| take(&mut d.data_points));
        fields
            .histogram
            .iter_mut()
            .for_each(|d| take(&mut d.data_points));
        let exponential = &mut fields.exponential_histogram;
        exponential
            .iter_mut()
            .for_each(|d| take(&mut d.data_points));
        fields
            .summary
            .iter_mut()
            .for_each(|d| take(&mut d.data_points));
        let data = [
            fields.gauge.map(|d| metrics::metric::Data::Gauge(d.into())),
            fields.sum.map(|d| metrics::metric::Data::Sum(d.into())),
            fields
                .histogram
                .map(|d| metrics::metric::Data::Histogram(d.into())),
            fields
                .exponential_histogram
                .map(|d| metrics::metric::Data::ExponentialHistogram(d.into())),
            fields
                .summary
                .map(|d| metrics::metric::Data::Summary(d.into())),
        ];
        let data = one_of(data, "gauge, sum, histogram, exponentialHistogram, summary")?;
        let has_invalid_name = fields.name.is_repaired;
        let metric = metrics::Metric {
            name: fields.name.text,
            description: fields.description.text,
            unit: fields.unit.text,
            metadata: all(fields.metadata),
            data,
        };
        Ok(Self {
            metric,
            has_invalid_name,
            null_points,
        })
    }
}

impl From<Metric> for metrics::Metric {
    fn from(json: Metric) -> Self {
        json.metric
    }
}

// === impl NumberDataPoint ===

impl<'de> Deserialize<'de> for NumberDataPoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        struct Fields {
            #[serde(deserialize_with = "nullable")]
            attributes: Vec<KeyValue>,
            #[serde(deserialize_with = "nullable")]
            start_time_unix_nano: Integer<u64>,
            #[serde(deserialize_with = "nullable")]
            time_unix_nano: Integer<u64>,
            #[serde(deserialize_with = "nullable")]
            exemplars: Vec<Exemplar>,
            #[serde(deserialize_with = "nullable")]
            flags: Integer<u32>,
            as_double: Number<Double>,
            as_int: Number<Integer<i64>>,
        }
        use metrics::number_data_point::Value;
        only_objects!(Fields);
        let fields: Fields = super::object::deserialize(deserializer)?;
        let value = [
            fields.as_double.value().map(|v| Value::AsDouble(v.0)),
            fields.as_int.value().map(|v| Value::AsInt(v.0)),
        ];
        let point = metrics::NumberDataPoint {
            attributes: all(fields.attributes),
            start_time_unix_nano: fields.start_time_unix_nano.0,
            time_unix_nano: fields.time_unix_nano.0,
            exemplars: exemplars(fields.exemplars),
            flags: fields.flags.0,
            value: one_of(value, "asDouble, asInt")?,
        };
        // If one field is null and the other has a value, the point has that value.
        let has_null =
            point.value.is_none() && (fields.as_double.is_null() || fields.as_int.is_null());
        Ok(Self { point, has_null })
    }
}

impl From<NumberDataPoint> for metrics::NumberDataPoint {
    fn from(json: NumberDataPoint) -> Self {
        json.point
    }
}

// === impl Points ===

impl<P: Point> Points for Vec<P> {
    fn remove_nulls(&mut self) -> u64 {
        let before = self.len();
        self.retain(|point| point.flags() & NO_RECORDED_VALUE != 0 || !point.has_null());
        (before - self.len()) as u64
    }
}

// === impl Point ===

impl Point for NumberDataPoint {
    fn flags(&self) -> u32 {
        self.point.flags
    }

    fn has_null(&self) -> bool {
        self.has_null
    }
}

impl Point for HistogramDataPoint {
    fn flags(&self) -> u32 {
        self.flags.0
    }

    fn has_null(&self) -> bool {
        self.count.is_null()
            || self.sum.is_null()
            || self.bucket_counts.iter().any(Number::is_null)
            || self.explicit_bounds.iter().any(Number::is_null)
    }
}

impl Point for ExponentialHistogramDataPoint {
    fn flags(&self) -> u32 {
        self.flags.0
    }

    fn has_null(&self) -> bool {
        let buckets = self.positive.iter().chain(&self.negative);
        self.count.is_null()
            || self.sum.is_null()
            || self.zero_count.is_null()
            || self.zero_threshold.is_null()
            || buckets.flat_map(|b| &b.bucket_counts).any(Number::is_null)
    }
}

impl Point for SummaryDataPoint {
    fn flags(&self) -> u32 {
        self.flags.0
    }

    fn has_null(&self) -> bool {
        let mut values = self.quantile_values.iter();
        self.count.is_null()
            || self.sum.is_null()
            || values.any(|value| value.quantile.is_null() || value.value.is_null())
    }
}

// === impl Exemplar ===

impl<'de> Deserialize<'de> for Exemplar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        struct Fields {
            #[serde(deserialize_with = "nullable")]
            filtered_attributes: Vec<KeyValue>,
            #[serde(deserialize_with = "nullable")]
            time_unix_nano: Integer<u64>,
            #[serde(deserialize_with = "nullable")]
            span_id: Hex,
            #[serde(deserialize_with = "nullable")]
            trace_id: Hex,
            as_double: Number<Double>,
            as_int: Number<Integer<i64>>,
        }
        use metrics::exemplar::Value;
        only_objects!(Fields);
        let fields: Fields = super::object::deserialize(deserializer)?;
        let value = [
            fields.as_double.value().map(|v| Value::AsDouble(v.0)),
            fields.as_int.value().map(|v| Value::AsInt(v.0)),
        ];
        let value = one_of(value, "asDouble, asInt")?;
        if value.is_none() && (fields.as_double.is_null() || fields.as_int.is_null()) {
            return Ok(Self(None));
        }
        Ok(Self(Some(metrics::Exemplar {
            filtered_attributes: all(fields.filtered_attributes),
            time_unix_nano: fields.time_unix_nano.0,
            span_id: fields.span_id.0,
            trace_id: fields.trace_id.0,
            value,
        })))
    }
}

// === impl AnyValue ===

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        struct Fields {
            string_value: Option<Text>,
            bool_value: Option<bool>,
            int_value: Option<Integer<i64>>,
            double_value: Option<Double>,
            array_value: Option<ArrayValue>,
            kvlist_value: Option<KeyValueList>,
            bytes_value: Option<Base64>,
        }
        use common::any_value::Value;
        only_objects!(Fields);
        let fields: Fields = super::object::deserialize(deserializer)?;
        let value = [
            fields.string_value.map(|v| Value::StringValue(v.text)),
            fields.bool_value.map(Value::BoolValue),
            fields.int_value.map(|v| Value::IntValue(v.0)),
            fields.double_value.map(|v| Value::DoubleValue(v.0)),
            fields.array_value.map(|v| Value::ArrayValue(v.into())),
            fields.kvlist_value.map(|v| Value::KvlistValue(v.into())),
            fields.bytes_value.map(|v| Value::BytesValue(v.0)),
        ];
        let names =
            "stringValue, boolValue, intValue, doubleValue, arrayValue, kvlistValue, bytesValue";
        let value = one_of(value, names)?;
        Ok(Self(common::AnyValue { value }))
    }
}

impl From<AnyValue> for common::AnyValue {
    fn from(json: AnyValue) -> Self {
        json.0
    }
}

/// Returns the option that is present, if any.
///
/// # Errors
/// Returns an error if more than one is present.
fn one_of<T, E: Error, const N: usize>(
    options: [Option<T>; N],
    names: &str,
) -> Result<Option<T>, E> {
    let mut given = options.into_iter().flatten();
    let first = given.next();
    match given.next() {
        None => Ok(first),
        Some(_) => Err(E::custom(format!("more than one of {names}, expected one"))),
    }
}

fn all<T: Into<U>, U>(messages: Vec<T>) -> Vec<U> {
    messages.into_iter().map(Into::into).collect()
}

fn maybe<T: Into<U>, U>(message: Option<T>) -> Option<U> {
    message.map(Into::into)
}

fn same<T>(value: T) -> T {
    value
}

fn text(value: Text) -> String {
    value.text
}

fn texts(values: Vec<Text>) -> Vec<String> {
    values.into_iter().map(text).collect()
}

fn exemplars(exemplars: Vec<Exemplar>) -> Vec<metrics::Exemplar> {
    exemplars.into_iter().filter_map(|e| e.0).collect()
}

fn integer<T>(value: Integer<T>) -> T {
    value.0
}

fn required<T: Default>(value: Number<Integer<T>>) -> T {
    value.value().map(integer).unwrap_or_default()
}

fn integers<T: Default>(values: Vec<Number<Integer<T>>>) -> Vec<T> {
    values.into_iter().map(required).collect()
}

fn double(value: Number<Double>) -> f64 {
    maybe_double(value).unwrap_or_default()
}

fn maybe_double(value: Number<Double>) -> Option<f64> {
    value.value().map(|value| value.0)
}

fn doubles(values: Vec<Number<Double>>) -> Vec<f64> {
    values.into_iter().map(double).collect()
}

fn temporality(value: Temporality) -> i32 {
    value.0
}

fn unset(_: IgnoredAny) -> i32 {
    0
}
