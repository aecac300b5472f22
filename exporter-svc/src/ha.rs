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
    config::{Config, relabel::RelabelConfig},
    ha::{self, CLUSTER, HaError, REPLICA},
    labels::{Labels, LabelsBuilder},
    relabel::relabel,
};

use crate::remote_write::piece::Rendered;

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
        // No rule elects a replica.
        labels.del(REPLICA);
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

/// Checks the external labels of a file that receivers read too. The variables
/// that they expand belong to the receivers' environment and may be unset here.
///
/// # Errors
/// Where the backend would drop samples that are nobody's copies.
pub fn check(config: &Config) -> Result<(), HaError> {
    ha::refuse_own_name(config, &ha::own_names())?;
    match ha::split(config) {
        Ok(_) | Err(HaError::Empty(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What pushed data gets of a file's external labels: all but the HA pair, as
/// nobody pushes it twice.
pub fn for_pushes(config: &Config) -> Labels {
    let has_pair = config.external_labels.contains(REPLICA)
        || config.empty_external_labels.iter().any(|n| n == REPLICA);
    let pair = [CLUSTER, REPLICA];
    let labels = config.external_labels.iter();
    labels
        .filter(|(name, _)| !(has_pair && pair.contains(name)))
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

    fn config(external_labels: &str) -> Config {
        let text = format!("global: {{external_labels: {{{external_labels}}}}}");
        Config::parse(&text, std::path::Path::new("p.yml"), &|_| None).unwrap()
    }

    #[test]
    fn a_pair_that_cannot_work_is_refused() {
        let check = |labels| check(&config(labels));
        assert_eq!(check("__replica__: a"), Err(HaError::NoCluster));
        assert_eq!(check("__replica__: a, cluster: c"), Ok(()));
        // The receivers know what these are.
        assert_eq!(check("__replica__: $REPLICA, cluster: $CLUSTER"), Ok(()));
        let own = ha::own_names().remove(0);
        let labels = format!("__replica__: {own}, cluster: c");
        assert_eq!(super::check(&config(&labels)), Err(HaError::OwnName(own)));
    }

    #[test]
    fn pushes_get_all_external_labels_but_the_pair() {
        let labels = |labels| for_pushes(&config(labels)).to_string();
        assert_eq!(labels("cluster: c, __replica__: a, r: x"), r#"{r="x"}"#);
        assert_eq!(labels("cluster: c, __replica__: $A, r: x"), r#"{r="x"}"#);
        assert_eq!(labels("cluster: c"), r#"{cluster="c"}"#);
    }

    #[test]
    fn what_is_in_the_pair_s_way_is_renamed_again_and_again() {
        let stamp = stamp(true, &[("exported_cluster", "e")], vec![]);
        assert_eq!(
            rendered(&stamp, &[("__replica__", "z"), ("cluster", "x")]),
            r#"{__replica__="a", cluster="c", exported___replica__="z", exported_cluster="x"}"#
        );
        let again = [
            ("cluster", "x"),
            ("exported_cluster", "y"),
            ("exported_exported_cluster", "z"),
        ];
        assert_eq!(
            rendered(&stamp, &again),
            r#"{__replica__="a", cluster="c", exported_cluster="y", exported_exported_cluster="z", exported_exported_exported_cluster="x"}"#
        );
    }

    #[test]
    fn no_rule_elects_a_replica() {
        let elect = RelabelConfig {
            source_labels: vec!["a".to_owned()],
            target_label: REPLICA.to_owned(),
            replacement: "z".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            rendered(&stamp(false, &[], vec![elect.clone()]), &[("a", "1")]),
            r#"{a="1"}"#
        );
        assert_eq!(
            rendered(&stamp(true, &[], vec![elect]), &[("a", "1")]),
            r#"{__replica__="a", a="1", cluster="c"}"#
        );
    }
}
