//! Discovery of peers: watches a changing set of addresses.

mod dns;
mod kubernetes;

use tokio::sync::watch;

use mesh_net::endpoints::{Addresses, Endpoints};

use crate::api_server::{ApiServer, ClientError};

/// Addresses of peers. Discovery ends when all receivers of `ready` are dropped.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// Peers that accept traffic.
    pub ready: Addresses,
    /// Peers that exist and do not accept traffic: they are starting or stopping, or were
    /// killed. Includes pods of a StatefulSet that will come back with their disks.
    ///
    /// Only a Kubernetes service provides them, and updates them before the ready ones. A
    /// pod that leaves both sets is gone with its disk.
    pub unready: Addresses,
}

/// Discovery could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No client of the Kubernetes API can be created.
    #[error("cannot discover {endpoints}: {source}")]
    Kubernetes {
        /// The endpoints to discover.
        endpoints: Endpoints,
        /// Cause of the failure.
        source: Box<ClientError>,
    },
}

/// Starts discovery of `endpoints`.
///
/// # Errors
/// Returns an error if `endpoints` is a Kubernetes service and no client can be created.
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
    /// Wraps discovery that has no unready addresses.
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
    async fn a_list_is_available_at_once() {
        let endpoints: Endpoints = "a:1, b:2".parse().unwrap();
        let addresses = discover(&endpoints).await.unwrap().ready;
        let known = addresses.borrow().clone().unwrap();
        assert_eq!(known, BTreeSet::from(["a:1".to_owned(), "b:2".to_owned()]));
    }

    #[tokio::test]
    async fn resolves_a_dns_name() {
        let endpoints: Endpoints = "dns:///localhost:4317".parse().unwrap();
        let mut addresses = discover(&endpoints).await.unwrap().ready;
        let known = addresses.wait_for(Option::is_some).await.unwrap().clone();
        let known = known.unwrap();
        assert!(known.contains("127.0.0.1:4317") || known.contains("[::1]:4317"));
    }
}
