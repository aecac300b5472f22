//! Where the exporters (or the other receivers) are: a set of addresses that
//! changes.
//!
//! One notation for all flags that name peers:
//!
//! | notation | discovered by |
//! |---|---|
//! | `10.0.0.1:4317,10.0.0.2:4317` | a list |
//! | `dns:///exporter.promesh.svc:4317` | resolving a name every 5 s |
//! | `k8s:///promesh/exporter:4317` | the EndpointSlices of a service, watched |

mod dns;
mod kubernetes;

use std::{collections::BTreeSet, fmt, str::FromStr};

use tokio::sync::watch;

use crate::kubernetes::{ApiServer, ClientError};

/// Where peers are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// Fixed addresses.
    List(BTreeSet<String>),
    /// All addresses of a name.
    Dns {
        /// The name.
        host: String,
        /// Their port.
        port: u16,
    },
    /// The ready endpoints of a Kubernetes service.
    Kubernetes {
        /// Namespace of the service.
        namespace: String,
        /// The service.
        service: String,
        /// Their port.
        port: u16,
    },
}

/// The addresses of the peers, as `host:port`; `None` until they are first known.
pub type Addresses = watch::Receiver<Option<BTreeSet<String>>>;

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

/// The notation was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?}: {problem}; expected HOST:PORT[,HOST:PORT…], dns:///HOST:PORT or k8s:///NAMESPACE/SERVICE:PORT"
)]
pub struct ParseEndpointsError {
    found: String,
    problem: &'static str,
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

// === impl Endpoints ===

impl Endpoints {
    /// Whether those that are discovered were found ready a moment ago. A list names those
    /// that are gone as well.
    pub fn are_ready(&self) -> bool {
        !matches!(self, Self::List(_))
    }

    /// Starts discovery.
    ///
    /// # Errors
    /// Where a Kubernetes service is named and there is no cluster to ask.
    pub async fn discover(&self) -> Result<Discovered, StartError> {
        match self {
            Self::List(addresses) => {
                let (_, receiver) = watch::channel(Some(addresses.clone()));
                Ok(receiver.into())
            }
            Self::Dns { host, port } => Ok(dns::discover(host.clone(), *port).into()),
            Self::Kubernetes {
                namespace,
                service,
                port,
            } => {
                let client = ApiServer::Inferred.client().await;
                let client = client.map_err(|source| StartError::Kubernetes {
                    endpoints: self.clone(),
                    source: Box::new(source),
                })?;
                Ok(kubernetes::discover(client, namespace, service, *port))
            }
        }
    }
}

impl FromStr for Endpoints {
    type Err = ParseEndpointsError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointsError> {
        let error = |problem| ParseEndpointsError {
            found: text.to_owned(),
            problem,
        };
        if let Some(name) = text.strip_prefix("dns:///") {
            let (host, port) = host_and_port(name).map_err(error)?;
            let host = host.to_owned();
            return Ok(Self::Dns { host, port });
        }
        if let Some(service) = text.strip_prefix("k8s:///") {
            let (name, port) = host_and_port(service).map_err(error)?;
            let (namespace, service) = name
                .split_once('/')
                .filter(|(namespace, service)| !namespace.is_empty() && !service.is_empty())
                .ok_or_else(|| error("no NAMESPACE/SERVICE"))?;
            let (namespace, service) = (namespace.to_owned(), service.to_owned());
            return Ok(Self::Kubernetes {
                namespace,
                service,
                port,
            });
        }
        if text.contains("://") {
            return Err(error("an unknown scheme"));
        }
        let mut addresses = BTreeSet::new();
        for address in text.split(',').map(str::trim).filter(|a| !a.is_empty()) {
            host_and_port(address).map_err(error)?;
            addresses.insert(address.to_owned());
        }
        if addresses.is_empty() {
            return Err(error("no address"));
        }
        Ok(Self::List(addresses))
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
                f.write_str(&addresses.join(","))
            }
            Self::Dns { host, port } => write!(f, "dns:///{host}:{port}"),
            Self::Kubernetes {
                namespace,
                service,
                port,
            } => {
                write!(f, "k8s:///{namespace}/{service}:{port}")
            }
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

fn host_and_port(address: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = address
        .rsplit_once(':')
        .ok_or("an address without a port")?;
    if host.is_empty() {
        return Err("an address without a host");
    }
    let port = port
        .parse()
        .map_err(|_| "a port that is no number up to 65535")?;
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_is_read_and_written_alike() {
        for text in [
            "10.0.0.1:4317,[::1]:4318",
            "dns:///exporter.promesh.svc:4317",
            "k8s:///promesh/exporter:4317",
        ] {
            assert_eq!(text.parse::<Endpoints>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, problem) in [
            ("", "no address"),
            ("exporter", "an address without a port"),
            (":4317", "an address without a host"),
            ("exporter:http", "a port that is no number up to 65535"),
            ("k8s:///exporter:4317", "no NAMESPACE/SERVICE"),
            ("http://exporter:4317", "an unknown scheme"),
        ] {
            let error = text.parse::<Endpoints>().unwrap_err();
            assert_eq!(error.problem, problem, "{text}");
        }
    }

    #[tokio::test]
    async fn a_list_is_known_at_once() {
        let endpoints: Endpoints = "a:1, b:2".parse().unwrap();
        let addresses = endpoints.discover().await.unwrap().ready;
        let known = addresses.borrow().clone().unwrap();
        assert_eq!(known, BTreeSet::from(["a:1".to_owned(), "b:2".to_owned()]));
    }

    #[tokio::test]
    async fn a_name_is_resolved() {
        let endpoints: Endpoints = "dns:///localhost:4317".parse().unwrap();
        let mut addresses = endpoints.discover().await.unwrap().ready;
        let known = addresses.wait_for(Option::is_some).await.unwrap().clone();
        let known = known.unwrap();
        assert!(known.contains("127.0.0.1:4317") || known.contains("[::1]:4317"));
    }
}
