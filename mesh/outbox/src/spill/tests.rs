//! The log over a disk that tears, loses and refuses.

mod faulty;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::packed::Packed;
use faulty::{Crash, Faulty};
use mesh_contract::batch::BatchContext;

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
        payload: Packed::raw(payload.collect()),
    }
}

fn open(disk: &Faulty) -> (Log, Replay, Arc<Stats>) {
    let stats = Arc::new(Stats::default());
    let (log, replay) = Log::open(Arc::new(disk.clone()), LIMITS, stats.clone());
    (log, replay, stats)
}

/// What the model knows of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Survives the process.
    Written,
    /// Survives the machine.
    Synced,
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Sync,
    /// Settles the records at these places among those that live.
    Settle(Vec<prop::sample::Index>),
    /// The next so many bytes are the last that fit.
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
        5 => proptest::collection::vec(any::<prop::sample::Index>(), 1..6).prop_map(Step::Settle),
        1 => (0usize..200).prop_map(Step::FillUp),
        1 => Just(Step::MakeRoom),
        1 => Just(Step::FailSync),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::PowerLoss),
    ]
}

/// The log and what is known to be in it.
struct Bench {
    disk: Faulty,
    log: Log,
    next_seq: u64,
    sizes: BTreeMap<u64, usize>,
    live: BTreeMap<u64, (State, Place)>,
    /// Settled: they must not come back.
    done: Vec<u64>,
    /// What a machine's death did to files stays.
    is_damaged: bool,
}

// === impl Bench ===

impl Bench {
    fn new() -> Self {
        let disk = Faulty::default();
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

    fn take(&mut self, step: Step) {
        match step {
            Step::Append(bytes) => self.append(bytes),
            Step::Sync => self.sync(),
            Step::Settle(indexes) => self.settle(&indexes),
            Step::FillUp(bytes) => self.disk.leave_room(Some(bytes)),
            Step::MakeRoom => self.disk.leave_room(None),
            Step::FailSync => self.disk.fail_next_sync(),
            Step::Kill => self.crash(Crash::Process),
            Step::PowerLoss(seed) => self.crash(Crash::Machine(seed)),
        }
        assert!(self.disk.segment_bytes() <= LIMITS.total);
        self.everything_is_readable();
    }

    fn append(&mut self, bytes: usize) {
        let seq = self.next_seq;
        self.next_seq += 1;
        // A rotation within the append may sync, or fail to.
        if let Ok(place) = self.log.append(&record(seq, bytes)) {
            self.sizes.insert(seq, bytes);
            self.live.insert(seq, (State::Written, place));
        }
    }

    fn sync(&mut self) {
        if self.log.sync().is_ok() {
            for (state, _) in self.live.values_mut() {
                *state = State::Synced;
            }
        }
    }

    fn settle(&mut self, indexes: &[prop::sample::Index]) {
        let mut done = Vec::new();
        for index in indexes {
            let Some(seq) = pick(&self.live, index) else {
                continue;
            };
            let (_, place) = self.live.remove(&seq).unwrap();
            done.push((seq, place));
        }
        // With a disk that refuses, they may come back: sent again, not lost.
        let refuses = self.disk.refuses();
        self.log.settle(&done);
        if !refuses && !self.disk.refuses() {
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
            .map(|(place, record)| (record.seq, (State::Synced, place)))
            .collect();
        // A machine that came back has synced what it shows.
        self.disk.sync_all();
    }

    fn everything_is_readable(&self) {
        for (seq, (_, place)) in &self.live {
            let read = read(&self.disk, *place).unwrap();
            assert_eq!(read, record(*seq, self.sizes[seq]));
        }
    }
}

fn pick(live: &BTreeMap<u64, (State, Place)>, index: &prop::sample::Index) -> Option<u64> {
    if live.is_empty() {
        return None;
    }
    live.keys().nth(index.index(live.len())).copied()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the disk does and whenever the process or the machine dies: the log
    /// opens, has all that was synced (written, where only the process died) and
    /// not settled, nothing that was settled, and nothing that was never written.
    #[test]
    fn what_was_confirmed_is_there_after_any_crash(
        steps in proptest::collection::vec(any_step(), 1..80),
    ) {
        let mut bench = Bench::new();
        for step in steps {
            bench.take(step);
        }
        // In the end nothing is left behind.
        bench.disk.leave_room(None);
        bench.crash(Crash::Process);
        let all: Vec<_> = bench.live.iter().map(|(seq, (_, place))| (*seq, *place)).collect();
        bench.log.settle(&all);
        prop_assert!(bench.log.is_empty());
        prop_assert_eq!(bench.disk.segment_bytes(), 0, "{:?}", bench.disk);
    }

    /// Damage to a file costs what is behind it in this file, and no more.
    #[test]
    fn damage_is_counted_and_passed_over(
        damaged in 0u64..20,
        byte: prop::sample::Index,
        bit in 0u8..8,
    ) {
        let disk = Faulty::default();
        let (mut log, _, _) = open(&disk);
        let places: Vec<_> = (0..20).map(|seq| log.append(&record(seq, 60)).unwrap()).collect();
        let hit = places[damaged as usize];
        disk.flip_bit(&hit, byte.index(hit.len), bit);
        let (_, replay, stats) = open(&disk);
        let expected: Vec<_> = (0..20)
            .filter(|seq| {
                let place = places[*seq as usize];
                place.segment != hit.segment || *seq < damaged
            })
            .collect();
        let seqs: Vec<_> = replay.records.iter().map(|(_, r)| r.seq).collect();
        prop_assert_eq!(seqs, expected);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        prop_assert_eq!(stats.corrupt.load(relaxed) + stats.torn.load(relaxed), 1);
    }

    #[test]
    fn no_files_keep_it_from_starting(
        files in proptest::collection::vec(
            ("(00000000000000[0-9a-f]{2}\\.(segment|done)|fence|x)", proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()),
            0..6,
        ),
    ) {
        let disk = Faulty::default();
        for (name, bytes, with_magic) in files {
            let magic: &[u8] = if with_magic { b"promesh1" } else { b"" };
            disk.plant(&name, &[magic, &bytes].concat());
        }
        let (mut log, _, _) = open(&disk);
        let place = log.append(&record(1, 10)).unwrap();
        prop_assert_eq!(read(&disk, place).unwrap(), record(1, 10));
    }
}

#[test]
fn a_missing_segment_is_not_missed() {
    let disk = Faulty::default();
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
fn after_a_failed_sync_nothing_is_written() {
    let disk = Faulty::default();
    let (mut log, _, stats) = open(&disk);
    log.append(&record(0, 60)).unwrap();
    disk.fail_next_sync();
    assert_eq!(log.sync(), Err(Trouble::Sync));
    // The disk is well again, and not trusted.
    assert_eq!(log.append(&record(1, 60)), Err(Trouble::Sync));
    assert_eq!(log.sync(), Err(Trouble::Sync));
    assert!(log.is_poisoned());
    assert_eq!(stats.counted(Trouble::Sync), 1);
}

#[test]
fn a_full_disk_takes_more_once_there_is_room() {
    let disk = Faulty::default();
    let (mut log, _, stats) = open(&disk);
    log.append(&record(0, 60)).unwrap();
    disk.leave_room(Some(20));
    assert_eq!(log.append(&record(1, 60)), Err(Trouble::DiskFull));
    disk.leave_room(None);
    log.append(&record(2, 60)).unwrap();
    assert_eq!(stats.counted(Trouble::DiskFull), 1);
    let (_, replay, stats) = open(&disk);
    let seqs: Vec<_> = replay.records.iter().map(|(_, r)| r.seq).collect();
    assert_eq!(seqs, [0, 2]);
    assert_eq!(stats.torn.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn the_log_has_a_bound() {
    let disk = Faulty::default();
    let (mut log, _, stats) = open(&disk);
    let mut places = Vec::new();
    while let Ok(place) = log.append(&record(places.len() as u64, 60)) {
        places.push((places.len() as u64, place));
    }
    assert_eq!(stats.counted(Trouble::Full), 1);
    assert!(disk.segment_bytes() <= LIMITS.total);
    log.settle(&places);
    assert_eq!(disk.segment_bytes(), 0);
    log.append(&record(99, 60)).unwrap();
}

#[test]
fn a_segment_that_is_done_goes_at_once_whatever_is_before_it() {
    let disk = Faulty::default();
    let (mut log, _, _) = open(&disk);
    let places: Vec<_> = (0..20)
        .map(|seq| (seq, log.append(&record(seq, 60)).unwrap()))
        .collect();
    let (first, rest): (Vec<_>, Vec<_>) = places.into_iter().partition(|(seq, _)| *seq == 0);
    log.settle(&rest);
    assert_eq!(disk.names("segment"), ["0000000000000000.segment"]);
    log.settle(&first);
    assert_eq!(disk.names("segment"), [""; 0]);
    assert_eq!(disk.names("done"), [""; 0]);
}

#[test]
fn the_fence_survives_the_process() {
    let disk = Faulty::default();
    let (log, replay, _) = open(&disk);
    assert_eq!(replay.fence_ms, None);
    log.fence(1_700_000_012_000);
    log.fence(1_700_000_013_000);
    disk.crash(Crash::Process);
    let (_, replay, _) = open(&disk);
    assert_eq!(replay.fence_ms, Some(1_700_000_013_000));
    disk.plant("fence", b"no fence at all");
    assert_eq!(open(&disk).1.fence_ms, None);
}

#[test]
fn facts_are_shared_after_a_restart() {
    let disk = Faulty::default();
    let (mut log, _, _) = open(&disk);
    for seq in 0..3 {
        log.append(&record(seq, 10)).unwrap();
    }
    let (_, replay, _) = open(&disk);
    let context: Vec<_> = replay.records.iter().map(|(_, r)| &r.context).collect();
    assert!(Arc::ptr_eq(context[0], context[1]) && Arc::ptr_eq(context[1], context[2]));
    assert_eq!(replay.records[0].1.payload.bytes(), &Bytes::new());
}
