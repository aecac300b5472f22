//! Discovery of peers: a set of addresses that changes.

mod dns;
mod kubernetes;

use tokio::sync::watch;

use mesh_net::endpoints::{Addresses, Endpoints};

use crate::{ApiServer, ClientError};

/// What discovery finds. It ends once nobody holds the ready ones.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// Those that take traffic.
    pub ready: Addresses,
    /// Those that are there and do not: they start, end, or have been killed; and pods of a
    /// StatefulSet that are to come back with their disks. Known of a Kubernetes service
    /// only, and no later than the ready ones. A pod in neither set that was in one is gone
    /// with its disk.
    pub unready: Addresses,
}

/// Discovery could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The Kubernetes API cannot be reached from here.
    #[error("discovering {endpoints}: {source}")]
    Kubernetes {
        /// What was to be discovered.
        endpoints: Endpoints,
        /// Why it cannot be.
        source: Box<ClientError>,
    },
}

/// Starts discovery of `endpoints`.
///
/// # Errors
/// Returns an error if a Kubernetes service is named and no API server can be reached.
pub async fn discover(endpoints: &Endpoints) -> Result<Discovered, StartError> {
    match endpoints {
        Endpoints::List(addresses) => {
            let (_, receiver) = watch::channel(Some(addresses.clone()));
            Ok(receiver.into())
        }
        Endpoints::Dns { host, port } => Ok(dns::discover(host.clone(), *port).into()),
        Endpoints::Kubernetes {
            namespace,
            service,
            port,
        } => {
            let client = ApiServer::Inferred.client().await;
            let client = client.map_err(|source| StartError::Kubernetes {
                endpoints: endpoints.clone(),
                source: Box::new(source),
            })?;
            Ok(kubernetes::discover(client, namespace, service, *port))
        }
    }
}

// === impl Discovered ===

impl From<Addresses> for Discovered {
    /// Of ready ones only.
    fn from(ready: Addresses) -> Self {
        let (_, unready) = watch::channel(None);
        Self { ready, unready }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn a_list_is_known_at_once() {
        let endpoints: Endpoints = "a:1, b:2".parse().unwrap();
        let addresses = discover(&endpoints).await.unwrap().ready;
        let known = addresses.borrow().clone().unwrap();
        assert_eq!(known, BTreeSet::from(["a:1".to_owned(), "b:2".to_owned()]));
    }

    #[tokio::test]
    async fn a_name_is_resolved() {
        let endpoints: Endpoints = "dns:///localhost:4317".parse().unwrap();
        let mut addresses = discover(&endpoints).await.unwrap().ready;
        let known = addresses.wait_for(Option::is_some).await.unwrap().clone();
        let known = known.unwrap();
        assert!(known.contains("127.0.0.1:4317") || known.contains("[::1]:4317"));
    }
}
