//! One batch of an Export on its way through translation and posting.

use std::sync::Arc;

use bytes::Bytes;
use mesh_contract::{
    batch::BatchContext,
    progress::DestinationProgress,
    verdict::{Reason, Verdict},
};
use mesh_wire::{
    otlp::split_resource_metrics,
    protobuf::{Fields, WireError},
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    outcome::{ExportOutcome, PartReply},
    resume::Resume,
};
use crate::{
    destination::Destination,
    memory::ExportMemory,
    remote_write::queue::PendingPart,
    translate::{TranslateError, sink::Translated},
};

/// One batch of an Export.
#[derive(Debug)]
pub(super) struct PendingBatch<'a> {
    progress: DestinationProgress,
    destinations: Vec<PendingDestination<'a>>,
    /// Outcome of a batch that is not posted.
    refused: Option<ExportOutcome>,
}

/// One batch of an Export at one destination.
#[derive(Debug)]
struct PendingDestination<'a> {
    destination: &'a Destination,
    translated: Translated,
    /// Series that earlier attempts have decided.
    resume: Resume,
    /// Parts that were passed on.
    replies: Vec<PartReply>,
}

/// Properties that all parts of an Export share.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) context: Arc<BatchContext>,
    pub(super) memory: Arc<ExportMemory>,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
}

/// Outcome of a batch, and the destinations that have completed it.
#[derive(Debug)]
pub(super) struct CompletedBatch {
    pub(super) outcome: ExportOutcome,
    pub(super) progress: DestinationProgress,
}

/// Bytes of a reference to one encoded resource, while the list of them grows.
const FRAME_BYTES: usize = 3 * size_of::<Bytes>();

// === impl PendingBatch ===

impl<'a> PendingBatch<'a> {
    pub(super) fn new(progress: DestinationProgress) -> Self {
        Self {
            progress,
            destinations: Vec::new(),
            refused: None,
        }
    }

    /// Batch that cannot be decoded. All its samples are rejected: the sender cuts the count
    /// to what it sent.
    pub(super) fn malformed(error: &WireError) -> Self {
        let mut verdict = Verdict::default();
        verdict.reject(Reason::Malformed, u64::from(u32::MAX));
        Self {
            refused: Some(ExportOutcome {
                verdict,
                problem: Some(error.to_string()),
                ..ExportOutcome::default()
            }),
            ..Self::new(DestinationProgress::default())
        }
    }

    /// Translates the payload for the destinations that have not completed the batch.
    /// Returns the memory of the Export, with what the series use.
    pub(super) fn translate(
        &mut self,
        destinations: &[&'a Destination],
        context: &Arc<BatchContext>,
        payload: &Bytes,
        mut memory: ExportMemory,
    ) -> (Result<(), TranslateError>, ExportMemory) {
        let frames = Fields::new(payload).count();
        if let Err(error) = memory.add(frames * FRAME_BYTES) {
            return (Err(error.into()), memory);
        }
        let resources = match split_resource_metrics(payload) {
            Ok(resources) => resources,
            Err(error) => return (Err(error.into()), memory),
        };
        for destination in destinations {
            if self.progress.is_complete(&destination.name) {
                continue;
            }
            let translator = &destination.translator;
            let (translated, used) = translator.translate_within(context, &resources, memory);
            // The next destination's series use memory in addition.
            memory = used;
            match translated {
                Ok(translated) => {
                    let earlier = self.progress.partial(&destination.name);
                    let earlier = earlier.and_then(Resume::decode);
                    self.destinations.push(PendingDestination {
                        destination,
                        resume: Resume::new(&translated.parts, earlier.as_ref()),
                        translated,
                        replies: Vec::new(),
                    });
                }
                Err(error) => return (Err(error), memory),
            }
        }
        (Ok(()), memory)
    }

    /// Passes the parts on to the batchers of their destinations.
    pub(super) async fn push(&mut self, post: &Post) {
        for pending in &mut self.destinations {
            for (index, part) in pending.translated.parts.drain(..).enumerate() {
                let Some((part, before)) = pending.resume.rest(index, part) else {
                    continue;
                };
                let (reply, outcome) = oneshot::channel();
                let units = part.units;
                let part = PendingPart {
                    part,
                    before,
                    context: Arc::clone(&post.context),
                    started: post.started,
                    deadline: post.deadline,
                    reply,
                    memory: Arc::clone(&post.memory),
                };
                pending.destination.batcher.push(part).await;
                pending.replies.push(PartReply {
                    index,
                    units,
                    outcome,
                });
            }
        }
    }

    /// Waits for the outcome of all parts.
    pub(super) async fn outcome(self) -> CompletedBatch {
        let Self {
            mut progress,
            destinations,
            refused,
        } = self;
        let mut all = Vec::with_capacity(destinations.len() + 1);
        all.push(refused.unwrap_or_else(|| ExportOutcome::of_completed(&progress)));
        for pending in destinations {
            let PendingDestination {
                destination,
                translated,
                mut resume,
                replies,
            } = pending;
            let outcome = ExportOutcome::collect(translated, replies, &mut resume).await;
            if outcome.retry.is_some() {
                progress.record_partial(&destination.name, resume.encode());
            } else {
                progress.record(&destination.name, &outcome.verdict);
                let metrics = &destination.metrics;
                metrics.record_local_rejections(&outcome.rejections, outcome.dropped);
            }
            all.push(outcome);
        }
        let units = all.iter().map(|outcome| outcome.units).max();
        let outcome = ExportOutcome {
            units: units.unwrap_or(0),
            ..ExportOutcome::merge(all)
        };
        CompletedBatch { outcome, progress }
    }
}
