//! What is claimed, what is held back, and what others say of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mesh::{endpoints::Addresses, outbox::Outbox, random};
use tokio::time::Instant;
use tracing::debug;

use super::{
    answer::{Answer, Question},
    claims::{Claims, Seen},
    holds::{Hold, Holds, Word},
    metrics::HandoverMetrics,
    news::{Legacy, Life, Parting},
    peers::{Patience, Peers},
    wards::{Look, Wards},
};
use crate::shard::Assignment;

/// What is claimed, what is held back, and who else there is.
#[derive(Debug)]
pub(super) struct State {
    /// The number of this process, and when it began.
    life: u64,
    began: Instant,
    pub(super) claims: Claims,
    pub(super) peers: Peers,
    /// It is known who the members are.
    pub(super) is_following: bool,
    pub(super) wards: Wards,
    /// This receiver stops, which the others are told once.
    parting: Option<Parting>,
    is_told: bool,
    /// What this process leaves where it is killed, as the others were told.
    told: Legacy,
    holds: Holds,
}

/// What others have said that bears on what is scraped here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Identities of targets of others that are to be scraped here.
    pub kept: BTreeSet<u64>,
    /// Names of members that have said that they stop.
    pub parted: BTreeSet<String>,
}

/// One question to all others.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) question: Question,
    /// Who is asked, and how long each has for an answer.
    pub(super) peers: Vec<(String, Duration)>,
    look: Option<Look>,
    began: Instant,
    arrivals: u64,
}

/// What all others said; `None` of those that did not answer.
pub(super) type Heard = BTreeMap<String, Option<Answer>>;

/// Claims and what is kept are asked about this often, what is held back this often,
/// and those that have left or are silent this often.
const CLAIMED: Duration = Duration::from_millis(250);
const HELD: Duration = Duration::from_millis(500);
const WATCHED: Duration = Duration::from_secs(1);
/// That something is about to be spilled is told this much sooner: so long a round of
/// questions may take, and the pause before it.
const NOTICE: Duration = Duration::from_secs(2);
/// A process that has just begun holds everything back for as long: receivers that drain
/// are no members any more, and ask all members this often.
pub(super) const YOUTH: Duration = Duration::from_secs(2);

// === impl State ===

impl State {
    pub(super) fn new(name: String, patience: Patience, unready: Addresses) -> Self {
        Self {
            life: random::range(0.0..2_f64.powi(53)) as u64,
            began: Instant::now(),
            claims: Claims::default(),
            peers: Peers::new(name, patience, unready),
            is_following: false,
            wards: Wards::new(),
            parting: None,
            is_told: true,
            told: patience.least(),
            holds: Holds::default(),
        }
    }

    fn life(&self, legacy: Legacy) -> Life {
        Life {
            number: self.life,
            age_ms: self.began.elapsed().as_millis() as u64,
            legacy,
        }
    }

    /// What this process leaves where it is killed now.
    fn legacy(&self, outbox: &Outbox) -> Legacy {
        let away = match outbox.may_leave_some(NOTICE) {
            true => self.peers.patience.away,
            false => Duration::ZERO,
        };
        Legacy {
            span_ms: outbox.longest_export().as_millis() as u64,
            away_ms: away.as_millis() as u64,
        }
    }

    /// Takes up who the other members are.
    pub(super) fn follow(&mut self, members: &BTreeSet<String>) {
        self.peers.follow(members);
        if !std::mem::replace(&mut self.is_following, true) {
            self.peers.learn_of_unready();
        }
    }

    /// Takes up targets of which batches are held back from `oldest_ms` on.
    pub(super) fn hold_all(&mut self, left: impl IntoIterator<Item = (u64, i64)>) {
        for (target, oldest_ms) in left {
            self.holds.insert(target, Hold::of_left(oldest_ms));
        }
    }

    /// Takes up whose the targets are.
    pub(super) fn assign(&mut self, assignment: Arc<Assignment>) {
        self.claims.discovered(|target| assignment.knows(target));
        self.wards.assign(assignment, &self.claims);
    }

    /// What there is of others that bears on what is scraped here.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            kept: self.wards.kept().clone(),
            parted: self.peers.parted(),
        }
    }

    /// Whether it scrapes no more, and has batches that wait: those that come later hear of
    /// it from itself.
    fn drains(&self) -> bool {
        self.parting == Some(Parting::Stopped)
    }

    /// Whether there may be others that this process has not heard of yet.
    fn is_young(&self) -> bool {
        !self.peers.me().is_empty() && self.began.elapsed() < YOUTH
    }

    /// Grants what can be where there is nobody to ask.
    pub(super) fn grant_alone(&mut self) {
        if self.peers.is_empty() && !self.is_young() {
            let free: Vec<_> = self.claims.free().map(|(name, _)| name.clone()).collect();
            for name in &free {
                self.claims.grant(name, None);
            }
        }
    }

    /// Scrapes and claims nothing any more, and tells so.
    pub(super) fn part(&mut self, parting: Parting) {
        self.claims.stop();
        self.wards.stop();
        self.parting = Some(parting);
        self.is_told = self.peers.is_empty();
    }

    /// How many targets have batches held back.
    pub(super) fn held(&self) -> usize {
        self.holds.len()
    }

    /// Answers another receiver, but for what waits in the outbox.
    pub(super) fn answer(&mut self, question: &Question, outbox: &Outbox) -> Answer {
        self.peers.heard(&question.from, question.life);
        if let Some(parting) = question.parting {
            self.peers.parts(&question.from, parting);
        }
        self.wards.claimed(question, &self.claims, self.peers.me());
        if *question.from < *self.peers.me() {
            let claimed = question.claimed.iter();
            claimed.for_each(|target| self.claims.disturb(*target));
        }
        let asked = || question.claimed.iter().chain(&question.watched).copied();
        let last = asked().filter_map(|target| Some((target, self.claims.last(target)?)));
        let last: BTreeMap<u64, Seen> = last.collect();
        let up = last.iter().filter(|(_, last)| last.is_up);
        Answer {
            life: self.life(self.legacy(outbox)),
            parting: self.parting,
            scraped: asked().filter(|t| self.claims.is_scraped(*t)).collect(),
            claimed: asked().filter(|t| self.claims.is_claimed(*t)).collect(),
            ended: asked().filter(|t| self.claims.has_ended(*t)).collect(),
            last_ms: last.iter().map(|(t, last)| (*t, last.time_ms)).collect(),
            up: up.map(|(target, _)| *target).collect(),
            oldest_ms: BTreeMap::new(),
            others: self.peers.rumours(),
        }
    }

    /// What is to be asked now; `None` where there is nothing. What this receiver leaves
    /// where it is killed the others are to know before it is.
    pub(super) fn round(&mut self, outbox: &Outbox) -> Option<Round> {
        let legacy = self.legacy(outbox);
        let claimed = self.claims.ask_about();
        let look = self.wards.look();
        let mut watched = self.wards.kept().clone();
        watched.extend(look.iter().flat_map(Look::targets));
        let is_needed = !claimed.is_empty()
            || !watched.is_empty()
            || !self.holds.is_empty()
            || self.peers.are_watched()
            || !self.is_told
            || self.drains()
            || legacy.span_ms > self.told.span_ms
            || legacy.away_ms != self.told.away_ms;
        if !is_needed {
            return None;
        }
        self.told = legacy;
        let peers = self.peers.to_ask();
        Some(Round {
            question: Question {
                from: self.peers.me().to_owned(),
                life: self.life(legacy),
                parting: self.parting,
                claimed: claimed.into_iter().collect(),
                watched: watched.into_iter().collect(),
                held: self.holds.targets().collect(),
            },
            peers: peers.map(|(name, has)| (name.clone(), has)).collect(),
            look,
            began: Instant::now(),
            arrivals: self.peers.arrivals,
        })
    }

    /// Grants and settles what can be after a round; returns how long the next one
    /// may wait.
    pub(super) fn conclude(
        &mut self,
        round: &Round,
        heard: &Heard,
        outbox: &Outbox,
        metrics: &HandoverMetrics,
    ) -> Duration {
        self.note(round, heard);
        // Whoever did not hear it finds out.
        self.is_told |= round.question.parting == self.parting;
        // Those that became known meanwhile have not been asked.
        let is_whole = self.peers.arrivals == round.arrivals;
        if is_whole {
            self.grant(heard, outbox, metrics);
        }
        self.look_after(round.look.as_ref().filter(|_| is_whole), heard, metrics);
        self.settle(round, heard, outbox, metrics);
        self.peers.forget();
        self.claims.forget();
        match () {
            () if !is_whole => Duration::ZERO,
            () if !self.claims.pending().is_empty() => CLAIMED,
            () if !self.wards.kept().is_empty() => CLAIMED,
            () if !self.holds.is_empty() || self.drains() => HELD,
            () => WATCHED,
        }
    }

    /// How long there is nothing to ask, unless something happens.
    pub(super) fn idle(&self) -> Duration {
        self.wards.rest().map_or(WATCHED, |rest| rest.min(WATCHED))
    }

    /// Keeps less or more of what is another's, after what was heard.
    fn look_after(&mut self, look: Option<&Look>, heard: &Heard, metrics: &HandoverMetrics) {
        let (peers, claims) = (&self.peers, &self.claims);
        self.wards.release(heard, peers, claims);
        if let Some(look) = look {
            metrics.orphans(self.wards.take(look, heard, peers, claims));
        }
    }

    /// Notes who answered, and who else there is as others know.
    fn note(&mut self, round: &Round, heard: &Heard) {
        let rumours = || heard.values().flatten().flat_map(|answer| &answer.others);
        let mut silent_ms: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, rumour) in rumours() {
            let known = silent_ms.entry(name).or_default();
            *known = rumour.silent_ms.max(*known);
        }
        for (name, answer) in heard {
            match answer {
                Some(answer) => {
                    self.peers.heard(name, answer.life);
                    if let Some(parting) = answer.parting {
                        self.peers.parts(name, parting);
                    }
                }
                None => {
                    let before_ms = silent_ms.get(name.as_str()).copied().unwrap_or_default();
                    self.peers.silent(name, round.began, before_ms);
                }
            }
        }
        // Of one that is only presumed to be there, whoever has lived for as long as it would
        // be waited for knows, and Kubernetes lists it; or nothing of it is to come.
        let away = self.peers.patience.away;
        let is_elder = |answer: &&Answer| answer.life.age_ms >= away.as_millis() as u64;
        let elders: Vec<_> = heard.values().flatten().filter(is_elder).collect();
        let is_young = self.began.elapsed() < away;
        let is_known = |name: &str| {
            let mut elders = elders.iter();
            is_young && elders.all(|elder| elder.others.contains_key(name))
        };
        for (name, rumour) in rumours() {
            if rumour.said_ms.is_some() || is_known(name) && self.peers.may_be_unready(name) {
                self.peers.learn_of(name, rumour, round.began);
            }
        }
        self.peers.dispel(is_known);
        self.peers.look_up();
    }

    fn grant(&mut self, heard: &Heard, outbox: &Outbox, metrics: &HandoverMetrics) {
        let asked = self.claims.asked();
        let free = asked.filter(|(name, _)| !self.is_scraped_elsewhere(name.0, heard));
        let free: Vec<_> = free.map(|(name, it)| (name.clone(), it.began_ms)).collect();
        for (name, began_ms) in free {
            let target = name.0;
            let mut hold = Hold::new(began_ms);
            self.hear(&mut hold, target, heard);
            let barrier = self.barrier(&hold, heard);
            debug!(
                target = format!("{target:016x}"),
                ?barrier,
                "Target taken over"
            );
            match barrier {
                Some(after_ms) => {
                    self.holds.insert(target, hold);
                    outbox.hold_back(target, after_ms);
                }
                None => metrics.ended(is_silent(heard)),
            }
            let told = heard.values().flatten();
            let last = told.filter_map(|answer| answer.last(target));
            self.claims.grant(&name, last.max());
        }
    }

    /// Whether another receiver scrapes a target, may do so, or goes first.
    fn is_scraped_elsewhere(&self, target: u64, heard: &Heard) -> bool {
        heard.iter().any(|(name, answer)| match answer {
            Some(answer) => {
                let goes_first = **name < *self.peers.me() && answer.claimed.contains(&target);
                goes_first || answer.scraped.contains(&target)
            }
            None => self.peers.may_scrape(name),
        })
    }

    /// Notes what others say of a target that is held back. One whose earlier process may
    /// have Exports under way does not know of those: what that one said counts.
    fn hear(&self, hold: &mut Hold, target: u64, heard: &Heard) {
        for (name, answer) in heard {
            if let Some(answer) = answer
                && !self.peers.may_export(name)
            {
                hold.hear(name, answer.word(target));
            }
        }
    }

    /// The time of the oldest batch of a held target that may wait somewhere else, if any,
    /// once the hold has heard what was heard.
    fn barrier(&self, hold: &Hold, heard: &Heard) -> Option<i64> {
        let waits = heard.iter().filter(|(name, answer)| match hold.word(name) {
            Some(Word::Clear) => false,
            Some(Word::Waiting(_)) if answer.is_some() => true,
            _ => self.peers.may_export(name),
        });
        let waits = waits.map(|(name, _)| hold.oldest_ms(name));
        let has_left_some = !hold.is_fenced() && self.peers.i_have_left_exports();
        let has_own = has_left_some || self.is_young();
        waits.chain(has_own.then(|| hold.began_ms())).min()
    }

    /// Lets go what nobody has anything older of any more, and what is neither here nor
    /// comes here any more.
    fn settle(&mut self, round: &Round, heard: &Heard, outbox: &Outbox, metrics: &HandoverMetrics) {
        let held = round.question.held.iter().copied().collect();
        let own = outbox.oldest(&held).unwrap_or_default();
        for &target in &round.question.held {
            let Some(mut hold) = self.holds.remove(target) else {
                continue;
            };
            self.hear(&mut hold, target, heard);
            let is_here = own.contains_key(&target) || self.claims.is_scraped(target);
            match self.barrier(&hold, heard) {
                Some(after_ms) if is_here => {
                    self.holds.insert(target, hold);
                    outbox.hold_back(target, after_ms);
                }
                _ => {
                    debug!(target = format!("{target:016x}"), is_here, "Target let go");
                    outbox.let_go(target);
                    metrics.ended(is_silent(heard));
                }
            }
        }
    }
}

fn is_silent(heard: &Heard) -> bool {
    heard.values().any(Option::is_none)
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::{super::news::Rumour, *};

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_process_has_left_waits_for_its_fence_only() {
        let patience = Patience {
            timeout: Duration::from_secs(10),
            away: Duration::from_secs(60),
            are_ready: true,
            spills: true,
        };
        let (_, unready) = watch::channel(None);
        let mut state = State::new("a:1".to_owned(), patience, unready);
        let rumour = Rumour {
            left_behind_ms: 10_000,
            ..Rumour::default()
        };
        state.peers.learn_of("a:1", &rumour, Instant::now());
        let barrier = |hold: &Hold| state.barrier(hold, &Heard::new());
        // Others may have older ones of which it does not know yet.
        assert_eq!(barrier(&Hold::of_left(6)), Some(5));
        tokio::time::advance(YOUTH).await;
        assert_eq!(barrier(&Hold::of_left(6)), None);
        // What it has scraped itself is in a lane that has no fence.
        assert_eq!(barrier(&Hold::new(5)), Some(5));
    }
}
