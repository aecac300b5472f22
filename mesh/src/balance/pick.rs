//! The power of two choices.

use std::sync::Arc;

use rand::seq::IndexedRandom;

use super::{connection::Connection, endpoint::Endpoint};

/// Of two endpoints at random the one with less load. Ejected ones are taken only
/// where there is no other: somebody has to find out whether they have recovered.
pub(super) fn pick(endpoints: &[Arc<Endpoint>]) -> Option<(Arc<Endpoint>, Connection)> {
    let up: Vec<_> = endpoints
        .iter()
        .filter_map(|endpoint| Some((endpoint, endpoint.connection()?)))
        .collect();
    let well: Vec<_> = up
        .iter()
        .filter(|(endpoint, _)| !endpoint.is_ejected())
        .collect();
    let candidates = if well.is_empty() {
        up.iter().collect()
    } else {
        well
    };
    let (endpoint, connection) = candidates
        .choose_multiple(&mut rand::rng(), 2)
        .min_by(|(a, _), (b, _)| a.load().total_cmp(&b.load()))?;
    Some(((*endpoint).clone(), connection.clone()))
}
