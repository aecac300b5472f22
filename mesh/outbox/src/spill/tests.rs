//! The log on a disk that tears, loses and rejects writes.

mod faulty;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::packed::Packed;
use faulty::{Crash, FaultyDisk};
use mesh_contract::{batch::BatchContext, progress::DestinationProgress};

const LIMITS: Limits = Limits {
    segment: 600,
    total: 3000,
};

fn record(seq: u64, bytes: usize) -> Record {
    let payload = (0..bytes).map(|i| (i as u64 * 31 + seq) as u8);
    Record {
        seq,
        key: seq % 5,
        samples: 10,
        time_ms: 1_700_000_000_000 + seq as i64,
        context: Arc::new(BatchContext::default()),
        completed: Vec::new(),
        payload: Packed::raw(payload.collect()),
    }
}

fn open(disk: &FaultyDisk) -> (Log, Replay, Arc<SpillStats>) {
    let stats = Arc::new(SpillStats::default());
    let (log, replay) = Log::open(Arc::new(disk.clone()), LIMITS, stats.clone());
    (log, replay, stats)
}

/// Durability of a record in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Survives a crash of the process.
    Written,
    /// Survives a crash of the machine.
    Synced,
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Sync,
    /// Marks the live records at these indices as done.
    MarkDone(Vec<prop::sample::Index>),
    /// Leaves room for this many bytes.
    FillUp(usize),
    MakeRoom,
    FailSync,
    Kill,
    PowerLoss(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..400).prop_map(Step::Append),
        5 => Just(Step::Sync),
        5 => proptest::collection::vec(any::<prop::sample::Index>(), 1..6).prop_map(Step::MarkDone),
        1 => (0usize..200).prop_map(Step::FillUp),
        1 => Just(Step::MakeRoom),
        1 => Just(Step::FailSync),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::PowerLoss),
    ]
}

/// The log under test and its expected content.
struct Model {
    disk: FaultyDisk,
    log: Log,
    next_seq: u64,
    sizes: BTreeMap<u64, usize>,
    live: BTreeMap<u64, (State, Location)>,
    /// Done records, which must not come back.
    done: Vec<u64>,
    /// Set after a crash of the machine, since its damage to files stays.
    is_damaged: bool,
}

// === impl Model ===

impl Model {
    fn new() -> Self {
        let disk = FaultyDisk::default();
        let (log, replay, _) = open(&disk);
        assert!(replay.records.is_empty());
        Self {
            disk,
            log,
            next_seq: 0,
            sizes: BTreeMap::new(),
            live: BTreeMap::new(),
            done: Vec::new(),
            is_damaged: false,
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Append(bytes) => self.append(bytes),
            Step::Sync => self.sync(),
            Step::MarkDone(indexes) => self.mark_done(&indexes),
            Step::FillUp(bytes) => self.disk.leave_room(Some(bytes)),
            Step::MakeRoom => self.disk.leave_room(None),
            Step::FailSync => self.disk.fail_next_sync(),
            Step::Kill => self.crash(Crash::Process),
            Step::PowerLoss(seed) => self.crash(Crash::Machine(seed)),
        }
        assert!(self.disk.segment_bytes() <= LIMITS.total);
        self.assert_readable();
    }

    fn append(&mut self, bytes: usize) {
        let seq = self.next_seq;
        self.next_seq += 1;
        // A rotation within the append may sync, or fail to.
        if let Ok(location) = self.log.append(&record(seq, bytes)) {
            self.sizes.insert(seq, bytes);
            self.live.insert(seq, (State::Written, location));
        }
    }

    fn sync(&mut self) {
        if self.log.sync().is_ok() {
            for (state, _) in self.live.values_mut() {
                *state = State::Synced;
            }
        }
    }

    fn mark_done(&mut self, indexes: &[prop::sample::Index]) {
        let mut done = Vec::new();
        for index in indexes {
            let Some(seq) = pick(&self.live, index) else {
                continue;
            };
            let (_, location) = self.live.remove(&seq).unwrap();
            done.push((seq, location));
        }
        // If the disk rejects writes, done records may come back. They are sent again.
        let may_fail = self.disk.may_fail();
        self.log.mark_done(&everywhere(&done));
        if !may_fail && !self.disk.may_fail() {
            self.done.extend(done.iter().map(|(seq, _)| *seq));
        }
    }

    fn crash(&mut self, crash: Crash) {
        self.disk.crash(crash);
        self.is_damaged |= crash != Crash::Process;
        let (log, replay, stats) = open(&self.disk);
        self.log = log;
        let seqs: Vec<_> = replay.records.iter().map(|(_, r)| r.seq).collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
        for (seq, (state, _)) in &self.live {
            let must_be_there = *state == State::Synced || crash == Crash::Process;
            assert!(!must_be_there || seqs.contains(seq), "{seq} is lost");
        }
        for seq in &seqs {
            assert!(!self.done.contains(seq), "{seq} came back");
        }
        if !self.is_damaged {
            assert_eq!(stats.corrupt.load(std::sync::atomic::Ordering::Relaxed), 0);
        }
        self.live = replay
            .records
            .into_iter()
            .map(|(location, record)| (record.seq, (State::Synced, location)))
            .collect();
        // After a restart of the machine, all visible bytes are synced.
        self.disk.sync_all();
    }

    fn assert_readable(&self) {
        for (seq, (_, location)) in &self.live {
            let read = read(&self.disk, *location).unwrap();
            assert_eq!(read, record(*seq, self.sizes[seq]));
        }
    }
}

fn pick(live: &BTreeMap<u64, (State, Location)>, index: &prop::sample::Index) -> Option<u64> {
    if live.is_empty() {
        return None;
    }
    live.keys().nth(index.index(live.len())).copied()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Runs random disk failures and crashes. After each crash the log opens with all
    /// pending records that were synced, or written if only the process crashed. It has no
    /// done records and none that were never written.
    #[test]
    fn confirmed_records_survive_any_crash(
        steps in proptest::collection::vec(any_step(), 1..80),
    ) {
        let mut model = Model::new();
        for step in steps {
            model.apply(step);
        }
        // Once all records are done, no segment remains.
        model.disk.leave_room(None);
        model.crash(Crash::Process);
        let all: Vec<_> = model.live.iter().map(|(seq, (_, location))| (*seq, *location)).collect();
        model.log.mark_done(&everywhere(&all));
        prop_assert!(model.log.is_empty());
        prop_assert_eq!(model.disk.segment_bytes(), 0, "{:?}", model.disk);
    }

    /// Damage to a segment loses the rest of that segment and no more.
    #[test]
    fn counts_and_skips_damage(
        damaged in 0u64..20,
        byte: prop::sample::Index,
        bit in 0u8..8,
    ) {
        let disk = FaultyDisk::default();
        let (mut log, _, _) = open(&disk);
        let locations: Vec<_> = (0..20).map(|seq| log.append(&record(seq, 60)).unwrap()).collect();
        let hit = locations[damaged as usize];
        disk.flip_bit(&hit, byte.index(hit.len), bit);
        let (_, replay, stats) = open(&disk);
        let expected: Vec<_> = (0..20)
            .filter(|seq| {
                let location = locations[*seq as usize];
                location.segment != hit.segment || *seq < damaged
            })
            .collect();
        let seqs: Vec<_> = replay.records.iter().map(|(_, r)| r.seq).collect();
        prop_assert_eq!(seqs, expected);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        prop_assert_eq!(stats.corrupt.load(relaxed) + stats.torn.load(relaxed), 1);
    }

    #[test]
    fn opens_with_arbitrary_files(
        files in proptest::collection::vec(
            ("(00000000000000[0-9a-f]{2}\\.(segment|done)|fence|x)", proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()),
            0..6,
        ),
    ) {
        let disk = FaultyDisk::default();
        for (name, bytes, with_magic) in files {
            let magic: &[u8] = if with_magic { b"promesh1" } else { b"" };
            disk.plant(&name, &[magic, &bytes].concat());
        }
        let (mut log, _, _) = open(&disk);
        let location = log.append(&record(1, 10)).unwrap();
        prop_assert_eq!(read(&disk, location).unwrap(), record(1, 10));
    }
}

#[test]
fn opens_without_a_missing_segment() {
    let disk = FaultyDisk::default();
    let (mut log, _, _) = open(&disk);
    for seq in 0..20 {
        log.append(&record(seq, 60)).unwrap();
    }
    disk.remove("0000000000000001.segment").unwrap();
    let (_, replay, _) = open(&disk);
    let seqs: Vec<_> = replay.records.iter().map(|(_, r)| r.seq).collect();
    assert!(seqs.len() > 10 && seqs.len() < 20, "{seqs:?}");
}

#[test]
fn writes_nothing_after_a_failed_sync() {
    let disk = FaultyDisk::default();
    let (mut log, _, stats) = open(&disk);
    log.append(&record(0, 60)).unwrap();
    disk.fail_next_sync();
    assert_eq!(log.sync(), Err(SpillError::Sync));
    // The disk works again but is not trusted.
    assert_eq!(log.append(&record(1, 60)), Err(SpillError::Sync));
    assert_eq!(log.sync(), Err(SpillError::Sync));
    assert!(log.is_poisoned());
    assert_eq!(stats.counted(SpillError::Sync), 1);
}

#[test]
fn batches_that_stay_in_memory_after_a_failed_sync_are_not_replayed() {
    let disk = FaultyDisk::default();
    let (mut log, _, _) = open(&disk);
    log.append(&record(0, 60)).unwrap();
    log.sync().unwrap();
    disk.fail_next_sync();
    let due = vec![record(1, 10), record(2, 10)];
    let (_, processed) = crate::spiller::write(Some(log), 0, &[], due);
    assert_eq!(processed.len(), 2);
    let (_, replay, _) = open(&disk);
    let seqs: Vec<_> = replay.records.iter().map(|(_, r)| r.seq).collect();
    assert_eq!(seqs, [0]);
}

#[test]
fn writes_again_once_a_full_disk_has_room() {
    let disk = FaultyDisk::default();
    let (mut log, _, stats) = open(&disk);
    log.append(&record(0, 60)).unwrap();
    disk.leave_room(Some(20));
    assert_eq!(log.append(&record(1, 60)), Err(SpillError::DiskFull));
    disk.leave_room(None);
    log.append(&record(2, 60)).unwrap();
    assert_eq!(stats.counted(SpillError::DiskFull), 1);
    let (_, replay, stats) = open(&disk);
    let seqs: Vec<_> = replay.records.iter().map(|(_, r)| r.seq).collect();
    assert_eq!(seqs, [0, 2]);
    assert_eq!(stats.torn.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn limits_the_size_of_the_log() {
    let disk = FaultyDisk::default();
    let (mut log, _, stats) = open(&disk);
    let mut locations = Vec::new();
    while let Ok(location) = log.append(&record(locations.len() as u64, 60)) {
        locations.push((locations.len() as u64, location));
    }
    assert_eq!(stats.counted(SpillError::LogFull), 1);
    assert!(disk.segment_bytes() <= LIMITS.total);
    log.mark_done(&everywhere(&locations));
    assert_eq!(disk.segment_bytes(), 0);
    log.append(&record(99, 60)).unwrap();
}

#[test]
fn removes_done_segments_in_any_order() {
    let disk = FaultyDisk::default();
    let (mut log, _, _) = open(&disk);
    let locations: Vec<_> = (0..20)
        .map(|seq| (seq, log.append(&record(seq, 60)).unwrap()))
        .collect();
    let (first, rest): (Vec<_>, Vec<_>) = locations.into_iter().partition(|(seq, _)| *seq == 0);
    log.mark_done(&everywhere(&rest));
    assert_eq!(disk.names("segment"), ["0000000000000000.segment"]);
    log.mark_done(&everywhere(&first));
    assert_eq!(disk.names("segment"), [""; 0]);
    assert_eq!(disk.names("done"), [""; 0]);
}

#[test]
fn the_fence_survives_the_process() {
    let disk = FaultyDisk::default();
    let (log, replay, _) = open(&disk);
    assert_eq!(replay.fence_ms, None);
    log.write_fence(1_700_000_012_000);
    log.write_fence(1_700_000_013_000);
    disk.crash(Crash::Process);
    let (_, replay, _) = open(&disk);
    assert_eq!(replay.fence_ms, Some(1_700_000_013_000));
    disk.plant("fence", b"no fence at all");
    assert_eq!(open(&disk).1.fence_ms, None);
}

#[test]
fn replayed_records_share_equal_contexts() {
    let disk = FaultyDisk::default();
    let (mut log, _, _) = open(&disk);
    for seq in 0..3 {
        log.append(&record(seq, 10)).unwrap();
    }
    let (_, replay, _) = open(&disk);
    let context: Vec<_> = replay.records.iter().map(|(_, r)| &r.context).collect();
    assert!(Arc::ptr_eq(context[0], context[1]) && Arc::ptr_eq(context[1], context[2]));
    assert_eq!(replay.records[0].1.payload.bytes(), &Bytes::new());
}

/// Marks batches as done at all destinations.
fn everywhere(batches: &[(u64, Location)]) -> Vec<Done> {
    let done = batches.iter();
    done.map(|(seq, location)| Done::everywhere(*seq, *location))
        .collect()
}

#[test]
fn remembers_the_destinations_that_have_completed_a_record() {
    let disk = FaultyDisk::default();
    let (mut log, _, _) = open(&disk);
    let locations = (0..3).map(|seq| (seq, log.append(&record(seq, 60)).unwrap()));
    let locations: Vec<_> = locations.collect();
    log.sync().unwrap();
    let done = |index: usize, name| Done::at(locations[index].0, locations[index].1, name);
    log.mark_done(&[done(0, "eu"), done(1, "us"), done(1, "eu")]);
    log.mark_done(&everywhere(&locations[..1]));
    drop(log);
    let (mut log, replay, _) = open(&disk);
    let seqs: Vec<u64> = replay
        .records
        .iter()
        .map(|(_, record)| record.seq)
        .collect();
    assert_eq!(seqs, [1, 2]);
    let completed = |seq, name| {
        let progress = replay.progress.get(&seq).cloned().unwrap_or_default();
        DestinationProgress::decode(&progress).is_complete(name)
    };
    assert!(completed(1, "eu") && completed(1, "us"));
    assert!(!completed(2, "eu") && !completed(1, "asia"));
    log.mark_done(&everywhere(&locations[1..]));
    assert_eq!(disk.names("partly"), [""; 0]);
}

#[test]
fn keeps_the_newest_batches_that_killed_exporters() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Directory::open(dir.path().to_owned()).unwrap();
    for time_ms in 0..50 {
        keep(&disk, &poison_name(time_ms, 7, 1), b"payload").unwrap();
    }
    let mut names = disk.list().unwrap();
    names.retain(|name| name.starts_with("poison-"));
    names.sort();
    assert_eq!(names.len(), 32);
    assert_eq!(names[31], poison_name(49, 7, 1));
    assert_eq!(disk.read_all(&names[0]).unwrap(), "payload");
}
