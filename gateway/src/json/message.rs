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

use super::object::only_objects;
use super::scalar::{Base64, Double, Hex, Integer, Temporality, or_default};

/// Declares messages: for each a struct with protobuf's JSON names, and its conversion.
/// Every field may be absent or `null`.
macro_rules! messages {
    ($($name:ident => $target:path { $($field:ident: $type:ty => $convert:expr,)* })*) => {$(
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        pub(super) struct $name {
            $(#[serde(deserialize_with = "or_default")] $field: $type,)*
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
        schema_url: String => same,
    }
    Resource => resource::Resource {
        attributes: Vec<KeyValue> => all,
        dropped_attributes_count: Integer<u32> => integer,
        entity_refs: Vec<EntityRef> => all,
    }
    EntityRef => common::EntityRef {
        schema_url: String => same,
        r#type: String => same,
        id_keys: Vec<String> => same,
        description_keys: Vec<String> => same,
    }
    ScopeMetrics => metrics::ScopeMetrics {
        scope: Option<Scope> => maybe,
        metrics: Vec<Metric> => all,
        schema_url: String => same,
    }
    Scope => common::InstrumentationScope {
        name: String => same,
        version: String => same,
        attributes: Vec<KeyValue> => all,
        dropped_attributes_count: Integer<u32> => integer,
    }
    KeyValue => common::KeyValue {
        key: String => same,
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
        count: Integer<u64> => integer,
        sum: Option<Double> => maybe_double,
        bucket_counts: Vec<Integer<u64>> => integers,
        explicit_bounds: Vec<Double> => doubles,
        exemplars: Vec<Exemplar> => all,
        flags: Integer<u32> => integer,
        min: Option<Double> => maybe_double,
        max: Option<Double> => maybe_double,
    }
    ExponentialHistogramDataPoint => metrics::ExponentialHistogramDataPoint {
        attributes: Vec<KeyValue> => all,
        start_time_unix_nano: Integer<u64> => integer,
        time_unix_nano: Integer<u64> => integer,
        count: Integer<u64> => integer,
        sum: Option<Double> => maybe_double,
        scale: Integer<i32> => integer,
        zero_count: Integer<u64> => integer,
        positive: Option<Buckets> => maybe,
        negative: Option<Buckets> => maybe,
        flags: Integer<u32> => integer,
        exemplars: Vec<Exemplar> => all,
        min: Option<Double> => maybe_double,
        max: Option<Double> => maybe_double,
        zero_threshold: Double => double,
    }
    Buckets => exponential::Buckets {
        offset: Integer<i32> => integer,
        bucket_counts: Vec<Integer<u64>> => integers,
    }
    SummaryDataPoint => metrics::SummaryDataPoint {
        attributes: Vec<KeyValue> => all,
        start_time_unix_nano: Integer<u64> => integer,
        time_unix_nano: Integer<u64> => integer,
        count: Integer<u64> => integer,
        sum: Double => double,
        quantile_values: Vec<ValueAtQuantile> => all,
        flags: Integer<u32> => integer,
    }
    ValueAtQuantile => metrics::summary_data_point::ValueAtQuantile {
        quantile: Double => double,
        value: Double => double,
    }
}

#[derive(Debug)]
struct Metric(metrics::Metric);

#[derive(Debug)]
struct NumberDataPoint(metrics::NumberDataPoint);

#[derive(Debug)]
struct Exemplar(metrics::Exemplar);

#[derive(Debug, Default)]
struct AnyValue(common::AnyValue);

// === impl Metric ===

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        struct Fields {
            #[serde(deserialize_with = "or_default")]
            name: String,
            #[serde(deserialize_with = "or_default")]
            description: String,
            #[serde(deserialize_with = "or_default")]
            unit: String,
            #[serde(deserialize_with = "or_default")]
            metadata: Vec<KeyValue>,
            gauge: Option<Gauge>,
            sum: Option<Sum>,
            histogram: Option<Histogram>,
            exponential_histogram: Option<ExponentialHistogram>,
            summary: Option<Summary>,
        }
        only_objects!(Fields);
        let fields: Fields = super::object::deserialize(deserializer)?;
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
        Ok(Self(metrics::Metric {
            name: fields.name,
            description: fields.description,
            unit: fields.unit,
            metadata: all(fields.metadata),
            data,
        }))
    }
}

impl From<Metric> for metrics::Metric {
    fn from(json: Metric) -> Self {
        json.0
    }
}

// === impl NumberDataPoint ===

impl<'de> Deserialize<'de> for NumberDataPoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        struct Fields {
            #[serde(deserialize_with = "or_default")]
            attributes: Vec<KeyValue>,
            #[serde(deserialize_with = "or_default")]
            start_time_unix_nano: Integer<u64>,
            #[serde(deserialize_with = "or_default")]
            time_unix_nano: Integer<u64>,
            #[serde(deserialize_with = "or_default")]
            exemplars: Vec<Exemplar>,
            #[serde(deserialize_with = "or_default")]
            flags: Integer<u32>,
            as_double: Option<Double>,
            as_int: Option<Integer<i64>>,
        }
        use metrics::number_data_point::Value;
        only_objects!(Fields);
        let fields: Fields = super::object::deserialize(deserializer)?;
        let value = [
            fields.as_double.map(|v| Value::AsDouble(v.0)),
            fields.as_int.map(|v| Value::AsInt(v.0)),
        ];
        Ok(Self(metrics::NumberDataPoint {
            attributes: all(fields.attributes),
            start_time_unix_nano: fields.start_time_unix_nano.0,
            time_unix_nano: fields.time_unix_nano.0,
            exemplars: all(fields.exemplars),
            flags: fields.flags.0,
            value: one_of(value, "asDouble, asInt")?,
        }))
    }
}

impl From<NumberDataPoint> for metrics::NumberDataPoint {
    fn from(json: NumberDataPoint) -> Self {
        json.0
    }
}

// === impl Exemplar ===

impl<'de> Deserialize<'de> for Exemplar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        struct Fields {
            #[serde(deserialize_with = "or_default")]
            filtered_attributes: Vec<KeyValue>,
            #[serde(deserialize_with = "or_default")]
            time_unix_nano: Integer<u64>,
            #[serde(deserialize_with = "or_default")]
            span_id: Hex,
            #[serde(deserialize_with = "or_default")]
            trace_id: Hex,
            as_double: Option<Double>,
            as_int: Option<Integer<i64>>,
        }
        use metrics::exemplar::Value;
        only_objects!(Fields);
        let fields: Fields = super::object::deserialize(deserializer)?;
        let value = [
            fields.as_double.map(|v| Value::AsDouble(v.0)),
            fields.as_int.map(|v| Value::AsInt(v.0)),
        ];
        Ok(Self(metrics::Exemplar {
            filtered_attributes: all(fields.filtered_attributes),
            time_unix_nano: fields.time_unix_nano.0,
            span_id: fields.span_id.0,
            trace_id: fields.trace_id.0,
            value: one_of(value, "asDouble, asInt")?,
        }))
    }
}

impl From<Exemplar> for metrics::Exemplar {
    fn from(json: Exemplar) -> Self {
        json.0
    }
}

// === impl AnyValue ===

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        struct Fields {
            string_value: Option<String>,
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
            fields.string_value.map(Value::StringValue),
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

fn integer<T>(value: Integer<T>) -> T {
    value.0
}

fn integers<T>(values: Vec<Integer<T>>) -> Vec<T> {
    values.into_iter().map(integer).collect()
}

fn double(value: Double) -> f64 {
    value.0
}

fn maybe_double(value: Option<Double>) -> Option<f64> {
    value.map(double)
}

fn doubles(values: Vec<Double>) -> Vec<f64> {
    values.into_iter().map(double).collect()
}

fn temporality(value: Temporality) -> i32 {
    value.0
}

fn unset(_: IgnoredAny) -> i32 {
    0
}
