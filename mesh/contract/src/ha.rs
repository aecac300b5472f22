//! HA pair in the external labels of a configuration.
//!
//! Several replicas write the same series. The backend elects one replica per cluster and
//! drops the samples of the others. It identifies them by the labels `cluster` and
//! `__replica__`. All services check the labels here, because a mistake loses samples
//! silently.

use crate::batch::Ha;
use mesh_model::{config::Config, labels::Labels};

/// Label that names the cluster for which the backend elects a replica.
pub const CLUSTER: &str = "cluster";
/// Label that names the replica. The backend does not store it.
pub const REPLICA: &str = "__replica__";

/// External labels that make an HA pair impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HaError {
    /// A replica label without a cluster label.
    #[error(
        "global.external_labels: {REPLICA} without {CLUSTER}; the backend elects a replica only \
         where it sees both, so for an HA pair set both"
    )]
    NoCluster,
    /// A label of the pair that expands to an empty value.
    #[error(
        "global.external_labels: {0} expands to nothing; without it this group is not part of the \
         HA pair and its samples collide with those of the other group. Set the variable in the \
         environment, for instance {REPLICA}: ${{REPLICA}} with REPLICA=a"
    )]
    Empty(String),
    /// A replica label that names this process instead of the replica group.
    #[error(
        "global.external_labels: {REPLICA}={0:?} is this host's or pod's own name; all receivers \
         of a group are one replica and come through many exporters, and the backend would drop \
         the samples of all but one. Name the replica group instead, for instance \
         {REPLICA}: ${{REPLICA}} with REPLICA=a"
    )]
    OwnName(String),
}

/// Splits the external labels into the HA pair and the others. A `cluster` label alone is
/// an ordinary label.
///
/// # Errors
/// Returns an error if the replica label has no cluster label, or one of them is empty.
pub fn split(config: &Config) -> Result<(Option<Ha>, Labels), HaError> {
    let labels = &config.external_labels;
    let empty = config.empty_external_labels.iter();
    if let Some(empty) = empty.into_iter().find(|name| *name == REPLICA) {
        return Err(HaError::Empty(empty.clone()));
    }
    let Some(replica) = labels.get(REPLICA) else {
        return Ok((None, labels.clone()));
    };
    let Some(cluster) = labels.get(CLUSTER) else {
        let empty = config.empty_external_labels.iter().any(|n| n == CLUSTER);
        return Err(if empty {
            HaError::Empty(CLUSTER.to_owned())
        } else {
            HaError::NoCluster
        });
    };
    let pair = Ha {
        cluster: cluster.to_owned(),
        replica: replica.to_owned(),
    };
    let mut others = labels.to_builder();
    others.del(CLUSTER).del(REPLICA);
    Ok((Some(pair), others.build()))
}

/// Checks that the replica label is not one of `own`, the names of this process.
///
/// # Errors
/// Returns an error if the replica label is one of `own`.
pub fn reject_own_name(config: &Config, own: &[String]) -> Result<(), HaError> {
    match config.external_labels.get(REPLICA) {
        Some(replica) if own.iter().any(|name| name == replica) => {
            Err(HaError::OwnName(replica.to_owned()))
        }
        _ => Ok(()),
    }
}

/// Returns the names of this process's pod and host.
pub fn own_names() -> Vec<String> {
    let variables = ["POD_NAME", "HOSTNAME", "POD_IP"].map(|name| std::env::var(name).ok());
    // The environment may have no host name, or an outdated one.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let names = variables.into_iter().chain([host]).flatten();
    let names = names.map(|name| name.trim().to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(labels: &str) -> Config {
        let text = format!("global: {{external_labels: {{{labels}}}}}");
        let variable = |name: &str| (name == "POD").then(|| "receiver-0".to_owned());
        Config::parse(&text, Path::new("p.yml"), &variable).unwrap()
    }

    #[test]
    fn splits_the_pair_from_the_other_labels() {
        let (pair, others) = split(&config("cluster: c, __replica__: a, region: r")).unwrap();
        let pair = pair.unwrap();
        assert_eq!((pair.cluster.as_str(), pair.replica.as_str()), ("c", "a"));
        assert_eq!(others.to_string(), r#"{region="r"}"#);
    }

    #[test]
    fn a_cluster_alone_is_an_ordinary_label() {
        let (pair, others) = split(&config("cluster: c")).unwrap();
        assert_eq!((pair, others.get("cluster")), (None, Some("c")));
    }

    #[test]
    fn rejects_half_a_pair() {
        let error = |labels| split(&config(labels)).unwrap_err();
        assert_eq!(error("__replica__: a"), HaError::NoCluster);
        for labels in ["cluster: c, __replica__: $REPLICA", "__replica__: ''"] {
            assert_eq!(error(labels), HaError::Empty(REPLICA.to_owned()));
        }
        let labels = "cluster: '${CLUSTER}', __replica__: a";
        assert_eq!(error(labels), HaError::Empty(CLUSTER.to_owned()));
        assert!(
            error(labels)
                .to_string()
                .contains("cluster expands to nothing")
        );
    }

    #[test]
    fn rejects_a_replica_with_the_name_of_the_host() {
        let own = ["receiver-0".to_owned()];
        let check = |labels| reject_own_name(&config(labels), &own);
        let expanded = "cluster: c, __replica__: '${POD}'";
        assert_eq!(
            check(expanded),
            Err(HaError::OwnName("receiver-0".to_owned()))
        );
        assert_eq!(check("cluster: c, __replica__: a"), Ok(()));
        assert_eq!(check(""), Ok(()));
        assert!(!own_names().is_empty());
    }
}
