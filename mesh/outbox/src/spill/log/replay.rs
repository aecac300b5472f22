//! Replay of the records of an earlier process.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use tracing::warn;

use super::{
    super::{
        record::{Damage, Record},
        segment::{self, Location, decode_fence, done_name, id_of, partly_name, segment_name},
        stats::SpillError,
    },
    FENCE, Log, Segment,
};
use mesh_contract::{batch::BatchContext, export::Progress, progress::DestinationProgress};

/// The records of an earlier process.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Pending records, sorted by sequence number, without payloads.
    pub(crate) records: Vec<(Location, Record)>,
    /// Time until which its Exports may be in flight, in milliseconds since the Unix epoch.
    pub(crate) fence_ms: Option<i64>,
    /// Progress of the records that are done at some destinations, by sequence number.
    pub(crate) progress: BTreeMap<u64, Progress>,
}

// === impl Log ===

impl Log {
    pub(super) fn replay(&mut self) -> Replay {
        let names = match self.disk.list() {
            Ok(names) => names,
            Err(error) => {
                self.record_error(SpillError::Read, &error);
                return Replay::default();
            }
        };
        let (mut records, mut progress) = (Vec::new(), BTreeMap::new());
        for id in names.iter().filter_map(|name| id_of(name, "segment")) {
            self.next_segment = self.next_segment.max(id.saturating_add(1));
            records.extend(self.replay_segment(id, &mut progress));
        }
        // A process that crashed between the two removals leaves a done file behind.
        let done = |name: &String| id_of(name, "done").or_else(|| id_of(name, "partly"));
        for id in names.iter().filter_map(done) {
            self.next_segment = self.next_segment.max(id.saturating_add(1));
            if !names.contains(&segment_name(id)) {
                self.remove(&done_name(id));
                self.remove(&partly_name(id));
            }
        }
        self.sweep();
        records.sort_by_key(|(_, record)| record.seq);
        share_contexts(&mut records);
        let fence = self.disk.read_all(FENCE).ok();
        Replay {
            records,
            fence_ms: fence.as_ref().and_then(decode_fence),
            progress,
        }
    }

    fn replay_segment(
        &mut self,
        id: u64,
        progress: &mut BTreeMap<u64, Progress>,
    ) -> Vec<(Location, Record)> {
        let scanned = match segment::scan(&*self.disk, id) {
            Ok(scanned) => scanned,
            Err(error) => {
                self.record_error(SpillError::Read, &error);
                return Vec::new();
            }
        };
        match scanned.damage {
            Some(Damage::Torn) => {
                self.stats.torn.fetch_add(1, Ordering::Relaxed);
            }
            Some(Damage::Corrupt) => {
                warn!(segment = id, "Spill segment corrupt, skipping its rest");
                self.stats.corrupt.fetch_add(1, Ordering::Relaxed);
            }
            None => {}
        }
        let segment = Segment {
            bytes: scanned.bytes,
            live: scanned.records.len() as u64,
            done_bytes: scanned.done_bytes,
            partly_bytes: scanned.partly_bytes,
        };
        let mut completed = scanned.partly;
        for (_, record) in scanned
            .records
            .iter()
            .filter(|it| !it.1.completed.is_empty())
        {
            let known = completed.entry(record.seq).or_default();
            known.extend(&record.completed);
        }
        let completed = completed.into_iter();
        progress.extend(completed.map(|(seq, at)| (seq, DestinationProgress::at(at).encode())));
        self.segments.insert(id, segment);
        scanned.records
    }
}

/// Makes records with equal contexts share one.
fn share_contexts(records: &mut [(Location, Record)]) {
    let mut known: HashSet<Arc<BatchContext>> = HashSet::new();
    for (_, record) in records {
        match known.get(&record.context) {
            Some(context) => record.context = context.clone(),
            None => {
                known.insert(record.context.clone());
            }
        }
    }
}
