//! What an earlier process has left, taken up at the start.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use tracing::warn;

use super::{
    super::{
        record::{Damage, Record},
        segment::{self, Place, decode_fence, done_name, id_of, segment_name},
        stats::Trouble,
    },
    FENCE, Log, Segment,
};
use mesh_contract::batch::BatchContext;

/// What an earlier process has left.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// In the order of their numbers, without their payloads.
    pub(crate) records: Vec<(Place, Record)>,
    /// Until when its Exports may be under way, milliseconds since the Unix epoch.
    pub(crate) fence_ms: Option<i64>,
}

// === impl Log ===

impl Log {
    pub(super) fn replay(&mut self) -> Replay {
        let names = match self.disk.list() {
            Ok(names) => names,
            Err(error) => {
                self.trouble(Trouble::Read, &error);
                return Replay::default();
            }
        };
        let mut records = Vec::new();
        for id in names.iter().filter_map(|name| id_of(name, "segment")) {
            self.next_segment = self.next_segment.max(id.saturating_add(1));
            records.extend(self.replay_segment(id));
        }
        // Left by a process that died between the two removals.
        for id in names.iter().filter_map(|name| id_of(name, "done")) {
            self.next_segment = self.next_segment.max(id.saturating_add(1));
            if !names.contains(&segment_name(id)) {
                self.remove(&done_name(id));
            }
        }
        self.sweep();
        records.sort_by_key(|(_, record)| record.seq);
        share_facts(&mut records);
        let fence = self.disk.read_all(FENCE).ok();
        Replay {
            records,
            fence_ms: fence.as_ref().and_then(decode_fence),
        }
    }

    fn replay_segment(&mut self, id: u64) -> Vec<(Place, Record)> {
        let scanned = match segment::scan(&*self.disk, id) {
            Ok(scanned) => scanned,
            Err(error) => {
                self.trouble(Trouble::Read, &error);
                return Vec::new();
            }
        };
        match scanned.damage {
            Some(Damage::Torn) => {
                self.stats.torn.fetch_add(1, Ordering::Relaxed);
            }
            Some(Damage::Corrupt) => {
                warn!(segment = id, "Spill segment damaged, its rest is skipped");
                self.stats.corrupt.fetch_add(1, Ordering::Relaxed);
            }
            None => {}
        }
        let segment = Segment {
            bytes: scanned.bytes,
            live: scanned.records.len() as u64,
            done_bytes: scanned.done_bytes,
        };
        self.segments.insert(id, segment);
        scanned.records
    }
}

/// Makes records of the same facts share them.
fn share_facts(records: &mut [(Place, Record)]) {
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
