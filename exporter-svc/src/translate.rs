//! From OTLP bytes to encoded remote-write series.
//!
//! Two sets of rules, by where the data was born. What a receiver scraped is
//! carried over as it is ([`identity`]); what an SDK pushed is translated by the
//! OpenTelemetry specification's Prometheus compatibility rules ([`otlp`]). Both
//! end in a [`sink::Sink`], which cuts the series into pieces that fit requests.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use foldhash::HashMap;
use mesh::{
    batch::{Facts, Origin},
    config::relabel::RelabelConfig,
    wire::WireError,
};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use prost::Message;

use self::{
    cache::RenderCache,
    identity::Identity,
    otlp::{Otlp, OtlpRules},
    sink::{Sink, Translated, Wants},
};
use crate::ha::Stamp;

pub mod cache;
pub mod exemplar;
pub mod exponential;
pub mod identity;
pub mod labels;
pub mod name;
pub mod otlp;
pub mod sink;

/// The value of a staleness marker: one particular NaN.
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// The flag of a data point that says it has no value: its series are stale.
pub const NO_RECORDED_VALUE: u32 = 1;

/// Translates Exports for one destination.
#[derive(Debug)]
pub struct Translator {
    wants: Wants,
    rules: Arc<[RelabelConfig]>,
    otlp: OtlpRules,
    stamps: Mutex<Stamps>,
    cache: RenderCache,
}

/// Stamps by what senders say of their data. There is one for each replica group
/// as a rule.
#[derive(Debug, Default)]
struct Stamps {
    known: HashMap<Arc<Facts>, (u32, Arc<Stamp>)>,
    /// Never given twice, so that no cache entry outlives its meaning.
    next: u32,
}

/// How many stamps are known at most.
const MAX_STAMPS: usize = 1024;

// === impl Translator ===

impl Translator {
    /// A translator for a destination, with a cache of about this many bytes.
    pub fn new(
        wants: Wants,
        rules: Arc<[RelabelConfig]>,
        otlp: OtlpRules,
        cache_bytes: usize,
    ) -> Self {
        Self {
            wants,
            rules,
            otlp,
            stamps: Mutex::default(),
            cache: RenderCache::new(cache_bytes),
        }
    }

    /// Translates the encoded `ResourceMetrics` of one Export.
    ///
    /// # Errors
    /// Where they are malformed.
    pub fn translate(
        &self,
        facts: &Arc<Facts>,
        resources: &[Bytes],
    ) -> Result<Translated, WireError> {
        let mut sink = Sink::new(self.wants);
        let (id, stamp) = self.stamp(facts);
        match facts.origin {
            Origin::Otlp => {
                let mut otlp = Otlp::new(&self.otlp, &stamp, &mut sink);
                for resource in resources {
                    otlp.resource_metrics(ResourceMetrics::decode(resource.as_ref())?);
                }
            }
            Origin::Scrape => {
                let mut identity = Identity::new(&stamp, id, &self.cache, &mut sink);
                for resource in resources {
                    identity.resource_metrics(resource)?;
                }
            }
        }
        Ok(sink.finish())
    }

    fn stamp(&self, facts: &Arc<Facts>) -> (u32, Arc<Stamp>) {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, stamp)) = stamps.known.get(facts) {
            return (*id, Arc::clone(stamp));
        }
        if stamps.known.len() == MAX_STAMPS {
            stamps.known.clear();
        }
        let stamp = Arc::new(Stamp::new(Arc::clone(facts), Arc::clone(&self.rules)));
        let id = stamps.next;
        stamps.next = stamps.next.wrapping_add(1);
        stamps
            .known
            .insert(Arc::clone(facts), (id, Arc::clone(&stamp)));
        (id, stamp)
    }
}
