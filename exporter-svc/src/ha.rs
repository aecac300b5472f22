//! External labels, write relabeling and the HA pair of one destination.
//!
//! The backend elects one replica per cluster and reads the HA pair from the first
//! series of a request. So every series of a request must carry the same pair. The
//! exporter sets the pair last, after relabeling. It renames a conflicting scraped
//! label, as `honor_labels: false` does. It removes `__replica__` from series without
//! an HA pair: otherwise the backend would attribute the request to that replica.

use std::sync::Arc;

use mesh_contract::{
    batch::{BatchContext, Origin},
    ha::{self, CLUSTER, HaError, REPLICA},
};
use mesh_model::{
    config::{Config, relabel::RelabelConfig},
    labels::{Labels, LabelsBuilder},
    relabel::relabel,
};

use crate::remote_write::part::EncodedLabels;

/// Prefix of a conflicting label, repeated until the name is unused.
const EXPORTED_PREFIX: &str = "exported_";

/// Rewrites the label sets of one sender for one destination.
#[derive(Clone, Debug)]
pub struct LabelRewriter {
    context: Arc<BatchContext>,
    rules: Arc<[RelabelConfig]>,
    /// External labels and the HA pair, sorted by name.
    static_labels: Vec<(String, String)>,
}

// === impl LabelRewriter ===

impl LabelRewriter {
    /// Creates a rewriter for a batch context and a destination's relabeling rules.
    pub fn new(context: Arc<BatchContext>, rules: Arc<[RelabelConfig]>) -> Self {
        let external = context.external_labels.iter();
        let pair = context
            .ha
            .iter()
            .flat_map(|ha| [(CLUSTER, &*ha.cluster), (REPLICA, &*ha.replica)]);
        let static_labels: Labels = external.chain(pair).collect();
        let static_labels = static_labels
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let static_labels = static_labels.collect();
        Self {
            context,
            rules,
            static_labels,
        }
    }

    /// Labels that every series gets, sorted by name. Returns `None` if there are
    /// rules, which must see each series first.
    pub fn static_labels(&self) -> Option<&[(String, String)]> {
        self.rules.is_empty().then_some(&self.static_labels)
    }

    /// Rewrites and encodes a label set. The result is empty if the rules drop the
    /// series.
    ///
    /// The rules see external labels and the HA pair, as they do in Prometheus.
    pub fn rewrite(&self, labels: &mut LabelsBuilder) -> EncodedLabels {
        rename_conflicting(labels, REPLICA);
        if self.sets_cluster(labels) {
            rename_conflicting(labels, CLUSTER);
        }
        for (name, value) in self.context.external_labels.iter() {
            if labels.get(name).is_none() {
                labels.set(name, value);
            }
        }
        self.set_ha_labels(labels);
        if !relabel(&self.rules, labels) {
            return EncodedLabels::default();
        }
        // Rules must not choose the replica.
        labels.del(REPLICA);
        self.set_ha_labels(labels);
        EncodedLabels::new(labels.iter())
    }

    /// Returns true if the series gets a `cluster` label in place of its own. A pushed series
    /// with the same cluster keeps it.
    fn sets_cluster(&self, labels: &LabelsBuilder) -> bool {
        let external = self.context.external_labels.get(CLUSTER);
        let is_pushed = self.context.origin == Origin::Otlp;
        let differs = external.is_some() && labels.get(CLUSTER) != external;
        self.context.ha.is_some() || is_pushed && differs
    }

    fn set_ha_labels(&self, labels: &mut LabelsBuilder) {
        if let Some(ha) = &self.context.ha {
            labels.set(CLUSTER, &*ha.cluster).set(REPLICA, &*ha.replica);
        }
    }
}

/// Renames the label `name` if the series has it.
fn rename_conflicting(labels: &mut LabelsBuilder, name: &str) {
    let Some(value) = labels.get(name).map(str::to_owned) else {
        return;
    };
    let mut free = format!("{EXPORTED_PREFIX}{name}");
    while labels.get(&free).is_some() {
        free.insert_str(0, EXPORTED_PREFIX);
    }
    labels.del(name).set(free, value);
}

/// Checks the external labels of a file that receivers read too. Variables in them come
/// from the receivers' environment and may be unset here.
///
/// # Errors
/// Returns an error if the backend would drop samples that have no other replica.
pub fn check(config: &Config) -> Result<(), HaError> {
    ha::reject_own_name(config, &ha::own_names())?;
    match ha::split(config) {
        Ok(_) | Err(HaError::Empty(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// External labels for pushed data: all labels of the file except `__replica__`, because
/// pushed data has no second replica. `cluster` is among them if `with_cluster` is set.
pub fn external_labels_for_pushes(config: &Config, with_cluster: bool) -> Labels {
    let labels = config.external_labels.iter();
    let is_set = |name: &str| name != REPLICA && (with_cluster || name != CLUSTER);
    labels.filter(|(name, _)| is_set(name)).collect()
}

/// Returns true if the configuration names a `cluster` that expands to nothing here, so that
/// pushed data gets none.
pub fn lacks_cluster(config: &Config) -> bool {
    config
        .empty_external_labels
        .iter()
        .any(|name| name == CLUSTER)
}

#[cfg(test)]
mod tests {
    use mesh_contract::batch::Ha;
    use mesh_model::config::relabel::Action;
    use prost::Message;
    use proto::v1;

    use super::*;

    fn rewriter(ha: bool, external: &[(&str, &str)], rules: Vec<RelabelConfig>) -> LabelRewriter {
        let ha = ha.then(|| Ha {
            cluster: "c".to_owned(),
            replica: "a".to_owned(),
        });
        let external_labels = external.iter().copied().collect();
        let context = BatchContext {
            ha,
            external_labels,
            ..Default::default()
        };
        LabelRewriter::new(Arc::new(context), rules.into())
    }

    /// Rewrites `labels` and returns the result as text.
    fn rewritten(rewriter: &LabelRewriter, labels: &[(&str, &str)]) -> String {
        let labels: Labels = labels.iter().copied().collect();
        let rewritten = rewriter.rewrite(&mut labels.to_builder());
        let series = v1::TimeSeries::decode(&*rewritten.labels).unwrap();
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
    fn sets_the_ha_pair_and_renames_conflicting_labels() {
        let rewriter = rewriter(true, &[], vec![]);
        assert_eq!(
            rewritten(
                &rewriter,
                &[("a", "1"), ("cluster", "x"), ("exported_cluster", "y")]
            ),
            r#"{__replica__="a", a="1", cluster="c", exported_cluster="y", exported_exported_cluster="x"}"#
        );
    }

    #[test]
    fn renames_a_scraped_replica_label_without_an_ha_pair() {
        let labels = [("__replica__", "b"), ("cluster", "x")];
        assert_eq!(
            rewritten(&rewriter(false, &[], vec![]), &labels),
            r#"{cluster="x", exported___replica__="b"}"#
        );
    }

    #[test]
    fn external_labels_do_not_override_labels_of_the_series() {
        let rewriter = rewriter(false, &[("region", "r"), ("zone", "z")], vec![]);
        assert_eq!(
            rewritten(&rewriter, &[("zone", "1")]),
            r#"{region="r", zone="1"}"#
        );
    }

    #[test]
    fn rules_see_the_ha_pair_but_cannot_change_it() {
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
        let rewriter = rewriter(true, &[("region", "r")], vec![keep.clone(), drop_pair]);
        assert_eq!(
            rewritten(&rewriter, &[("a", "1")]),
            r#"{__replica__="a", a="1", cluster="c"}"#
        );
        let other = super::tests::rewriter(false, &[], vec![keep]);
        assert_eq!(rewritten(&other, &[("a", "1")]), "{}");
    }

    fn config(external_labels: &str) -> Config {
        let text = format!("global: {{external_labels: {{{external_labels}}}}}");
        Config::parse(&text, std::path::Path::new("p.yml"), &|_| None).unwrap()
    }

    #[test]
    fn rejects_an_invalid_ha_pair() {
        let check = |labels| check(&config(labels));
        assert_eq!(check("__replica__: a"), Err(HaError::NoCluster));
        assert_eq!(check("__replica__: a, cluster: c"), Ok(()));
        // The receivers expand these variables.
        assert_eq!(check("__replica__: $REPLICA, cluster: $CLUSTER"), Ok(()));
        let own = ha::own_names().remove(0);
        let labels = format!("__replica__: {own}, cluster: c");
        assert_eq!(super::check(&config(&labels)), Err(HaError::OwnName(own)));
    }

    #[test]
    fn pushes_get_external_labels_without_the_replica() {
        let labels = |labels, with_cluster| {
            external_labels_for_pushes(&config(labels), with_cluster).to_string()
        };
        let all = "cluster: c, __replica__: a, r: x";
        assert_eq!(labels(all, true), r#"{cluster="c", r="x"}"#);
        assert_eq!(labels(all, false), r#"{r="x"}"#);
        let unset = "cluster: c, __replica__: $A, r: x";
        assert_eq!(labels(unset, true), r#"{cluster="c", r="x"}"#);
        assert_eq!(labels("cluster: c", true), r#"{cluster="c"}"#);
        assert!(lacks_cluster(&config("cluster: $CLUSTER, __replica__: a")));
        assert!(!lacks_cluster(&config("cluster: c")) && !lacks_cluster(&config("")));
    }

    #[test]
    fn a_pushed_cluster_is_renamed_only_if_it_differs() {
        let rewriter = |origin| {
            let context = BatchContext {
                origin,
                external_labels: [(CLUSTER, "c"), ("r", "x")].into_iter().collect(),
                ..Default::default()
            };
            LabelRewriter::new(Arc::new(context), [].into())
        };
        let pushed = rewriter(Origin::Otlp);
        let of = |labels: &[(&str, &str)]| rewritten(&pushed, labels);
        assert_eq!(of(&[("a", "1")]), r#"{a="1", cluster="c", r="x"}"#);
        assert_eq!(of(&[("cluster", "c")]), r#"{cluster="c", r="x"}"#);
        assert_eq!(
            of(&[("cluster", "d"), ("r", "y")]),
            r#"{cluster="c", exported_cluster="d", r="y"}"#
        );
        assert_eq!(
            of(&[("__replica__", "b")]),
            r#"{cluster="c", exported___replica__="b", r="x"}"#
        );
        // As in Prometheus, a scraped label precedes an external one.
        let scraped = rewriter(Origin::Scrape);
        assert_eq!(
            rewritten(&scraped, &[("cluster", "d")]),
            r#"{cluster="d", r="x"}"#
        );
    }

    #[test]
    fn renames_a_conflicting_label_until_the_name_is_unused() {
        let rewriter = rewriter(true, &[("exported_cluster", "e")], vec![]);
        assert_eq!(
            rewritten(&rewriter, &[("__replica__", "z"), ("cluster", "x")]),
            r#"{__replica__="a", cluster="c", exported___replica__="z", exported_cluster="x"}"#
        );
        let again = [
            ("cluster", "x"),
            ("exported_cluster", "y"),
            ("exported_exported_cluster", "z"),
        ];
        assert_eq!(
            rewritten(&rewriter, &again),
            r#"{__replica__="a", cluster="c", exported_cluster="y", exported_exported_cluster="z", exported_exported_exported_cluster="x"}"#
        );
    }

    #[test]
    fn rules_cannot_set_the_replica_label() {
        let elect = RelabelConfig {
            source_labels: vec!["a".to_owned()],
            target_label: REPLICA.to_owned(),
            replacement: "z".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            rewritten(&rewriter(false, &[], vec![elect.clone()]), &[("a", "1")]),
            r#"{a="1"}"#
        );
        assert_eq!(
            rewritten(&rewriter(true, &[], vec![elect]), &[("a", "1")]),
            r#"{__replica__="a", a="1", cluster="c"}"#
        );
    }
}
