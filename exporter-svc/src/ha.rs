//! External labels, write relabeling and the HA pair: what becomes of a label
//! set on its way to one destination.
//!
//! The backend elects one replica per cluster and looks at the first series of a
//! request only, so every series of a request has to carry the same pair. It is
//! stamped last, whatever relabeling did, and a scraped label in its way is
//! renamed as `honor_labels: false` renames one. `__replica__` is never left on
//! a series that is not stamped: the backend would take the request for that
//! replica's.

use std::sync::Arc;

use mesh::{
    batch::Facts,
    config::relabel::RelabelConfig,
    labels::{Labels, LabelsBuilder},
    relabel::relabel,
};

use crate::remote_write::piece::Rendered;

/// The label that names the cluster the backend elects a replica for.
pub const CLUSTER: &str = "cluster";
/// The label that names the replica; the backend does not store it.
pub const REPLICA: &str = "__replica__";
/// What a label in the way of one of ours is prefixed with, until it is free.
const EXPORTED_PREFIX: &str = "exported_";

/// What every series of one sender gets on its way to one destination.
#[derive(Clone, Debug)]
pub struct Stamp {
    facts: Arc<Facts>,
    rules: Arc<[RelabelConfig]>,
    /// External labels and the HA pair, sorted by name.
    added: Vec<(String, String)>,
}

// === impl Stamp ===

impl Stamp {
    /// A stamp for data with these facts, to a destination with these rules.
    pub fn new(facts: Arc<Facts>, rules: Arc<[RelabelConfig]>) -> Self {
        let external = facts.external_labels.iter();
        let pair = facts
            .ha
            .iter()
            .flat_map(|ha| [(CLUSTER, &*ha.cluster), (REPLICA, &*ha.replica)]);
        let added: Labels = external.chain(pair).collect();
        let added = added
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let added = added.collect();
        Self {
            facts,
            rules,
            added,
        }
    }

    /// What is added to a series that has none of these labels, sorted by name;
    /// `None` where rules have to see the series first.
    pub fn added(&self) -> Option<&[(String, String)]> {
        self.rules.is_empty().then_some(&self.added)
    }

    /// Renders a label set as it is sent. It is empty where the rules drop the
    /// series.
    ///
    /// The rules see external labels and the HA pair, as they do in Prometheus.
    pub fn render(&self, labels: &mut LabelsBuilder) -> Rendered {
        make_way(labels, REPLICA);
        if self.facts.ha.is_some() {
            make_way(labels, CLUSTER);
        }
        for (name, value) in self.facts.external_labels.iter() {
            if labels.get(name).is_none() {
                labels.set(name, value);
            }
        }
        self.set_pair(labels);
        if !relabel(&self.rules, labels) {
            return Rendered::default();
        }
        self.set_pair(labels);
        Rendered::new(labels.iter())
    }

    fn set_pair(&self, labels: &mut LabelsBuilder) {
        if let Some(ha) = &self.facts.ha {
            labels.set(CLUSTER, &*ha.cluster).set(REPLICA, &*ha.replica);
        }
    }
}

/// Renames `name`, should the series have it.
fn make_way(labels: &mut LabelsBuilder, name: &str) {
    let Some(value) = labels.get(name).map(str::to_owned) else {
        return;
    };
    let mut free = format!("{EXPORTED_PREFIX}{name}");
    while labels.get(&free).is_some() {
        free.insert_str(0, EXPORTED_PREFIX);
    }
    labels.del(name).set(free, value);
}

/// External labels that make an HA pair impossible.
#[derive(Debug, thiserror::Error)]
pub enum HaError {
    /// The replica is a name that only this exporter has.
    #[error(
        "external label {REPLICA}={0:?} is this pod's own name; samples of one replica come \
         through many exporters, and the backend would drop all but one's. Give the receivers \
         the name of their replica group, for instance {REPLICA}: ${{REPLICA}} with REPLICA=a"
    )]
    OwnName(String),
    /// A replica of nothing.
    #[error(
        "external labels have {REPLICA} but not {CLUSTER}; the backend elects a replica only \
         where it sees both"
    )]
    NoCluster,
}

/// Checks the external labels of a file that receivers read too.
///
/// # Errors
/// Where the backend would drop samples that are nobody's copies.
pub fn check(external_labels: &Labels) -> Result<(), HaError> {
    let replica = external_labels.get(REPLICA);
    if replica.is_some() && !external_labels.contains(CLUSTER) {
        return Err(HaError::NoCluster);
    }
    let own = ["POD_NAME", "HOSTNAME"].map(std::env::var);
    match replica.filter(|replica| own.iter().flatten().any(|name| name == replica)) {
        Some(replica) => Err(HaError::OwnName(replica.to_owned())),
        None => Ok(()),
    }
}

/// External labels without the HA pair.
pub fn without_pair(external_labels: &Labels) -> Labels {
    let pair = [CLUSTER, REPLICA];
    external_labels
        .iter()
        .filter(|(name, _)| !pair.contains(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use mesh::{batch::Ha, config::relabel::Action};
    use prost::Message;
    use proto::v1;

    use super::*;

    fn stamp(ha: bool, external: &[(&str, &str)], rules: Vec<RelabelConfig>) -> Stamp {
        let ha = ha.then(|| Ha {
            cluster: "c".to_owned(),
            replica: "a".to_owned(),
        });
        let external_labels = external.iter().copied().collect();
        let facts = Facts {
            ha,
            external_labels,
            ..Default::default()
        };
        Stamp::new(Arc::new(facts), rules.into())
    }

    /// What is sent, as text.
    fn rendered(stamp: &Stamp, labels: &[(&str, &str)]) -> String {
        let labels: Labels = labels.iter().copied().collect();
        let rendered = stamp.render(&mut labels.to_builder());
        let series = v1::TimeSeries::decode(&*rendered.labels).unwrap();
        let sorted = series.labels.is_sorted_by_key(|label| label.name.clone());
        assert!(sorted, "{series:?}");
        let labels: Labels = series
            .labels
            .into_iter()
            .map(|l| (l.name, l.value))
            .collect();
        labels.to_string()
    }

    #[test]
    fn the_pair_is_stamped_and_what_is_in_its_way_renamed() {
        let stamp = stamp(true, &[], vec![]);
        assert_eq!(
            rendered(
                &stamp,
                &[("a", "1"), ("cluster", "x"), ("exported_cluster", "y")]
            ),
            r#"{__replica__="a", a="1", cluster="c", exported_cluster="y", exported_exported_cluster="x"}"#
        );
    }

    #[test]
    fn a_replica_of_its_own_is_never_left_to_the_backend() {
        let labels = [("__replica__", "b"), ("cluster", "x")];
        assert_eq!(
            rendered(&stamp(false, &[], vec![]), &labels),
            r#"{cluster="x", exported___replica__="b"}"#
        );
    }

    #[test]
    fn external_labels_give_way_to_the_series_own() {
        let stamp = stamp(false, &[("region", "r"), ("zone", "z")], vec![]);
        assert_eq!(
            rendered(&stamp, &[("zone", "1")]),
            r#"{region="r", zone="1"}"#
        );
    }

    #[test]
    fn rules_see_external_labels_but_not_the_last_word() {
        let drop_pair = RelabelConfig {
            regex: "cluster|__replica__|region".parse().unwrap(),
            action: Action::LabelDrop,
            ..Default::default()
        };
        let keep = RelabelConfig {
            source_labels: vec!["cluster".to_owned()],
            regex: "c".parse().unwrap(),
            action: Action::Keep,
            ..Default::default()
        };
        let stamp = stamp(true, &[("region", "r")], vec![keep.clone(), drop_pair]);
        assert_eq!(
            rendered(&stamp, &[("a", "1")]),
            r#"{__replica__="a", a="1", cluster="c"}"#
        );
        let other = super::tests::stamp(false, &[], vec![keep]);
        assert_eq!(rendered(&other, &[("a", "1")]), "{}");
    }

    #[test]
    fn a_replica_of_nothing_is_refused() {
        let external = [(REPLICA, "a")].into_iter().collect();
        let error = check(&external).unwrap_err().to_string();
        assert!(
            error.starts_with("external labels have __replica__ but not cluster"),
            "{error}"
        );
        let external = [(REPLICA, "a"), (CLUSTER, "c")].into_iter().collect();
        assert!(check(&external).is_ok());
        let plain = without_pair(&external);
        assert!(plain.is_empty());
    }
}
