//! Messages of the handover protocol on the wire (`promesh.handover.v1`).
//!
//! Decoding refuses what no receiver can have sent, so that the rest of the handover need not
//! expect it.

mod destinations;

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use prost::Message;
use proto::handover as wire;

use self::destinations::Destinations;
pub(super) use self::destinations::MAX_BACKLOGS;
use super::{
    gossip::{PeerReport, Process, ShutdownPhase, WaitTimes},
    peers::MAX_PEERS,
    protocol::{HandoverRequest, HandoverResponse},
};

/// Path of the only method.
pub(super) const PATH: &str = "/promesh.handover.v1.Handover/Exchange";

/// Maximum length of the name of a receiver: a DNS name and a port.
const MAX_NAME_BYTES: usize = 260;
/// Highest number of a process plus one. Numbers are drawn below 2^53.
const PROCESS_IDS: u64 = 1 << 53;
/// Longest age or silence of a process: 100 years.
const MAX_AGE_MS: u64 = 100 * 365 * 24 * 3_600_000;
/// Longest wait that a receiver states: one day.
const MAX_WAIT_MS: u64 = 24 * 3_600_000;
/// Latest time of a scrape or batch: the year 10000.
const MAX_TIME_MS: i64 = 253_402_300_800_000;

/// A message that no receiver sends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidMessage {
    /// The bytes are no message of the protocol.
    #[error("not a message of the handover protocol: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A field has a value that the protocol cannot produce.
    #[error("field {field} has an impossible value")]
    Impossible {
        /// Name of the field in `handover.proto`.
        field: &'static str,
    },
}

type Checked<T> = Result<T, InvalidMessage>;

// === impl HandoverRequest ===

impl HandoverRequest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let message = wire::HandoverRequest {
            sender: self.sender.clone(),
            process: Some(self.process.into()),
            shutdown: phase_number(self.shutdown),
            claimed: self.claimed.clone(),
            watched: self.watched.clone(),
            held_back: self.held_back.clone(),
        };
        message.encode_to_vec()
    }

    /// Decodes a request.
    ///
    /// # Errors
    /// Returns an error if no receiver can have sent it.
    pub(super) fn decode(message: Bytes) -> Checked<Self> {
        let message = wire::HandoverRequest::decode(message)?;
        Ok(Self {
            sender: name(message.sender, "sender")?,
            process: process(message.process)?,
            shutdown: phase(message.shutdown)?,
            claimed: targets(message.claimed, "claimed")?,
            watched: targets(message.watched, "watched")?,
            held_back: targets(message.held_back, "held_back")?,
        })
    }

    /// Returns true if the request asks about the target.
    fn asks_about(&self, target: u64) -> bool {
        let lists = [&self.claimed, &self.watched, &self.held_back];
        lists.iter().any(|list| list.binary_search(&target).is_ok())
    }
}

// === impl HandoverResponse ===

impl HandoverResponse {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut targets: BTreeMap<u64, wire::TargetState> = BTreeMap::new();
        let mut state = |target: u64, set: &dyn Fn(&mut wire::TargetState)| {
            let state = targets.entry(target).or_default();
            state.target = target;
            set(state);
        };
        self.scraped
            .iter()
            .for_each(|t| state(*t, &|it| it.scraped = true));
        self.claimed
            .iter()
            .for_each(|t| state(*t, &|it| it.claimed = true));
        self.ended
            .iter()
            .for_each(|t| state(*t, &|it| it.ended = true));
        self.up.iter().for_each(|t| state(*t, &|it| it.up = true));
        for (target, ms) in &self.last_scrape_ms {
            state(*target, &|it| it.last_scrape_ms = Some(*ms));
        }
        let destinations = Destinations::of(self.oldest_pending.values());
        for (target, oldest) in &self.oldest_pending {
            state(*target, &|it| {
                it.oldest_batch_ms = Some(oldest.oldest_ms());
                it.backlogs = destinations.backlogs(oldest);
            });
        }
        let peers = self.peers.iter();
        let message = wire::HandoverResponse {
            process: Some(self.process.into()),
            shutdown: phase_number(self.shutdown),
            targets: targets.into_values().collect(),
            peers: peers
                .map(|(name, it)| (name.clone(), (*it).into()))
                .collect(),
            destinations: destinations.names(),
        };
        message.encode_to_vec()
    }

    /// Decodes the response to a request.
    ///
    /// # Errors
    /// Returns an error if no receiver can have sent it in response to `request`.
    pub(super) fn decode(message: Bytes, request: &HandoverRequest) -> Checked<Self> {
        let message = wire::HandoverResponse::decode(message)?;
        let mut response = Self {
            process: process(message.process)?,
            shutdown: phase(message.shutdown)?,
            ..Self::default()
        };
        let destinations = Destinations::decode(message.destinations)?;
        let mut seen = HashSet::new();
        for state in message.targets {
            let target = state.target;
            check(seen.insert(target), "targets")?;
            check(request.asks_about(target), "targets.target")?;
            response.add(target, &state, &destinations)?;
        }
        // A response reports the receiver that asks, too.
        check(message.peers.len() <= MAX_PEERS + 1, "peers")?;
        for (peer, it) in message.peers {
            response.peers.insert(name(peer, "peers")?, report(it)?);
        }
        Ok(response)
    }

    fn add(
        &mut self,
        target: u64,
        state: &wire::TargetState,
        destinations: &Destinations,
    ) -> Checked<()> {
        let flags = [
            (state.scraped, &mut self.scraped),
            (state.claimed, &mut self.claimed),
            (state.ended, &mut self.ended),
            (state.up, &mut self.up),
        ];
        for (is_set, targets) in flags {
            if is_set {
                targets.insert(target);
            }
        }
        if let Some(ms) = state.last_scrape_ms {
            check(is_time(ms), "targets.last_scrape_ms")?;
            self.last_scrape_ms.insert(target, ms);
        }
        if let Some(ms) = state.oldest_batch_ms {
            check(is_time(ms), "targets.oldest_batch_ms")?;
            let oldest = destinations.oldest(ms, &state.backlogs)?;
            self.oldest_pending.insert(target, oldest);
        }
        Ok(())
    }
}

// === impl wire::Process ===

impl From<Process> for wire::Process {
    fn from(process: Process) -> Self {
        Self {
            id: process.id,
            age_ms: process.age_ms,
            wait: Some(process.wait.into()),
        }
    }
}

// === impl wire::WaitTimes ===

impl From<WaitTimes> for wire::WaitTimes {
    fn from(wait: WaitTimes) -> Self {
        Self {
            export_ms: wait.export_ms,
            away_ms: wait.away_ms,
        }
    }
}

// === impl wire::PeerReport ===

impl From<PeerReport> for wire::PeerReport {
    fn from(report: PeerReport) -> Self {
        Self {
            silent_ms: report.silent_ms,
            wait: Some(report.wait.into()),
            stated_ms: report.stated_ms,
            earlier_exports_ms: report.earlier_exports_ms,
            drained_process: report.drained_process,
            is_pod_deleted: report.is_pod_deleted,
        }
    }
}

fn check(is_possible: bool, field: &'static str) -> Checked<()> {
    match is_possible {
        true => Ok(()),
        false => Err(InvalidMessage::Impossible { field }),
    }
}

fn is_time(ms: i64) -> bool {
    (0..MAX_TIME_MS).contains(&ms)
}

fn name(name: String, field: &'static str) -> Checked<String> {
    let is_possible = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic())
        && !name.contains(['/', '?', '#', '@', '\\']);
    check(is_possible, field).map(|()| name)
}

/// Checks that a list is sorted and names each target once.
fn targets(targets: Vec<u64>, field: &'static str) -> Checked<Vec<u64>> {
    check(targets.is_sorted_by(|a, b| a < b), field).map(|()| targets)
}

fn phase_number(phase: Option<ShutdownPhase>) -> i32 {
    let phase = match phase {
        None => wire::ShutdownPhase::Unspecified,
        Some(ShutdownPhase::Stopped) => wire::ShutdownPhase::Stopped,
        Some(ShutdownPhase::Drained) => wire::ShutdownPhase::Drained,
    };
    phase.into()
}

fn phase(number: i32) -> Checked<Option<ShutdownPhase>> {
    match wire::ShutdownPhase::try_from(number) {
        Ok(wire::ShutdownPhase::Unspecified) => Ok(None),
        Ok(wire::ShutdownPhase::Stopped) => Ok(Some(ShutdownPhase::Stopped)),
        Ok(wire::ShutdownPhase::Drained) => Ok(Some(ShutdownPhase::Drained)),
        Err(_) => Err(InvalidMessage::Impossible { field: "shutdown" }),
    }
}

fn process(process: Option<wire::Process>) -> Checked<Process> {
    let process = process.ok_or(InvalidMessage::Impossible { field: "process" })?;
    check(process.id < PROCESS_IDS, "process.id")?;
    check(process.age_ms <= MAX_AGE_MS, "process.age_ms")?;
    Ok(Process {
        id: process.id,
        age_ms: process.age_ms,
        wait: wait(process.wait, "process.wait")?,
    })
}

fn wait(wait: Option<wire::WaitTimes>, field: &'static str) -> Checked<WaitTimes> {
    let wait = wait.ok_or(InvalidMessage::Impossible { field })?;
    check(wait.export_ms.max(wait.away_ms) <= MAX_WAIT_MS, field)?;
    Ok(WaitTimes {
        export_ms: wait.export_ms,
        away_ms: wait.away_ms,
    })
}

fn report(report: wire::PeerReport) -> Checked<PeerReport> {
    check(report.silent_ms <= MAX_AGE_MS, "peers.silent_ms")?;
    let stated_ms = report.stated_ms.unwrap_or_default();
    check(stated_ms <= MAX_AGE_MS, "peers.stated_ms")?;
    let earlier_ms = report.earlier_exports_ms;
    check(earlier_ms <= MAX_WAIT_MS, "peers.earlier_exports_ms")?;
    let drained = report.drained_process.unwrap_or_default();
    check(drained < PROCESS_IDS, "peers.drained_process")?;
    Ok(PeerReport {
        silent_ms: report.silent_ms,
        wait: wait(report.wait, "peers.wait")?,
        stated_ms: report.stated_ms,
        earlier_exports_ms: earlier_ms,
        drained_process: report.drained_process,
        is_pod_deleted: report.is_pod_deleted,
    })
}

#[cfg(test)]
mod tests;
