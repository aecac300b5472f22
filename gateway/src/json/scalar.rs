//! Scalar types of protobuf's JSON mapping.

use std::{fmt, marker::PhantomData, str::FromStr};

use base64::Engine;
use mesh_wire::otlp::utf8;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, Unexpected, Visitor},
};

/// Text. Bytes that are not UTF-8 and lone surrogates become U+FFFD.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Text {
    pub(super) text: String,
    /// Set if the text was not valid.
    pub(super) is_repaired: bool,
}

/// A number that is null for NaN and the infinities, as `JSON.stringify` writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Number<T> {
    /// The field is absent.
    #[default]
    Absent,
    /// The field is `null`: the number is unknown.
    Null,
    /// The field has this value.
    Value(T),
}

/// A type of which `null` is a value.
pub(super) trait FromNull {
    /// Returns the value that `null` stands for.
    fn from_null() -> Self;
}

/// A 32- or 64-bit integer, as a number or as a string.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Integer<T>(pub(super) T);

/// A double, as a number or as a string.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Double(pub(super) f64);

/// A trace or span id in hex.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hex(pub(super) Vec<u8>);

/// Bytes in base64, standard or URL-safe, with or without padding.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Base64(pub(super) Vec<u8>);

/// `AggregationTemporality`, by number or by name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Temporality(pub(super) i32);

/// Reads a field that may be `null`.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + FromNull,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(T::from_null))
}

struct TextVisitor;
struct IntegerVisitor<T>(PhantomData<T>);
struct DoubleVisitor;
struct TemporalityVisitor;

// === impl FromNull ===

/// Implements [`FromNull`] by the default, which protobuf prescribes for all fields.
macro_rules! null_is_default {
    ($($name:ty)*) => {$(
        impl FromNull for $name {
            fn from_null() -> Self {
                Self::default()
            }
        }
    )*};
}

null_is_default!(bool IgnoredAny Text Hex Base64 Temporality Integer<u32> Integer<i32> Integer<u64>);

impl<T> FromNull for Vec<T> {
    fn from_null() -> Self {
        Self::new()
    }
}

impl<T> FromNull for Option<T> {
    fn from_null() -> Self {
        None
    }
}

impl<T> FromNull for Number<T> {
    fn from_null() -> Self {
        Self::Null
    }
}

// === impl Text ===

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes, since serde_json refuses text with lone surrogates.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => Text {
                text: text.to_owned(),
                is_repaired: false,
            },
            Err(_) => Text {
                text: utf8::lossy(bytes.to_vec()),
                is_repaired: true,
            },
        })
    }
}

// === impl Number ===

impl<T> Number<T> {
    /// Returns the value, or `None` if the field is absent or null.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::deserialize(deserializer)? {
            Some(value) => Self::Value(value),
            None => Self::Null,
        })
    }
}

// === impl Integer ===

impl<'de, T> Deserialize<'de> for Integer<T>
where
    T: FromStr + TryFrom<u64> + TryFrom<i64>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntegerVisitor(PhantomData))
    }
}

impl<T> Visitor<'_> for IntegerVisitor<T>
where
    T: FromStr + TryFrom<u64> + TryFrom<i64>,
{
    type Value = Integer<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bits) = std::any::type_name::<T>().split_at(1);
        let sign = if sign == "u" {
            "an unsigned"
        } else {
            "a signed"
        };
        write!(f, "{sign} {bits}-bit integer, as a number or a string")
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Self::Value, E> {
        let fits = T::try_from(n).map_err(|_| E::invalid_value(Unexpected::Unsigned(n), &self))?;
        Ok(Integer(fits))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Self::Value, E> {
        let fits = T::try_from(n).map_err(|_| E::invalid_value(Unexpected::Signed(n), &self))?;
        Ok(Integer(fits))
    }

    /// Accepts doubles without a fraction, such as `1e3` and `5.0`.
    fn visit_f64<E: Error>(self, n: f64) -> Result<Self::Value, E> {
        // 2^53: a larger double cannot represent every integer.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if n.fract() != 0.0 || n.abs() > EXACT {
            return Err(E::invalid_value(Unexpected::Float(n), &self));
        }
        self.visit_i64(n as i64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match text.parse() {
            Ok(n) => Ok(Integer(n)),
            Err(_) => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

// === impl Double ===

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DoubleVisitor)
    }
}

impl Visitor<'_> for DoubleVisitor {
    type Value = Double;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or one as a string, or \"NaN\", \"Infinity\", \"-Infinity\"")
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Self::Value, E> {
        Ok(Double(n))
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Self::Value, E> {
        Ok(Double(n as f64))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Self::Value, E> {
        Ok(Double(n as f64))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        // Rust also parses "inf" and "nan" in any case; protobuf does not allow them.
        let number = match text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => text.parse().ok().filter(|n: &f64| n.is_finite()),
        };
        number
            .map(Double)
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

// === impl Hex ===

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(digits).collect();
        match bytes {
            Some(bytes) if text.len() % 2 == 0 && !text.contains('+') => Ok(Self(bytes)),
            _ => Err(D::Error::invalid_value(
                Unexpected::Str(&text),
                &"an even number of hex digits",
            )),
        }
    }
}

// === impl Base64 ===

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::{
            alphabet,
            engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
        };
        const LENIENT: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let text = String::deserialize(deserializer)?;
        let url_safe = text.contains(['-', '_']);
        let alphabet = if url_safe {
            alphabet::URL_SAFE
        } else {
            alphabet::STANDARD
        };
        GeneralPurpose::new(&alphabet, LENIENT)
            .decode(&text)
            .map(Self)
            .map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &"base64"))
    }
}

// === impl Temporality ===

impl<'de> Deserialize<'de> for Temporality {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TemporalityVisitor)
    }
}

impl Visitor<'_> for TemporalityVisitor {
    type Value = Temporality;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1 (AGGREGATION_TEMPORALITY_DELTA) or 2 (AGGREGATION_TEMPORALITY_CUMULATIVE)")
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Self::Value, E> {
        match n {
            0..=2 => Ok(Temporality(n as i32)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(n), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;
        AggregationTemporality::from_str_name(text)
            .map(|temporality| Temporality(temporality.into()))
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}
