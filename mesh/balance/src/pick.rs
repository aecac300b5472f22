//! The power of two choices.

use std::sync::Arc;

use super::{connection::Connection, endpoint::Endpoint};
use mesh_base::random;

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
    let candidates: Vec<_> = if well.is_empty() {
        up.iter().collect()
    } else {
        well
    };
    let (one, other) = random::two_indices(candidates.len())?;
    let (endpoint, connection) = [candidates[one], candidates[other]]
        .into_iter()
        .min_by(|(a, _), (b, _)| a.load().total_cmp(&b.load()))?;
    Some(((*endpoint).clone(), connection.clone()))
}
