//! Translates OTLP to encoded remote-write series.
//!
//! There are two sets of rules, chosen by the origin of the data. Scraped data passes
//! through unchanged ([`scrape`]). Pushed data follows the OpenTelemetry
//! specification's Prometheus compatibility rules ([`otlp`]). Both write to a
//! [`sink::Sink`], which splits the series into request parts.

use std::sync::Arc;

use bytes::Bytes;
use foldhash::HashMap;
use mesh_contract::batch::{BatchContext, Origin};
use mesh_model::config::relabel::RelabelConfig;
use mesh_wire::protobuf::WireError;
use parking_lot::Mutex;

use self::{
    cache::LabelCache,
    otlp::{OtlpRules, OtlpTranslator},
    scrape::ScrapeTranslator,
    sink::{Capabilities, Sink, Translated},
};
use crate::{
    ha::LabelRewriter,
    memory::{ExportMemory, OutOfMemory},
};

pub mod cache;
pub mod consistency;
pub mod exemplar;
pub mod exponential;
pub mod labels;
pub mod limits;
pub mod name;
pub mod otlp;
pub mod scrape;
pub mod sink;

/// Error of a translation.
#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    /// The Export is malformed.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// Too little memory is free.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// Value of a staleness marker, a specific NaN.
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Flag of a data point without a value, which marks its series as stale.
pub const NO_RECORDED_VALUE: u32 = 1;

/// Translates Exports for one destination.
#[derive(Debug)]
pub struct Translator {
    capabilities: Capabilities,
    rules: Arc<[RelabelConfig]>,
    otlp: OtlpRules,
    rewriters: Mutex<Rewriters>,
    cache: LabelCache,
}

/// Label rewriters by batch context. Usually there is one per replica group.
#[derive(Debug, Default)]
struct Rewriters {
    by_context: HashMap<Arc<BatchContext>, (u32, Arc<LabelRewriter>)>,
    /// ID of the next rewriter. An ID is never reused, so that no cache entry outlives
    /// its rewriter.
    next: u32,
}

/// Maximum number of cached rewriters.
const MAX_REWRITERS: usize = 1024;

// === impl Translator ===

impl Translator {
    /// Creates a translator with a label cache of about `cache_bytes`.
    pub fn new(
        capabilities: Capabilities,
        rules: Arc<[RelabelConfig]>,
        otlp: OtlpRules,
        cache_bytes: usize,
    ) -> Self {
        Self {
            capabilities,
            rules,
            otlp,
            rewriters: Mutex::default(),
            cache: LabelCache::new(cache_bytes),
        }
    }

    /// Translates the encoded `ResourceMetrics` of one Export, without a limit on memory.
    ///
    /// # Errors
    /// Returns an error if the bytes are malformed.
    pub fn translate(
        &self,
        context: &Arc<BatchContext>,
        resources: &[Bytes],
    ) -> Result<Translated, TranslateError> {
        self.translate_within(context, resources, ExportMemory::unlimited())
            .0
    }

    /// Translates the encoded `ResourceMetrics` of one Export. The parts take their memory
    /// from `memory`, which comes back with them. It also comes back with an error.
    ///
    /// # Errors
    /// Returns an error if the bytes are malformed, or too little memory is free.
    pub fn translate_within(
        &self,
        context: &Arc<BatchContext>,
        resources: &[Bytes],
        memory: ExportMemory,
    ) -> (Result<Translated, TranslateError>, ExportMemory) {
        let mut sink = Sink::within(self.capabilities, memory);
        let malformed = self.write(context, resources, &mut sink).err();
        let (translated, memory) = sink.finish();
        let translated = match malformed {
            Some(error) => Err(error.into()),
            None => translated.map_err(TranslateError::from),
        };
        (translated, memory)
    }

    fn write(
        &self,
        context: &Arc<BatchContext>,
        resources: &[Bytes],
        sink: &mut Sink,
    ) -> Result<(), WireError> {
        let (id, rewriter) = self.rewriter(context);
        match context.origin {
            Origin::Otlp => {
                let mut otlp = OtlpTranslator::new(&self.otlp, &rewriter, sink);
                for resource in resources {
                    otlp.encoded_resource_metrics(resource)?;
                }
            }
            Origin::Scrape => {
                let mut scrape = ScrapeTranslator::new(&rewriter, id, &self.cache, sink);
                for resource in resources {
                    scrape.resource_metrics(resource)?;
                }
            }
        }
        Ok(())
    }

    fn rewriter(&self, context: &Arc<BatchContext>) -> (u32, Arc<LabelRewriter>) {
        let mut rewriters = self.rewriters.lock();
        if let Some((id, rewriter)) = rewriters.by_context.get(context) {
            return (*id, Arc::clone(rewriter));
        }
        if rewriters.by_context.len() == MAX_REWRITERS {
            rewriters.by_context.clear();
        }
        let rewriter = Arc::new(LabelRewriter::new(
            Arc::clone(context),
            Arc::clone(&self.rules),
        ));
        let id = rewriters.next;
        rewriters.next = rewriters.next.wrapping_add(1);
        rewriters
            .by_context
            .insert(Arc::clone(context), (id, Arc::clone(&rewriter)));
        (id, rewriter)
    }
}
