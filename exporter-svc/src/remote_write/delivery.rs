//! Delivery of one request, in as many posts as its answers need.
//!
//! Most requests need one post. If a backend refuses a request as a whole, the delivery
//! posts smaller requests until only what is refused is left:
//!
//! ```text
//! all parts ─refused─▶ blocks of parts ─refused─▶ blocks of series of one part
//! ```
//!
//! All series of the request stay in flight meanwhile, so nothing overtakes them. The
//! deadline of the Exports and [`MAX_POSTS`] end the delivery. Each part is decided from its
//! first series on, so that one number tells where the next attempt continues.

use std::{ops::Range, time::Duration};

use mesh_contract::verdict::{Reason, Verdict};
use tokio::time::Instant;
use tracing::warn;

use super::{
    attribution,
    client::{Answered, Client, PostError},
    health::HealthProbe,
    metrics::Metrics,
    part::RequestPart,
    search::{Counts, Search},
    table::{Action, Refusal},
};

/// Delivery of one request.
#[derive(Debug)]
pub struct Delivery<'a> {
    client: &'a Client,
    metrics: &'a Metrics,
    health: &'a HealthProbe,
    deadline: Instant,
    /// Minimum time before the deadline to start a post.
    min_post_time: Duration,
    parts: Vec<&'a RequestPart>,
    decided: Vec<Decided>,
    /// Number of posts so far.
    posts: usize,
    /// True once a part of the request was accepted.
    accepted: bool,
    took: Duration,
    /// Message of the last refusal.
    message: String,
}

/// Result of a delivery.
#[derive(Debug)]
pub struct Delivered {
    /// Decided series of each part.
    pub decided: Vec<Decided>,
    /// Cause that ended the delivery before all series were decided.
    pub stop: Option<Stop>,
    /// Duration of the last post.
    pub took: Duration,
}

/// First series of a part for which the backend's answer is final.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// Number of series.
    pub series: usize,
    /// Samples of them that were not stored.
    pub verdict: Verdict,
}

/// Cause that ends a delivery early.
#[derive(Debug)]
pub enum Stop {
    /// A post got no answer.
    Unanswered(PostError),
    /// An answer that is not about the samples: throttled, failed or hold.
    Answered(Action),
    /// The number of posts or the time is used up.
    Unfinished(String),
}

/// Answer about the samples of one post.
enum Outcome {
    Accepted(Action),
    Refused(Refusal),
}

/// Maximum number of posts for one request.
pub const MAX_POSTS: usize = 20;

// === impl Delivery ===

impl<'a> Delivery<'a> {
    /// Creates the delivery of `parts`, whose series are all different.
    pub fn new(
        (client, metrics, health): (&'a Client, &'a Metrics, &'a HealthProbe),
        parts: Vec<&'a RequestPart>,
        deadline: Instant,
        min_post_time: Duration,
    ) -> Self {
        Self {
            client,
            metrics,
            health,
            deadline,
            min_post_time,
            decided: vec![Decided::default(); parts.len()],
            parts,
            posts: 0,
            accepted: false,
            took: Duration::ZERO,
            message: String::new(),
        }
    }

    /// Posts until all series are decided, or until an answer or a limit ends the delivery.
    /// `before` has the counts of earlier attempts with the same part.
    pub async fn run(mut self, before: Counts) -> Delivered {
        let stop = self.deliver(before).await.err();
        if !self.message.is_empty() {
            self.metrics.record_split();
            let verdicts = self.decided.iter().map(|decided| &decided.verdict);
            let rejected = verdicts.map(Verdict::rejected_total).sum::<u64>();
            let (posts, error) = (self.posts, &self.message);
            warn!(posts, rejected, %error, ?stop, "Request refused as a whole and split");
        }
        Delivered {
            decided: self.decided,
            stop,
            took: self.took,
        }
    }

    async fn deliver(&mut self, before: Counts) -> Result<(), Stop> {
        let all = 0..self.parts.len();
        let size = self.bytes(all.clone());
        let fits = size <= self.client.knowledge().max_bytes(Instant::now());
        if before.refused > 0 {
            // An earlier attempt has shown that the backend refuses this part as a whole.
            return self
                .deliver_series(0, Search::new(self.series(0), before))
                .await;
        }
        let mut search = Search::new(all.len(), Counts::default());
        if fits {
            let parts = self.parts.clone();
            match self.post(&parts).await? {
                Outcome::Accepted(action) => {
                    self.accept(all, &action);
                    return Ok(());
                }
                Outcome::Refused(refusal) => {
                    self.check_for_samples(&refusal).await?;
                    if refusal.reason != Reason::TooLarge {
                        search = Search::among_refused(all.len());
                    }
                }
            }
        }
        // A part that is refused as a whole comes after all others, so that it does not
        // delay them.
        let mut refused = Vec::new();
        if let [_] = self.parts[..] {
            refused.push((
                0,
                fits && size <= self.client.knowledge().max_bytes(Instant::now()),
            ));
        } else {
            while let Some(mut block) = search.block() {
                block.end = self.limit(block.clone(), |delivery, range| delivery.bytes(range));
                if let Some(part) = self.post_parts(&mut search, block).await? {
                    refused.push(part);
                }
            }
        }
        for (part, known) in refused {
            let series = self.series(part);
            let search = match known {
                true => Search::among_refused(series),
                false => Search::new(series, Counts::default()),
            };
            self.deliver_series(part, search).await?;
        }
        Ok(())
    }

    /// Posts a block of parts. Returns the index of a single refused part, and true if one of
    /// its samples is refused.
    async fn post_parts(
        &mut self,
        search: &mut Search,
        block: Range<usize>,
    ) -> Result<Option<(usize, bool)>, Stop> {
        if self.bytes(block.clone()) > self.client.knowledge().max_bytes(Instant::now()) {
            return Ok(search.refuse(block.end).map(|part| (part, false)));
        }
        let parts = self.parts[block.clone()].to_vec();
        match self.post(&parts).await? {
            Outcome::Accepted(action) => {
                self.accept(block.clone(), &action);
                search.accept(block.end);
                Ok(None)
            }
            Outcome::Refused(refusal) => {
                let is_size = refusal.reason == Reason::TooLarge;
                let single = search.refuse(block.end).map(|part| (part, !is_size));
                if is_size {
                    search.forget_suspects();
                }
                Ok(single)
            }
        }
    }

    /// Posts the series of one part, block by block.
    async fn deliver_series(&mut self, part: usize, mut search: Search) -> Result<(), Stop> {
        let whole = self.parts[part];
        while let Some(mut block) = search.block() {
            block.end = self.limit(block.clone(), |_, range| whole.bytes_in(range));
            let slice = whole.slice(block.clone());
            match self.post(&[&slice]).await? {
                Outcome::Accepted(action) => {
                    self.decided[part].accept(&slice, &action);
                    search.accept(block.end);
                }
                Outcome::Refused(refusal) => {
                    if block.len() == 1 {
                        self.check_for_samples(&refusal).await?;
                        self.decided[part].refuse(&slice, &refusal);
                    }
                    search.refuse(block.end);
                    if refusal.reason == Reason::TooLarge {
                        search.forget_suspects();
                    }
                }
            }
        }
        Ok(())
    }

    /// Posts these parts in one request.
    async fn post(&mut self, parts: &[&RequestPart]) -> Result<Outcome, Stop> {
        let started = Instant::now();
        if self.posts > 0
            && (self.posts >= MAX_POSTS || started + self.min_post_time >= self.deadline)
        {
            return Err(Stop::Unfinished(format!(
                "{} posts have not yet shown which samples are refused; last answer: {}",
                self.posts, self.message
            )));
        }
        self.metrics.record_request(parts.iter().copied());
        let response = self.client.post(parts, self.deadline).await;
        self.took = started.elapsed();
        self.metrics.record_response(&response, self.took);
        let Answered { action, posts, .. } = response.map_err(Stop::Unanswered)?;
        self.health.record_response(self.took);
        self.posts += posts;
        match action {
            Action::Stored | Action::Deduplicated | Action::StoredInPart { .. } => {
                self.accepted = true;
                Ok(Outcome::Accepted(action))
            }
            Action::Split(refusal) => {
                self.message.clone_from(&refusal.message);
                if refusal.reason == Reason::TooLarge {
                    let bytes = parts.iter().map(|part| part.bytes.len()).sum();
                    self.client
                        .knowledge()
                        .record_too_large(bytes, Instant::now());
                }
                Ok(Outcome::Refused(refusal))
            }
            other => Err(Stop::Answered(other)),
        }
    }

    /// Ends the delivery if the backend refuses every request, whatever its samples.
    async fn check_for_samples(&mut self, refusal: &Refusal) -> Result<(), Stop> {
        let works = self.accepted || self.client.knowledge().works(Instant::now());
        let may_be_all = match refusal.reason {
            // A proxy may begin to refuse every size.
            Reason::TooLarge => !self.accepted,
            Reason::Refused => !works,
            _ => false,
        };
        if !may_be_all {
            return Ok(());
        }
        self.posts += 1;
        let answer = self.client.refuses_everything(self.deadline).await;
        match answer.map_err(Stop::Unanswered)? {
            Some(refused) => Err(Stop::Answered(refused.action)),
            None => Ok(()),
        }
    }

    /// Records the outcome of parts that the backend accepted.
    fn accept(&mut self, range: Range<usize>, action: &Action) {
        let parts = &self.parts[range.clone()];
        let decided = self.decided[range].iter_mut();
        let units = not_stored(parts, action);
        for ((decided, part), verdict) in decided.zip(parts).zip(units) {
            decided.series = part.series_meta.len();
            decided.verdict = verdict;
        }
    }

    /// End of the longest block from the start of `block` that the backend accepts by its
    /// size, but of at least one item.
    fn limit(&self, block: Range<usize>, bytes: impl Fn(&Self, Range<usize>) -> usize) -> usize {
        let max = self.client.knowledge().max_bytes(Instant::now());
        let mut end = block.end;
        while end - block.start > 1 && bytes(self, block.start..end) > max {
            end = block.start + (end - block.start) / 2;
        }
        end
    }

    fn bytes(&self, range: Range<usize>) -> usize {
        self.parts[range].iter().map(|part| part.bytes.len()).sum()
    }

    fn series(&self, part: usize) -> usize {
        self.parts[part].series_meta.len()
    }
}

// === impl Decided ===

impl Decided {
    fn accept(&mut self, slice: &RequestPart, action: &Action) {
        self.series += slice.series_meta.len();
        for verdict in not_stored(&[slice], action) {
            self.verdict.merge(&verdict);
        }
    }

    fn refuse(&mut self, slice: &RequestPart, refusal: &Refusal) {
        self.series += slice.series_meta.len();
        self.verdict.reject(refusal.reason, slice.units);
        if slice.units > 0 {
            let problem = &mut self.verdict.problem;
            problem.get_or_insert_with(|| refusal.message.clone());
        }
    }
}

/// Samples of each part that the backend accepted without storing them.
fn not_stored(parts: &[&RequestPart], action: &Action) -> Vec<Verdict> {
    let Action::StoredInPart {
        reason,
        count,
        message,
    } = action
    else {
        let is_deduplicated = *action == Action::Deduplicated;
        let verdict = |part: &&RequestPart| Verdict {
            deduplicated: if is_deduplicated { part.units } else { 0 },
            ..Verdict::default()
        };
        return parts.iter().map(verdict).collect();
    };
    warn!(reason = reason.as_str(), error = %message, "Samples rejected by the backend");
    let units = attribution::rejected_units(parts.iter().copied(), *reason, *count, message);
    let verdict = |units| {
        let mut verdict = Verdict::default();
        verdict.reject(*reason, units);
        verdict.problem = (units > 0).then(|| message.clone());
        verdict
    };
    units.into_iter().map(verdict).collect()
}

#[cfg(test)]
mod tests;
