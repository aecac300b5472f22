//! What the configuration says of all samples: the facts that travel with batches.

use mesh::{
    batch::{Facts, Ha, Origin},
    config::Config,
};

const CLUSTER: &str = "cluster";
const REPLICA: &str = "__replica__";

/// External labels that make no HA pair.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// Nothing tells this group's replica.
    #[error(
        "global.external_labels: __replica__ is {0}; for an HA pair set both cluster and __replica__, the latter to the name of the replica group, such as a or b"
    )]
    Half(&'static str),
}

/// The facts of everything that is scraped with this configuration.
///
/// # Errors
/// Where `__replica__` is there and cannot work.
pub fn facts(config: &Config) -> Result<Facts, FactsError> {
    let labels = &config.external_labels;
    let ha = match (labels.get(CLUSTER), labels.get(REPLICA)) {
        (Some(cluster), Some(replica)) => Some(Ha {
            cluster: cluster.to_owned(),
            replica: replica.to_owned(),
        }),
        (None, Some(_)) => return Err(FactsError::Half("set without cluster")),
        // A cluster alone is an ordinary label.
        (_, None) => None,
    };
    let mut external_labels = labels.to_builder();
    if ha.is_some() {
        external_labels.del(CLUSTER).del(REPLICA);
    }
    Ok(Facts {
        origin: Origin::Scrape,
        ha,
        external_labels: external_labels.build(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of(labels: &str) -> Result<Facts, FactsError> {
        let text = format!("global: {{external_labels: {{{labels}}}}}");
        facts(&Config::parse(&text, Path::new("p.yml"), &|_| None).unwrap())
    }

    #[test]
    fn the_pair_travels_apart_from_the_other_labels() {
        let facts = of("cluster: c, __replica__: a, region: r").unwrap();
        let ha = facts.ha.unwrap();
        assert_eq!((ha.cluster.as_str(), ha.replica.as_str()), ("c", "a"));
        assert_eq!(facts.external_labels.to_string(), r#"{region="r"}"#);
    }

    #[test]
    fn a_cluster_alone_is_an_ordinary_label() {
        let facts = of("cluster: c").unwrap();
        assert_eq!(facts.ha, None);
        assert_eq!(facts.external_labels.get("cluster"), Some("c"));
    }

    #[test]
    fn a_replica_without_a_cluster_is_refused() {
        assert_eq!(
            of("__replica__: a").unwrap_err(),
            FactsError::Half("set without cluster")
        );
    }
}
